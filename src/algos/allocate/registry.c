/*
 * The public face of allocators: one object over the allocator that its spec names, its memory, and
 * its calendar.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "lamina/allocator.h"
#include "lamina/memory.h"

struct lmn_allocator {
    const lmn__allocator_kind *kind;
    void *config;    /* owned */
    void *workspace; /* owned; NULL when the allocator needs none */
    lmn__allocation_times times;
    size_t n_layers; /* largest table */
    size_t n_levels;
};

#define KIND_POINTER(name) &lmn__allocator_##name,
static const lmn__allocator_kind *const kinds[] = {LMN__ALLOCATORS(KIND_POINTER)};
#undef KIND_POINTER

static const lmn__method *method_at(size_t index)
{
    return index < sizeof kinds / sizeof kinds[0] ? &kinds[index]->method : NULL;
}

static lmn_status take_workspace(lmn_allocator *allocator, lmn_error *err)
{
    if (allocator->kind->workspace_bytes == NULL) {
        return LMN_OK;
    }
    const size_t bytes = allocator->kind->workspace_bytes(allocator->config, allocator->n_layers,
                                                          allocator->n_levels);
    allocator->workspace = lmn_alloc(bytes, 1, err);
    return allocator->workspace == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

lmn_status lmn_allocator_create(const char *spec, size_t n_layers, size_t n_levels,
                                lmn_allocator **allocator_out, lmn_error *err)
{
    size_t index = 0;
    void *config = NULL;
    lmn_status status = lmn__method_configure("allocator", spec, method_at, &index, &config, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_allocator *allocator = lmn_alloc(1, sizeof *allocator, err);
    if (allocator == NULL) {
        lmn_free(config);
        return LMN_ERR_MEMORY;
    }
    allocator->kind = kinds[index];
    allocator->config = config;
    allocator->times = kinds[index]->times(config);
    allocator->n_layers = n_layers;
    allocator->n_levels = n_levels;
    status = take_workspace(allocator, err);
    if (status != LMN_OK) {
        lmn_allocator_destroy(allocator);
        return status;
    }
    *allocator_out = allocator;
    return LMN_OK;
}

void lmn_allocator_destroy(lmn_allocator *allocator)
{
    if (allocator != NULL) {
        lmn_free(allocator->workspace);
        lmn_free(allocator->config);
        lmn_free(allocator);
    }
}

bool lmn_allocator_adapts(const lmn_allocator *allocator)
{
    return allocator->times.every > 0;
}

bool lmn_allocator_needs_times(const lmn_allocator *allocator)
{
    return allocator->kind->needs_times;
}

bool lmn_allocator_deals_curves(const lmn_allocator *allocator)
{
    return allocator->times.deals_curves;
}

bool lmn_allocator_remembers(const lmn_allocator *allocator)
{
    return allocator->kind->remembers != NULL && allocator->kind->remembers(allocator->config);
}

bool lmn_allocator_needs_order(const lmn_allocator *allocator)
{
    return allocator->kind->needs_order != NULL && allocator->kind->needs_order(allocator->config);
}

bool lmn_allocator_warms_up(const lmn_allocator *allocator, uint64_t step)
{
    return step < allocator->times.warmup;
}

/* Steps from `step` to the next one after which levels are decided; every > 0. */
static uint64_t steps_to_decision(const lmn__allocation_times *times, uint64_t step)
{
    if (step < times->warmup) {
        return times->warmup - 1 - step;
    }
    return times->every - 1 - (step - times->warmup) % times->every;
}

bool lmn_allocator_observes(const lmn_allocator *allocator, uint64_t step)
{
    return lmn_allocator_adapts(allocator) &&
           steps_to_decision(&allocator->times, step) < allocator->times.window;
}

bool lmn_allocator_adjusts(const lmn_allocator *allocator, uint64_t step)
{
    return lmn_allocator_adapts(allocator) && steps_to_decision(&allocator->times, step) == 0;
}

static lmn_status check_table(const lmn_allocator *allocator, const lmn_cost_table *table,
                              const size_t *levels, lmn_error *err)
{
    if (table->n_layers > allocator->n_layers || table->n_levels > allocator->n_levels ||
        table->n_levels == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cost table of %zu layers and %zu levels for an allocator made for up "
                             "to %zu and %zu",
                             table->n_layers, table->n_levels, allocator->n_layers,
                             allocator->n_levels);
    }
    if (allocator->kind->needs_times && table->timings == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "allocator %s weighs times, and the cost table has none",
                             allocator->kind->method.entry.name);
    }
    if (lmn_allocator_remembers(allocator) && (table->energy == NULL || table->memory == NULL)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "%s compares gradients with earlier ones, but the cost table comes "
                             "without their energy or without memory",
                             allocator->kind->method.entry.name);
    }
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        if (table->static_level[layer] >= table->n_levels || levels[layer] >= table->n_levels) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "layer %zu: static level %zu and level %zu must be below %zu",
                                 layer, table->static_level[layer], levels[layer], table->n_levels);
        }
    }
    return LMN_OK;
}

lmn_status lmn_allocator_decide(lmn_allocator *allocator, const lmn_cost_table *table,
                                size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const lmn_status status = check_table(allocator, table, levels, err);
    if (status != LMN_OK) {
        return status;
    }
    return allocator->kind->decide(allocator->config, allocator->workspace, table, levels,
                                   report_out, err);
}

lmn__allocation_times lmn__calendar_times(const void *config)
{
    const lmn__calendar *calendar = config;
    return (lmn__allocation_times){.warmup = calendar->warmup,
                                   .every = calendar->every,
                                   .window = calendar->window,
                                   .deals_curves = calendar->curves == LMN__CURVES_DEALT};
}

size_t lmn__real_level(const lmn_cost_table *table, size_t layer, size_t level)
{
    const uint64_t *bytes = table->bytes + layer * table->n_levels;
    return bytes[level] >= bytes[0] ? 0 : level;
}

lmn_allocation_report lmn__report_levels(const lmn_cost_table *table, const size_t *levels)
{
    lmn_allocation_report report = {0};
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t row = layer * table->n_levels;
        const size_t level = lmn__real_level(table, layer, levels[layer]);
        report.bytes += table->bytes[row + level];
        report.error += level == 0 ? 0.0 : table->error[row + level];
        report.static_bytes +=
            table->bytes[row + lmn__real_level(table, layer, table->static_level[layer])];
    }
    return report;
}

bool lmn__take_levels(const lmn_cost_table *table, const size_t *chosen, size_t *levels)
{
    bool changed = false;
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t level = lmn__real_level(table, layer, chosen[layer]);
        changed = changed || levels[layer] != level;
        levels[layer] = level;
    }
    return changed;
}

const lmn_spec_entry *lmn_allocator_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}
