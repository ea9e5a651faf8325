/*
 * Top-k: the selection equals a full sort, to the bit, and messages are what they say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

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
    uint32_t n_entries;
    const uint32_t *indices; /* into the payload */
    const float *values;
} encoded;

static encoded encode(const char *spec, const float *vector, size_t count)
{
    encoded e = {.compressor = check_new_compressor(spec)};
    const size_t level = lmn_compressor_static_level(e.compressor);
    e.encoding = check_new_encoding(e.compressor, level, lmn_layer_flat(count));
    check_encode(e.compressor, vector, e.encoding);
    e.job = e.encoding->job;
    memcpy(&e.n_entries, e.job.payload, sizeof e.n_entries);
    assert_int_equal(e.job.payload_bytes, 4 + 8 * (size_t)e.n_entries);
    e.indices = (const void *)(e.job.payload + 4);
    e.values = (const void *)(e.job.payload + 4 + 4 * (size_t)e.n_entries);
    return e;
}

static void free_encoded(encoded *e)
{
    check_free_encoding(e->encoding);
    lmn_compressor_destroy(e->compressor);
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
    const unsigned char expected[] = {2, 0, 0, 0, 1, 0,    0, 0, 3,    0,
                                      0, 0, 0, 0, 0, 0xC0, 0, 0, 0x80, 0x3F};
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
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(100)), 4 + 8 * 7);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(101)), 4 + 8 * 8);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(1)), 4 + 8);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(0)), 4);
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

/* Change one word of a good message of 3 entries (head, indices 1 3 5, values) and look at it. */
static void assert_damage_is_named(size_t word, uint32_t bits, const char *part)
{
    const float vector[] = {0.1F, 1.0F, 0.2F, 2.0F, 0.3F, 3.0F};
    encoded e = encode("topk:density=0.5", vector, 6);
    memcpy(e.job.payload + 4 * word, &bits, sizeof bits);
    const lmn_decode_job message = check_message_of(e.encoding);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_compressor_check(e.compressor, &message, &err), LMN_ERR_MESSAGE);
    if (strstr(err.message, part) == NULL) {
        fail_msg("'%s' lacks '%s'", err.message, part);
    }
    free_encoded(&e);
}

static void check_each_kind_of_damage_is_named(void **state)
{
    (void)state;
    assert_damage_is_named(0, 4, "4 entries where at most 3");
    assert_damage_is_named(0, UINT32_MAX, "entries where at most 3");
    assert_damage_is_named(0, 2, "take 20 bytes, but there are 28");
    assert_damage_is_named(1, 3, "entry 1 has index 3"); /* twice */
    assert_damage_is_named(1, 4, "entry 1 has index 3"); /* descending */
    assert_damage_is_named(3, 6, "entry 2 has index 6"); /* outside */
    assert_damage_is_named(3, UINT32_MAX, "entry 2 has index 4294967295");
    assert_damage_is_named(4, 0x7F800000U, "entry 0 (index 1) is NaN or infinity");
    assert_damage_is_named(6, 0xFFC00000U, "entry 2 (index 5) is NaN or infinity");
}

static void check_message_with_fewer_entries_passes(void **state)
{
    (void)state;
    const unsigned char nothing[8] = {0};
    lmn_compressor *compressor = check_new_compressor("topk");
    const lmn_decode_job message = {
        .level = 1, .count = 1000, .payload = nothing, .payload_bytes = 4};
    assert_int_equal(lmn_compressor_check(compressor, &message, NULL), LMN_OK);
    lmn_compressor_destroy(compressor);
}

static void create_bad_values_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[] = {"topk:density=0",      "topk:density=2",   "topk:density=-0.1",
                               "topk:density=nan",    "topk:density=",    "topk:levels=0.1/0",
                               "topk:levels=0.1/1.5", "topk:levels=0.1/x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_compressor *compressor = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_compressor_create(bad[i], &compressor, &err), LMN_ERR_USAGE);
        assert_null(compressor);
        assert_non_null(strstr(err.message, strstr(bad[i], "levels") ? "levels" : "density"));
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
        cmocka_unit_test(check_each_kind_of_damage_is_named),
        cmocka_unit_test(check_message_with_fewer_entries_passes),
        cmocka_unit_test(create_bad_values_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
