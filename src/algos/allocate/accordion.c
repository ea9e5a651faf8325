/*
 * Accordion: a mild level for layers whose gradients change fast, a strong one for all others.
 *
 * A layer is in a critical phase when the norm of its gradient differs from that at the decision
 * before by at least half of it, and at the first decision. Mild and strong are the levels next to
 * the static one. Layers whose static level is dense stay dense.
 *
 * Source: S. Agarwal, H. Wang, K. Lee, S. Venkataraman, D. Papailiopoulos, "Accordion: adaptive
 * gradient communication via critical learning regime identification", MLSys 2021,
 * arXiv:2010.16248.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "accordion_internal.h"
#include "allocate_internal.h"
#include "lamina/memory.h"

#include <math.h>

typedef struct accordion_config {
    lmn__calendar calendar; /* first */
    lmn__accordion_rule rule;
} accordion_config;

static const accordion_config defaults = {.calendar = LMN__CALENDAR_DEFAULTS,
                                          .rule = LMN__ACCORDION_DEFAULTS};

static const lmn_spec_field fields[] = {
    LMN__CALENDAR_FIELDS,
    {.key = "threshold",
     .type = LMN_SPEC_F64,
     .offset = offsetof(accordion_config, rule.threshold),
     .min = 0.0,
     .max = 1e6,
     .help = "relative change of a gradient's norm from which on its layer is critical (0.5)"},
    {.key = "mild",
     .type = LMN_SPEC_U64,
     .offset = offsetof(accordion_config, rule.mild),
     .min = 0.0,
     .max = 255.0,
     .help = "levels below the uniform one that critical layers take (1)"},
    {.key = "strong",
     .type = LMN_SPEC_U64,
     .offset = offsetof(accordion_config, rule.strong),
     .min = 0.0,
     .max = 255.0,
     .help = "levels above the uniform one that all other layers take (1)"},
};

static bool remembers(const void *config)
{
    (void)config;
    return true;
}

static bool needs_order(const void *config)
{
    (void)config;
    return true;
}

lmn_status lmn__accordion_check(const lmn_cost_table *table, const char *who, lmn_error *err)
{
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        if (!isfinite(table->energy[layer]) || table->energy[layer] < 0.0) {
            return lmn_error_set(err, LMN_ERR_NONFINITE,
                                 "%s: the squared norm of layer %zu is %g; levels are kept", who,
                                 layer, table->energy[layer]);
        }
    }
    return LMN_OK;
}

static bool is_critical(double threshold, double energy, double before)
{
    const double old = sqrt(before);
    return old == 0.0 || fabs(sqrt(energy) - old) >= threshold * old;
}

void lmn__accordion_levels(const lmn__accordion_rule *rule, const lmn_cost_table *table,
                           size_t *levels_out)
{
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t middle = table->static_level[layer];
        const size_t below = middle > 0 ? middle - 1 : 0; /* that are not dense */
        const size_t above = table->n_levels - 1 - middle;
        const size_t mild = rule->mild < below ? (size_t)rule->mild : below;
        const size_t strong = rule->strong < above ? (size_t)rule->strong : above;
        const bool critical =
            is_critical(rule->threshold, table->energy[layer], table->memory[layer]);
        levels_out[layer] = critical ? middle - mild : middle + strong;
        if (middle == 0) {
            levels_out[layer] = 0;
        }
    }
}

void lmn__accordion_remember(const lmn_cost_table *table)
{
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        table->memory[layer] = table->energy[layer];
    }
}

static size_t workspace_bytes(const void *config, size_t n_layers, size_t n_levels)
{
    (void)config;
    (void)n_levels;
    return n_layers > SIZE_MAX / 2 / sizeof(size_t) ? SIZE_MAX : n_layers * sizeof(size_t);
}

static lmn_status decide(const void *config_memory, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    const accordion_config *config = config_memory;
    const lmn_status status = lmn__accordion_check(table, "accordion", err);
    if (status != LMN_OK) {
        return status;
    }
    size_t *chosen = workspace;
    lmn__accordion_levels(&config->rule, table, chosen);
    lmn__accordion_remember(table);
    const bool changed = lmn__take_levels(table, chosen, levels);
    *report_out = lmn__report_levels(table, levels);
    report_out->budget = report_out->error;
    report_out->changed = changed;
    return LMN_OK;
}

const lmn__allocator_kind lmn__allocator_accordion = {
    .method = {.entry = {.name = "accordion",
                         .summary = "a mild level while a layer's gradients change fast, else a "
                                    "strong one",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(accordion_config),
               .defaults = &defaults},
    .times = lmn__calendar_times,
    .remembers = remembers,
    .needs_order = needs_order,
    .workspace_bytes = workspace_bytes,
    .decide = decide,
};
