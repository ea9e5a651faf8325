/*
 * Top-k: the selection equals a full sort, to the bit, and messages are what they say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "lamina/sparse.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One encoded vector: the message cut into its parts, and the residual. */
typedef struct encoded {
    lmn_compressor *compressor;
    check_encoding *encoding;
    lmn_encode_job job; /* of the encoding */
    size_t n_entries;
    uint32_t *indices; /* read from the message */
    float *values;
} encoded;

static void read_message(encoded *e)
{
    const lmn_sparse_message message = {.payload = e->job.payload,
                                        .bytes = e->job.payload_bytes,
                                        .range = {.first = 0, .count = e->job.count}};
    e->n_entries = lmn_sparse_count(&message);
    e->indices = check_new_bytes(e->n_entries * sizeof e->indices[0]);
    e->values = check_new_floats(e->n_entries);
    lmn_sparse_read(&message, e->indices, e->values);
}

static encoded encode(const char *spec, const float *vector, size_t count)
{
    encoded e = {.compressor = check_new_compressor(spec)};
    const size_t level = lmn_compressor_static_level(e.compressor);
    e.encoding = check_new_encoding(e.compressor, level, lmn_layer_flat(count));
    check_encode(e.compressor, vector, e.encoding);
    e.job = e.encoding->job;
    read_message(&e);
    return e;
}

static void free_encoded(encoded *e)
{
    check_free_encoding(e->encoding);
    lmn_compressor_destroy(e->compressor);
    lmn_free(e->indices);
    lmn_free(e->values);
}

/* The independent way: sort all, larger magnitude first, then lower index. */
typedef struct item {
    float magnitude;
    uint32_t index;
} item;

static int compare_items(const void *a, const void *b)
{
    const item *x = a;
    const item *y = b;
    if (x->magnitude != y->magnitude) {
        return x->magnitude > y->magnitude ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

static item *sorted(const float *vector, size_t count)
{
    item *items = check_new_bytes(count * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        items[i] = (item){.magnitude = fabsf(vector[i]), .index = (uint32_t)i};
    }
    qsort(items, count, sizeof *items, compare_items);
    return items;
}

static void assert_equals_sort(const encoded *e, const float *vector, size_t k)
{
    item *items = sorted(vector, e->job.count);
    float *kept = check_new_floats(e->job.count);
    size_t n_kept = 0;
    while (n_kept < k && items[n_kept].magnitude > 0.0F) {
        kept[items[n_kept].index] = vector[items[n_kept].index];
        n_kept++;
    }
    assert_int_equal(e->n_entries, n_kept);
    size_t entry = 0;
    for (size_t i = 0; i < e->job.count; i++) {
        if (kept[i] != 0.0F) {
            assert_int_equal(e->indices[entry], i);
            assert_memory_equal(&e->values[entry], &vector[i], sizeof vector[i]);
            assert_true(e->encoding->vector[i] == 0.0F);
            entry++;
        } else {
            assert_memory_equal(&e->encoding->vector[i], &vector[i], sizeof vector[i]);
        }
    }
    lmn_free(items);
    lmn_free(kept);
}

static void encode_golden_vector_selects_by_magnitude_then_index(void **state)
{
    (void)state;
    const float vector[] = {3.0F, -1.0F, 0.5F, -3.0F, 2.0F, 0.0F};
    const uint32_t expected[] = {0, 3, 4};
    for (size_t k = 1; k <= 3; k++) {
        char spec[32] = "";
        (void)snprintf(spec, sizeof spec, "topk:density=%.3f", (double)k / 6.0 - 0.01);
        encoded e = encode(spec, vector, 6);
        assert_int_equal(e.n_entries, k);
        assert_memory_equal(e.indices, expected, k * sizeof expected[0]);
        free_encoded(&e);
    }
    encoded all = encode("topk:density=1", vector, 6);
    assert_int_equal(all.n_entries, 5);
    free_encoded(&all);
}

static void encode_golden_vector_has_the_documented_bytes(void **state)
{
    (void)state;
    const float vector[] = {0.5F, -2.0F, 0.0F, 1.0F};
    const unsigned char expected[] = {
        1, 1, 0, 0,    2, 0, 0,    0, /* header: distances, f32; two entries */
        1, 1, 0, 0,                   /* distances, padded */
        0, 0, 0, 0xC0, 0, 0, 0x80, 0x3F,
    };
    encoded e = encode("topk:density=0.5", vector, 4);
    assert_int_equal(e.job.payload_bytes, sizeof expected);
    assert_memory_equal(e.job.payload, expected, sizeof expected);
    free_encoded(&e);
}

static void encode_every_kind_of_vector_equals_a_sort(void **state)
{
    (void)state;
    const char *const specs[] = {"topk:density=0.001", "topk:density=0.01", "topk:density=0.25",
                                 "topk:density=1"};
    const double densities[] = {0.001, 0.01, 0.25, 1.0};
    const size_t counts[] = {1, 2, 7, 16, 31, 100, 1024, 5003, 40000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *vector = check_new_floats(counts[i]);
        for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
            check_fill(vector, counts[i], kind, 11);
            for (size_t j = 0; j < sizeof specs / sizeof specs[0]; j++) {
                encoded e = encode(specs[j], vector, counts[i]);
                const size_t k = (size_t)ceil(densities[j] * (double)counts[i]);
                assert_equals_sort(&e, vector, k);
                free_encoded(&e);
            }
        }
        lmn_free(vector);
    }
}

static void encode_a_million_and_one_elements_equals_a_sort(void **state)
{
    (void)state;
    const size_t count = (1U << 20) + 1;
    float *vector = check_new_floats(count);
    check_fill(vector, count, CHECK_NORMAL, 12);
    vector[count - 1] = -100.0F;
    encoded e = encode("topk:density=0.01", vector, count);
    assert_equals_sort(&e, vector, 10486);
    assert_int_equal(e.indices[e.n_entries - 1], count - 1);
    free_encoded(&e);
    lmn_free(vector);
}

static void encode_extreme_magnitudes_equals_a_sort(void **state)
{
    (void)state;
    const float vector[] = {3.4028234e38F, -1e-45F, 1e-38F, -3.4028234e38F, 0.0F, -0.0F, 2e-45F};
    for (size_t k = 1; k <= 7; k++) {
        char spec[32] = "";
        (void)snprintf(spec, sizeof spec, "topk:density=%.4f", (double)k / 7.0 - 0.001);
        encoded e = encode(spec, vector, 7);
        assert_equals_sort(&e, vector, k);
        free_encoded(&e);
    }
}

static void payload_bytes_round_density_up_but_not_its_binary_tail(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("topk:density=0.07,levels=0.07");
    assert_int_equal(lmn_compressor_level_count(compressor), 2);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(100)),
                     8 + 16 + 4 * 7);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(101)),
                     8 + 16 + 4 * 8);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(1)), 8 + 8);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(0)), 8);
    lmn_compressor_destroy(compressor);
}

static void assert_level(const lmn_compressor *compressor, size_t level, const char *expected)
{
    char text[64] = "";
    lmn_compressor_level_format(compressor, level, text, sizeof text);
    assert_string_equal(text, expected);
}

static void create_density_of_its_own_is_inserted_in_order(void **state)
{
    (void)state;
    lmn_compressor *usual = check_new_compressor("topk");
    assert_int_equal(lmn_compressor_level_count(usual), 7);
    assert_int_equal(lmn_compressor_static_level(usual), 5);
    assert_level(usual, 1, "density=0.2");
    assert_level(usual, 5, "density=0.01");
    assert_level(usual, 6, "density=0.005");
    lmn_compressor_destroy(usual);
    lmn_compressor *dense = check_new_compressor("topk:density=0.3");
    assert_int_equal(lmn_compressor_level_count(dense), 4);
    assert_int_equal(lmn_compressor_static_level(dense), 2);
    assert_level(dense, 1, "density=0.6");
    assert_level(dense, 3, "density=0.15");
    lmn_compressor_destroy(dense);
    lmn_compressor *own = check_new_compressor("topk:levels=0.1/0.5/0.1,density=0.3");
    assert_int_equal(lmn_compressor_level_count(own), 4);
    assert_int_equal(lmn_compressor_static_level(own), 2);
    assert_level(own, 1, "density=0.5");
    assert_level(own, 2, "density=0.3");
    assert_level(own, 3, "density=0.1");
    lmn_compressor_destroy(own);
}

static void eta_and_contraction_are_the_fraction_sent(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("topk:density=0.01");
    const size_t level = lmn_compressor_static_level(compressor);
    assert_true(lmn_compressor_contraction(compressor, level, lmn_layer_flat(2000)) == 0.01);
    assert_true(lmn_compressor_eta(compressor, level, lmn_layer_flat(2000)).suggested == 0.01);
    assert_true(lmn_compressor_eta(compressor, level, lmn_layer_flat(2000)).limit == 0.02);
    assert_int_equal(lmn_compressor_combine(compressor, level), LMN_COMBINE_SPARSE);
    lmn_compressor_destroy(compressor);
}

static void error_curve_every_level_equals_a_sort(void **state)
{
    (void)state;
    const double densities[] = {0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001};
    const size_t count = 30011;
    lmn_compressor *compressor =
        check_new_compressor("topk:levels=0.2/0.1/0.05/0.02/0.005/0.002/0.001");
    float *vector = check_new_floats(count);
    void *scratch =
        check_new_bytes(lmn_compressor_scratch_bytes(compressor, lmn_layer_flat(count)));
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, count, kind, 5);
        item *items = sorted(vector, count);
        double curve[9] = {0.0};
        lmn_compressor_error_curve(compressor, vector, lmn_layer_flat(count), curve, scratch);
        for (size_t level = 1; level <= 8; level++) {
            double rest = 0.0;
            for (size_t i = (size_t)ceil(densities[level - 1] * (double)count); i < count; i++) {
                rest += (double)items[i].magnitude * (double)items[i].magnitude;
            }
            assert_true(fabs(curve[level] - rest) <= 1e-11 * rest);
        }
        lmn_free(items);
    }
    lmn_free(scratch);
    lmn_free(vector);
    lmn_compressor_destroy(compressor);
}

static void check_message_with_too_many_entries_is_refused(void **state)
{
    (void)state;
    const float vector[] = {0.1F, 1.0F, 0.2F, 2.0F, 0.3F, 3.0F};
    encoded e = encode("topk:density=0.5,levels=0.2", vector, 6);
    lmn_decode_job message = check_message_of(e.encoding);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_compressor_check(e.compressor, &message, &err), LMN_OK);
    message.level++;
    assert_int_equal(lmn_compressor_check(e.compressor, &message, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "3 entries where at most 2"));
    free_encoded(&e);
}

static void check_message_with_fewer_entries_passes(void **state)
{
    (void)state;
    const unsigned char nothing[8] = {1};
    lmn_compressor *compressor = check_new_compressor("topk");
    const lmn_decode_job message = {
        .level = 1, .count = 1000, .payload = nothing, .payload_bytes = 8};
    assert_int_equal(lmn_compressor_check(compressor, &message, NULL), LMN_OK);
    lmn_compressor_destroy(compressor);
}

/* Encode again with this remembered; what comes out must be the same. */
static void assert_memory_changes_nothing(const encoded *e, const float *vector, float threshold)
{
    check_encoding *again =
        check_new_encoding(e->compressor, e->job.level, lmn_layer_flat(e->job.count));
    again->job.memory[0] = threshold;
    again->job.memory[1] = threshold;
    check_encode(e->compressor, vector, again);
    assert_int_equal(again->job.payload_bytes, e->job.payload_bytes);
    assert_memory_equal(again->job.payload, e->job.payload, e->job.payload_bytes);
    check_same_bits(again->vector, e->encoding->vector, e->job.count);
    check_free_encoding(again);
}

static void encode_any_remembered_threshold_changes_nothing(void **state)
{
    (void)state;
    const float thresholds[] = {0.0F,  -1.0F, 1e-44F,  1e-3F,           0.5F,      2.0F, 2.5F,
                                2.58F, 2.9F,  3.0e38F, (float)INFINITY, (float)NAN};
    const size_t counts[] = {1, 1000, 70001, 300001};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *vector = check_new_floats(counts[i]);
        for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
            check_fill(vector, counts[i], kind, 31);
            encoded e = encode("topk:density=0.01", vector, counts[i]);
            assert_equals_sort(&e, vector, (size_t)ceil(0.01 * (double)counts[i]));
            for (size_t j = 0; j < sizeof thresholds / sizeof thresholds[0]; j++) {
                assert_memory_changes_nothing(&e, vector, thresholds[j]);
            }
            free_encoded(&e);
        }
        lmn_free(vector);
    }
}

static void encode_remembers_the_smallest_magnitude_sent(void **state)
{
    (void)state;
    const float vector[] = {3.0F, -1.0F, 0.5F, -2.5F, 2.0F, 0.0F};
    encoded e = encode("topk:density=0.5", vector, 6);
    assert_int_equal(lmn_compressor_memory_of(e.compressor, lmn_layer_flat(6)).own, 2);
    assert_true(e.job.memory[0] == 2.0F);
    free_encoded(&e);
}

/* A source that counts what it is told. */
typedef struct counting_source {
    const float *vector;
    unsigned char *times; /* [count] that `form_unsent` was called for a place */
} counting_source;

static bool form_counted(void *user, size_t first, size_t count, float *vector)
{
    const counting_source *source = user;
    memcpy(vector, source->vector + first, count * sizeof *vector);
    return true;
}

static bool count_unsent(void *user, size_t first, size_t count, float *vector)
{
    const counting_source *source = user;
    for (size_t i = 0; i < count; i++) {
        source->times[first + i]++;
    }
    return form_counted(user, first, count, vector);
}

static void ignore_entries(void *user, size_t n, const uint32_t *indices, const float *values)
{
    (void)user;
    (void)n;
    (void)indices;
    (void)values;
}

static void encode_after_a_wrong_guess_tells_each_place_once(void **state)
{
    (void)state;
    const size_t count = 100003;
    encoded e = {.compressor = check_new_compressor("topk:density=0.0001")};
    float *vector = check_new_floats(count);
    check_fill(vector, count, CHECK_NORMAL, 8);
    counting_source counting = {.vector = vector, .times = check_new_bytes(count)};
    e.encoding = check_new_encoding(e.compressor, 5, lmn_layer_flat(count));
    e.encoding->source = (lmn_source){.form = form_counted,
                                      .form_unsent = count_unsent,
                                      .sent_entries = ignore_entries,
                                      .user = &counting};
    e.encoding->job.memory[0] = 1e6F;
    check_encode(e.compressor, vector, e.encoding);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(counting.times[i], 1);
    }
    e.job = e.encoding->job;
    read_message(&e);
    assert_int_equal(e.n_entries, 11);
    lmn_free(vector);
    lmn_free(counting.times);
    free_encoded(&e);
}

static void encode_with_few_bits_a_value_sends_what_it_reports(void **state)
{
    (void)state;
    const char *const specs[] = {"topk:density=0.1,values=bf16", "topk:density=0.1,values=q8",
                                 "topk:density=0.1,values=q4"};
    const size_t bits[] = {16, 8, 4};
    const size_t count = 20000;
    float *vector = check_new_floats(count);
    check_fill(vector, count, CHECK_NORMAL, 41);
    encoded whole = encode("topk:density=0.1", vector, count);
    for (size_t i = 0; i < 3; i++) {
        encoded e = encode(specs[i], vector, count);
        float *expected = check_new_floats(e.n_entries);
        memcpy(expected, whole.values, e.n_entries * sizeof expected[0]);
        lmn_sparse_round(expected, e.n_entries, (lmn_sparse_values)(i + 1));
        assert_int_equal(e.n_entries, 2000);
        assert_memory_equal(e.indices, whole.indices, e.n_entries * sizeof e.indices[0]);
        check_same_bits(e.values, expected, e.n_entries);
        const size_t scales = i == 0 ? 0 : 4 * 4;
        assert_int_equal(whole.job.payload_bytes - e.job.payload_bytes,
                         (32 - bits[i]) * 2000 / 8 - scales);
        for (size_t j = 0; j < e.n_entries; j++) {
            assert_true(e.encoding->vector[e.indices[j]] == vector[e.indices[j]] - expected[j]);
        }
        lmn_free(expected);
        free_encoded(&e);
    }
    free_encoded(&whole);
    lmn_free(vector);
}

/* Every entry that is sent is at least as large as every one that is not. */
static void assert_largest_are_sent(const encoded *e, const float *vector)
{
    float smallest_sent = INFINITY;
    float largest_kept = 0.0F;
    for (size_t i = 0; i < e->job.count; i++) {
        const float magnitude = fabsf(vector[i]);
        if (e->encoding->vector[i] == 0.0F) {
            smallest_sent = magnitude < smallest_sent ? magnitude : smallest_sent;
        } else {
            largest_kept = magnitude > largest_kept ? magnitude : largest_kept;
        }
    }
    assert_true(smallest_sent >= largest_kept);
}

static void reuse_keeps_the_number_of_entries_near_k(void **state)
{
    (void)state;
    const size_t count = 20000;
    const size_t k = 200;
    float *vector = check_new_floats(count);
    encoded e = {.compressor = check_new_compressor("topk:density=0.01,reuse=yes")};
    e.encoding = check_new_encoding(e.compressor, 5, lmn_layer_flat(count));
    size_t n_exact = 0;
    for (uint32_t step = 0; step < 70; step++) {
        check_fill(vector, count, CHECK_NORMAL, 100 + step);
        if (step == 50) { /* gradients grow: far too many entries reach the threshold */
            for (size_t i = 0; i < count; i++) {
                vector[i] *= 3.0F;
            }
        }
        check_encode(e.compressor, vector, e.encoding);
        e.job = e.encoding->job;
        read_message(&e);
        assert_true(e.n_entries >= k * 2 / 3 && e.n_entries <= k * 5 / 4);
        assert_largest_are_sent(&e, vector);
        assert_true(step % 32 != 0 || step >= 50 || e.n_entries == k);
        assert_true(step != 50 || e.n_entries == k);
        n_exact += (size_t)(e.n_entries == k);
        lmn_free(e.indices);
        lmn_free(e.values);
        e.indices = NULL;
        e.values = NULL;
    }
    assert_true(n_exact >= 3 && n_exact < 35);
    free_encoded(&e);
    lmn_free(vector);
}

static void reuse_promises_two_thirds_of_the_contraction(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("topk:density=0.03,reuse=1,levels=0.03");
    assert_true(lmn_compressor_contraction(compressor, 1, lmn_layer_flat(1000)) == 0.02);
    assert_true(lmn_compressor_eta(compressor, 1, lmn_layer_flat(1000)).suggested == 0.03);
    lmn_compressor_destroy(compressor);
}

static void create_bad_values_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[] = {"topk:density=0",      "topk:density=2",    "topk:density=-0.1",
                               "topk:density=nan",    "topk:density=",     "topk:levels=0.1/0",
                               "topk:levels=0.1/1.5", "topk:levels=0.1/x", "topk:values=q3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_compressor *compressor = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_compressor_create(bad[i], &compressor, &err), LMN_ERR_USAGE);
        assert_null(compressor);
        const char *const keys[] = {"density", "levels", "values"};
        for (size_t j = 0; j < 3; j++) {
            assert_true(strstr(bad[i], keys[j]) == NULL || strstr(err.message, keys[j]) != NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_golden_vector_selects_by_magnitude_then_index),
        cmocka_unit_test(encode_golden_vector_has_the_documented_bytes),
        cmocka_unit_test(encode_every_kind_of_vector_equals_a_sort),
        cmocka_unit_test(encode_a_million_and_one_elements_equals_a_sort),
        cmocka_unit_test(encode_extreme_magnitudes_equals_a_sort),
        cmocka_unit_test(payload_bytes_round_density_up_but_not_its_binary_tail),
        cmocka_unit_test(create_density_of_its_own_is_inserted_in_order),
        cmocka_unit_test(eta_and_contraction_are_the_fraction_sent),
        cmocka_unit_test(error_curve_every_level_equals_a_sort),
        cmocka_unit_test(check_message_with_too_many_entries_is_refused),
        cmocka_unit_test(check_message_with_fewer_entries_passes),
        cmocka_unit_test(encode_any_remembered_threshold_changes_nothing),
        cmocka_unit_test(encode_remembers_the_smallest_magnitude_sent),
        cmocka_unit_test(encode_after_a_wrong_guess_tells_each_place_once),
        cmocka_unit_test(encode_with_few_bits_a_value_sends_what_it_reports),
        cmocka_unit_test(reuse_keeps_the_number_of_entries_near_k),
        cmocka_unit_test(reuse_promises_two_thirds_of_the_contraction),
        cmocka_unit_test(create_bad_values_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
