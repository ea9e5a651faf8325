/*
 * The shortest step: per layer the level that makes the predicted time of a step smallest, while
 * the sum of squared errors stays within alpha times what the uniform levels would cause.
 *
 * Compressing must pay: where the best plan is not faster than dense, everything travels dense. The
 * uniform assignment competes with the solution, whose errors are rounded up. Predictions have
 * their errors, too, so who measures can ask for plans of several kinds and try them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "budget_internal.h"
#include "lamina/memory.h"
#include "lamina/timeplan.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct time_config {
    lmn__calendar calendar; /* first */
    double alpha;
    uint64_t buckets;
    double gain;
} time_config;

static const time_config defaults = {
    .calendar = LMN__CALENDAR_DEFAULTS, .alpha = 1.0, .buckets = 500, .gain = 0.01};

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
     .help = "part of a dense step that compressing must save (0.01)"},
};

/* Parts of the budget in the search for the fewest bytes, as many as lgreco has. */
#define BYTES_BUCKETS 10000

/* What a division by a number of parts may lose of the budget. */
static const double ROUNDING = 1e-12;

/* The problem with its rows in the order of the link; arrays lie in the workspace. */
typedef struct decision {
    const lmn_cost_table *table;
    const time_config *config;
    lmn_time_problem problem;
    size_t *bucket; /* [n_layers] */
    size_t *levels; /* [n_layers] the solution */
    size_t *uniform;
    double *ready;                          /* [n_layers] */
    double *encode, *decode, *wire, *error; /* [n_layers][n_levels] */
    uint64_t *bytes;                        /* [n_layers][n_levels] */
    void *scratch;                          /* of the solvers */
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
    const size_t times = lmn_time_scratch_bytes(n_layers, config->buckets);
    const size_t bytes = lmn__budget_scratch_bytes(n_layers, n_levels, BYTES_BUCKETS);
    const size_t scratch = times > bytes ? times : bytes;
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

static void fill(decision *d)
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
    d->budget = d->config->alpha * lmn_time_predict(&d->problem, d->uniform).error;
}

static size_t row_bytes(const decision *d)
{
    return d->table->n_layers * sizeof *d->levels;
}

/* The uniform levels into d->levels, if they keep the budget and `seconds` is more than they take.
 */
static void prefer_uniform(decision *d, double seconds)
{
    const lmn_time_prediction uniform = lmn_time_predict(&d->problem, d->uniform);
    if (uniform.error <= d->budget && uniform.seconds < seconds) {
        memcpy(d->levels, d->uniform, row_bytes(d));
    }
}

/* The solution, whose errors are rounded up, or the uniform levels. */
static lmn_status find_shortest(decision *d, lmn_error *err)
{
    const lmn_status status = lmn_time_solve(&d->problem, d->budget * (1.0 - ROUNDING),
                                             d->config->buckets, d->scratch, d->levels, err);
    if (status == LMN_OK) {
        prefer_uniform(d, lmn_time_predict(&d->problem, d->levels).seconds);
    }
    return status;
}

/* What lgreco would choose. */
static lmn_status find_smallest(decision *d, lmn_error *err)
{
    const lmn__budget_problem problem = {.n_layers = d->table->n_layers,
                                         .n_levels = d->table->n_levels,
                                         .bytes = d->bytes,
                                         .error = d->error,
                                         .static_level = d->uniform,
                                         .budget = fmin(d->budget, DBL_MAX),
                                         .buckets = BYTES_BUCKETS};
    lmn__budget_answer answer = {0};
    if (problem.budget < DBL_MIN) {
        return LMN_OK;
    }
    const lmn_status status = lmn__budget_solve(&problem, d->scratch, d->levels, &answer, err);
    if (status == LMN_OK && !answer.is_feasible) {
        memset(d->levels, 0, row_bytes(d));
    }
    return status;
}

/* Leaves the plan that was asked for in d->levels, which are dense. */
static lmn_status choose(decision *d, double dense_seconds, lmn_error *err)
{
    switch (d->table->timings->plan) {
    case LMN_TIME_PLAN_SHORTEST:
        return find_shortest(d, err);
    case LMN_TIME_PLAN_UNIFORM:
        prefer_uniform(d, (double)INFINITY);
        return LMN_OK;
    case LMN_TIME_PLAN_SMALLEST:
        return find_smallest(d, err);
    default:
        break;
    }
    const lmn_status status = find_shortest(d, err);
    const double seconds = lmn_time_predict(&d->problem, d->levels).seconds;
    if (status == LMN_OK && seconds > (1.0 - d->config->gain) * dense_seconds) {
        memset(d->levels, 0, row_bytes(d));
    }
    return status;
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
    d.config = config;
    fill(&d);
    memset(d.levels, 0, row_bytes(&d));
    const lmn_time_prediction dense = lmn_time_predict(&d.problem, d.levels);
    status = choose(&d, dense.seconds, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_time_prediction best = lmn_time_predict(&d.problem, d.levels);
    lmn_allocation_report report = {.bytes = best.bytes,
                                    .static_bytes = lmn_time_predict(&d.problem, d.uniform).bytes,
                                    .error = best.error,
                                    .budget = d.budget,
                                    .seconds = best.seconds,
                                    .dense_seconds = dense.seconds,
                                    .gain = config->gain};
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
