/*
 * Placement: what hwloc says about this process, compared with what the kernel says, and the
 * cutting of long lists.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
/* For sched_getaffinity; the C library gives the name. */
#define _GNU_SOURCE /* NOLINT(*-reserved-identifier,cert-dcl*,readability-identifier-naming) */
#include "comm/comm_internal.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void cpu_list_cut_short_text_stays(void **state)
{
    (void)state;
    char text[32] = "0-3,8";
    lmn__cpu_list_cut(text, 6);
    assert_string_equal(text, "0-3,8");
}

static void cpu_list_cut_long_text_ends_behind_a_whole_item(void **state)
{
    (void)state;
    char text[32] = "0-3,8,10-12,100";
    lmn__cpu_list_cut(text, 15);
    assert_string_equal(text, "0-3,8,...");
    char fitting[32] = "0-3,8,10-12,100";
    lmn__cpu_list_cut(fitting, 16);
    assert_string_equal(fitting, "0-3,8,10-12,100");
}

static void cpu_list_cut_one_item_too_long_leaves_only_the_mark(void **state)
{
    (void)state;
    char text[32] = "100000-200000";
    lmn__cpu_list_cut(text, 8);
    assert_string_equal(text, "...");
}

static void cpu_list_cut_every_capacity_fits(void **state)
{
    (void)state;
    const char *list = "0,2,4,6,8,10,12,14,16";
    for (size_t capacity = 4; capacity < 32; ++capacity) {
        char text[32];
        memcpy(text, list, strlen(list) + 1);
        lmn__cpu_list_cut(text, capacity);
        assert_in_range(strlen(text), 1, capacity - 1);
    }
}

/* Number of processors that a list such as "0-3,8" names. */
static int count_listed(const char *list)
{
    int count = 0;
    while (*list != '\0') {
        char *end = NULL;
        const long first = strtol(list, &end, 10);
        const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        count += (int)(last - first + 1);
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

static void placement_matches_the_kernels_affinity(void **state)
{
    (void)state;
    lmn_placement probed = {0};
    const lmn_placement *place = &probed;
    lmn__placement_probe(&probed);
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    assert_in_range(place->core_count, 1, CPU_COUNT(&allowed));
    if (strstr(place->cpus, "...") == NULL) {
        assert_int_equal(count_listed(place->cpus), CPU_COUNT(&allowed));
    }
}

static void placement_bound_process_names_its_processor(void **state)
{
    (void)state;
    cpu_set_t before;
    CPU_ZERO(&before);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET((size_t)last, &before)) {
        --last;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)last, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    lmn_placement place = {0};
    lmn__placement_probe(&place);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    char expected[16];
    (void)snprintf(expected, sizeof expected, "%d", last);
    assert_string_equal(place.cpus, expected);
    assert_int_equal(place.core_count, 1);
}

static void placement_host_is_the_hosts_name(void **state)
{
    (void)state;
    char name[256] = "";
    assert_int_equal(gethostname(name, sizeof name - 1), 0);
    lmn_placement place = {0};
    lmn__placement_probe(&place);
    assert_true(strlen(place.host) > 0);
    assert_memory_equal(place.host, name, strlen(place.host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_list_cut_short_text_stays),
        cmocka_unit_test(cpu_list_cut_long_text_ends_behind_a_whole_item),
        cmocka_unit_test(cpu_list_cut_one_item_too_long_leaves_only_the_mark),
        cmocka_unit_test(cpu_list_cut_every_capacity_fits),
        cmocka_unit_test(placement_matches_the_kernels_affinity),
        cmocka_unit_test(placement_bound_process_names_its_processor),
        cmocka_unit_test(placement_host_is_the_hosts_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
