/*
 * L-GreCo: per layer the level that makes the sum of bytes smallest, while the sum of errors stays
 * within alpha times what the uniform levels would cause.
 *
 * A level that would send no less than dense counts as dense. All ranks decide alike, since they
 * have the same table and budget.c is deterministic. Where the uniform assignment fits the budget,
 * nothing larger is ever chosen.
 *
 * Source: I. Markov, K. Alimohammadi, E. Frantar, D. Alistarh, "L-GreCo: layerwise-adaptive
 * gradient compression for efficient and accurate deep learning", MLSys 2024, arXiv:2210.17357.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"
#include "budget_internal.h"
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
    double *error;   /* [n_layers][n_levels] in the norm */
    size_t *uniform; /* [n_layers] */
    size_t *levels;  /* [n_layers] the solution */
    void *scratch;   /* of the solver */
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
    const size_t scratch_bytes = lmn__budget_scratch_bytes(n_layers, n_levels, config->buckets);
    if (scratch_bytes == SIZE_MAX) {
        return SIZE_MAX;
    }
    const size_t head_bytes = 2 * table_bytes(n_layers, n_levels) + 2 * levels_bytes(n_layers);
    return scratch_bytes > SIZE_MAX - head_bytes ? SIZE_MAX : head_bytes + scratch_bytes;
}

/* Cut the workspace, which holds at least workspace_bytes for the decision's table. */
static decision lay_out(const lmn_cost_table *table, unsigned char *workspace)
{
    const size_t one_table = table_bytes(table->n_layers, table->n_levels);
    const size_t one_list = levels_bytes(table->n_layers);
    return (decision){.table = table,
                      .bytes = (void *)workspace,
                      .error = (void *)(workspace + one_table),
                      .uniform = (void *)(workspace + 2 * one_table),
                      .levels = (void *)(workspace + 2 * one_table + one_list),
                      .scratch = workspace + 2 * one_table + 2 * one_list};
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

static void fill_tables(decision *d, const lgreco_config *config)
{
    const lmn_cost_table *table = d->table;
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t row = layer * table->n_levels;
        for (size_t level = 0; level < table->n_levels; level++) {
            d->bytes[row + level] = table->bytes[row + real_level(table, layer, level)];
            d->error[row + level] = real_error(config, table, layer, level);
        }
        d->uniform[layer] = real_level(table, layer, table->static_level[layer]);
    }
}

/* Take over an assignment, with dense where its levels save nothing. */
static bool take(const decision *d, size_t *levels)
{
    bool changed = false;
    for (size_t layer = 0; layer < d->table->n_layers; layer++) {
        const size_t level = real_level(d->table, layer, d->levels[layer]);
        changed = changed || levels[layer] != level;
        levels[layer] = level;
    }
    return changed;
}

static lmn_status decide(const void *config_memory, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const lgreco_config *config = config_memory;
    lmn_status status = lmn__budget_check_errors(table, "lgreco", err);
    if (status != LMN_OK) {
        return status;
    }
    decision d = lay_out(table, workspace);
    fill_tables(&d, config);
    lmn__budget_problem problem = {.n_layers = table->n_layers,
                                   .n_levels = table->n_levels,
                                   .bytes = d.bytes,
                                   .error = d.error,
                                   .static_level = d.uniform,
                                   .buckets = config->buckets};
    const lmn__totals uniform = lmn__budget_totals(&problem, d.uniform);
    problem.budget = fmin(uniform.error * config->alpha, DBL_MAX);
    lmn__budget_answer answer = {0};
    if (problem.budget < DBL_MIN) {
        /* Nothing to share out: report the levels handed in. */
        answer.totals = lmn__budget_totals(&problem, levels);
        *report_out = (lmn_allocation_report){.bytes = answer.totals.bytes,
                                              .static_bytes = uniform.bytes,
                                              .error = answer.totals.error};
        return LMN_OK;
    }
    status = lmn__budget_solve(&problem, d.scratch, d.levels, &answer, err);
    if (status == LMN_OK) {
        assert(answer.is_feasible); /* level 0 takes no part of the budget */
        *report_out = (lmn_allocation_report){.bytes = answer.totals.bytes,
                                              .static_bytes = uniform.bytes,
                                              .error = answer.totals.error,
                                              .budget = problem.budget,
                                              .changed = take(&d, levels)};
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
