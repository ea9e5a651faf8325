/*
 * Mean and deviation of columns, from rows that come in pieces.
 *
 * One pass in double, one update for each row, which stays exact where sums of squares would
 * cancel.
 *
 * Method: B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
 * Technometrics 4 (1962) 419-420.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "moments_internal.h"

#include <math.h>

struct lmn__moments {
    size_t n_columns;
    uint64_t n_rows;
    double *mean;    /* [n_columns] owned */
    double *squares; /* [n_columns] owned: sums of squared differences from the mean */
};

lmn_status lmn__moments_create(size_t n_columns, lmn__moments **moments_out, lmn_error *err)
{
    lmn__moments *moments = lmn_alloc(1, sizeof *moments, err);
    if (moments == NULL) {
        return LMN_ERR_MEMORY;
    }
    moments->n_columns = n_columns;
    moments->mean = lmn_alloc(n_columns, sizeof *moments->mean, err);
    moments->squares = lmn_alloc(n_columns, sizeof *moments->squares, err);
    if (moments->mean == NULL || moments->squares == NULL) {
        lmn__moments_destroy(moments);
        return LMN_ERR_MEMORY;
    }
    *moments_out = moments;
    return LMN_OK;
}

void lmn__moments_destroy(lmn__moments *moments)
{
    if (moments != NULL) {
        lmn_free(moments->mean);
        lmn_free(moments->squares);
        lmn_free(moments);
    }
}

static void add_value(lmn__moments *moments, size_t column, double value, double weight)
{
    const double difference = value - moments->mean[column];
    moments->mean[column] += difference * weight;
    moments->squares[column] += difference * (value - moments->mean[column]);
}

void lmn__moments_add_u8(lmn__moments *moments, const unsigned char *rows, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++) {
        const double weight = 1.0 / (double)++moments->n_rows;
        for (size_t i = 0; i < moments->n_columns; i++) {
            add_value(moments, i, rows[row * moments->n_columns + i], weight);
        }
    }
}

void lmn__moments_add_f32(lmn__moments *moments, const float *rows, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++) {
        const double weight = 1.0 / (double)++moments->n_rows;
        for (size_t i = 0; i < moments->n_columns; i++) {
            add_value(moments, i, (double)rows[row * moments->n_columns + i], weight);
        }
    }
}

size_t lmn__moments_columns(const lmn__moments *moments)
{
    return moments->n_columns;
}

void lmn__moments_get(const lmn__moments *moments, double scale, double offset, float *mean,
                      float *deviation)
{
    const double n = moments->n_rows == 0 ? 1.0 : (double)moments->n_rows;
    for (size_t i = 0; i < moments->n_columns; i++) {
        const double spread = fabs(scale) * sqrt(moments->squares[i] / n);
        mean[i] = (float)(scale * moments->mean[i] + offset);
        deviation[i] = (float)spread > 0.0F ? (float)spread : 1.0F;
    }
}
