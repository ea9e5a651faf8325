/*
 * Decisions on levels, in run.h5: what was chosen, from which costs, and how long it took; and what
 * trials of plans found, where an allocator weighs times.
 *
 * A row holds the whole cost table, so that any decision can be made again, by `lamina allocate` or
 * by another program, and compared with what other rules would have chosen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

/* Cells of a row before the columns that are as wide as there are layers. */
enum { HEAD_CELLS = 9, TRIAL_CELLS = 2 + 4 * LMN_LEVELS_COUNT };

/* Columns as wide as there are plans, in the order of lmn_level_plan. */
static lmn_status open_trials(lmn_trainer *trainer, lmn_error *err)
{
    lmn_level_trial trials[LMN_LEVELS_COUNT];
    if (!lmn_reducer_trials(trainer->reducer, trials)) {
        return LMN_OK;
    }
    const size_t plans = LMN_LEVELS_COUNT;
    const lmn_column columns[] = {
        {"step", "1", "step after which the trial ended", LMN_COLUMN_U64, 1},
        {"kept", "1",
         "plan that steps follow from then on; 0 dense, 1 shortest, 2 uniform, 3 smallest",
         LMN_COLUMN_U64, 1},
        {"measured", "s", "slowest rank's median step with each plan; 0: never tried",
         LMN_COLUMN_F64, plans},
        {"predicted", "s", "the same as predicted", LMN_COLUMN_F64, plans},
        {"counted", "1", "steps of this trial that were counted; 0: had no turn", LMN_COLUMN_U64,
         plans},
        {"compressed", "1", "layers that each plan compresses", LMN_COLUMN_U64, plans},
    };
    return lmn_results_add_table(trainer->records->results, "/trials", columns,
                                 sizeof columns / sizeof columns[0], LMN__TABLE_ROWS,
                                 &trainer->records->trials, err);
}

lmn_status lmn__decisions_open(lmn_trainer *trainer, lmn_error *err)
{
    lmn__records *records = trainer->records;
    if (!lmn_reducer_adapts(trainer->reducer)) {
        return LMN_OK;
    }
    const size_t layers = records->n_layers;
    const size_t entries = layers * lmn_reducer_costs(trainer->reducer).n_levels;
    const lmn_column columns[] = {
        {"step", "1", "step after which was decided", LMN_COLUMN_U64, 1},
        {"bytes", "byte", "what all ranks send in a step at the levels chosen", LMN_COLUMN_U64, 1},
        {"static_bytes", "byte", "the same at the uniform levels", LMN_COLUMN_U64, 1},
        {"error", "1", "error of the levels chosen, in the allocator's norm", LMN_COLUMN_F64, 1},
        {"budget", "1", "what the error might be at most", LMN_COLUMN_F64, 1},
        {"changed", "1", "1: levels differ from those before", LMN_COLUMN_U64, 1},
        {"seconds", "s", "time of adapting on rank 0", LMN_COLUMN_F64, 1},
        {"predicted", "s", "a step at the levels chosen; 0 where times are not weighed",
         LMN_COLUMN_F64, 1},
        {"predicted_dense", "s", "the same with all layers dense", LMN_COLUMN_F64, 1},
        {"level", "1", "level of each layer of /layers from then on; 0 is dense", LMN_COLUMN_U64,
         layers},
        {"static_level", "1", "uniform level of each layer", LMN_COLUMN_U64, layers},
        {"level_bytes", "byte", "what all ranks send for each layer at each level, layers x levels",
         LMN_COLUMN_U64, entries},
        {"level_error", "1", "squared error of each layer at each level, layers x levels",
         LMN_COLUMN_F64, entries},
    };
    records->decision_cells =
        lmn_alloc(HEAD_CELLS + 2 * layers + 2 * entries, sizeof *records->decision_cells, err);
    if (records->decision_cells == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = lmn_results_add_table(records->results, "/decisions", columns,
                                                    sizeof columns / sizeof columns[0],
                                                    LMN__TABLE_ROWS, &records->decisions, err);
    return status == LMN_OK ? open_trials(trainer, err) : status;
}

static lmn_cell *put_levels(const lmn_trainer *trainer, const lmn_cost_table *costs,
                            lmn_cell *cells)
{
    for (size_t layer = 0; layer < costs->n_layers; layer++) {
        (cells++)->u64 = lmn_reducer_level(trainer->reducer, layer);
    }
    for (size_t layer = 0; layer < costs->n_layers; layer++) {
        (cells++)->u64 = costs->static_level[layer];
    }
    return cells;
}

static void put_costs(const lmn_cost_table *costs, lmn_cell *cells)
{
    const size_t entries = costs->n_layers * costs->n_levels;
    for (size_t entry = 0; entry < entries; entry++) {
        cells[entry].u64 = costs->bytes[entry];
        cells[entries + entry].f64 = costs->error[entry];
    }
}

static lmn_status add_trial(const lmn_trainer *trainer, uint64_t step, lmn_error *err)
{
    lmn_level_trial trials[LMN_LEVELS_COUNT];
    if (!trainer->report.tried || !lmn_reducer_trials(trainer->reducer, trials)) {
        return LMN_OK;
    }
    const size_t plans = LMN_LEVELS_COUNT;
    lmn_cell cells[TRIAL_CELLS] = {{.u64 = step}};
    lmn_cell *const tables = cells + 2;
    for (size_t plan = 0; plan < plans; plan++) {
        cells[1].u64 = trials[plan].is_kept ? plan : cells[1].u64;
        tables[plan].f64 = trials[plan].measured;
        tables[plans + plan].f64 = trials[plan].predicted;
        tables[2 * plans + plan].u64 = trials[plan].steps;
        tables[3 * plans + plan].u64 = trials[plan].n_compressed;
    }
    return lmn_table_append(trainer->records->trials, cells, err);
}

lmn_status lmn__decisions_add(lmn_trainer *trainer, uint64_t step, lmn_error *err)
{
    const lmn__records *records = trainer->records;
    const lmn_step_report *report = &trainer->report;
    if (records->decisions == NULL || !report->adjusted) {
        return LMN_OK;
    }
    const lmn_cost_table costs = lmn_reducer_costs(trainer->reducer);
    const lmn_allocation_report *made = &report->allocation;
    const lmn_cell head[HEAD_CELLS] = {{.u64 = step},
                                       {.u64 = made->bytes},
                                       {.u64 = made->static_bytes},
                                       {.f64 = made->error},
                                       {.f64 = made->budget},
                                       {.u64 = made->changed ? 1 : 0},
                                       {.f64 = report->seconds_adapt},
                                       {.f64 = made->seconds},
                                       {.f64 = made->dense_seconds}};
    for (size_t i = 0; i < HEAD_CELLS; i++) {
        records->decision_cells[i] = head[i];
    }
    put_costs(&costs, put_levels(trainer, &costs, records->decision_cells + HEAD_CELLS));
    const lmn_status status = lmn_table_append(records->decisions, records->decision_cells, err);
    return status == LMN_OK ? add_trial(trainer, step, err) : status;
}
