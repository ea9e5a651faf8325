/*
 * Mixtures of compressor families: every level is that of its family to the bit, whatever else is
 * in the mixture.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "rounds_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const members[] = {"topk:density=0.05,reuse=yes", "quant:bits=4,bucket=64",
                                      "lowrank:rank=3,levels=5", "fp16"};
enum { N_MEMBERS = sizeof members / sizeof members[0] };

static const char mixture[] =
    "topk:density=0.05,reuse=yes+quant:bits=4,bucket=64+lowrank:rank=3,levels=5+fp16";

static const lmn_layer_shape shape = {.count = (size_t)40 * 61, .rows = 40};

/* Calls `holds` with every level of every member, and with the level that it is of the mixture. */
typedef void (*property)(const lmn_compressor *all, size_t level, const lmn_compressor *one,
                         size_t own_level);

static void for_all_levels(property holds)
{
    lmn_compressor *all = check_new_compressor(mixture);
    size_t level = 1;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        lmn_compressor *one = check_new_compressor(members[i]);
        for (size_t own = 1; own < lmn_compressor_level_count(one); own++) {
            holds(all, level++, one, own);
        }
        lmn_compressor_destroy(one);
    }
    assert_int_equal(level, lmn_compressor_level_count(all));
    lmn_compressor_destroy(all);
}

static void tables_agree(const lmn_compressor *all, size_t level, const lmn_compressor *one,
                         size_t own)
{
    assert_int_equal(lmn_compressor_combine(all, level), lmn_compressor_combine(one, own));
    assert_int_equal(lmn_compressor_payload_bytes(all, level, shape),
                     lmn_compressor_payload_bytes(one, own, shape));
    assert_true(lmn_compressor_contraction(all, level, shape) ==
                lmn_compressor_contraction(one, own, shape));
    assert_true(lmn_compressor_eta(all, level, shape).suggested ==
                lmn_compressor_eta(one, own, shape).suggested);
    assert_int_equal(lmn_compressor_named_level(all, level) - level,
                     lmn_compressor_static_level(one) - own);
    assert_true(lmn_compressor_scratch_bytes(all, shape) >=
                lmn_compressor_scratch_bytes(one, shape));
}

static void levels_of_a_mixture_are_those_of_its_families_in_their_order(void **state)
{
    (void)state;
    for_all_levels(tables_agree);
    lmn_compressor *all = check_new_compressor(mixture);
    lmn_compressor *first = check_new_compressor(members[0]);
    assert_int_equal(lmn_compressor_family_count(all), N_MEMBERS);
    assert_int_equal(lmn_compressor_family_count(first), 1);
    assert_int_equal(lmn_compressor_static_level(all), lmn_compressor_static_level(first));
    assert_int_equal(lmn_compressor_named_level(all, 0), 0);
    lmn_compressor_destroy(first);
    lmn_compressor_destroy(all);
}

static void curves_agree(const lmn_compressor *all, size_t level, const lmn_compressor *one,
                         size_t own)
{
    double curve[64] = {0.0};
    double expected[64] = {0.0};
    float *vector = check_new_floats(shape.count);
    void *scratch = check_new_bytes(lmn_compressor_scratch_bytes(all, shape));
    check_fill(vector, shape.count, CHECK_NORMAL, 3);
    assert_true(lmn_compressor_level_count(all) <= 64);
    lmn_compressor_error_curve(all, vector, shape, curve, scratch);
    lmn_compressor_error_curve(one, vector, shape, expected, scratch);
    assert_true(curve[level] == expected[own]);
    assert_true(curve[0] == 0.0);
    lmn_free(vector);
    lmn_free(scratch);
}

static void error_curve_of_a_mixture_holds_that_of_each_family(void **state)
{
    (void)state;
    for_all_levels(curves_agree);
}

static void messages_agree(const lmn_compressor *all, size_t level, const lmn_compressor *one,
                           size_t own)
{
    if (lmn_compressor_combine(one, own) == LMN_COMBINE_ROUNDS) {
        return;
    }
    float *vector = check_new_floats(shape.count);
    check_encoding *a = check_new_encoding(all, level, shape);
    check_encoding *b = check_new_encoding(one, own, shape);
    for (uint32_t step = 0; step < 3; step++) {
        check_fill(vector, shape.count, CHECK_NORMAL, 5 + step);
        a->job.stream.step = b->job.stream.step = step;
        check_encode(all, vector, a);
        check_encode(one, vector, b);
        assert_int_equal(a->job.payload_bytes, b->job.payload_bytes);
        assert_memory_equal(a->job.payload, b->job.payload, b->job.payload_bytes);
        check_same_bits(a->vector, b->vector, shape.count);
    }
    const lmn_decode_job message = check_message_of(a);
    float *sum = check_new_floats(shape.count);
    float *expected = check_new_floats(shape.count);
    const lmn_decode_job same = check_message_of(b);
    lmn_compressor_decode_add(all, &message, 0.5F, sum);
    lmn_compressor_decode_add(one, &same, 0.5F, expected);
    check_same_bits(sum, expected, shape.count);
    lmn_free(sum);
    lmn_free(expected);
    lmn_free(vector);
    check_free_encoding(a);
    check_free_encoding(b);
}

static void messages_of_a_mixture_are_those_of_the_family(void **state)
{
    (void)state;
    for_all_levels(messages_agree);
}

static void rounds_agree(const lmn_compressor *all, size_t level, const lmn_compressor *one,
                         size_t own)
{
    enum { RANKS = 3 };
    if (lmn_compressor_combine(one, own) != LMN_COMBINE_ROUNDS) {
        return;
    }
    float *vectors = check_new_floats(RANKS * shape.count);
    check_rounds a = check_new_rounds(all, shape, RANKS);
    check_rounds b = check_new_rounds(one, shape, RANKS);
    a.level = level;
    b.level = own;
    for (uint32_t step = 0; step < 3; step++) {
        check_fill(vectors, RANKS * shape.count, CHECK_NORMAL, 9 + step);
        check_rounds_step(&a, vectors);
        check_rounds_step(&b, vectors);
        check_same_bits(a.mean, b.mean, shape.count);
        check_same_bits(a.sent, b.sent, RANKS * shape.count);
    }
    lmn_free(vectors);
    check_free_rounds(&a);
    check_free_rounds(&b);
}

static void rounds_of_a_mixture_are_those_of_the_family(void **state)
{
    (void)state;
    for_all_levels(rounds_agree);
}

/* Warm starts are there when a family comes back. */
static void a_family_at_work_leaves_the_memory_of_others(void **state)
{
    (void)state;
    lmn_compressor *all = check_new_compressor("lowrank:rank=2+topk:reuse=yes+randk");
    lmn_compressor *alone = check_new_compressor("lowrank:rank=2");
    const lmn_compressor_memory memory = lmn_compressor_memory_of(all, shape);
    assert_int_equal(memory.shared, lmn_compressor_memory_of(alone, shape).shared);
    assert_true(memory.shared > 0 && memory.own > 0);
    float *vectors = check_new_floats(2 * shape.count);
    float *before = check_new_floats(memory.shared);
    check_rounds ranks = check_new_rounds(all, shape, 2);
    const size_t last = lmn_compressor_level_count(all) - 1;
    check_fill(vectors, 2 * shape.count, CHECK_NORMAL, 3);
    ranks.level = lmn_compressor_static_level(all);
    check_rounds_step(&ranks, vectors);
    memcpy(before, ranks.jobs[0].memory, memory.shared * sizeof *before);
    assert_true(check_energy(before, memory.shared) > 0.0);
    ranks.level = last; /* randk */
    check_rounds_step(&ranks, vectors);
    check_same_bits(ranks.jobs[0].memory, before, memory.shared);
    lmn_free(vectors);
    lmn_free(before);
    check_free_rounds(&ranks);
    lmn_compressor_destroy(alone);
    lmn_compressor_destroy(all);
}

static void level_format_of_a_mixture_names_the_family(void **state)
{
    (void)state;
    lmn_compressor *all = check_new_compressor(mixture);
    char text[64] = "";
    lmn_compressor_level_format(all, 0, text, sizeof text);
    assert_string_equal(text, "dense");
    lmn_compressor_level_format(all, lmn_compressor_static_level(all), text, sizeof text);
    assert_string_equal(text, "topk:density=0.05");
    lmn_compressor_level_format(all, lmn_compressor_level_count(all) - 1, text, sizeof text);
    assert_string_equal(text, "fp16");
    lmn_compressor_level_format(all, lmn_compressor_level_count(all) - 2, text, sizeof text);
    assert_string_equal(text, "lowrank:rank=3");
    lmn_compressor_destroy(all);
}

/* The largest is a multiple of the others, so parts fit every family. */
static void grain_of_a_mixture_fits_all_families(void **state)
{
    (void)state;
    lmn_compressor *all = check_new_compressor("quant:bucket=64+sign:bucket=2048+topk");
    assert_int_equal(lmn_compressor_grain(all), 2048);
    lmn_compressor_destroy(all);
    all = check_new_compressor("lowrank+int:bits=8+topk");
    assert_int_equal(lmn_compressor_ranks_max(all), 127);
    lmn_compressor_destroy(all);
}

static void create_wrong_mixture_is_refused_with_the_reason(void **state)
{
    (void)state;
    const struct {
        const char *spec, *expected;
    } cases[] = {
        {"topk+dense", "level 0"},      {"topk:density=0.1+quant+topk:density=0.2", "twice"},
        {"topk+", "no name"},           {"+topk", "no name"},
        {"topk++quant", "no name"},     {"topk+quont", "quant"},
        {"topk+quant:bits=99", "bits"}, {"topk+quant+sign+natural+fp16+bf16+randk", "at most"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lmn_compressor *compressor = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_compressor_create(cases[i].spec, &compressor, &err), LMN_ERR_USAGE);
        if (strstr(err.message, cases[i].expected) == NULL) {
            fail_msg("%s: %s", cases[i].spec, err.message);
        }
        assert_null(compressor);
    }
    /* Of a number, no separator. */
    lmn_compressor *compressor = check_new_compressor("topk:density=0.1e+0");
    assert_int_equal(lmn_compressor_family_count(compressor), 1);
    lmn_compressor_destroy(compressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_of_a_mixture_are_those_of_its_families_in_their_order),
        cmocka_unit_test(error_curve_of_a_mixture_holds_that_of_each_family),
        cmocka_unit_test(messages_of_a_mixture_are_those_of_the_family),
        cmocka_unit_test(rounds_of_a_mixture_are_those_of_the_family),
        cmocka_unit_test(a_family_at_work_leaves_the_memory_of_others),
        cmocka_unit_test(level_format_of_a_mixture_names_the_family),
        cmocka_unit_test(grain_of_a_mixture_fits_all_families),
        cmocka_unit_test(create_wrong_mixture_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
