/*
 * The link between the ranks that exchange large layers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/link.h"
#include "reducer_internal.h"

/* Picoseconds of latency and femtoseconds per byte are exact enough as whole numbers: 1 ps per byte
   is a link of 8 Tbit/s. */
static lmn_status slowest_line(lmn_world *world, lmn_line *line, lmn_error *err)
{
    uint64_t numbers[2] = {(uint64_t)(line->latency * 1e12), (uint64_t)(line->per_byte * 1e15)};
    const lmn_status status = lmn_world_max_u64(world, numbers, 2, err);
    *line =
        (lmn_line){.latency = (double)numbers[0] * 1e-12, .per_byte = (double)numbers[1] * 1e-15};
    return status;
}

static lmn_status slowest_link(lmn_world *world, lmn_link *link, lmn_error *err)
{
    lmn_line gap = {.latency = link->gap};
    lmn_status status = slowest_line(world, &link->sum, err);
    if (status == LMN_OK) {
        status = slowest_line(world, &link->gather, err);
    }
    if (status == LMN_OK) {
        status = slowest_line(world, &gap, err);
    }
    link->gap = gap.latency;
    return status;
}

/* Teams of several leaders measure at the same time, as they will work. */
lmn_status lmn_reducer_measure_link(lmn_reducer *reducer, lmn_link *link_out, lmn_error *err)
{
    *link_out = (lmn_link){0};
    lmn_status status = LMN_OK;
    if (reducer->team.world != NULL) {
        status = lmn_link_measure(reducer->team.world, link_out, err);
    }
    status = lmn_agree(reducer->world, status, err);
    return status == LMN_OK ? slowest_link(reducer->world, link_out, err) : status;
}

bool lmn_reducer_knows_link(const lmn_reducer *reducer)
{
    return reducer->timing != NULL;
}
