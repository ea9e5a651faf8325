/*
 * Rows of data, dense or sparse, and the two things that are done with them.
 *
 * Sums have a fixed order: eight partial sums, added as a tree. So results depend neither on the
 * width of vectors nor on which rank computes them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"

#define LANES ((size_t)8)

void lmn__convex_matrix_free(lmn__convex_matrix *matrix)
{
    lmn_free(matrix->dense);
    lmn_free(matrix->starts);
    lmn_free(matrix->indices);
    lmn_free(matrix->values);
    *matrix = (lmn__convex_matrix){0};
}

static double sum_of_lanes(const double lanes[LANES])
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

double lmn__convex_dot(const double *a, const double *b, size_t count)
{
    double lanes[LANES] = {0};
    const size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            lanes[k] += a[i + k] * b[i + k];
        }
    }
    for (size_t i = whole; i < count; i++) {
        lanes[i - whole] += a[i] * b[i];
    }
    return sum_of_lanes(lanes);
}

double lmn__convex_row_dot(const lmn__convex_matrix *matrix, size_t row, const double *vector)
{
    if (matrix->dense != NULL) {
        return lmn__convex_dot(matrix->dense + row * matrix->columns, vector, matrix->columns);
    }
    double lanes[LANES] = {0};
    const size_t start = matrix->starts[row];
    const size_t count = matrix->starts[row + 1] - start;
    for (size_t i = 0; i < count; i++) {
        lanes[i % LANES] += matrix->values[start + i] * vector[matrix->indices[start + i]];
    }
    return sum_of_lanes(lanes);
}

void lmn__convex_row_add(const lmn__convex_matrix *matrix, size_t row, double factor,
                         double *vector)
{
    if (matrix->dense != NULL) {
        const double *restrict const values = matrix->dense + row * matrix->columns;
        for (size_t i = 0; i < matrix->columns; i++) {
            vector[i] += factor * values[i];
        }
        return;
    }
    for (size_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++) {
        vector[matrix->indices[i]] += factor * matrix->values[i];
    }
}
