/*
 * Where this process runs: its host and the cores it may use.
 *
 * hwloc answers for the binding that the launcher made (mpirun --bind-to, srun --cpu-bind), inside
 * what the container allows. A core counts as ours when any of its hardware threads is.
 *
 * Tool: F. Broquedis et al., hwloc, Proc. PDP 2010, 180-186.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"

#include <string.h>
#include <unistd.h>

#include <hwloc.h>

#define CUT_MARK "..."
/* Room for the text of any binding that a launcher makes; what is longer is cut anyway. */
#define LIST_BYTES 4096

void lmn__cpu_list_cut(char *text, size_t capacity)
{
    if (strlen(text) < capacity) {
        return;
    }
    size_t end = capacity - sizeof CUT_MARK;
    while (end > 0 && text[end - 1] != ',') {
        --end;
    }
    memcpy(text + end, CUT_MARK, sizeof CUT_MARK);
}

static int count_cores(hwloc_topology_t topology, hwloc_const_cpuset_t cpuset)
{
    int n_cores = 0;
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != NULL) {
        n_cores += hwloc_bitmap_intersects(core->cpuset, cpuset) ? 1 : 0;
    }
    /* Some virtual machines show hardware threads and no cores. */
    return n_cores > 0 ? n_cores : hwloc_bitmap_weight(cpuset);
}

static void describe_binding(hwloc_topology_t topology, hwloc_cpuset_t cpuset,
                             lmn_placement *placement)
{
    if (hwloc_get_cpubind(topology, cpuset, HWLOC_CPUBIND_PROCESS) != 0) {
        return;
    }
    (void)hwloc_bitmap_and(cpuset, cpuset, hwloc_topology_get_topology_cpuset(topology));
    if (hwloc_bitmap_iszero(cpuset)) {
        return;
    }
    char list[LIST_BYTES] = "";
    (void)hwloc_bitmap_list_snprintf(list, sizeof list, cpuset);
    lmn__cpu_list_cut(list, sizeof placement->cpus);
    memcpy(placement->cpus, list, strlen(list) + 1);
    placement->core_count = count_cores(topology, cpuset);
}

static void probe_binding(lmn_placement *placement)
{
    hwloc_topology_t topology = NULL;
    if (hwloc_topology_init(&topology) != 0) {
        return;
    }
    hwloc_cpuset_t cpuset = hwloc_bitmap_alloc();
    if (cpuset != NULL && hwloc_topology_load(topology) == 0) {
        describe_binding(topology, cpuset, placement);
    }
    hwloc_bitmap_free(cpuset);
    hwloc_topology_destroy(topology);
}

void lmn__placement_probe(lmn_placement *placement)
{
    if (gethostname(placement->host, sizeof placement->host) != 0) {
        placement->host[0] = '\0';
    }
    /* A name that is cut need not be terminated. */
    placement->host[sizeof placement->host - 1] = '\0';
    placement->core_count = 1;
    placement->cpus[0] = '\0';
    probe_binding(placement);
}
