/*
 * A file in words: what it is, what it says in short, then everything in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static lmn_status print_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    (void)user;
    (void)err;
    switch (value->type) {
    case LMN_VALUE_TEXT:
        (void)printf("    %-20s %s\n", value->name, value->text);
        break;
    case LMN_VALUE_F64:
        (void)printf("    %-20s %.10g\n", value->name, value->f64);
        break;
    case LMN_VALUE_U64:
        if (inspect_is_hash(value->name)) {
            (void)printf("    %-20s %s\n", value->name, text_hash(value->u64).data);
        } else {
            (void)printf("    %-20s %" PRIu64 "\n", value->name, value->u64);
        }
        break;
    }
    return LMN_OK;
}

static lmn_status print_group(const lmn_file *file, const char *path, const char *title,
                              lmn_error *err)
{
    (void)printf("  %s\n", title);
    return lmn_file_visit_attributes(file, path, print_attribute, NULL, err);
}

static lmn_status print_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    (void)user;
    (void)err;
    char shape[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < array->n_dims && used < sizeof shape; i++) {
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64,
                                 i == 0 ? "" : ", ", array->dims[i]);
    }
    const bool has_unit = array->unit[0] != '\0' && strcmp(array->unit, "1") != 0;
    (void)printf("    %-36s %s [%s], %s%s%s\n", array->path, array->type, shape,
                 text_bytes(array->bytes).data, has_unit ? ", in " : "",
                 has_unit ? array->unit : "");
    return LMN_OK;
}

static lmn_status print_arrays(const lmn_file *file, lmn_error *err)
{
    (void)printf("  arrays\n");
    return lmn_file_visit_arrays(file, print_array, NULL, err);
}

/* ---- results ---- */

static lmn_status find_summary(const lmn_file *file, const char *name, attribute *out,
                               lmn_error *err)
{
    return inspect_find(file, "/summary", name, out, err);
}

static lmn_status print_accuracy(const lmn_file *file, lmn_error *err)
{
    attribute accuracy = {.is_there = false};
    attribute loss = {.is_there = false};
    lmn_status status = find_summary(file, "test_accuracy", &accuracy, err);
    if (status == LMN_OK) {
        status = find_summary(file, "test_loss", &loss, err);
    }
    attribute bits = {.is_there = false};
    if (status == LMN_OK) {
        status = find_summary(file, "bits_per_byte", &bits, err);
    }
    if (status == LMN_OK && bits.is_there) {
        (void)printf("  test bits per byte %.4f\n", bits.f64);
    }
    if (status == LMN_OK && accuracy.is_there) {
        (void)printf("  test accuracy %.4f, loss %.4f\n", accuracy.f64, loss.f64);
    }
    return status;
}

static lmn_status print_traffic(const lmn_file *file, lmn_error *err)
{
    attribute sent = {.is_there = false};
    attribute dense = {.is_there = false};
    attribute ranks = {.is_there = false};
    lmn_status status = find_summary(file, "bytes_sent", &sent, err);
    if (status == LMN_OK) {
        status = find_summary(file, "bytes_dense", &dense, err);
    }
    if (status == LMN_OK) {
        status = find_summary(file, "ranks", &ranks, err);
    }
    if (status == LMN_OK && dense.u64 > 0) {
        (void)printf("  %" PRIu64 " rank%s sent %s, %s (%s)\n", ranks.u64,
                     ranks.u64 == 1 ? "" : "s", text_bytes(sent.u64).data,
                     text_comparison(sent.u64, dense.u64).data, text_bytes(dense.u64).data);
    }
    return status;
}

static lmn_status print_duration(const lmn_file *file, lmn_error *err)
{
    attribute steps = {.is_there = false};
    attribute seconds = {.is_there = false};
    attribute complete = {.is_there = false};
    lmn_status status = find_summary(file, "steps", &steps, err);
    if (status == LMN_OK) {
        status = find_summary(file, "seconds", &seconds, err);
    }
    if (status == LMN_OK) {
        status = find_summary(file, "complete", &complete, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (steps.is_there) {
        (void)printf("  %" PRIu64 " steps in %s of training\n", steps.u64,
                     text_seconds(seconds.f64).data);
    }
    if (complete.u64 == 0) {
        (void)printf("  not at its end: this is what the run had recorded so far\n");
    }
    return LMN_OK;
}

static lmn_status print_results(const inspected *one, lmn_error *err)
{
    (void)printf("%s: results of a training run\n", one->path);
    lmn_status status = print_accuracy(one->file, err);
    if (status == LMN_OK) {
        status = print_duration(one->file, err);
    }
    if (status == LMN_OK) {
        status = print_traffic(one->file, err);
    }
    if (status == LMN_OK) {
        status = inspect_print_waiting(one->file, err);
    }
    static const char *const groups[][2] = {{"/summary", "summary"},
                                            {"/configuration", "configuration"},
                                            {"/machine", "machine"},
                                            {"/", "file"}};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0] && status == LMN_OK; i++) {
        status = print_group(one->file, groups[i][0], groups[i][1], err);
    }
    return status;
}

/* ---- checkpoints ---- */

static lmn_status print_checkpoint(const inspected *one, lmn_error *err)
{
    attribute step = {.is_there = false};
    attribute ranks = {.is_there = false};
    lmn_status status = inspect_find(one->file, "/", "step", &step, err);
    if (status == LMN_OK) {
        status = inspect_find(one->file, "/", "ranks", &ranks, err);
    }
    array_totals all = {.folder = "/"};
    array_totals parameters = {.folder = "/parameters/"};
    if (status == LMN_OK) {
        status = inspect_count_arrays(one->file, &all, err);
    }
    if (status == LMN_OK) {
        status = inspect_count_arrays(one->file, &parameters, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    (void)printf("%s: checkpoint after step %" PRIu64 ", written by %" PRIu64 " rank%s\n",
                 one->path, step.u64, ranks.u64, ranks.u64 == 1 ? "" : "s");
    (void)printf("  %" PRIu64 " parameters in %" PRIu64 " arrays; with the state of optimiser and "
                 "feedback %" PRIu64 " arrays, %s\n",
                 parameters.elements, parameters.count, all.count, text_bytes(all.bytes).data);
    return print_group(one->file, "/", "attributes", err);
}

/* ---- datasets ---- */

/* The split that an array of samples belongs to, in one line; and the vocabulary. */
static lmn_status print_split(void *user, const lmn_file_array *array, lmn_error *err)
{
    (void)user;
    (void)err;
    const char *split = strncmp(array->path, "/train/", 7) == 0  ? "train"
                        : strncmp(array->path, "/test/", 6) == 0 ? "test"
                                                                 : NULL;
    if (strcmp(array->path, "/vocabulary/merges") == 0) {
        (void)printf("  vocabulary of %" PRIu64 " tokens\n", 256 + array->dims[0]);
    }
    if (split == NULL) {
        return LMN_OK;
    }
    const char *leaf = strrchr(array->path, '/') + 1;
    const uint64_t *dims = array->dims;
    if (strcmp(leaf, "images") == 0 && array->n_dims == 4) {
        (void)printf("  %-5s %" PRIu64 " images of %" PRIu64 "x%" PRIu64 "x%" PRIu64 ", %s\n",
                     split, dims[0], dims[1], dims[2], dims[3], array->type);
    } else if (strcmp(leaf, "vectors") == 0 && array->n_dims == 2) {
        (void)printf("  %-5s %" PRIu64 " vectors of %" PRIu64 " columns, %s\n", split, dims[0],
                     dims[1], array->type);
    } else if (strcmp(leaf, "row_start") == 0 && array->n_dims == 1 && dims[0] > 0) {
        (void)printf("  %-5s %" PRIu64 " sparse vectors\n", split, dims[0] - 1);
    } else if (strcmp(leaf, "tokens") == 0 && array->n_dims == 1) {
        (void)printf("  %-5s %" PRIu64 " tokens, %s\n", split, dims[0], array->type);
    }
    return LMN_OK;
}

/* The attributes of the training samples say how stored numbers become values. */
static lmn_status print_sample_attributes(void *user, const lmn_file_array *array, lmn_error *err)
{
    static const char *const groups[][2] = {{"/train/images", "attributes of the images"},
                                            {"/train/vectors", "attributes of the vectors"},
                                            {"/train/value", "attributes of the values"},
                                            {"/train/tokens", "attributes of the tokens"}};
    const inspected *one = user;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (strcmp(array->path, groups[i][0]) == 0) {
            return print_group(one->file, groups[i][0], groups[i][1], err);
        }
    }
    return LMN_OK;
}

static lmn_status print_classes(void *user, const lmn_file_array *array, lmn_error *err)
{
    const inspected *one = user;
    if (strcmp(array->path, "/classes") != 0 || array->n_dims != 1) {
        return LMN_OK;
    }
    (void)printf("  %" PRIu64 " classes:", array->dims[0]);
    lmn_status status = LMN_OK;
    for (uint64_t i = 0; i < array->dims[0] && status == LMN_OK; i++) {
        char name[256];
        status = lmn_file_read_text(one->file, array->path, (size_t)i, name, sizeof name, err);
        if (status == LMN_OK) {
            (void)printf("%s %s", i == 0 ? "" : ",", name);
        }
    }
    (void)putchar('\n');
    return status;
}

static lmn_status print_dataset(const inspected *one, lmn_error *err)
{
    attribute title = {.is_there = false};
    lmn_status status = inspect_find(one->file, "/", "title", &title, err);
    if (status != LMN_OK) {
        return status;
    }
    (void)printf("%s: dataset%s%s\n", one->path, title.is_there ? ", " : "",
                 title.is_there ? title.text : "");
    inspected copy = *one; /* visitors take no const */
    status = lmn_file_visit_arrays(one->file, print_split, NULL, err);
    if (status == LMN_OK) {
        status = lmn_file_visit_arrays(one->file, print_classes, &copy, err);
    }
    if (status == LMN_OK) {
        status = lmn_file_visit_arrays(one->file, print_sample_attributes, &copy, err);
    }
    return status == LMN_OK ? print_group(one->file, "/", "file", err) : status;
}

lmn_status inspect_print(const inspected *one, lmn_error *err)
{
    lmn_status status = LMN_OK;
    switch (lmn_file_get_kind(one->file)) {
    case LMN_FILE_RESULTS:
        status = print_results(one, err);
        break;
    case LMN_FILE_CHECKPOINT:
        status = print_checkpoint(one, err);
        break;
    case LMN_FILE_DATASET:
        status = print_dataset(one, err);
        break;
    case LMN_FILE_SWEEP: /* its arrays are those of all runs */
        return inspect_print_sweep(one, err);
    }
    if (status == LMN_OK) {
        status = print_arrays(one->file, err);
    }
    if (status == LMN_OK && one->is_verified) {
        (void)printf("  verified: the data is what was written\n");
    }
    return status;
}
