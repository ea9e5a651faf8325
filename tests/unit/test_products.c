/*
 * Arithmetic of low-rank compression: against plain sums in double, alike on all instruction sets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/compress/products_internal.h"
#include "algos/compress/spectrum_internal.h"
#include "algos_check.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

extern const lmn__product_kernels lmn__product_kernels_baseline;
#if defined(__x86_64__)
extern const lmn__product_kernels lmn__product_kernels_avx2, lmn__product_kernels_avx512;
#endif

#define VARIANTS_MAX 3

/* All variants that this processor can run, baseline first. */
static size_t variants(const lmn__product_kernels *list[VARIANTS_MAX])
{
    size_t n = 0;
    list[n++] = &lmn__product_kernels_baseline;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
        list[n++] = &lmn__product_kernels_avx2;
    }
    if (__builtin_cpu_supports("avx512f") != 0) {
        list[n++] = &lmn__product_kernels_avx512;
    }
#endif
    return n;
}

static float *new_normals(size_t count, uint32_t seed)
{
    float *numbers = check_new_floats(count);
    check_fill(numbers, count, CHECK_NORMAL, seed);
    return numbers;
}

/* A matrix, thin ones for both of its sides, and what is to come out. */
typedef struct operands {
    size_t rows, cols, n;
    float *matrix, *left, *right;
} operands;

static operands new_operands(size_t rows, size_t cols, size_t n)
{
    return (operands){.rows = rows,
                      .cols = cols,
                      .n = n,
                      .matrix = new_normals(rows * cols, 1),
                      .left = new_normals(n * rows, 2),
                      .right = new_normals(n * cols, 3)};
}

static void free_operands(const operands *o)
{
    lmn_free(o->matrix);
    lmn_free(o->left);
    lmn_free(o->right);
}

/* out [rows n][cols n][rows cols][cols][1 dot]: everything that a variant computes. */
static float *all_results(const lmn__product_kernels *kernels, const operands *o, size_t *count_out)
{
    const size_t count = o->n * (o->rows + o->cols) + o->rows * o->cols + 2 * o->cols + 2;
    float *results = check_new_floats(count);
    const lmn__part part = {.at = o->matrix, .stride = o->cols, .rows = o->rows, .cols = o->cols};
    const lmn__thin left = {.at = o->left, .stride = o->rows, .n = o->n};
    const lmn__thin right = {.at = o->right, .stride = o->cols, .n = o->n};
    float *out = results;
    kernels->rows(&part, &right, out, o->rows);
    out += o->n * o->rows;
    kernels->columns(&part, &left, out, o->cols);
    out += o->n * o->cols;
    kernels->outer_add(&left, &right, o->rows, o->cols, 0.3F, out, o->cols);
    out += o->rows * o->cols;
    kernels->outer_row(&left, &right, o->cols, out);
    out += o->cols;
    kernels->subtract(out, 0.7F, o->right, o->cols);
    out += o->cols;
    const double dot = kernels->dot(o->matrix, o->right, o->cols);
    memcpy(out, &dot, sizeof dot);
    *count_out = count;
    return results;
}

static void variants_give_the_same_bits(void **state)
{
    (void)state;
    const lmn__product_kernels *list[VARIANTS_MAX];
    const size_t n_variants = variants(list);
    const size_t sides[] = {1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 33, 64, 100};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        for (size_t j = 0; j < sizeof sides / sizeof sides[0]; j++) {
            const operands o = new_operands(sides[i], sides[j], 1 + (i + 2 * j) % 9);
            size_t count = 0;
            float *expected = all_results(list[0], &o, &count);
            for (size_t v = 1; v < n_variants; v++) {
                float *results = all_results(list[v], &o, &count);
                check_same_bits(results, expected, count);
                lmn_free(results);
            }
            lmn_free(expected);
            free_operands(&o);
        }
    }
}

static void assert_near(double value, double expected, double size)
{
    assert_true(fabs(value - expected) <= 1e-6 * size + 1e-30);
}

static void check_products(const operands *o)
{
    float *p = check_new_floats(o->n * o->rows);
    float *q = check_new_floats(o->n * o->cols);
    lmn__multiply(o->matrix, o->rows, o->cols, o->right, o->n, p);
    lmn__multiply_transposed(o->matrix, o->rows, o->cols, o->left, o->n, q);
    for (size_t j = 0; j < o->n; j++) {
        for (size_t i = 0; i < o->rows; i++) {
            double sum = 0.0;
            for (size_t c = 0; c < o->cols; c++) {
                sum += (double)o->matrix[i * o->cols + c] * (double)o->right[j * o->cols + c];
            }
            assert_near((double)p[j * o->rows + i], sum, 10.0 * sqrt((double)o->cols));
        }
        for (size_t c = 0; c < o->cols; c++) {
            double sum = 0.0;
            for (size_t i = 0; i < o->rows; i++) {
                sum += (double)o->matrix[i * o->cols + c] * (double)o->left[j * o->rows + i];
            }
            assert_near((double)q[j * o->cols + c], sum, 10.0 * sqrt((double)o->rows));
        }
    }
    lmn_free(p);
    lmn_free(q);
}

static void products_agree_with_sums_in_double(void **state)
{
    (void)state;
    const size_t sizes[][3] = {{1, 1, 1},   {3, 50, 2},   {50, 3, 3},   {65, 130, 4},
                               {64, 64, 5}, {7, 5000, 6}, {5000, 7, 7}, {70, 2049, 11}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const operands o = new_operands(sizes[i][0], sizes[i][1], sizes[i][2]);
        check_products(&o);
        free_operands(&o);
    }
}

static void outer_product_agrees_with_sums_in_double(void **state)
{
    (void)state;
    const size_t sizes[][3] = {{1, 1, 1}, {3, 50, 2}, {65, 130, 4}, {7, 5000, 6}, {500, 7, 9}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const operands o = new_operands(sizes[s][0], sizes[s][1], sizes[s][2]);
        const size_t count = o.rows * o.cols;
        float *acc = new_normals(count, 4);
        float *part = check_new_floats(count);
        lmn__outer_add(o.left, o.rows, o.right, o.cols, o.n, 0.5F, acc);
        lmn__outer_part(o.left, o.rows, o.right, o.cols, o.n, 0, count, part);
        float *before = new_normals(count, 4);
        for (size_t i = 0; i < count; i++) {
            double sum = 0.0;
            for (size_t j = 0; j < o.n; j++) {
                sum += (double)o.left[j * o.rows + i / o.cols] *
                       (double)o.right[j * o.cols + i % o.cols];
            }
            assert_near((double)part[i], sum, 10.0);
            assert_near((double)acc[i], (double)before[i] + 0.5 * sum, 10.0);
        }
        lmn_free(acc);
        lmn_free(part);
        lmn_free(before);
        free_operands(&o);
    }
}

static double dot_of(const float *a, const float *b, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* P^T P = I, with zeros on the diagonal for columns that became zero; returns how many did. */
static size_t check_orthonormal(const float *columns, size_t n, size_t length)
{
    size_t n_zero = 0;
    for (size_t i = 0; i < n; i++) {
        const double norm = dot_of(columns + i * length, columns + i * length, length);
        n_zero += norm == 0.0;
        assert_true(norm == 0.0 || fabs(norm - 1.0) < 1e-6);
        for (size_t j = 0; j < i; j++) {
            assert_true(fabs(dot_of(columns + i * length, columns + j * length, length)) < 1e-6);
        }
    }
    return n_zero;
}

static void orthonormalise_random_columns_are_orthonormal(void **state)
{
    (void)state;
    const size_t sizes[][2] = {{1, 1}, {1, 5}, {4, 512}, {32, 4608}, {8, 8}, {16, 100000}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        float *columns = new_normals(sizes[i][0] * sizes[i][1], 9);
        lmn__orthonormalise(columns, sizes[i][0], sizes[i][1]);
        assert_int_equal(check_orthonormal(columns, sizes[i][0], sizes[i][1]), 0);
        lmn_free(columns);
    }
}

/* Nearly parallel columns: what one pass leaves is not orthogonal enough. */
static void orthonormalise_nearly_parallel_columns_are_orthonormal(void **state)
{
    (void)state;
    enum { N = 6, LENGTH = 1000 };
    float *columns = new_normals((size_t)N * LENGTH, 10);
    for (size_t j = 1; j < N; j++) {
        for (size_t i = 0; i < LENGTH; i++) {
            columns[j * LENGTH + i] = columns[i] + 1e-5F * columns[j * LENGTH + i];
        }
    }
    lmn__orthonormalise(columns, N, LENGTH);
    assert_int_equal(check_orthonormal(columns, N, LENGTH), 0);
    lmn_free(columns);
}

static void orthonormalise_dependent_columns_become_zero(void **state)
{
    (void)state;
    enum { N = 5, LENGTH = 300 };
    float *columns = new_normals((size_t)N * LENGTH, 11);
    /* The second is a multiple of the first, the fourth is zero. */
    for (size_t i = 0; i < LENGTH; i++) {
        columns[LENGTH + i] = -4.0F * columns[i];
        columns[(size_t)3 * LENGTH + i] = 0.0F;
    }
    lmn__orthonormalise(columns, N, LENGTH);
    assert_int_equal(check_orthonormal(columns, N, LENGTH), 2);
    assert_true(columns[LENGTH] == 0.0F && columns[(size_t)3 * LENGTH] == 0.0F);
    lmn_free(columns);
}

static void orthonormalise_more_columns_than_rows_keeps_a_basis(void **state)
{
    (void)state;
    float *columns = new_normals((size_t)7 * 3, 12);
    lmn__orthonormalise(columns, 7, 3);
    for (size_t j = 0; j < 3; j++) {
        assert_true(fabs(dot_of(columns + j * 3, columns + j * 3, 3) - 1.0) < 1e-6);
    }
    assert_int_equal(check_orthonormal(columns, 3, 3), 0);
    lmn_free(columns);
}

static void refill_fills_zero_columns_with_numbers_of_variance_1(void **state)
{
    (void)state;
    enum { LENGTH = 20000 };
    const lmn_stream stream = {.seed = 1, .step = 2};
    float *columns = check_new_floats((size_t)3 * LENGTH);
    float *others = check_new_floats((size_t)3 * LENGTH);
    columns[LENGTH + 7] = 2.0F;
    lmn__refill(columns, 3, LENGTH, &stream);
    lmn__refill(others, 3, LENGTH, &stream);
    assert_true(check_energy(columns + LENGTH, LENGTH) == 4.0);
    check_same_bits(columns, others, LENGTH);
    check_same_bits(columns + (size_t)2 * LENGTH, others + (size_t)2 * LENGTH, LENGTH);
    double mean = 0.0;
    for (size_t i = 0; i < LENGTH; i++) {
        mean += (double)columns[i] / LENGTH;
    }
    assert_true(fabs(mean) < 5.0 / sqrt((double)LENGTH));
    assert_true(fabs(check_energy(columns, LENGTH) / LENGTH - 1.0) < 0.05);
    assert_true(fabs(dot_of(columns, columns + (size_t)2 * LENGTH, LENGTH)) <
                5.0 * sqrt((double)LENGTH));
    lmn_free(columns);
    lmn_free(others);
}

/* Second differences on n points: 2 - 2 cos(i pi / (n + 1)). */
static void eigenvalues_of_second_differences_have_a_closed_form(void **state)
{
    (void)state;
    enum { N = 40 };
    static double matrix[N * N];
    double values[N] = {0};
    memset(matrix, 0, sizeof matrix);
    for (size_t i = 0; i < N; i++) {
        matrix[i * N + i] = 2.0;
        if (i + 1 < N) {
            matrix[i * N + i + 1] = -1.0;
            matrix[(i + 1) * N + i] = -1.0;
        }
    }
    lmn__eigenvalues(matrix, N, values);
    const double pi = 3.14159265358979323846;
    for (size_t i = 0; i < N; i++) {
        const double expected = 2.0 - 2.0 * cos((double)(N - i) * pi / (N + 1));
        assert_true(fabs(values[i] - expected) < 1e-12);
    }
}

static void eigenvalues_of_a_diagonal_matrix_are_sorted(void **state)
{
    (void)state;
    double matrix[9] = {1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0};
    double values[3] = {0};
    lmn__eigenvalues(matrix, 3, values);
    assert_true(values[0] == 5.0 && values[1] == 1.0 && values[2] == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_give_the_same_bits),
        cmocka_unit_test(products_agree_with_sums_in_double),
        cmocka_unit_test(outer_product_agrees_with_sums_in_double),
        cmocka_unit_test(orthonormalise_random_columns_are_orthonormal),
        cmocka_unit_test(orthonormalise_nearly_parallel_columns_are_orthonormal),
        cmocka_unit_test(orthonormalise_dependent_columns_become_zero),
        cmocka_unit_test(orthonormalise_more_columns_than_rows_keeps_a_basis),
        cmocka_unit_test(refill_fills_zero_columns_with_numbers_of_variance_1),
        cmocka_unit_test(eigenvalues_of_second_differences_have_a_closed_form),
        cmocka_unit_test(eigenvalues_of_a_diagonal_matrix_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
