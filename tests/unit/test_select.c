/*
 * Selection of large entries: all instruction sets and all thread counts give the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/compress/select_internal.h"
#include "algos/compress/simd/scan.h"
#include "algos_check.h"
#include "lamina/memory.h"
#include "lamina/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static lmn__entries new_entries(size_t count)
{
    return (lmn__entries){.indices = check_new_bytes(count * sizeof(uint32_t)),
                          .values = check_new_floats(count)};
}

static void free_entries(lmn__entries *e)
{
    lmn_free(e->indices);
    lmn_free(e->values);
}

static void assert_same_entries(const lmn__entries *a, const lmn__entries *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->indices, b->indices, a->n * sizeof a->indices[0]);
    check_same_bits(a->values, b->values, a->n);
}

/* The plain way. */
static double pick_plainly(const float *x, size_t n, uint32_t floor, uint32_t first,
                           lmn__entries *out)
{
    double energy = 0.0;
    out->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (lmn__key(x[i]) >= floor) {
            out->indices[out->n] = first + (uint32_t)i;
            out->values[out->n++] = x[i];
        } else {
            energy += (double)x[i] * (double)x[i];
        }
    }
    return energy;
}

/* One variant against the plain way; its partial sums go to `energy`. */
static void assert_variant_picks(const lmn__scan_kernels *scan, const float *x, size_t n,
                                 uint32_t floor, double *energy)
{
    lmn__entries expected = new_entries(n);
    lmn__entries got = new_entries(n);
    const double rest = pick_plainly(x, n, floor, 70, &expected);
    got.n = scan->pick(x, n, floor, 70, got.indices, got.values);
    assert_same_entries(&got, &expected);
    memset(energy, 0, LMN__ENERGY_LANES * sizeof energy[0]);
    got.n = scan->pick_and_weigh(x, n, floor, 70, got.indices, got.values, energy);
    assert_same_entries(&got, &expected);
    double sum = 0.0;
    for (size_t lane = 0; lane < LMN__ENERGY_LANES; lane++) {
        sum += energy[lane];
    }
    assert_true(fabs(sum - rest) <= 1e-12 * rest);
    memcpy(got.values, x, n * sizeof x[0]);
    for (size_t i = 0; i < n; i++) {
        got.indices[i] = 70 + (uint32_t)i;
    }
    got.n = scan->keep(got.indices, got.values, n, floor);
    assert_same_entries(&got, &expected);
    free_entries(&expected);
    free_entries(&got);
}

static void assert_variants_agree(const float *x, size_t n, uint32_t floor)
{
    double first[LMN__ENERGY_LANES];
    assert_variant_picks(lmn__scan_kernels_variant(0), x, n, floor, first);
    for (size_t v = 1; lmn__scan_kernels_variant(v) != NULL; v++) {
        double energy[LMN__ENERGY_LANES];
        assert_variant_picks(lmn__scan_kernels_variant(v), x, n, floor, energy);
        assert_memory_equal(energy, first, sizeof first);
    }
}

static void every_instruction_set_picks_the_same_entries(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 7, 8, 15, 16, 17, 33, 500, 1023, 1024, 1025, 5000};
    const uint32_t floors[] = {1,           0x10,        0x3E800000U,      0x3F400000U,
                               0x3F800000U, 0x40200000U, LMN__KEY_INFINITY};
    assert_non_null(lmn__scan_kernels_variant(0));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *x = check_new_floats(counts[i]);
        for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
            check_fill(x, counts[i], kind, 17);
            for (size_t j = 0; j < sizeof floors / sizeof floors[0]; j++) {
                assert_variants_agree(x, counts[i], floors[j]);
            }
        }
        lmn_free(x);
    }
}

static int descending(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return (*x < *y) - (*x > *y);
}

static void assert_cut_equals_a_sort(const float *values, size_t n, size_t k, const uint32_t *keys,
                                     void *work)
{
    const lmn__cut cut = lmn__cut_after(values, n, k, work);
    size_t n_above = 0;
    size_t n_ties = 0;
    for (size_t i = 0; i < n; i++) {
        n_above += keys[i] > cut.key;
        n_ties += keys[i] == cut.key;
    }
    assert_int_equal(cut.key, keys[k - 1]);
    assert_int_equal(cut.n_equal, k - n_above);
    assert_int_equal(cut.n_ties, n_ties);
}

static void cut_after_any_number_of_values_equals_a_sort(void **state)
{
    (void)state;
    const size_t counts[] = {1, 2, 10, 1000, 4097, 30000};
    void *work = check_new_bytes(lmn__cut_work_bytes());
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const size_t n = counts[i];
        float *values = check_new_floats(n);
        uint32_t *keys = check_new_bytes(n * sizeof *keys);
        for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
            check_fill(values, n, kind, 23);
            for (size_t j = 0; j < n; j++) {
                keys[j] = lmn__key(values[j]);
            }
            qsort(keys, n, sizeof *keys, descending);
            for (size_t k = 1; k <= n; k += 1 + n / 40) {
                assert_cut_equals_a_sort(values, n, k, keys, work);
            }
            assert_cut_equals_a_sort(values, n, n, keys, work);
        }
        lmn_free(values);
        lmn_free(keys);
    }
    lmn_free(work);
}

static void encode_with_any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    const int threads[] = {1, 2, 4, 16};
    const size_t count = 700001;
    lmn_compressor *compressor = check_new_compressor("topk:density=0.02");
    const size_t level = lmn_compressor_static_level(compressor);
    const size_t n_levels = lmn_compressor_level_count(compressor);
    float *vector = check_new_floats(count);
    check_fill(vector, count, CHECK_NORMAL, 51);
    check_encoding *alone = NULL;
    double curve_alone[16];
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        lmn_compute_set_threads(threads[i]);
        check_encoding *e = check_new_encoding(compressor, level, lmn_layer_flat(count));
        check_encode(compressor, vector, e);
        double curve[16];
        lmn_compressor_error_curve(compressor, vector, lmn_layer_flat(count), curve,
                                   e->job.scratch);
        if (alone == NULL) {
            alone = e;
            memcpy(curve_alone, curve, sizeof curve);
            continue;
        }
        assert_int_equal(e->job.payload_bytes, alone->job.payload_bytes);
        assert_memory_equal(e->job.payload, alone->job.payload, e->job.payload_bytes);
        check_same_bits(e->vector, alone->vector, count);
        assert_memory_equal(curve, curve_alone, n_levels * sizeof curve[0]);
        check_free_encoding(e);
    }
    check_free_encoding(alone);
    lmn_free(vector);
    lmn_compressor_destroy(compressor);
}

/* Large entries only where samples are taken, or only elsewhere: the guess is far off. */
static void encode_clustered_entries_finds_all(void **state)
{
    (void)state;
    const size_t count = 400000; /* 128 runs of samples, 3125 apart and 128 long */
    const size_t cluster_starts[] = {0, 3025};
    lmn_compressor *compressor = check_new_compressor("topk:density=0.01,levels=0.02");
    float *vector = check_new_floats(count);
    for (size_t trial = 0; trial < 2; trial++) {
        for (size_t i = 0; i < count; i++) {
            const size_t place = i % 3125 - cluster_starts[trial];
            vector[i] = place < 100 ? 2.0F + 0x1p-20F * (float)i : 0x1p-20F * (float)(i + 1);
        }
        check_encoding *e = check_new_encoding(compressor, 2, lmn_layer_flat(count));
        check_encode(compressor, vector, e);
        size_t n_sent = 0;
        float largest_left = 0.0F;
        float smallest_sent = INFINITY;
        for (size_t i = 0; i < count; i++) {
            const bool is_sent = e->vector[i] == 0.0F;
            n_sent += is_sent;
            smallest_sent = is_sent ? fminf(smallest_sent, vector[i]) : smallest_sent;
            largest_left = fmaxf(largest_left, e->vector[i]);
        }
        assert_int_equal(n_sent, 4000);
        assert_true(smallest_sent > largest_left && largest_left > 2.0F);
        check_free_encoding(e);
    }
    lmn_free(vector);
    lmn_compressor_destroy(compressor);
}

static bool form_watched(void *user, size_t first, size_t count, float *vector)
{
    bool is_finite = true;
    memcpy(vector, (const float *)user + first, count * sizeof *vector);
    for (size_t i = 0; i < count; i++) {
        is_finite &= isfinite(vector[i]) != 0;
    }
    return is_finite;
}

static void encode_nonfinite_vector_is_told(void **state)
{
    (void)state;
    const float bad[] = {(float)INFINITY, -(float)INFINITY, (float)NAN};
    const size_t counts[] = {1, 5000, 300000};
    lmn_compressor *compressor = check_new_compressor("topk");
    for (size_t i = 0; i < 3; i++) {
        check_encoding *e = check_new_encoding(compressor, 1, lmn_layer_flat(counts[i]));
        check_fill(e->vector, counts[i], CHECK_NORMAL, 3);
        e->vector[counts[i] / 2] = bad[i];
        e->source.form = form_watched;
        e->source.form_unsent = form_watched;
        e->job.memory[0] = 0.25F;
        assert_int_equal(lmn_compressor_encode(compressor, &e->job, NULL), LMN_OK);
        assert_false(e->job.is_finite);
        assert_int_equal(e->job.payload_bytes, 0);
        assert_true(e->job.memory[0] == 0.25F);
        check_free_encoding(e);
    }
    lmn_compressor_destroy(compressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_picks_the_same_entries),
        cmocka_unit_test(cut_after_any_number_of_values_equals_a_sort),
        cmocka_unit_test(encode_with_any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(encode_clustered_entries_finds_all),
        cmocka_unit_test(encode_nonfinite_vector_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
