/*
 * `lamina checkpoint diff`: what two checkpoints do not have in common.
 *
 * Arrays that ranks have one of each are compared by their means when the numbers of ranks differ:
 * that is what must stay the same when a run goes on with another number of ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_command.h"
#include "inspect.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct diff_options {
    const char *only;
    double tolerance;
} diff_options;

static const option_row rows[] = {
    {.name = "only",
     .type = OPTION_TEXT,
     .offset = offsetof(diff_options, only),
     .argument = "PREFIX",
     .help = "compare no more than the arrays whose path begins so, such as /parameters/; no "
             "attributes"},
    {.name = "tolerance",
     .type = OPTION_F64,
     .offset = offsetof(diff_options, tolerance),
     .argument = "X",
     .initial = "0",
     .min = 0,
     .max = 1e9,
     .help = "arrays a and b are the same when |a - b| is no more than X |a|, as norms"},
};

/* A comparison under way. */
typedef struct comparison {
    const diff_options *options;
    const char *paths[2];
    lmn_file *files[2];
    array_list arrays[2];
    size_t n_differences;
    size_t n_same;
} comparison;

/* ---- attributes ---- */

typedef struct attribute_visit {
    comparison *job;
    int other; /* the file to look the attribute up in */
} attribute_visit;

static void print_value(const attribute *value, const char *name)
{
    if (!value->is_there) {
        (void)printf("nothing");
    } else if (value->type == LMN_VALUE_TEXT) {
        (void)printf("'%s'", value->text);
    } else if (value->type == LMN_VALUE_U64 && inspect_is_hash(name)) {
        (void)printf("0x%016" PRIx64, value->u64);
    } else if (value->type == LMN_VALUE_U64) {
        (void)printf("%" PRIu64, value->u64);
    } else {
        (void)printf("%.9g", value->f64);
    }
}

static bool same_value(const attribute *a, const attribute *b)
{
    if (a->is_there != b->is_there || (a->is_there && a->type != b->type)) {
        return false;
    }
    return !a->is_there || (a->type == LMN_VALUE_TEXT  ? strcmp(a->text, b->text) == 0
                            : a->type == LMN_VALUE_U64 ? a->u64 == b->u64
                                                       : a->f64 == b->f64);
}

static lmn_status compare_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    const attribute_visit *visit = user;
    comparison *job = visit->job;
    attribute values[2];
    for (size_t i = 0; i < 2; i++) {
        const lmn_status status = inspect_find(job->files[i], "/", value->name, &values[i], err);
        if (status != LMN_OK) {
            return status;
        }
    }
    /* What both have was compared when the first file was gone through. */
    if (same_value(&values[0], &values[1]) || (visit->other == 0 && values[0].is_there)) {
        return LMN_OK;
    }
    job->n_differences++;
    (void)printf("attribute %s: ", value->name);
    print_value(&values[0], value->name);
    (void)printf(" and ");
    print_value(&values[1], value->name);
    (void)printf("\n");
    return LMN_OK;
}

static lmn_status compare_attributes(comparison *job, lmn_error *err)
{
    attribute_visit first = {.job = job, .other = 1};
    attribute_visit second = {.job = job, .other = 0};
    const lmn_status status =
        lmn_file_visit_attributes(job->files[0], "/", compare_attribute, &first, err);
    return status == LMN_OK
               ? lmn_file_visit_attributes(job->files[1], "/", compare_attribute, &second, err)
               : status;
}

/* ---- arrays ---- */

/* Values of an array that is to be compared. */
typedef struct vector {
    double *values; /* owned */
    size_t count;
} vector;

static lmn_status is_per_rank(const lmn_file *file, const char *path, bool *is_out, lmn_error *err)
{
    attribute distribution;
    const lmn_status status = inspect_find(file, path, "distribution", &distribution, err);
    *is_out = status == LMN_OK && distribution.is_there &&
              strcmp(distribution.text, "per-rank") == 0 && distribution.type == LMN_VALUE_TEXT;
    return status;
}

/* The mean of the rows, in place. */
static void average_rows(vector *v, size_t n_rows)
{
    const size_t count = v->count / n_rows;
    for (size_t i = 0; i < count; i++) {
        double sum = 0.0;
        for (size_t row = 0; row < n_rows; row++) {
            sum += v->values[row * count + i];
        }
        v->values[i] = sum / (double)n_rows;
    }
    v->count = count;
}

/* Not a number on both sides counts as the same. */
static double distance_of(double a, double b)
{
    const bool is_same = a == b || (isnan(a) && isnan(b));
    return is_same ? 0.0 : fabs(a - b);
}

static void compare_values(comparison *job, const char *path, const char *what, const vector *a,
                           const vector *b)
{
    double difference = 0.0;
    double norm = 0.0;
    double largest = 0.0;
    size_t n_other = 0;
    for (size_t i = 0; i < a->count; i++) {
        const double distance = distance_of(a->values[i], b->values[i]);
        n_other += distance == 0.0 ? 0 : 1;
        difference += distance * distance;
        norm += isnan(a->values[i]) ? 0.0 : a->values[i] * a->values[i];
        largest = distance > largest ? distance : largest;
    }
    if (n_other == 0 || sqrt(difference) <= job->options->tolerance * sqrt(norm)) {
        job->n_same++;
        return;
    }
    job->n_differences++;
    (void)printf("%s%s: %zu of %zu numbers differ, by up to %.3g; |a - b| / |a| is %.3g\n", path,
                 what, n_other, a->count, largest, norm > 0.0 ? sqrt(difference / norm) : HUGE_VAL);
}

/* Whether both have the same axes, and whether all but the first agree. */
static bool same_axes(const array_fact *a, const array_fact *b, size_t first)
{
    return a->n_dims == b->n_dims && a->n_dims >= first && strcmp(a->type, b->type) == 0 &&
           memcmp(a->dims + first, b->dims + first, (a->n_dims - first) * sizeof a->dims[0]) == 0;
}

static lmn_status compare_pair(comparison *job, const array_fact *a, const array_fact *b,
                               lmn_error *err)
{
    bool by_mean = false;
    lmn_status status = is_per_rank(job->files[0], a->path, &by_mean, err);
    if (status != LMN_OK) {
        return status;
    }
    const bool is_same_shape = same_axes(a, b, 0);
    by_mean = by_mean && !is_same_shape && same_axes(a, b, 1) && a->dims[0] > 0 && b->dims[0] > 0;
    if (!is_same_shape && !by_mean) {
        job->n_differences++;
        (void)printf("%s: has another shape or type\n", a->path);
        return LMN_OK;
    }
    vector values[2] = {{.values = NULL}};
    status = lmn_file_read_f64(job->files[0], a->path, &values[0].values, &values[0].count, err);
    if (status == LMN_OK) {
        status =
            lmn_file_read_f64(job->files[1], b->path, &values[1].values, &values[1].count, err);
    }
    if (status == LMN_OK && by_mean) {
        average_rows(&values[0], (size_t)a->dims[0]);
        average_rows(&values[1], (size_t)b->dims[0]);
    }
    if (status == LMN_OK) {
        compare_values(job, a->path, by_mean ? " (means over ranks)" : "", &values[0], &values[1]);
    }
    lmn_free(values[0].values);
    lmn_free(values[1].values);
    return status;
}

static void print_missing(comparison *job, const array_fact *array, int holder)
{
    job->n_differences++;
    (void)printf("%s: only in %s\n", array->path, job->paths[holder]);
}

/* Both lists are in order of their paths. */
static lmn_status compare_arrays(comparison *job, lmn_error *err)
{
    const array_list *a = &job->arrays[0];
    const array_list *b = &job->arrays[1];
    size_t i = 0;
    size_t k = 0;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && (i < a->count || k < b->count)) {
        const int order = i == a->count   ? 1
                          : k == b->count ? -1
                                          : strcmp(a->items[i].path, b->items[k].path);
        if (order < 0) {
            print_missing(job, &a->items[i++], 0);
        } else if (order > 0) {
            print_missing(job, &b->items[k++], 1);
        } else {
            status = compare_pair(job, &a->items[i++], &b->items[k++], err);
        }
    }
    return status;
}

/* ---- the command ---- */

static lmn_status open_both(comparison *job, lmn_error *err)
{
    lmn_status status = LMN_OK;
    const char *folder = job->options->only == NULL ? "/" : job->options->only;
    for (size_t i = 0; i < 2 && status == LMN_OK; i++) {
        status = lmn_checkpoint_verify(job->paths[i], err);
        if (status == LMN_OK) {
            status = checkpoint_open(job->paths[i], &job->files[i], err);
        }
        if (status == LMN_OK) {
            status = array_list_read(job->files[i], folder, &job->arrays[i], err);
        }
    }
    if (status == LMN_OK && job->arrays[0].count + job->arrays[1].count == 0) {
        status = lmn_error_set(err, LMN_ERR_USAGE,
                               "option --only: no array's path begins with '%s'", folder);
    }
    return status;
}

static lmn_status compare(comparison *job, lmn_error *err)
{
    lmn_status status = open_both(job, err);
    if (status == LMN_OK && job->options->only == NULL) {
        status = compare_attributes(job, err);
    }
    if (status == LMN_OK) {
        status = compare_arrays(job, err);
    }
    if (status == LMN_OK && job->n_differences > 0) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' and '%s' differ in %zu places",
                               job->paths[0], job->paths[1], job->n_differences);
    } else if (status == LMN_OK) {
        (void)printf("the same: %zu arrays\n", job->n_same);
    }
    return status;
}

static lmn_status diff(void *user, const option_words *words, lmn_error *err)
{
    comparison job = {.options = user, .paths = {words->words[0], words->words[1]}};
    const lmn_status status = compare(&job, err);
    for (size_t i = 0; i < 2; i++) {
        lmn_free(job.arrays[i].items);
        lmn_file_close(job.files[i]);
    }
    return status;
}

static exit_code run(int argc, char **argv)
{
    diff_options options = {0};
    const option_table table = {
        .command = "lamina checkpoint diff",
        .arguments = "A B",
        .summary = "Tell which attributes and arrays of two checkpoints differ, and by how much. "
                   "Exits with 0 only when nothing differs. Arrays of single ranks are compared "
                   "by their means where the numbers of ranks differ.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options}}};
    return checkpoint_command_run(&table, 2, argc, argv, diff, &options);
}

const command command_checkpoint_diff = {
    .path = "checkpoint diff", .summary = "in what two checkpoints differ", .run = run};
