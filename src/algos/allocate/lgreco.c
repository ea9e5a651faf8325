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
#include "accordion_internal.h"
#include "allocate_internal.h"
#include "budget_internal.h"
#include "lamina/memory.h"

#include <float.h>
#include <math.h>

/* Levels are bytes in the solver. */
#define LEVEL_MAX 255

/* A message is taken to carry at least this part of a vector's energy, so that nothing is divided
 * by zero. */
#define SENT_LEAST 1e-6

typedef enum error_norm { NORM_L2SQ = 0, NORM_L2 = 1 } error_norm;
typedef enum error_kind { ERROR_MESSAGE = 0, ERROR_SETTLED = 1 } error_kind;

typedef struct lgreco_config {
    lmn__calendar calendar; /* first */
    double alpha;
    uint64_t buckets;
    uint64_t norm;  /* error_norm */
    uint64_t error; /* error_kind */
    uint64_t min, max;
    bool follows_accordion;
} lgreco_config;

static const lgreco_config defaults = {.calendar = LMN__CALENDAR_DEFAULTS,
                                       .alpha = 1.0,
                                       .buckets = 10000,
                                       .norm = NORM_L2SQ,
                                       .max = LEVEL_MAX};

static const lmn_spec_field fields[] = {
    {.key = "alpha",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lgreco_config, alpha),
     .min = 0.0,
     .max = 1e6,
     .min_exclusive = true,
     .help = "error allowed, relative to that of the uniform levels (1)"},
    LMN__CALENDAR_FIELDS,
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
    {.key = "error",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(lgreco_config, error),
     .choices = "message|settled",
     .help = "of a level: what one message leaves out, or what feedback holds once it has settled "
             "at the level (message)"},
    {.key = "min",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, min),
     .min = 0.0,
     .max = LEVEL_MAX,
     .help = "lowest level that may be chosen, besides the uniform one; 0 is dense (0)"},
    {.key = "max",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lgreco_config, max),
     .min = 0.0,
     .max = LEVEL_MAX,
     .help = "highest level that may be chosen, besides the uniform one (the last there is)"},
    {.key = "accordion",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(lgreco_config, follows_accordion),
     .help = "the error allowed is that of the levels that `accordion` would take, not of the "
             "uniform ones (no)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    const lgreco_config *config = config_memory;
    if (config->min > config->max) {
        return lmn_error_set(err, LMN_ERR_USAGE, "allocator 'lgreco': min=%llu is above max=%llu",
                             (unsigned long long)config->min, (unsigned long long)config->max);
    }
    return LMN_OK;
}

static bool remembers(const void *config_memory)
{
    const lgreco_config *config = config_memory;
    return config->follows_accordion;
}

static bool needs_order(const void *config_memory)
{
    const lgreco_config *config = config_memory;
    return config->follows_accordion;
}

/* A decision under way; arrays lie in the workspace. */
typedef struct decision {
    const lmn_cost_table *table;
    uint64_t *bytes;   /* [n_layers][n_levels], never more than dense */
    double *error;     /* [n_layers][n_levels] in the norm */
    size_t *limit;     /* [n_layers] levels whose error is the budget, for alpha = 1 */
    size_t *levels;    /* [n_layers] the solution */
    void *scratch;     /* of the solver */
    const size_t *now; /* [n_layers] levels in force */
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
                      .limit = (void *)(workspace + 2 * one_table),
                      .levels = (void *)(workspace + 2 * one_table + one_list),
                      .scratch = workspace + 2 * one_table + 2 * one_list};
}

/* Where dense is what the budget is made of, it may stay. */
static bool may_have(const lgreco_config *config, const decision *d, size_t layer, size_t level)
{
    return level == d->limit[layer] || (level >= config->min && level <= config->max);
}

/* The part of a layer's energy that a message at the level carries. */
static double part_sent(const lmn_cost_table *table, size_t layer, size_t level)
{
    const size_t real = lmn__real_level(table, layer, level);
    const double energy = table->energy[layer];
    const double error = table->error[layer * table->n_levels + real];
    return real == 0 || energy <= 0.0 ? 1.0 : fmax(1.0 - error / energy, SENT_LEAST);
}

/*
 * What feedback holds of a layer that stays at a level. Of a vector of energy V a message carries
 * the part s, and the rest is in the next vector again, beside fresh gradient of energy G: once
 * V = G + (1 - s) V has settled, the rest is (1 - s) / s times G. G is what is sent now.
 */
static double settled_error(const decision *d, size_t layer, size_t level)
{
    const double fresh = d->table->energy[layer] * part_sent(d->table, layer, d->now[layer]);
    const double sent = part_sent(d->table, layer, level);
    return fresh * (1.0 - sent) / sent;
}

/* The error of a level, in the norm of the configuration; infinite where it may not be chosen. */
static double real_error(const lgreco_config *config, const decision *d, size_t layer, size_t level)
{
    if (!may_have(config, d, layer, level)) {
        return (double)INFINITY;
    }
    if (lmn__real_level(d->table, layer, level) == 0) {
        return 0.0;
    }
    const double error = config->error == ERROR_SETTLED
                             ? settled_error(d, layer, level)
                             : d->table->error[layer * d->table->n_levels + level];
    return config->norm == NORM_L2 ? sqrt(error) : error;
}

static void fill_tables(decision *d, const lgreco_config *config)
{
    const lmn_cost_table *table = d->table;
    const size_t *named = table->static_level;
    if (config->follows_accordion) {
        const lmn__accordion_rule rule = LMN__ACCORDION_DEFAULTS;
        lmn__accordion_levels(&rule, table, d->levels);
        named = d->levels;
    }
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t row = layer * table->n_levels;
        d->limit[layer] = lmn__real_level(table, layer, named[layer]);
        for (size_t level = 0; level < table->n_levels; level++) {
            d->bytes[row + level] = table->bytes[row + lmn__real_level(table, layer, level)];
            d->error[row + level] = real_error(config, d, layer, level);
        }
    }
}

static lmn_status check(const lgreco_config *config, const lmn_cost_table *table, lmn_error *err)
{
    const lmn_status status = lmn__budget_check_errors(table, "lgreco", err);
    const bool wants_energy = config->follows_accordion || config->error == ERROR_SETTLED;
    if (status != LMN_OK || !wants_energy) {
        return status;
    }
    if (table->energy == NULL) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "lgreco: error=settled weighs errors by the energy of the vectors, and "
            "the cost table comes without");
    }
    return lmn__accordion_check(table, "lgreco", err);
}

static lmn_status decide(const void *config_memory, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const lgreco_config *config = config_memory;
    lmn_status status = check(config, table, err);
    if (status != LMN_OK) {
        return status;
    }
    decision d = lay_out(table, workspace);
    d.now = levels;
    fill_tables(&d, config);
    lmn__budget_problem problem = {.n_layers = table->n_layers,
                                   .n_levels = table->n_levels,
                                   .bytes = d.bytes,
                                   .error = d.error,
                                   .static_level = d.limit,
                                   .buckets = config->buckets};
    problem.budget = fmin(lmn__budget_totals(&problem, d.limit).error * config->alpha, DBL_MAX);
    lmn_allocation_report report = lmn__report_levels(table, levels);
    lmn__budget_answer answer = {0};
    if (problem.budget >= DBL_MIN) {
        status = lmn__budget_solve(&problem, d.scratch, d.levels, &answer, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (answer.is_feasible) {
        report.bytes = answer.totals.bytes;
        report.error = answer.totals.error;
        report.budget = problem.budget;
        report.changed = lmn__take_levels(table, d.levels, levels);
    }
    if (config->follows_accordion) {
        lmn__accordion_remember(table);
    }
    *report_out = report;
    return LMN_OK;
}

const lmn__allocator_kind lmn__allocator_lgreco = {
    .method = {.entry = {.name = "lgreco",
                         .summary = "fewest bytes at the error of the uniform levels, by layer",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(lgreco_config),
               .defaults = &defaults,
               .complete = complete},
    .times = lmn__calendar_times,
    .remembers = remembers,
    .needs_order = needs_order,
    .workspace_bytes = workspace_bytes,
    .decide = decide,
};
