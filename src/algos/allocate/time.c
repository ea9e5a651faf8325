/*
 * The shortest step: per layer the level that makes the predicted time of a step smallest, while
 * the sum of squared errors stays within alpha times what the uniform levels would cause.
 *
 * Compressing must pay: where the best plan is not clearly faster than dense, everything travels
 * dense. The uniform assignment competes with the solution, whose errors are rounded up. Who calls
 * it measures whether a plan keeps what it promises.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "budget_internal.h"
#include "lamina/memory.h"
#include "lamina/timeplan.h"

#include <math.h>
#include <string.h>

typedef struct time_config {
    lmn__calendar calendar; /* first */
    double alpha;
    uint64_t buckets;
    double gain;
} time_config;

static const time_config defaults = {
    .calendar = LMN__CALENDAR_DEFAULTS, .alpha = 1.0, .buckets = 500, .gain = 0.05};

static const lmn_spec_field fields[] = {
    {.key = "alpha",
     .type = LMN_SPEC_F64,
     .offset = offsetof(time_config, alpha),
     .min = 0.0,
     .max = 1e6,
     .min_exclusive = true,
     .help = "error allowed, relative to that of the uniform levels (1)"},
    LMN__CALENDAR_FIELDS,
    {.key = "buckets",
     .type = LMN_SPEC_U64,
     .offset = offsetof(time_config, buckets),
     .min = 1.0,
     .max = 1e5,
     .help = "parts into which the error budget is cut (500)"},
    {.key = "gain",
     .type = LMN_SPEC_F64,
     .offset = offsetof(time_config, gain),
     .min = 0.0,
     .max = 0.9,
     .help = "part of a dense step that compressing must save, as predicted (0.05)"},
};

/* What a division by a number of parts may lose of the budget. */
static const double ROUNDING = 1e-12;

/* The problem with its rows in the order of the link; arrays lie in the workspace. */
typedef struct decision {
    const lmn_cost_table *table;
    lmn_time_problem problem;
    size_t *bucket; /* [n_layers] */
    size_t *levels; /* [n_layers] the solution */
    size_t *uniform;
    double *ready;                          /* [n_layers] */
    double *encode, *decode, *wire, *error; /* [n_layers][n_levels] */
    uint64_t *bytes;                        /* [n_layers][n_levels] */
    void *scratch;                          /* of the solver */
    double budget;
} decision;

enum { LISTS = 4, TABLES = 5 };

static size_t list_bytes(size_t n_layers)
{
    return lmn_align_up(n_layers * sizeof(uint64_t));
}

static size_t table_bytes(size_t n_layers, size_t n_levels)
{
    return lmn_align_up(n_layers * n_levels * sizeof(uint64_t));
}

static size_t workspace_bytes(const void *config_memory, size_t n_layers, size_t n_levels)
{
    const time_config *config = config_memory;
    const size_t scratch = lmn_time_scratch_bytes(n_layers, config->buckets);
    if (n_levels > 0 && n_layers > SIZE_MAX / 128 / n_levels) {
        return SIZE_MAX;
    }
    const size_t head = LISTS * list_bytes(n_layers) + TABLES * table_bytes(n_layers, n_levels);
    return scratch > SIZE_MAX - head ? SIZE_MAX : head + scratch;
}

static decision lay_out(const lmn_cost_table *table, unsigned char *memory)
{
    const size_t list = list_bytes(table->n_layers);
    const size_t cells = table_bytes(table->n_layers, table->n_levels);
    unsigned char *const tables = memory + LISTS * list;
    return (decision){.table = table,
                      .bucket = (void *)memory,
                      .levels = (void *)(memory + list),
                      .uniform = (void *)(memory + 2 * list),
                      .ready = (void *)(memory + 3 * list),
                      .encode = (void *)tables,
                      .decode = (void *)(tables + cells),
                      .wire = (void *)(tables + 2 * cells),
                      .error = (void *)(tables + 3 * cells),
                      .bytes = (void *)(tables + 4 * cells),
                      .scratch = tables + TABLES * cells};
}

static void fill_row(decision *d, size_t place, size_t layer)
{
    const lmn_cost_table *table = d->table;
    const lmn_cost_timings *timings = table->timings;
    const size_t n_levels = table->n_levels;
    d->bucket[place] = timings->bucket[layer];
    d->ready[place] = timings->ready[layer];
    d->uniform[place] = lmn__real_level(table, layer, table->static_level[layer]);
    for (size_t level = 0; level < n_levels; level++) {
        const size_t from = layer * n_levels + level;
        const size_t to = place * n_levels + level;
        const bool is_allowed = level == 0 || lmn__real_level(table, layer, level) == level;
        d->encode[to] = timings->encode[from];
        d->decode[to] = timings->decode[from];
        d->wire[to] = timings->wire[from];
        d->bytes[to] = table->bytes[from];
        d->error[to] = !is_allowed ? (double)INFINITY : level == 0 ? 0.0 : table->error[from];
    }
}

static void fill(decision *d, const time_config *config)
{
    const lmn_cost_table *table = d->table;
    const lmn_cost_timings *timings = table->timings;
    for (size_t place = 0; place < table->n_layers; place++) {
        fill_row(d, place, timings->order[place]);
    }
    d->problem = (lmn_time_problem){.n_layers = table->n_layers,
                                    .n_levels = table->n_levels,
                                    .bucket = d->bucket,
                                    .ready = d->ready,
                                    .encode = d->encode,
                                    .decode = d->decode,
                                    .wire = d->wire,
                                    .error = d->error,
                                    .bytes = d->bytes,
                                    .kind = timings->kind,
                                    .compute = timings->compute,
                                    .update = timings->update};
    memcpy(d->problem.latency, timings->latency, sizeof d->problem.latency);
    d->budget = config->alpha * lmn_time_predict(&d->problem, d->uniform).error;
}

/* Leaves the best plan in d->levels: the solution, the uniform levels, or dense. */
static lmn_status choose(decision *d, const time_config *config, lmn_time_prediction *dense_out,
                         lmn_error *err)
{
    const size_t row = d->table->n_layers * sizeof *d->levels;
    memset(d->levels, 0, row);
    *dense_out = lmn_time_predict(&d->problem, d->levels);
    const lmn_status status = lmn_time_solve(&d->problem, d->budget * (1.0 - ROUNDING),
                                             config->buckets, d->scratch, d->levels, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_time_prediction uniform = lmn_time_predict(&d->problem, d->uniform);
    const lmn_time_prediction solution = lmn_time_predict(&d->problem, d->levels);
    double best = solution.seconds;
    if (uniform.error <= d->budget && uniform.seconds < best) {
        memcpy(d->levels, d->uniform, row);
        best = uniform.seconds;
    }
    if (best > (1.0 - config->gain) * dense_out->seconds) {
        memset(d->levels, 0, row);
    }
    return LMN_OK;
}

static lmn_status decide(const void *config_memory, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const time_config *config = config_memory;
    lmn_status status = lmn__budget_check_errors(table, "time", err);
    if (status != LMN_OK) {
        return status;
    }
    decision d = lay_out(table, workspace);
    fill(&d, config);
    lmn_time_prediction dense = {0};
    status = choose(&d, config, &dense, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_time_prediction best = lmn_time_predict(&d.problem, d.levels);
    lmn_allocation_report report = {.bytes = best.bytes,
                                    .static_bytes = lmn_time_predict(&d.problem, d.uniform).bytes,
                                    .error = best.error,
                                    .budget = d.budget,
                                    .seconds = best.seconds,
                                    .dense_seconds = dense.seconds};
    for (size_t place = 0; place < table->n_layers; place++) {
        const size_t layer = table->timings->order[place];
        report.changed = report.changed || levels[layer] != d.levels[place];
        levels[layer] = d.levels[place];
    }
    *report_out = report;
    return LMN_OK;
}

const lmn__allocator_kind lmn__allocator_time = {
    .method = {.entry = {.name = "time",
                         .summary = "the shortest step at the error of the uniform levels, from "
                                    "measured times; never slower than dense",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(time_config),
               .defaults = &defaults},
    .needs_times = true,
    .times = lmn__calendar_times,
    .workspace_bytes = workspace_bytes,
    .decide = decide,
};
