/*
 * Records of a convex run, and its results file.
 *
 * One row for each recorded point, the start included. All rows wait in memory until the run ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"

#include <math.h>

static const char configuration[] = "/configuration";
static const char summary[] = "/summary";

#define COLUMNS_MAX 7

static const lmn_column plain_columns[] = {
    {.name = "step",
     .unit = "1",
     .help = "steps made before this point; 0 is the start",
     .type = LMN_COLUMN_U64,
     .width = 1},
    {.name = "objective",
     .unit = "1",
     .help = "f(x), over all data, regulariser included",
     .type = LMN_COLUMN_F64,
     .width = 1},
    {.name = "grad_norm",
     .unit = "1",
     .help = "length of the gradient of f at x, over all data",
     .type = LMN_COLUMN_F64,
     .width = 1},
    {.name = "bits_per_rank",
     .unit = "bit",
     .help = "payload that a worker has sent so far, in the mean over workers",
     .type = LMN_COLUMN_F64,
     .width = 1},
};

static const lmn_column optimum_columns[] = {
    {.name = "distance",
     .unit = "1",
     .help = "squared distance of x to the optimum",
     .type = LMN_COLUMN_F64,
     .width = 1},
    {.name = "suboptimality",
     .unit = "1",
     .help = "f(x) less f at the optimum",
     .type = LMN_COLUMN_F64,
     .width = 1},
};

static size_t list_columns(const lmn_convex_run *run, lmn_column columns[COLUMNS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof plain_columns / sizeof plain_columns[0]; i++) {
        columns[n++] = plain_columns[i];
    }
    for (size_t i = 0;
         run->optimum != NULL && i < sizeof optimum_columns / sizeof optimum_columns[0]; i++) {
        columns[n++] = optimum_columns[i];
    }
    if (run->options.with_iterates) {
        columns[n++] = (lmn_column){.name = "iterates",
                                    .unit = "1",
                                    .help = "x",
                                    .type = LMN_COLUMN_F64,
                                    .width = run->problem->dimension};
    }
    return n;
}

/* ------------------------------------------------------------------ the file */

static lmn_status describe(lmn_convex_run *run, lmn_error *err)
{
    const lmn_convex_run_options *options = &run->options;
    const lmn_convex_info info = lmn_convex_problem_info(run->problem);
    const struct {
        const char *name, *value;
    } texts[] = {{"problem", info.classes == 0 ? "least-squares" : "logistic"},
                 {"compress", options->compress},
                 {"feedback", options->feedback},
                 {"dtype", options->is_f32 ? "f32" : "f64"},
                 {"regularizer", info.regularizer},
                 {"scale", info.scale == LMN_CONVEX_SCALE_SUM ? "sum" : "mean"}};
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"workers", info.workers},     {"ranks", (uint64_t)lmn_world_size(run->problem->world)},
        {"dimension", info.dimension}, {"d", info.dimension},
        {"features", info.features},   {"classes", info.classes},
        {"samples", info.samples},     {"steps", options->steps},
        {"batch", options->batch},     {"full_gradient", options->batch == 0 ? 1 : 0},
        {"seed", options->seed},       {"record_every", options->record_every}};
    const struct {
        const char *name;
        double value;
    } measures[] = {{"lr", options->lr}, {"lambda", info.lambda}, {"sigma", info.sigma}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == LMN_OK; i++) {
        status =
            lmn_results_set_text(run->results, configuration, texts[i].name, texts[i].value, err);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == LMN_OK; i++) {
        status = lmn_results_set_u64(run->results, configuration, numbers[i].name, numbers[i].value,
                                     err);
    }
    for (size_t i = 0; i < sizeof measures / sizeof measures[0] && status == LMN_OK; i++) {
        status = lmn_results_set_f64(run->results, configuration, measures[i].name,
                                     measures[i].value, err);
    }
    return status;
}

static lmn_status open_file(lmn_convex_run *run, lmn_error *err)
{
    const lmn_convex_run_options *options = &run->options;
    lmn_column columns[COLUMNS_MAX];
    const size_t n_columns = list_columns(run, columns);
    size_t n_cells = 0;
    for (size_t i = 0; i < n_columns; i++) {
        n_cells += columns[i].width;
    }
    run->cells = lmn_alloc(n_cells, sizeof *run->cells, err);
    lmn_status status = run->cells == NULL
                            ? LMN_ERR_MEMORY
                            : lmn_results_open(options->out, false, &run->results, err);
    if (status == LMN_OK) {
        const size_t rows = (size_t)(options->steps / options->record_every) + 2;
        status =
            lmn_results_add_table(run->results, "/", columns, n_columns, rows, &run->table, err);
    }
    if (status == LMN_OK) {
        status =
            lmn_results_set_f64s(run->results, "/x0", "1", run->x, run->problem->dimension, err);
    }
    if (status == LMN_OK && run->optimum != NULL) {
        status = lmn_results_set_f64s(run->results, "/x_optimum", "1", run->optimum,
                                      run->problem->dimension, err);
    }
    return status == LMN_OK ? describe(run, err) : status;
}

lmn_status lmn__convex_results_open(lmn_convex_run *run, lmn_error *err)
{
    return run->options.out != NULL && lmn_world_rank(run->problem->world) == 0
               ? open_file(run, err)
               : LMN_OK;
}

static lmn_status summarise(lmn_convex_run *run, lmn_error *err)
{
    const struct {
        const char *name;
        double value;
        bool is_there;
    } measures[] = {{"objective", run->last.objective, true},
                    {"grad_norm", run->last.grad_norm, true},
                    {"bits_per_rank", run->last.bits_per_rank, true},
                    {"distance", run->last.distance, run->optimum != NULL},
                    {"suboptimality", run->last.suboptimality, run->optimum != NULL},
                    {"optimum_objective", run->optimum_objective, run->optimum != NULL}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof measures / sizeof measures[0] && status == LMN_OK; i++) {
        if (measures[i].is_there) {
            status = lmn_results_set_f64(run->results, summary, measures[i].name, measures[i].value,
                                         err);
        }
    }
    if (status == LMN_OK) {
        status = lmn_results_set_u64(run->results, summary, "steps", run->step, err);
    }
    return status == LMN_OK
               ? lmn_results_set_u64(run->results, summary, "diverged", run->diverged ? 1 : 0, err)
               : status;
}

lmn_status lmn__convex_results_finish(lmn_convex_run *run, lmn_error *err)
{
    if (run->results == NULL) {
        return LMN_OK;
    }
    lmn_status status =
        lmn_results_set_f64s(run->results, "/x", "1", run->x, run->problem->dimension, err);
    if (status == LMN_OK) {
        status = summarise(run, err);
    }
    return status == LMN_OK ? lmn_results_flush(run->results, err) : status;
}

/* ------------------------------------------------------------------ rows */

static double squared_distance(const double *a, const double *b, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sum;
}

static lmn_status append(lmn_convex_run *run, lmn_error *err)
{
    const lmn_convex_record *record = &run->last;
    lmn_cell *const cells = run->cells;
    size_t n = 0;
    cells[n++].u64 = record->step;
    cells[n++].f64 = record->objective;
    cells[n++].f64 = record->grad_norm;
    cells[n++].f64 = record->bits_per_rank;
    if (run->optimum != NULL) {
        cells[n++].f64 = record->distance;
        cells[n++].f64 = record->suboptimality;
    }
    for (size_t i = 0; run->options.with_iterates && i < run->problem->dimension; i++) {
        cells[n++].f64 = run->x[i];
    }
    return lmn_table_append(run->table, cells, err);
}

lmn_status lmn__convex_record(lmn_convex_run *run, double objective, lmn_error *err)
{
    const size_t dimension = run->problem->dimension;
    const double square = lmn__convex_dot(run->full_gradient, run->full_gradient, dimension);
    run->last = (lmn_convex_record){.step = run->step,
                                    .objective = objective,
                                    .grad_norm = sqrt(square),
                                    .bits_per_rank = 8.0 * (double)run->channel.bytes_sent /
                                                     (double)run->problem->workers,
                                    .distance = (double)NAN,
                                    .suboptimality = (double)NAN};
    if (run->optimum != NULL) {
        run->last.distance = squared_distance(run->x, run->optimum, dimension);
        run->last.suboptimality = objective - run->optimum_objective;
    }
    if (lmn_world_rank(run->problem->world) == 0 && run->options.on_record != NULL) {
        run->options.on_record(run->options.user, &run->last);
    }
    return run->results == NULL ? LMN_OK : append(run, err);
}
