/*
 * A file being written from front to back, beside the name that it will get; and the checks of what
 * goes into it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "weights_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lmn_status lmn__output_create(lmn__output *output, const char *path, lmn_error *err)
{
    *output = (lmn__output){.path = path};
    const lmn_status status = lmn__path_format(output->part, err, "%s.part", path);
    if (status != LMN_OK) {
        return status;
    }
    output->file = fopen(output->part, "wbe");
    return output->file != NULL ? LMN_OK
                                : lmn__io_error(err, errno, "cannot create '%s'", output->part);
}

void lmn__output_write(lmn__output *output, const void *data, size_t bytes)
{
    if (output->code == 0 && bytes > 0 && fwrite(data, 1, bytes, output->file) != bytes) {
        output->code = errno != 0 ? errno : EIO;
    }
    output->bytes += bytes;
}

void lmn__output_number(lmn__output *output, uint64_t value, size_t count)
{
    unsigned char bytes[sizeof value];
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
    lmn__output_write(output, bytes, count);
}

lmn_status lmn__output_finish(lmn__output *output, lmn_status status, lmn_error *err)
{
    if (fclose(output->file) != 0 && output->code == 0) {
        output->code = errno;
    }
    if (status == LMN_OK && output->code != 0) {
        status = lmn__io_error(err, output->code, "cannot write '%s'", output->part);
    }
    if (status == LMN_OK) {
        status = lmn__file_publish(output->part, output->path, err);
    }
    if (status != LMN_OK) {
        (void)unlink(output->part);
    }
    return status;
}

uint64_t lmn__weight_count(const lmn_weight *weight)
{
    uint64_t count = 1;
    for (size_t i = 0; i < weight->n_dims; i++) {
        count *= weight->dims[i];
    }
    return count;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

lmn_status lmn__weights_check(const lmn_weight *weights, size_t count, lmn_error *err)
{
    const char **names = (const char **)lmn_alloc(count, sizeof *names, err);
    if (names == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count; i++) {
        names[i] = weights[i].name;
        if (names[i][0] == '\0' || weights[i].n_dims > LMN_WEIGHT_DIMS_MAX) {
            status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                                   "the array '%s' cannot be written: it needs a name and at most "
                                   "%d dimensions",
                                   names[i], LMN_WEIGHT_DIMS_MAX);
        }
    }
    qsort((void *)names, count, sizeof *names, by_text);
    for (size_t i = 1; i < count && status == LMN_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            status =
                lmn_error_set(err, LMN_ERR_ARGUMENT, "the array '%s' is there twice", names[i]);
        }
    }
    lmn_free((void *)names);
    return status;
}
