/*
 * Every backend of convolution, in every direction, against plain loops in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/kernels/conv_internal.h"
#include "lamina/memory.h"
#include "random_graph.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N_TRIALS 60

static size_t pick(dice *source, const size_t *choices, size_t n)
{
    return choices[dice_roll(source, n)];
}

/* Extents of a random convolution, small enough for plain loops. */
static lmn__conv random_conv(dice *source)
{
    static const size_t channels[] = {1, 3, 8, 16, 32, 48};
    static const size_t kernels[] = {1, 3, 3, 3, 5};
    lmn__conv conv = {.batch = 1 + dice_roll(source, 3),
                      .h = 5 + dice_roll(source, 9),
                      .w = 5 + dice_roll(source, 9),
                      .c = pick(source, channels, 6),
                      .k = pick(source, channels, 6),
                      .kh = pick(source, kernels, 5)};
    conv.kw = conv.kh;
    const size_t pads = conv.kh < 3 ? 1 : 3;
    const size_t stride = 1 + dice_roll(source, 4) / 3;
    conv.window = (lmn_window){.stride_h = stride,
                               .stride_w = stride,
                               .pad_top = dice_roll(source, pads),
                               .pad_left = dice_roll(source, pads),
                               .pad_bottom = dice_roll(source, pads),
                               .pad_right = dice_roll(source, pads)};
    const lmn_window *w = &conv.window;
    conv.oh = (conv.h + w->pad_top + w->pad_bottom - conv.kh) / stride + 1;
    conv.ow = (conv.w + w->pad_left + w->pad_right - conv.kw) / stride + 1;
    return conv;
}

/* The three arrays of a convolution, in the order x, weight, y. */
typedef struct arrays {
    size_t counts[3];
    float *values[3];
} arrays;

static arrays create_arrays(const lmn__conv *conv, dice *source)
{
    arrays a = {.counts = {conv->batch * conv->h * conv->w * conv->c,
                           conv->kh * conv->kw * conv->c * conv->k,
                           conv->batch * conv->oh * conv->ow * conv->k}};
    for (size_t i = 0; i < 3; i++) {
        a.values[i] = lmn_alloc(a.counts[i], sizeof(float), NULL);
        assert_non_null(a.values[i]);
        for (size_t k = 0; k < a.counts[i]; k++) {
            a.values[i][k] = (float)dice_roll(source, 2001) / 1000.0F - 1.0F;
        }
    }
    return a;
}

static void destroy_arrays(arrays *a)
{
    for (size_t i = 0; i < 3; i++) {
        lmn_free(a->values[i]);
    }
}

/* Which of x, weight and y the direction computes, and which it reads. */
typedef struct roles {
    size_t result, a, b;
} roles;

static roles roles_of(lmn__conv_direction direction)
{
    switch (direction) {
    case LMN__CONV_FORWARD:
        return (roles){.result = 2, .a = 0, .b = 1};
    case LMN__CONV_INPUT_GRAD:
        return (roles){.result = 0, .a = 2, .b = 1};
    case LMN__CONV_WEIGHT_GRAD:
    default:
        return (roles){.result = 1, .a = 0, .b = 2};
    }
}

/* All products of one place of the output: index [0] x, [1] weight, [2] y. */
static void add_place(const lmn__conv *conv, const arrays *a, roles r, const size_t place[3],
                      double *sums, double *sizes)
{
    const size_t batch = place[0];
    for (size_t i = 0; i < conv->kh * conv->kw; i++) {
        const size_t y = place[1] * conv->window.stride_h + i / conv->kw - conv->window.pad_top;
        const size_t x = place[2] * conv->window.stride_w + i % conv->kw - conv->window.pad_left;
        if (y >= conv->h || x >= conv->w) {
            continue;
        }
        for (size_t c = 0; c < conv->c; c++) {
            for (size_t k = 0; k < conv->k; k++) {
                const size_t index[3] = {
                    ((batch * conv->h + y) * conv->w + x) * conv->c + c,
                    (i * conv->c + c) * conv->k + k,
                    ((batch * conv->oh + place[1]) * conv->ow + place[2]) * conv->k + k};
                const double product =
                    (double)a->values[r.a][index[r.a]] * (double)a->values[r.b][index[r.b]];
                sums[index[r.result]] += product;
                sizes[index[r.result]] += fabs(product);
            }
        }
    }
}

static void expect(const lmn__conv *conv, const arrays *a, roles r, double *sums, double *sizes)
{
    for (size_t batch = 0; batch < conv->batch; batch++) {
        for (size_t y = 0; y < conv->oh; y++) {
            for (size_t x = 0; x < conv->ow; x++) {
                add_place(conv, a, r, (const size_t[]){batch, y, x}, sums, sizes);
            }
        }
    }
}

/* Run into fresh memory, with poisoned workspace and result. */
static float *run(const lmn__conv_plan *plan, const arrays *a, roles r,
                  const lmn__epilogue *epilogue)
{
    float *result = lmn_alloc(a->counts[r.result], sizeof *result, NULL);
    void *workspace = lmn_alloc(plan->workspace_bytes, 1, NULL);
    assert_non_null(result);
    assert_non_null(workspace);
    memset(result, 0xFF, a->counts[r.result] * sizeof *result);
    memset(workspace, 0xFF, plan->workspace_bytes);
    const lmn__conv_call call = {.a = a->values[r.a],
                                 .b = a->values[r.b],
                                 .result = result,
                                 .workspace = workspace,
                                 .epilogue = epilogue};
    lmn_error err = lmn_error_none();
    if (lmn__conv_plan_run(plan, &call, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_free(workspace);
    return result;
}

/* A bias, a sum, a gate and a relu after the convolution: the bits of the steps done later. */
static void check_epilogue(const lmn__conv_plan *plan, const arrays *a, roles r,
                           const float *unfused)
{
    const size_t count = a->counts[r.result];
    const size_t columns = plan->direction == LMN__CONV_FORWARD ? plan->conv.k : plan->conv.c;
    const lmn__epilogue epilogue = {
        .n_steps = 4,
        .n_columns = columns,
        .steps = {{.kind = LMN__STEP_ADD_ROW, .operand = a->values[r.result]},
                  {.kind = LMN__STEP_ADD, .operand = a->values[r.result]},
                  {.kind = LMN__STEP_GATE, .operand = a->values[r.result]},
                  {.kind = LMN__STEP_RELU}}};
    float *want = lmn_alloc(count, sizeof *want, NULL);
    assert_non_null(want);
    memcpy(want, unfused, count * sizeof *want);
    lmn__epilogue_apply(&epilogue, 0, count, want);
    float *have = run(plan, a, r, &epilogue);
    assert_memory_equal(have, want, count * sizeof *want);
    lmn_free(have);
    lmn_free(want);
}

/*
 * What an error is compared with, in place of the sizes of an element's own products: a result of
 * Winograd's has rounding errors of its whole tile, so there it is the largest of all.
 */
static void widen_sizes(const lmn__conv_backend *backend, double *sizes, size_t count)
{
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = sizes[i] > largest ? sizes[i] : largest;
    }
    for (size_t i = 0; i < count && backend == &lmn__conv_winograd; i++) {
        sizes[i] = largest;
    }
}

static void check(const lmn__conv *conv, lmn__conv_direction direction,
                  const lmn__conv_backend *backend, const arrays *a)
{
    const roles r = roles_of(direction);
    const size_t count = a->counts[r.result];
    lmn__conv_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn__conv_plan_create(conv, direction, backend, &plan, &err);
    if (status != LMN_OK) {
        fail_msg("%s: %s", backend->name, err.message);
    }
    double *sums = lmn_alloc(count, sizeof *sums, NULL);
    double *sizes = lmn_alloc(count, sizeof *sizes, NULL);
    assert_non_null(sums);
    assert_non_null(sizes);
    expect(conv, a, r, sums, sizes);
    widen_sizes(backend, sizes, count);
    float *have = run(plan, a, r, NULL);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs((double)have[i] - sums[i]) <= 1e-6 * (1.0 + sizes[i]))) {
            fail_msg("%s, direction %d, image %zux%zux%zu, %zu channels, kernel %zu: element %zu "
                     "is %g instead of %g",
                     backend->name, (int)direction, conv->h, conv->w, conv->c, conv->k, conv->kh, i,
                     (double)have[i], sums[i]);
        }
    }
    float *again = run(plan, a, r, NULL);
    assert_memory_equal(have, again, count * sizeof *have);
    if (direction != LMN__CONV_WEIGHT_GRAD) {
        check_epilogue(plan, a, r, have);
    }
    lmn_free(again);
    lmn_free(have);
    lmn_free(sums);
    lmn_free(sizes);
    lmn__conv_plan_destroy(plan);
}

/* All directions of random convolutions; returns how many of them the backend supports. */
static size_t check_backend(const lmn__conv_backend *backend, size_t n_trials)
{
    size_t n = 0;
    for (size_t trial = 0; trial < n_trials; trial++) {
        dice source = {.seed = trial};
        const lmn__conv conv = random_conv(&source);
        arrays a = create_arrays(&conv, &source);
        for (int direction = 0; direction < 3; direction++) {
            if (backend->supports(&conv, (lmn__conv_direction)direction)) {
                check(&conv, (lmn__conv_direction)direction, backend, &a);
                n++;
            }
        }
        destroy_arrays(&a);
    }
    return n;
}

static void im2col_equals_plain_loops(void **state)
{
    (void)state;
    assert_int_equal(check_backend(&lmn__conv_im2col, N_TRIALS), 3 * N_TRIALS);
}

static void winograd_equals_plain_loops(void **state)
{
    (void)state;
    assert_true(check_backend(&lmn__conv_winograd, 6 * (size_t)N_TRIALS) > N_TRIALS);
}

static void onednn_equals_plain_loops(void **state)
{
    (void)state;
#ifdef LMN__HAVE_ONEDNN
    assert_int_equal(check_backend(&lmn__conv_onednn, N_TRIALS), 3 * N_TRIALS);
#else
    print_message("skipped: built without oneDNN\n");
    skip();
#endif
}

/* Several blocks of tiles, odd extents, more channels than are multiplied at once. */
static void winograd_larger_than_its_blocks_equals_plain_loops(void **state)
{
    (void)state;
    const lmn__conv large[] = {
        {.batch = 3, .h = 31, .w = 29, .c = 16, .k = 32, .kh = 3, .kw = 3, .oh = 31, .ow = 29},
        {.batch = 5, .h = 4, .w = 4, .c = 288, .k = 16, .kh = 3, .kw = 3, .oh = 4, .ow = 4}};
    for (size_t i = 0; i < 2; i++) {
        lmn__conv conv = large[i];
        conv.window = (lmn_window){.stride_h = 1,
                                   .stride_w = 1,
                                   .pad_top = 1,
                                   .pad_left = 1,
                                   .pad_bottom = 1,
                                   .pad_right = 1};
        dice source = {.seed = i};
        arrays a = create_arrays(&conv, &source);
        for (int direction = 0; direction < 3; direction++) {
            check(&conv, (lmn__conv_direction)direction, &lmn__conv_winograd, &a);
        }
        destroy_arrays(&a);
    }
}

static void winograd_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    lmn__conv conv = {.batch = 4,
                      .h = 20,
                      .w = 20,
                      .c = 32,
                      .k = 48,
                      .kh = 3,
                      .kw = 3,
                      .oh = 18,
                      .ow = 18,
                      .window = {.stride_h = 1, .stride_w = 1}};
    dice source = {.seed = 1};
    arrays a = create_arrays(&conv, &source);
    for (int direction = 0; direction < 3; direction++) {
        const roles r = roles_of((lmn__conv_direction)direction);
        lmn__conv_plan *plan = NULL;
        assert_int_equal(lmn__conv_plan_create(&conv, (lmn__conv_direction)direction,
                                               &lmn__conv_winograd, &plan, NULL),
                         LMN_OK);
        float *results[2];
        for (int threads = 1; threads <= 2; threads++) {
            lmn_compute_set_threads(threads);
            results[threads - 1] = run(plan, &a, r, NULL);
        }
        lmn_compute_set_threads(1);
        assert_memory_equal(results[0], results[1], a.counts[r.result] * sizeof(float));
        lmn_free(results[0]);
        lmn_free(results[1]);
        lmn__conv_plan_destroy(plan);
    }
    destroy_arrays(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(im2col_equals_plain_loops),
        cmocka_unit_test(winograd_equals_plain_loops),
        cmocka_unit_test(onednn_equals_plain_loops),
        cmocka_unit_test(winograd_larger_than_its_blocks_equals_plain_loops),
        cmocka_unit_test(winograd_bits_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
