/*
 * Matrix products on packed blocks, against plain loops in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/kernels/gemm_internal.h"
#include "compute/kernels/simd/gemm.h"
#include "lamina/memory.h"
#include "lamina/plan.h"
#include "random_graph.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct product {
    size_t m, n, k;
    bool transpose_a, transpose_b;
} product;

/* Edges of tiles and of blocks, several slices of depth and of columns. */
static const product products[] = {{.m = 96, .n = 128, .k = 128}, {.m = 203, .n = 301, .k = 97},
                                   {.m = 59, .n = 64, .k = 1200}, {.m = 300, .n = 50, .k = 385},
                                   {.m = 24, .n = 4200, .k = 40}, {.m = 1, .n = 7, .k = 3},
                                   {.m = 13, .n = 1, .k = 500}};

#define N_PRODUCTS (sizeof products / sizeof products[0])

static float *random_matrix(dice *source, size_t count)
{
    float *values = lmn_alloc(count, sizeof *values, NULL);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)dice_roll(source, 2001) / 1000.0F - 1.0F;
    }
    return values;
}

static double element_of(const float *x, bool transposed, size_t rows, size_t columns, size_t row,
                         size_t column)
{
    return (double)(transposed ? x[column * rows + row] : x[row * columns + column]);
}

static void expect_product(const product *p, const float *a, const float *b, const float *c)
{
    for (size_t i = 0; i < p->m * p->n; i++) {
        double sum = 0.0;
        for (size_t l = 0; l < p->k; l++) {
            sum += element_of(a, p->transpose_a, p->m, p->k, i / p->n, l) *
                   element_of(b, p->transpose_b, p->k, p->n, l, i % p->n);
        }
        if (!(fabs((double)c[i] - sum) <= 1e-6 * (1.0 + (double)p->k))) {
            fail_msg("%zux%zux%zu: element %zu is %g instead of %g", p->m, p->n, p->k, i,
                     (double)c[i], sum);
        }
    }
}

/* Run with poisoned workspace and result. The caller frees. */
static float *run(const product *p, int threads, const float *a, const float *b,
                  const lmn__epilogue *epilogue)
{
    lmn_compute_set_threads(threads);
    lmn__gemm_plan *plan = NULL;
    assert_int_equal(lmn__gemm_plan_create(p->m, p->n, p->k, &plan, NULL), LMN_OK);
    const size_t bytes = lmn__gemm_plan_workspace(plan);
    void *workspace = lmn_alloc(bytes + 1, 1, NULL);
    float *c = lmn_alloc(p->m * p->n, sizeof *c, NULL);
    assert_non_null(workspace);
    assert_non_null(c);
    memset(workspace, 0xFF, bytes);
    memset(c, 0xFF, p->m * p->n * sizeof *c);
    const lmn__gemm_call call = {
        .a = {.data = a, .row_stride = p->transpose_a ? p->m : p->k, .transposed = p->transpose_a},
        .b = {.data = b, .row_stride = p->transpose_b ? p->k : p->n, .transposed = p->transpose_b},
        .c = c,
        .workspace = workspace,
        .epilogue = epilogue};
    lmn__gemm_plan_run(plan, &call);
    lmn__gemm_plan_destroy(plan);
    lmn_free(workspace);
    lmn_compute_set_threads(1);
    return c;
}

/* OpenBLAS may add in another order with more threads; our own loops do not. */
static bool is_packed(const product *p)
{
    lmn__gemm_plan *plan = NULL;
    assert_int_equal(lmn__gemm_plan_create(p->m, p->n, p->k, &plan, NULL), LMN_OK);
    const bool is = strcmp(lmn__gemm_plan_kernel(plan), "packed") == 0;
    lmn__gemm_plan_destroy(plan);
    return is;
}

static void gemm_equals_plain_loops(void **state)
{
    (void)state;
    const lmn__epilogue none = {0};
    for (size_t i = 0; i < 4 * N_PRODUCTS; i++) {
        product p = products[i / 4];
        p.transpose_a = i % 2 == 1;
        p.transpose_b = i / 2 % 2 == 1;
        dice source = {.seed = i};
        float *a = random_matrix(&source, p.m * p.k);
        float *b = random_matrix(&source, p.k * p.n);
        float *c = run(&p, 1, a, b, &none);
        expect_product(&p, a, b, c);
        if (is_packed(&p)) {
            for (int threads = 2; threads <= 4; threads++) {
                float *again = run(&p, threads, a, b, &none);
                assert_memory_equal(c, again, p.m * p.n * sizeof *c);
                lmn_free(again);
            }
        }
        lmn_free(c);
        lmn_free(b);
        lmn_free(a);
    }
}

static void gemm_epilogue_equals_steps_done_later(void **state)
{
    (void)state;
    const lmn__epilogue none = {0};
    for (size_t i = 0; i < N_PRODUCTS; i++) {
        const product *p = &products[i];
        dice source = {.seed = i};
        float *a = random_matrix(&source, p->m * p->k);
        float *b = random_matrix(&source, p->k * p->n);
        float *other = random_matrix(&source, p->m * p->n);
        const lmn__epilogue epilogue = {.n_steps = 3,
                                        .n_columns = p->n,
                                        .steps = {{.kind = LMN__STEP_ADD_ROW, .operand = other},
                                                  {.kind = LMN__STEP_ADD, .operand = other},
                                                  {.kind = LMN__STEP_RELU}}};
        float *want = run(p, 1, a, b, &none);
        lmn__epilogue_apply(&epilogue, 0, p->m * p->n, want);
        for (int threads = 1; threads <= (is_packed(p) ? 3 : 1); threads++) {
            float *have = run(p, threads, a, b, &epilogue);
            assert_memory_equal(have, want, p->m * p->n * sizeof *have);
            lmn_free(have);
        }
        lmn_free(want);
        lmn_free(other);
        lmn_free(b);
        lmn_free(a);
    }
}

/* All widths up to two tiles and a bit, with the places of a tile that nothing may touch. */
static void pack_transposes_and_fills_up_with_zeros(void **state)
{
    (void)state;
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    const size_t tiles[] = {kernels->rows, kernels->columns};
    for (size_t t = 0; t < 2; t++) {
        const size_t tile = tiles[t];
        for (size_t width = 1; width <= 2 * tile + 1; width++) {
            const size_t depth = 1 + width % 21;
            dice source = {.seed = width};
            float *x = random_matrix(&source, depth * width);
            const size_t n_tiles = (width + tile - 1) / tile;
            float *packed[2] = {random_matrix(&source, n_tiles * tile * depth),
                                random_matrix(&source, n_tiles * tile * depth)};
            kernels->pack(depth, width, x, width, tile, packed[0]);
            kernels->pack_transposed(depth, width, x, depth, tile, packed[1]);
            for (size_t i = 0; i < n_tiles * tile * depth; i++) {
                const size_t column = i / (tile * depth) * tile + i % tile;
                const size_t p = i / tile % depth;
                assert_true(packed[0][i] == (column < width ? x[p * width + column] : 0.0F));
                assert_true(packed[1][i] == (column < width ? x[column * depth + p] : 0.0F));
            }
            lmn_free(packed[0]);
            lmn_free(packed[1]);
            lmn_free(x);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_equals_plain_loops),
        cmocka_unit_test(gemm_epilogue_equals_steps_done_later),
        cmocka_unit_test(pack_transposes_and_fills_up_with_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
