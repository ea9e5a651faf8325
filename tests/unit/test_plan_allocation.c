/*
 * A run of a plan makes no heap allocation.
 *
 * This program puts itself before the C library's allocator and counts. Sanitizers do the same with
 * theirs, so the test is skipped under them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#endif

static size_t *allocation_count(void)
{
    static size_t count = 0;
    return &count;
}

#if defined(__GLIBC__) && !defined(UNDER_SANITIZER)
#define COUNTS_ALLOCATIONS true

/* The allocator of glibc under its own names. NOLINTBEGIN(*-reserved-identifier,cert-dcl*,*-naming)
 */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    ++*allocation_count();
    return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
    ++*allocation_count();
    return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
    ++*allocation_count();
    return __libc_realloc(ptr, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    ++*allocation_count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memptr, size_t alignment, size_t size)
{
    ++*allocation_count();
    void *memory = __libc_memalign(alignment, size);
    if (memory == NULL) {
        return ENOMEM;
    }
    *memptr = memory;
    return 0;
}
/* NOLINTEND(*-reserved-identifier,cert-dcl*,*-naming) */
#else
#define COUNTS_ALLOCATIONS false
#endif

#define ROWS    8
#define COLUMNS 16

/*
 * A small classifier with everything in its plan: products, dropout, reductions, gradients; with
 * `is_limited` in as little memory as it can.
 */
static lmn_plan *new_classifier_plan(lmn_graph *graph, void *memory, bool is_limited)
{
    const lmn_shape input_shape = {.n_dims = 2, .dims = {ROWS, COLUMNS}};
    const lmn_shape weight_shape = {.n_dims = 2, .dims = {COLUMNS, COLUMNS}};
    const lmn_shape labels_shape = {.n_dims = 1, .dims = {ROWS}};
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, input_shape);
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, labels_shape);
    const lmn_tensor *w = lmn_parameter(graph, "w", weight_shape, (lmn_init){0});
    const lmn_tensor *hidden = x;
    for (int i = 0; i < 8; i++) {
        hidden = lmn_relu(graph, lmn_matmul(graph, hidden, w, false, false));
    }
    const lmn_tensor *logits = lmn_matmul(graph, lmn_dropout(graph, hidden, 0.5F), w, false, true);
    const lmn_tensor *losses = lmn_softmax_cross_entropy(graph, logits, labels);
    const lmn_tensor *outputs[2] = {lmn_reduce_mean(graph, losses, LMN_ALL_AXES, false), NULL};
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_gradients(graph, outputs[0], &w, 1, &outputs[1], &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_plan_options options = lmn_plan_options_default();
    options.memory_bytes = is_limited ? check_least_memory(graph, outputs, 2) : 0;
    if (lmn_plan_create(graph, outputs, 2, &options, &plan, &err) != LMN_OK ||
        lmn_plan_bind(plan, x, memory, &err) != LMN_OK ||
        lmn_plan_bind(plan, labels, memory, &err) != LMN_OK ||
        lmn_plan_bind(plan, w, memory, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(lmn_plan_get_stats(plan).n_recomputed > 0, is_limited);
    return plan;
}

static void count_allocations(bool is_limited)
{
    lmn_graph *graph = NULL;
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    const size_t before = *allocation_count();
    void *memory = lmn_alloc((size_t)COLUMNS * COLUMNS, sizeof(float), NULL);
    lmn_plan *plan = new_classifier_plan(graph, memory, is_limited);
    assert_true(*allocation_count() > before || !COUNTS_ALLOCATIONS);

    lmn_run run = {.seed = 1, .training = true};
    size_t counts[3] = {0};
    for (run.step = 0; run.step < 3; run.step++) {
        lmn_error err = lmn_error_none();
        const size_t start = *allocation_count();
        const lmn_status status = lmn_plan_run(plan, &run, &err);
        counts[run.step] = *allocation_count() - start;
        assert_int_equal(status, LMN_OK);
    }
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 0);
    lmn_plan_destroy(plan);
    lmn_free(memory);
    lmn_graph_destroy(graph);
    if (!COUNTS_ALLOCATIONS) {
        skip();
    }
}

static void plan_run_after_the_first_allocates_nothing(void **state)
{
    (void)state;
    count_allocations(false);
}

static void plan_run_with_limit_after_the_first_allocates_nothing(void **state)
{
    (void)state;
    count_allocations(true);
}

/* 2^46 elements are accepted as a shape, and no machine has memory for them. */
static void plan_create_without_enough_memory_is_refused(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) {
        skip(); /* sanitizers end the program instead */
    }
    lmn_graph *graph = NULL;
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    const lmn_shape huge = {.n_dims = 1, .dims = {SIZE_MAX / 65536 / sizeof(float)}};
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, huge);
    const lmn_tensor *value = lmn_tanh(graph, x);
    const lmn_tensor *const outputs[] = {
        lmn_constant(graph, 1.0F, huge),
        lmn_reduce_sum(graph, value, LMN_ALL_AXES, false),
        value,
    };
    for (size_t k = 0; k < 3; k++) {
        lmn_plan *plan = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_plan_create(graph, &outputs[k], 1, NULL, &plan, &err), LMN_ERR_MEMORY);
        assert_null(plan);
        assert_non_null(strstr(err.message, "no memory for"));
    }
    lmn_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_run_after_the_first_allocates_nothing),
        cmocka_unit_test(plan_run_with_limit_after_the_first_allocates_nothing),
        cmocka_unit_test(plan_create_without_enough_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
