/*
 * What `lamina plan` takes from the results of a run: its settings, and how long it computed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"
#include "plan_facts.h"

#include <stdio.h>
#include <stdlib.h>

static lmn_status take_text(const lmn_file *file, const char *name, char *text, const char **to,
                            lmn_error *err)
{
    attribute found;
    const lmn_status status = inspect_find(file, "/configuration", name, &found, err);
    if (status != LMN_OK) {
        return status;
    }
    if (!found.is_there || found.type != LMN_VALUE_TEXT) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the results have no /configuration/%s", name);
    }
    (void)snprintf(text, PLAN_TEXT_BYTES, "%s", found.text);
    *to = text;
    return LMN_OK;
}

static lmn_status take_number(const lmn_file *file, const char *group, const char *name,
                              uint64_t *to, lmn_error *err)
{
    attribute found;
    const lmn_status status = inspect_find(file, group, name, &found, err);
    if (status == LMN_OK && (!found.is_there || found.u64 == 0)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the results have no %s/%s", group, name);
    }
    *to = found.u64;
    return status;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static lmn_status take_compute(const lmn_file *file, double *ms_out, lmn_error *err)
{
    double *seconds = NULL;
    size_t n = 0;
    const lmn_status status = lmn_file_read_f64(file, "/steps/seconds_compute", &seconds, &n, err);
    if (status == LMN_OK && n > 0) {
        qsort(seconds, n, sizeof *seconds, compare);
        *ms_out = 1e3 * seconds[n / 2];
    }
    lmn_free(seconds);
    return status;
}

static lmn_status take_all(const lmn_file *file, plan_options *options, plan_run *run,
                           lmn_error *err)
{
    const struct {
        const char *name;
        char *text;
        const char **to;
    } texts[] = {{"model", run->model, &options->model},
                 {"compress", run->compress, &options->compress},
                 {"feedback", run->feedback, &options->feedback},
                 {"collective", run->collective, &options->collective},
                 {"optimizer", run->optimizer, &options->optimizer}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == LMN_OK; i++) {
        status = take_text(file, texts[i].name, texts[i].text, texts[i].to, err);
    }
    /* Its samples, too, unless others are given. */
    if (status == LMN_OK && options->data == NULL) {
        status = take_text(file, "data", run->data, &options->data, err);
    }
    uint64_t ranks = 1;
    uint64_t batch = 1;
    if (status == LMN_OK) {
        status = take_number(file, "/summary", "ranks", &ranks, err);
    }
    if (status == LMN_OK) {
        status = take_number(file, "/configuration", "global_batch", &batch, err);
    }
    if (status == LMN_OK) {
        options->batch = (batch + ranks - 1) / ranks;
        status = take_number(file, "/configuration", "bucket_bytes", &options->bucket_bytes, err);
    }
    if (status == LMN_OK && options->compute_ms == 0.0) {
        status = take_compute(file, &options->compute_ms, err);
    }
    return status;
}

lmn_status plan_read_run(const char *path, plan_options *options, plan_run *run_out, lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = lmn_file_open(path, &file, err);
    if (status == LMN_OK && lmn_file_get_kind(file) != LMN_FILE_RESULTS) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "a %s, not the results of a run: give the run.h5 of `lamina train`",
                               lmn_file_kind_name(lmn_file_get_kind(file)));
    }
    if (status == LMN_OK) {
        status = take_all(file, options, run_out, err);
    }
    lmn_file_close(file);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", path);
    }
    return status;
}
