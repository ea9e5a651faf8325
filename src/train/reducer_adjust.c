/*
 * Deciding levels anew: error curves of the ranks (reducer_curves.c), and the allocator.
 *
 * The decision is a pure function of a table that all ranks have. A hash of the outcome is compared
 * all the same: ranks that disagreed on levels could not read each other's messages.
 *
 * Method: lamina/allocator.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "timing_internal.h"

#include <string.h>

/* Where a level would travel dense, it costs what dense costs and loses nothing. */
static void fill_costs(lmn_reducer *reducer, size_t n_levels)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        for (size_t level = 0; level < n_levels; level++) {
            const size_t entry = i * n_levels + level;
            const bool whole = layer->small || lmn__reducer_travel_level(
                                                   reducer, lmn__layer_shape(layer), level) == 0;
            reducer->costs[entry] =
                lmn__reducer_wire_bytes(reducer, lmn__layer_shape(layer), layer->small ? 0 : level);
            reducer->curves[entry] = whole ? 0.0 : reducer->curves[entry];
        }
    }
}

lmn_cost_table lmn_reducer_costs(const lmn_reducer *reducer)
{
    return (lmn_cost_table){.n_layers = reducer->n_layers,
                            .n_levels = lmn_compressor_level_count(reducer->compressor),
                            .bytes = reducer->costs,
                            .error = reducer->curves,
                            .energy = reducer->energies,
                            .memory = reducer->allocator_memory,
                            .static_level = reducer->decision + reducer->n_layers};
}

static lmn_status decide(lmn_reducer *reducer, lmn_allocation_report *report, lmn_error *err)
{
    size_t *const levels = reducer->decision;
    size_t *const uniform = reducer->decision + reducer->n_layers;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        levels[i] = (size_t)reducer->levels[i];
        uniform[i] =
            reducer->layers[i].small ? 0 : lmn_compressor_static_level(reducer->compressor);
    }
    const lmn_cost_table table = lmn_reducer_costs(reducer);
    if (reducer->timing != NULL) {
        return lmn__timing_decide(reducer, &table, report, err);
    }
    const lmn_status status = lmn_allocator_decide(reducer->allocator, &table, levels, report, err);
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        reducer->levels[i] = levels[i];
    }
    return status;
}

static void forget_observed(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (layer->observed != NULL && layer->leads) {
            memset(layer->observed, 0, layer->count * sizeof *layer->observed);
        }
    }
    reducer->observed_steps = 0;
}

/* The curves of all ranks, and what their levels cost. Collective. */
static lmn_status gather_curves(lmn_reducer *reducer, size_t n_levels, lmn_error *err)
{
    const lmn_status status = lmn__reducer_take_curves(reducer, n_levels, err);
    if (status == LMN_OK) {
        fill_costs(reducer, n_levels);
        forget_observed(reducer);
    }
    return status;
}

/* Decide, and make sure that all ranks decided alike. Collective. */
static lmn_status settle_levels(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    const lmn_status status = decide(reducer, &report->allocation, err);
    if (status == LMN_ERR_NONFINITE) {
        /* The same table on all ranks, so the same outcome: the plan stays as it is. */
        return LMN_OK;
    }
    if (status != LMN_OK) {
        return status;
    }
    report->adjusted = true;
    return lmn_world_check_same(reducer->world, "the compression levels",
                                lmn__reducer_plan_hash(reducer), err);
}

/* Times that decisions are made from. Collective. */
static lmn_status gather_times(lmn_reducer *reducer, bool *is_complete_out, lmn_error *err)
{
    *is_complete_out = true;
    if (reducer->timing == NULL) {
        return LMN_OK;
    }
    const lmn_status status = lmn__timing_gather(reducer, err);
    *is_complete_out = lmn__timing_is_complete(reducer);
    return status;
}

/* Whether it is the moment for a decision: not while plans are on trial, nor when the last decision
 * was dear. Collective. */
static lmn_status may_decide(lmn_reducer *reducer, bool *may_out, lmn_error *err)
{
    *may_out = reducer->timing == NULL;
    if (reducer->timing == NULL || reducer->timing->phase == LMN__TIME_TRYING) {
        return LMN_OK;
    }
    return lmn__timing_may_adapt(reducer, may_out, err);
}

bool lmn__reducer_adjusts(const lmn_reducer *reducer)
{
    return lmn_allocator_adjusts(reducer->allocator, reducer->step) || lmn__trial_is_due(reducer);
}

static lmn_status decide_anew(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    bool may = false;
    lmn_status status = may_decide(reducer, &may, err);
    if (status == LMN_OK && !may) {
        forget_observed(reducer);
        return LMN_OK;
    }
    if (status == LMN_OK) {
        status = gather_curves(reducer, lmn_compressor_level_count(reducer->compressor), err);
    }
    bool is_complete = false;
    if (status == LMN_OK) {
        status = gather_times(reducer, &is_complete, err);
    }
    return status == LMN_OK && is_complete ? settle_levels(reducer, report, err) : status;
}

static lmn_status adjust(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    if (lmn__trial_is_due(reducer)) {
        return lmn__trial_go_on(reducer, report, err);
    }
    if (reducer->observed_steps == 0 || !lmn_allocator_adjusts(reducer->allocator, reducer->step)) {
        return LMN_OK;
    }
    return decide_anew(reducer, report, err);
}

lmn_status lmn__reducer_adjust(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    const double start = lmn_clock_seconds();
    const lmn_status status = adjust(reducer, report, err);
    const double end = lmn_clock_seconds();
    report->seconds_adapt = end - start + lmn__timing_adapted(reducer, report, start, end);
    lmn_trace_add(reducer->trace, "adapt", LMN_TRACE_LANE_WORK, reducer->step, start, end);
    return status;
}
