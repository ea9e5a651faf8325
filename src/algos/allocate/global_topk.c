/*
 * Global top-k: one threshold for the entries of all layers, at the bytes of the uniform levels.
 *
 * What an entry of square s takes in bytes b is worth sending when s / b reaches the threshold. For
 * a layer that can send any number of its largest entries this makes its error plus threshold times
 * bytes smallest, so among few levels, and in any family, the same is asked: each layer takes the
 * level with the smallest error + threshold * bytes, which lies on the lower convex hull of its
 * levels. The threshold is lowered edge by edge of the hulls, the steepest first, while the bytes
 * suffice; an edge that does not fit is passed over. The uniform levels are taken where they cause
 * less error.
 *
 * With top-k, levels of all k and errors squared this is top-k of the concatenated vector: S. Shi,
 * Q. Wang, K. Zhao and others, "A distributed synchronous SGD algorithm with global top-k
 * sparsification for low bandwidth networks", ICDCS 2019, arXiv:1901.04359, without its
 * communication.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "budget_internal.h"
#include "lamina/memory.h"

#include <math.h>

typedef struct global_config {
    lmn__calendar calendar; /* first */
} global_config;

static const global_config defaults = {.calendar = LMN__CALENDAR_DEFAULTS};

static const lmn_spec_field fields[] = {LMN__CALENDAR_FIELDS};

/* One step to a level of more bytes and less error, next on the hull of its layer. */
typedef struct edge {
    size_t layer;
    size_t to;
    uint64_t bytes; /* more */
    double gain;    /* error less for each byte */
} edge;

typedef struct decision {
    const lmn_cost_table *table;
    size_t *chosen; /* [n_layers] */
    edge *next;     /* [n_layers] from the level chosen; gain 0 where there is none that fits */
} decision;

static size_t workspace_bytes(const void *config, size_t n_layers, size_t n_levels)
{
    (void)config;
    (void)n_levels;
    return n_layers > SIZE_MAX / 4 / sizeof(edge)
               ? SIZE_MAX
               : lmn_align_up(n_layers * sizeof(size_t)) + n_layers * sizeof(edge);
}

static uint64_t bytes_of(const lmn_cost_table *table, size_t layer, size_t level)
{
    return table->bytes[layer * table->n_levels + level];
}

static double error_of(const lmn_cost_table *table, size_t layer, size_t level)
{
    return level == 0 ? 0.0 : table->error[layer * table->n_levels + level];
}

/* The steepest way down from a level; of equal ones the longest. */
static edge steepest(const lmn_cost_table *table, size_t layer, size_t from)
{
    edge best = {.layer = layer, .to = from};
    for (size_t level = 0; level < table->n_levels; level++) {
        const size_t to = lmn__real_level(table, layer, level);
        const uint64_t bytes = bytes_of(table, layer, to);
        if (bytes <= bytes_of(table, layer, from)) {
            continue;
        }
        const edge e = {.layer = layer,
                        .to = to,
                        .bytes = bytes - bytes_of(table, layer, from),
                        .gain = (error_of(table, layer, from) - error_of(table, layer, to)) /
                                (double)(bytes - bytes_of(table, layer, from))};
        if (e.gain > best.gain || (e.gain == best.gain && e.gain > 0.0 && e.bytes > best.bytes)) {
            best = e;
        }
    }
    return best;
}

/* The fewest bytes, of equal ones the smallest error. */
static size_t cheapest(const lmn_cost_table *table, size_t layer)
{
    size_t best = lmn__real_level(table, layer, 0);
    for (size_t i = 0; i < table->n_levels; i++) {
        const size_t level = lmn__real_level(table, layer, i);
        const uint64_t bytes = bytes_of(table, layer, level);
        const uint64_t fewest = bytes_of(table, layer, best);
        if (bytes < fewest ||
            (bytes == fewest && error_of(table, layer, level) < error_of(table, layer, best))) {
            best = level;
        }
    }
    return best;
}

/* Layers whose uniform level is dense stay so. */
static uint64_t begin(decision *d)
{
    uint64_t bytes = 0;
    for (size_t layer = 0; layer < d->table->n_layers; layer++) {
        const size_t named = lmn__real_level(d->table, layer, d->table->static_level[layer]);
        d->chosen[layer] = 0;
        d->next[layer] = (edge){.layer = layer};
        if (named != 0) {
            d->chosen[layer] = cheapest(d->table, layer);
            d->next[layer] = steepest(d->table, layer, d->chosen[layer]);
        }
        bytes += bytes_of(d->table, layer, d->chosen[layer]);
    }
    return bytes;
}

/* The steepest edge of all layers; the first of equal ones. NULL: none is left. */
static edge *steepest_of_all(const decision *d)
{
    edge *best = NULL;
    for (size_t layer = 0; layer < d->table->n_layers; layer++) {
        edge *e = &d->next[layer];
        if (e->gain > 0.0 && (best == NULL || e->gain > best->gain)) {
            best = e;
        }
    }
    return best;
}

static void lower_threshold(decision *d, uint64_t room)
{
    for (edge *e = steepest_of_all(d); e != NULL; e = steepest_of_all(d)) {
        if (e->bytes > room) {
            e->gain = 0.0; /* this layer has got what it gets */
            continue;
        }
        room -= e->bytes;
        d->chosen[e->layer] = e->to;
        *e = steepest(d->table, e->layer, e->to);
    }
}

static lmn_status decide(const void *config, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    (void)config;
    const lmn_status status = lmn__budget_check_errors(table, "global-topk", err);
    if (status != LMN_OK) {
        return status;
    }
    unsigned char *memory = workspace;
    decision d = {.table = table,
                  .chosen = workspace,
                  .next = (void *)(memory + lmn_align_up(table->n_layers * sizeof(size_t)))};
    const lmn_allocation_report uniform = lmn__report_levels(table, table->static_level);
    if (uniform.error == 0.0) {
        *report_out = lmn__report_levels(table, levels); /* nothing to share out */
        return LMN_OK;
    }
    lower_threshold(&d, uniform.bytes - begin(&d));
    lmn_allocation_report report = lmn__report_levels(table, d.chosen);
    const bool is_uniform = report.error > uniform.error;
    report = is_uniform ? uniform : report;
    report.budget = uniform.error;
    report.changed = lmn__take_levels(table, is_uniform ? table->static_level : d.chosen, levels);
    *report_out = report;
    return LMN_OK;
}

const lmn__allocator_kind lmn__allocator_global_topk = {
    .method = {.entry = {.name = "global-topk",
                         .summary = "one threshold for all layers, at the bytes of the uniform "
                                    "levels",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(global_config),
               .defaults = &defaults},
    .times = lmn__calendar_times,
    .workspace_bytes = workspace_bytes,
    .decide = decide,
};
