/*
 * Arrays of a checkpoint that other ranks read than wrote it.
 *
 * Rows are cut anew along a line on which every old rank has an interval of m and every new rank
 * one of n: so the mean of all rows stays what it was, which is all that enters the parameters, and
 * each new rank gets the rows of ranks near to it. Without as many workers as ranks, on either
 * side, every new rank gets the mean of all rows: the mean stays, what was different is forgotten.
 *
 * Reading is independent, not collective: ranks need different numbers of rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

/* Elements of a row that are worked on at once. */
#define BLOCK ((size_t)1 << 16)

bool lmn__array_is_read(hid_t file, const lmn__state_array *array, const lmn__rows *rows)
{
    if (rows->rule == LMN__ROWS_STAY) {
        return true;
    }
    return array->elastic != LMN_ELASTIC_FRESH &&
           (array->elastic != LMN_ELASTIC_IF_THERE || lmn__h5_has_object(file, array->name));
}

/* Rows of a file on their way to one rank. */
typedef struct rows_job {
    hid_t dataset, space;
    lmn__h5_shape shape;
    const lmn__state_array *array;
    const lmn__rows *rows;
    size_t rank, size;
    float *row;  /* [BLOCK] owned */
    double *sum; /* [BLOCK] owned */
} rows_job;

/* By what row `i` is multiplied before the sum is divided by `divisor`. */
static double weight_of(const rows_job *job, size_t i)
{
    if (job->rows->rule == LMN__ROWS_MEAN) {
        return 1.0; /* of ranks that are no workers it is zeros */
    }
    return (double)lmn_partition_overlap((size_t)job->rows->ranks, job->size, i, job->rank);
}

static double divisor(const rows_job *job)
{
    const uint64_t count =
        job->rows->rule == LMN__ROWS_MEAN ? job->rows->workers : job->rows->ranks;
    return (double)count;
}

static bool read_block(const rows_job *job, size_t row, size_t first, size_t count)
{
    const hsize_t dims[1] = {count};
    const hid_t memory = H5Screate_simple(1, dims, NULL);
    const uint64_t at = (uint64_t)row * job->array->count + first;
    const bool is_read =
        lmn__select_range(job->space, &job->shape, at, count) &&
        H5Dread(job->dataset, H5T_NATIVE_FLOAT, memory, job->space, H5P_DEFAULT, job->row) >= 0;
    lmn__h5_close(memory);
    return is_read;
}

/* Elements first .. first + count - 1 of this rank's row. */
static bool sum_block(const rows_job *job, size_t first, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        job->sum[k] = 0.0;
    }
    for (size_t i = 0; i < job->rows->ranks; i++) {
        const double weight = weight_of(job, i);
        if (weight == 0.0) {
            continue;
        }
        if (!read_block(job, i, first, count)) {
            return false;
        }
        for (size_t k = 0; k < count; k++) {
            job->sum[k] += weight * (double)job->row[k];
        }
    }
    float *to = (float *)job->array->data + first;
    for (size_t k = 0; k < count; k++) {
        to[k] = (float)(job->sum[k] / divisor(job));
    }
    return true;
}

static lmn_status sum_rows(const rows_job *job, lmn_error *err)
{
    if (job->row == NULL || job->sum == NULL) {
        return LMN_ERR_MEMORY;
    }
    const size_t total = job->array->count;
    for (size_t first = 0; first < total; first += BLOCK) {
        const size_t count = total - first < BLOCK ? total - first : BLOCK;
        if (!sum_block(job, first, count)) {
            return lmn__h5_error(err, LMN_ERR_IO, "cannot read '%s'", job->array->name);
        }
    }
    return LMN_OK;
}

lmn_status lmn__checkpoint_read_rows(hid_t dataset, const lmn__state_array *array,
                                     const lmn__rows *rows, int rank, int size, lmn_error *err)
{
    rows_job job = {.dataset = dataset,
                    .space = H5Dget_space(dataset),
                    .shape = lmn__state_file_shape(array, rows->ranks),
                    .array = array,
                    .rows = rows,
                    .rank = (size_t)rank,
                    .size = (size_t)size,
                    .row = lmn_alloc(BLOCK, sizeof(float), err),
                    .sum = lmn_alloc(BLOCK, sizeof(double), err)};
    const lmn_status status = sum_rows(&job, err);
    lmn__h5_close(job.space);
    lmn_free(job.row);
    lmn_free(job.sum);
    return status;
}
