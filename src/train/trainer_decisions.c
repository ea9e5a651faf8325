/*
 * Decisions on levels, in run.h5: what was chosen, from which costs, and how long it took.
 *
 * A row holds the whole cost table, so that any decision can be made again, by `lamina allocate` or
 * by another program, and compared with what other rules would have chosen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

/* Cells of a row before the columns that are as wide as there are layers. */
enum { HEAD_CELLS = 7 };

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
    return lmn_results_add_table(records->results, "/decisions", columns,
                                 sizeof columns / sizeof columns[0], LMN__TABLE_ROWS,
                                 &records->decisions, err);
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
                                       {.f64 = report->seconds_adapt}};
    for (size_t i = 0; i < HEAD_CELLS; i++) {
        records->decision_cells[i] = head[i];
    }
    put_costs(&costs, put_levels(trainer, &costs, records->decision_cells + HEAD_CELLS));
    return lmn_table_append(records->decisions, records->decision_cells, err);
}
