/*
 * The same level for every layer: the one that the compressor's spec names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allocate_internal.h"

typedef struct uniform_config {
    uint64_t warmup;
} uniform_config;

static const uniform_config defaults = {.warmup = 0};

static const lmn_spec_field fields[] = {
    {.key = "warmup",
     .type = LMN_SPEC_U64,
     .offset = offsetof(uniform_config, warmup),
     .min = 0.0,
     .max = 1e15,
     .help = "steps that travel dense before compression begins (0)"},
};

static lmn__allocation_times times(const void *config_memory)
{
    const uniform_config *config = config_memory;
    return (lmn__allocation_times){.warmup = config->warmup};
}

static lmn_status decide(const void *config, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err)
{
    (void)config;
    (void)workspace;
    (void)err;
    lmn_allocation_report report = {0};
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        const size_t level = table->static_level[layer];
        report.bytes += table->bytes[layer * table->n_levels + level];
        report.error += table->error[layer * table->n_levels + level];
        report.changed = report.changed || levels[layer] != level;
        levels[layer] = level;
    }
    report.static_bytes = report.bytes;
    report.budget = report.error;
    *report_out = report;
    return LMN_OK;
}

const lmn__allocator_kind lmn__allocator_uniform = {
    .method = {.entry = {.name = "uniform",
                         .summary = "every layer at the level that the compressor's spec names",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(uniform_config),
               .defaults = &defaults},
    .times = times,
    .decide = decide,
};
