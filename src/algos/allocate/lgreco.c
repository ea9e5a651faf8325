/*
 * L-GreCo: per layer the level that makes the sum of bytes smallest, while the sum of errors stays
 * within alpha times what the uniform levels would cause.
 *
 * Errors are put into whole numbers, in units of 2^-40 of the uniform assignment's error, rounded
 * up; from there on everything is integer arithmetic, so all ranks decide alike and the budget
 * holds exactly. The uniform assignment competes with the solution, whose errors are rounded to
 * buckets: where it fits the budget, nothing larger is ever chosen. A level that would send no less
 * than dense counts as dense.
 *
 * Source: I. Markov, K. Alimohammadi, E. Frantar, D. Alistarh, "L-GreCo: layerwise-adaptive
 * gradient compression for efficient and accurate deep learning", MLSys 2024, arXiv:2210.17357.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "lamina/memory.h"

#include <assert.h>
#include <float.h>
#include <math.h>

typedef enum error_norm { NORM_L2SQ = 0, NORM_L2 = 1 } error_norm;

typedef struct lgreco_config {
    double alpha;
    uint64_t every;
    uint64_t warmup;
    uint64_t window;
    uint64_t buckets;
    uint64_t norm; /* error_norm */
} lgreco_config;

static const lgreco_config defaults = {
    .alpha = 1.0,
    .every = 200,
    .warmup = 20,
    .window = 10,
    .buckets = 10000,
    .norm = NORM_L2SQ,
};

static const lmn_spec_field fields[] = {
    {.key = "alpha",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lgreco_config, alpha),
     .min = 0.0,
     .max = 1e6,
     .min_exclusive = true,
     .help = "error allowed, relative to that of the uniform levels (1)"},
    {.key = "every",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, every),
     .min = 1.0,
     .max = 1e15,
     .help = "steps between decisions (200)"},
    {.key = "warmup",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, warmup),
     .min = 0.0,
     .max = 1e15,
     .help = "dense steps at the start, after which the first decision is made (20)"},
    {.key = "window",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, window),
     .min = 1.0,
     .max = 1e15,
     .help = "steps before a decision whose mean vector is measured (10)"},
    {.key = "buckets",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, buckets),
     .min = 1.0,
     .max = 1e6,
     .help = "parts into which the error budget is cut (10000)"},
    {.key = "norm",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(lgreco_config, norm),
     .choices = "l2sq|l2",
     .help = "what is added up over layers: squared errors or their roots (l2sq)"},
};

static lmn__allocation_times times(const void *config_memory)
{
    const lgreco_config *config = config_memory;
    return (lmn__allocation_times){
        .warmup = config->warmup, .every = config->every, .window = config->window};
}

/* A decision under way; arrays lie in the workspace. */
typedef struct decision {
    const lmn_cost_table *table;
    uint64_t *bytes; /* [n_layers][n_levels], never more than dense */
    uint64_t *error; /* [n_layers][n_levels] in units */
    size_t *levels;  /* [n_layers] the solution */
    void *scratch;   /* of the solver */
    double unit;     /* error that one unit stands for */
    uint64_t budget; /* units */
} decision;

static size_t table_bytes(size_t n_layers, size_t n_levels)
{
    return lmn_align_up(n_layers * n_levels * sizeof(uint64_t));
}

static size_t levels_bytes(size_t n_layers)
{
    return lmn_align_up(n_layers * sizeof(size_t));
}

static size_t workspace_bytes(const void *config_memory, size_t n_layers, size_t n_levels)
{
    const lgreco_config *config = config_memory;
    if (n_levels > 0 && n_layers > SIZE_MAX / 64 / n_levels) {
        return SIZE_MAX;
    }
    const size_t head_bytes = 2 * table_bytes(n_layers, n_levels) + levels_bytes(n_layers);
    const size_t scratch_bytes = lmn_lgreco_scratch_bytes(n_layers, config->buckets);
    return scratch_bytes > SIZE_MAX - head_bytes ? SIZE_MAX : head_bytes + scratch_bytes;
}

/* Cut the workspace, which holds at least workspace_bytes for the decision's table. */
static void lay_out(decision *d, unsigned char *workspace)
{
    const size_t one_table = table_bytes(d->table->n_layers, d->table->n_levels);
    d->bytes = (void *)workspace;
    d->error = (void *)(workspace + one_table);
    d->levels = (void *)(workspace + 2 * one_table);
    d->scratch = workspace + 2 * one_table + levels_bytes(d->table->n_layers);
}

static lmn_status check_errors(const lmn_cost_table *table, lmn_error *err)
{
    for (size_t cell = 0; cell < table->n_layers * table->n_levels; cell++) {
        if (!isfinite(table->error[cell]) || table->error[cell] < 0.0) {
            return lmn_error_set(err, LMN_ERR_NONFINITE,
                                 "lgreco: the error of layer %zu at level %zu is %g; levels are "
                                 "kept",
                                 cell / table->n_levels, cell % table->n_levels,
                                 table->error[cell]);
        }
    }
    return LMN_OK;
}

/* The level that is really used: dense where a level saves nothing. */
static size_t real_level(const lmn_cost_table *table, size_t layer, size_t level)
{
    const uint64_t *bytes = table->bytes + layer * table->n_levels;
    return bytes[level] >= bytes[0] ? 0 : level;
}

/* The error of a level, in the norm of the configuration. */
static double real_error(const lgreco_config *config, const lmn_cost_table *table, size_t layer,
                         size_t level)
{
    if (real_level(table, layer, level) == 0) {
        return 0.0;
    }
    const double error = table->error[layer * table->n_levels + level];
    return config->norm == NORM_L2 ? sqrt(error) : error;
}

/* The unit, 0 when the uniform levels cause no error that could be shared out. */
static double choose_unit(const lgreco_config *config, const lmn_cost_table *table)
{
    double total = 0.0;
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        total += real_error(config, table, layer, table->static_level[layer]);
    }
    const double unit = ldexp(total, -40);
    return unit < DBL_MIN ? 0.0 : unit;
}

/* Round up; what no budget could hold becomes a level that is not allowed. */
static uint64_t to_units(double error, double unit)
{
    const double units = ceil(error / unit);
    return units < 0x1p62 ? (uint64_t)units : UINT64_MAX;
}

static void fill_tables(decision *d, const lgreco_config *config)
{
    const lmn_cost_table *table = d->table;
    uint64_t static_error = 0;
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t row = layer * table->n_levels;
        for (size_t level = 0; level < table->n_levels; level++) {
            d->bytes[row + level] = table->bytes[row + real_level(table, layer, level)];
            d->error[row + level] = to_units(real_error(config, table, layer, level), d->unit);
        }
        static_error += d->error[row + table->static_level[layer]];
    }
    d->budget = (uint64_t)((double)static_error * config->alpha);
}

/* What an assignment costs, in whole numbers. */
typedef struct totals {
    uint64_t bytes;
    uint64_t error;
} totals;

static totals add_up(const decision *d, const size_t *levels)
{
    totals sum = {0};
    for (size_t layer = 0; layer < d->table->n_layers; layer++) {
        const size_t cell = layer * d->table->n_levels + levels[layer];
        sum.bytes += d->bytes[cell];
        sum.error += d->error[cell];
    }
    return sum;
}

/* Whether the uniform assignment is allowed and beats the solution. */
static bool uniform_wins(totals uniform, totals solution, uint64_t budget)
{
    if (uniform.error > budget || uniform.bytes > solution.bytes) {
        return false;
    }
    return uniform.bytes < solution.bytes || uniform.error < solution.error;
}

/* Nothing to share out: report the levels handed in. */
static void keep(const lgreco_config *config, const lmn_cost_table *table, const size_t *levels,
                 lmn_allocation_report *report)
{
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const uint64_t *bytes = table->bytes + layer * table->n_levels;
        report->bytes += bytes[real_level(table, layer, levels[layer])];
        report->static_bytes += bytes[real_level(table, layer, table->static_level[layer])];
        report->error += real_error(config, table, layer, levels[layer]);
    }
}

/* Take over an assignment, with dense where its levels save nothing. */
static bool take(const decision *d, const size_t *chosen, size_t *levels)
{
    bool changed = false;
    for (size_t layer = 0; layer < d->table->n_layers; layer++) {
        const size_t level = real_level(d->table, layer, chosen[layer]);
        changed = changed || levels[layer] != level;
        levels[layer] = level;
    }
    return changed;
}

static lmn_status choose(const decision *d, const lgreco_config *config, size_t *levels,
                         lmn_allocation_report *report, lmn_error *err)
{
    const lmn_lgreco_problem problem = {.n_layers = d->table->n_layers,
                                        .n_levels = d->table->n_levels,
                                        .bytes = d->bytes,
                                        .error = d->error,
                                        .budget = d->budget,
                                        .buckets = config->buckets};
    bool feasible = false;
    const lmn_status status = lmn_lgreco_solve(&problem, d->scratch, d->levels, &feasible, err);
    if (status != LMN_OK) {
        return status;
    }
    assert(feasible); /* level 0 takes no part of the budget */
    const totals uniform = add_up(d, d->table->static_level);
    const totals solution = add_up(d, d->levels);
    const bool is_uniform = uniform_wins(uniform, solution, d->budget);
    const totals sum = is_uniform ? uniform : solution;
    report->bytes = sum.bytes;
    report->static_bytes = uniform.bytes;
    report->error = (double)sum.error * d->unit;
    report->budget = (double)d->budget * d->unit;
    report->changed = take(d, is_uniform ? d->table->static_level : d->levels, levels);
    return LMN_OK;
}

static lmn_status decide(const void *config_memory, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const lgreco_config *config = config_memory;
    lmn_allocation_report report = {0};
    lmn_status status = check_errors(table, err);
    if (status != LMN_OK) {
        return status;
    }
    decision d = {.table = table, .unit = choose_unit(config, table)};
    if (d.unit == 0.0) {
        keep(config, table, levels, &report);
        *report_out = report;
        return LMN_OK;
    }
    lay_out(&d, workspace);
    fill_tables(&d, config);
    status = choose(&d, config, levels, &report, err);
    if (status == LMN_OK) {
        *report_out = report;
    }
    return status;
}

const lmn__allocator_kind lmn__allocator_lgreco = {
    .method = {.entry = {.name = "lgreco",
                         .summary = "fewest bytes at the error of the uniform levels, by layer",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(lgreco_config),
               .defaults = &defaults},
    .times = times,
    .workspace_bytes = workspace_bytes,
    .decide = decide,
};
