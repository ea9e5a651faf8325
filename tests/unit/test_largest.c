/*
 * The largest of a list of entries, against sorting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"
#include "train/largest_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3000 };

typedef struct entry {
    uint32_t index;
    float value;
} entry;

static int larger_first(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    const float p = fabsf(x->value);
    const float q = fabsf(y->value);
    return p != q ? (p < q) - (p > q) : (x->index > y->index) - (x->index < y->index);
}

static int lower_index_first(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

/* Numbers with many equal magnitudes, zeros of both signs, and the ends of the range. */
static void fill(uint32_t *indices, float *values, bool is_coarse)
{
    const lmn_stream stream = {.seed = 5, .purpose = LMN_STREAM_USER};
    lmn_stream_normal(&stream, 0, N, values);
    for (size_t i = 0; i < N; i++) {
        indices[i] = (uint32_t)(3 * i + 1);
        values[i] = is_coarse ? rintf(values[i] * 2.0F) : values[i];
    }
    values[7] = -0.0F;
    values[8] = 3.4e38F;
    values[9] = -1e-42F;
}

static void assert_same_as_sorting(bool is_coarse, size_t k)
{
    uint32_t indices[N];
    float values[N];
    static entry sorted[N];
    fill(indices, values, is_coarse);
    for (size_t i = 0; i < N; i++) {
        sorted[i] = (entry){.index = indices[i], .value = values[i]};
    }
    qsort(sorted, N, sizeof sorted[0], larger_first);
    const size_t expected = k < N ? k : N;
    qsort(sorted, expected, sizeof sorted[0], lower_index_first);
    assert_int_equal(lmn__keep_largest(indices, values, N, k), expected);
    for (size_t i = 0; i < expected; i++) {
        assert_int_equal(indices[i], sorted[i].index);
        assert_memory_equal(&values[i], &sorted[i].value, sizeof values[i]);
    }
}

static void keep_largest_is_what_sorting_gives(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 2, 17, 150, 1500, N - 1, N, N + 5};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_same_as_sorting(false, counts[i]);
        assert_same_as_sorting(true, counts[i]);
    }
}

static void keep_above_takes_magnitudes_from_the_threshold_on(void **state)
{
    (void)state;
    uint32_t indices[] = {2, 5, 8, 9, 11};
    float values[] = {-1.0F, 0.5F, 2.0F, -0.999F, 1.0F};
    assert_int_equal(lmn__keep_above(indices, values, 5, 1.0F), 3);
    const uint32_t expected[] = {2, 8, 11};
    assert_memory_equal(indices, expected, sizeof expected);
    assert_true(values[0] == -1.0F && values[1] == 2.0F && values[2] == 1.0F);
    assert_int_equal(lmn__keep_above(indices, values, 3, 0.0F), 3);
    assert_int_equal(lmn__keep_above(indices, values, 3, INFINITY), 0);
    assert_int_equal(lmn__keep_above(indices, values, 0, 1.0F), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_largest_is_what_sorting_gives),
        cmocka_unit_test(keep_above_takes_magnitudes_from_the_threshold_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
