/*
 * What every compressor family must fulfil, at every level, run over the registry.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Specs beyond the bare names, which are taken from the registry. */
static const char *const more_specs[] = {
    "topk:density=0.1,values=bf16",
    "topk:density=0.1,values=q8,reuse=yes",
    "topk:density=0.3,values=q4",
    "topk:density=1",
    "topk:density=0.0001",
    "topk:density=0.3,levels=0.03/0.7/0.3",
    "quant:bucket=64",
    "quant:bits=1,levels=8/5/3",
    "quant:norm=2,bucket=64",
    "quant:rounding=stochastic",
    "quant:rounding=stochastic,norm=2,bucket=32",
    "ternary:rounding=nearest",
    "ternary:packing=trits,bucket=64,clip=2.5",
    "ternary:packing=trits,rounding=nearest,clip=0.5",
    "sign:bucket=64",
    "sign:values=two",
    "natural:rounding=stochastic",
    "fp16:bucket=32",
    "quant:bits=4,bucket=64+topk:density=0.1,reuse=yes",
    "topk:density=0.05+sign+lowrank+bf16",
};

#define N_MORE_SPECS (sizeof more_specs / sizeof more_specs[0])

static const size_t counts[] = {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 1000, 1057, 4099};

#define N_COUNTS (sizeof counts / sizeof counts[0])

/* Spec `index` to test, NULL past the last. */
static const char *spec_at(size_t index)
{
    if (index < N_MORE_SPECS) {
        return more_specs[index];
    }
    const lmn_spec_entry *entry = lmn_compressor_entry(index - N_MORE_SPECS);
    return entry == NULL ? NULL : entry->name;
}

/* A vector, encoded at a level: what most properties are about. */
typedef struct subject {
    const lmn_compressor *compressor;
    const float *original; /* [count] */
    check_encoding *encoding;
    const lmn_encode_job *job; /* of the encoding */
    size_t count;
    check_kind kind;
} subject;

typedef void (*property)(const subject *s);

static void for_each_kind(const lmn_compressor *compressor, size_t level, size_t count,
                          property holds)
{
    float *original = check_new_floats(count);
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(original, count, kind, 7);
        check_encoding *encoding = check_new_encoding(compressor, level, lmn_layer_flat(count));
        check_encode(compressor, original, encoding);
        const subject s = {.compressor = compressor,
                           .original = original,
                           .encoding = encoding,
                           .job = &encoding->job,
                           .count = count,
                           .kind = kind};
        holds(&s);
        check_free_encoding(encoding);
    }
    lmn_free(original);
}

static bool has_messages(const lmn_compressor *compressor, size_t level)
{
    const lmn_combine combine = lmn_compressor_combine(compressor, level);
    return combine == LMN_COMBINE_SPARSE || combine == LMN_COMBINE_SLICED;
}

/* Every spec, level with messages, count and kind of vector. */
static void for_all(property holds)
{
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        for (size_t level = 1; level < lmn_compressor_level_count(compressor); level++) {
            for (size_t j = 0; j < N_COUNTS && has_messages(compressor, level); j++) {
                for_each_kind(compressor, level, counts[j], holds);
            }
        }
        lmn_compressor_destroy(compressor);
    }
}

static void message_fits_and_passes(const subject *s)
{
    lmn_error err = lmn_error_none();
    const lmn_decode_job message = check_message_of(s->encoding);
    assert_true(s->job->payload_bytes <= s->job->payload_capacity);
    if (lmn_compressor_check(s->compressor, &message, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

static void encode_any_vector_gives_a_message_that_fits_and_passes(void **state)
{
    (void)state;
    for_all(message_fits_and_passes);
}

/* C(v) + residual = v, up to rounding of the residual. */
static void nothing_is_lost(const subject *s)
{
    const lmn_decode_job message = check_message_of(s->encoding);
    float *decoded = check_new_floats(s->count);
    lmn_compressor_decode_add(s->compressor, &message, 1.0F, decoded);
    for (size_t i = 0; i < s->count; i++) {
        const double sum = (double)decoded[i] + (double)s->encoding->vector[i];
        const double v = (double)s->original[i];
        assert_true(fabs(sum - v) <= 1e-6 * (fabs(v) + fabs((double)decoded[i])) + 1e-45);
    }
    lmn_free(decoded);
}

static void encode_any_vector_leaves_what_was_not_sent(void **state)
{
    (void)state;
    for_all(nothing_is_lost);
}

/* Whether messages depend on random numbers of a rank's own. */
static bool draws(const lmn_compressor *compressor, size_t level)
{
    enum { COUNT = 1000 };
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_NORMAL, 1);
    check_encoding *one = check_new_encoding(compressor, level, lmn_layer_flat(COUNT));
    check_encoding *other = check_new_encoding(compressor, level, lmn_layer_flat(COUNT));
    other->job.stream.step = 1;
    check_encode(compressor, vector, one);
    check_encode(compressor, vector, other);
    const bool differ = memcmp(one->job.payload, other->job.payload, one->job.payload_bytes) != 0;
    check_free_encoding(one);
    check_free_encoding(other);
    lmn_free(vector);
    return differ;
}

/* What is left of a vector: one number, or the mean over streams where the family draws. */
typedef struct leftover {
    double mean;
    double deviation; /* of the mean */
} leftover;

#define N_STREAMS 100

static leftover leftover_of(const subject *s)
{
    const double rest = check_energy(s->encoding->vector, s->count);
    if (!draws(s->compressor, s->job->level)) {
        return (leftover){.mean = rest};
    }
    check_encoding *again = check_new_encoding(s->compressor, s->job->level, s->job->shape);
    double sum = 0.0;
    double squares = 0.0;
    for (uint32_t step = 0; step < N_STREAMS; step++) {
        again->job.stream.step = step;
        check_encode(s->compressor, s->original, again);
        const double energy = check_energy(again->vector, s->count);
        sum += energy;
        squares += energy * energy;
    }
    check_free_encoding(again);
    const double mean = sum / N_STREAMS;
    const double variance = fmax(squares / N_STREAMS - mean * mean, 0.0);
    return (leftover){.mean = mean, .deviation = sqrt(variance / N_STREAMS)};
}

/* Squares below 2^-200 for each number do not count: families may take such numbers for 0. */
static double negligible(const subject *s)
{
    return (double)s->count * 0x1p-200;
}

static void contraction_holds(const subject *s)
{
    const double delta =
        lmn_compressor_contraction(s->compressor, s->job->level, lmn_layer_flat(s->count));
    const double energy = check_energy(s->original, s->count);
    const leftover rest = leftover_of(s);
    assert_true(delta >= 0.0 && delta <= 1.0);
    if (delta > 0.0) {
        assert_true(rest.mean <= (1.0 - delta) * energy * (1.0 + 1e-6) + 1e-13 * energy +
                                     5.0 * rest.deviation + negligible(s));
    }
}

static void contraction_any_vector_is_kept(void **state)
{
    (void)state;
    for_all(contraction_holds);
}

/* Where the family draws, means over streams are only good when many numbers weigh alike. */
static void curve_agrees(const subject *s)
{
    if ((s->count < 1000 || s->kind == CHECK_WIDE) && draws(s->compressor, s->job->level)) {
        return;
    }
    double curve[256] = {-1.0};
    assert_true(lmn_compressor_level_count(s->compressor) <= 256);
    lmn_compressor_error_curve(s->compressor, s->original, lmn_layer_flat(s->count), curve,
                               s->job->scratch);
    const leftover rest = leftover_of(s);
    assert_true(curve[0] == 0.0);
    const double slack = 1e-6 * rest.mean + 1e-13 * check_energy(s->original, s->count) +
                         6.0 * rest.deviation + negligible(s);
    if (fabs(curve[s->job->level] - rest.mean) > slack) {
        fail_msg("level %zu, %zu elements: the curve says %g, the residual %g +- %g", s->job->level,
                 s->count, curve[s->job->level], rest.mean, rest.deviation);
    }
}

static void error_curve_any_vector_is_the_energy_of_the_residual(void **state)
{
    (void)state;
    for_all(curve_agrees);
}

static void encoding_repeats(const subject *s)
{
    check_encoding *again = check_new_encoding(s->compressor, s->job->level, s->job->shape);
    memset(again->job.scratch, 0xA5, lmn_compressor_scratch_bytes(s->compressor, s->job->shape));
    memset(again->job.payload, 0x5A, again->job.payload_capacity);
    check_encode(s->compressor, s->original, again);
    assert_int_equal(again->job.payload_bytes, s->job->payload_bytes);
    assert_memory_equal(again->job.payload, s->job->payload, s->job->payload_bytes);
    check_same_bits(again->vector, s->encoding->vector, s->count);
    check_free_encoding(again);
}

static void encode_again_with_dirty_memory_gives_the_same_bits(void **state)
{
    (void)state;
    for_all(encoding_repeats);
}

static void weight_is_applied(const subject *s)
{
    const lmn_decode_job message = check_message_of(s->encoding);
    float *plain = check_new_floats(s->count);
    float *weighted = check_new_floats(s->count);
    lmn_compressor_decode_add(s->compressor, &message, 1.0F, plain);
    for (size_t i = 0; i < s->count; i++) {
        weighted[i] = 4.0F;
    }
    lmn_compressor_decode_add(s->compressor, &message, 0.25F, weighted);
    for (size_t i = 0; i < s->count; i++) {
        assert_true(weighted[i] == 4.0F + 0.25F * plain[i]);
    }
    lmn_free(plain);
    lmn_free(weighted);
}

static void decode_add_with_weight_adds_to_what_is_there(void **state)
{
    (void)state;
    for_all(weight_is_applied);
}

/* A copy of the first bytes of a message in memory of just that size, so that tools see overruns.
 */
static unsigned char *exact_copy(const unsigned char *payload, size_t bytes)
{
    unsigned char *copy = aligned_alloc(8, (bytes + 7) / 8 * 8 + 8);
    assert_non_null(copy);
    memcpy(copy, payload, bytes);
    return copy;
}

static void short_messages_are_refused(const subject *s)
{
    const size_t bytes = s->job->payload_bytes;
    for (size_t cut = 0; cut < bytes; cut += 1 + cut / 4) {
        unsigned char *copy = exact_copy(s->job->payload, cut);
        lmn_decode_job message = check_message_of(s->encoding);
        message.payload = copy;
        message.payload_bytes = cut;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_compressor_check(s->compressor, &message, &err), LMN_ERR_MESSAGE);
        assert_true(strlen(err.message) > 0);
        free(copy);
    }
}

static void check_truncated_message_is_refused(void **state)
{
    (void)state;
    for_all(short_messages_are_refused);
}

/* Whatever the bytes: refused, or decoded inside the vector (sanitizers watch). */
static void damage_does_no_harm(const subject *s)
{
    const lmn_stream stream = {.seed = 3, .layer = (uint32_t)s->job->level};
    float *acc = check_new_floats(s->count);
    for (uint64_t trial = 0; trial < 20 && s->job->payload_bytes > 0; trial++) {
        uint32_t words[2] = {0};
        lmn_stream_u32(&stream, 2 * trial, 2, words);
        unsigned char *copy = exact_copy(s->job->payload, s->job->payload_bytes);
        copy[words[0] % s->job->payload_bytes] ^= (unsigned char)(1U << words[1] % 8);
        lmn_decode_job message = check_message_of(s->encoding);
        message.payload = copy;
        const lmn_status status = lmn_compressor_check(s->compressor, &message, NULL);
        assert_true(status == LMN_OK || status == LMN_ERR_MESSAGE);
        if (status == LMN_OK) {
            lmn_compressor_decode_add(s->compressor, &message, 1.0F, acc);
        }
        free(copy);
    }
    lmn_free(acc);
}

static void check_flipped_bits_do_no_harm(void **state)
{
    (void)state;
    for_all(damage_does_no_harm);
}

static void refusals_change_nothing(const subject *s)
{
    const size_t n_levels = lmn_compressor_level_count(s->compressor);
    check_encoding *refused = check_new_encoding(s->compressor, s->job->level, s->job->shape);
    lmn_encode_job *job = &refused->job;
    memcpy(refused->vector, s->original, s->count * sizeof s->original[0]);
    lmn_error err = lmn_error_none();
    if (job->payload_capacity > 0) {
        job->payload_capacity--;
        assert_int_equal(lmn_compressor_encode(s->compressor, job, &err), LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "bytes"));
        job->payload_capacity++;
    }
    job->level = 0;
    assert_int_equal(lmn_compressor_encode(s->compressor, job, NULL), LMN_ERR_ARGUMENT);
    job->level = n_levels;
    assert_int_equal(lmn_compressor_encode(s->compressor, job, NULL), LMN_ERR_ARGUMENT);
    const lmn_decode_job message = check_message_of(refused);
    assert_int_equal(lmn_compressor_check(s->compressor, &message, NULL), LMN_ERR_ARGUMENT);
    check_same_bits(refused->vector, s->original, s->count);
    check_free_encoding(refused);
}

static void encode_bad_level_or_small_payload_is_refused(void **state)
{
    (void)state;
    for_all(refusals_change_nothing);
}

static void levels_of_every_spec_are_described(void **state)
{
    (void)state;
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        const size_t n_levels = lmn_compressor_level_count(compressor);
        assert_true(n_levels >= 1);
        assert_true(lmn_compressor_static_level(compressor) < n_levels);
        char last[64] = "";
        for (size_t level = 0; level < n_levels; level++) {
            char text[64] = "";
            lmn_compressor_level_format(compressor, level, text, sizeof text);
            assert_true(strlen(text) > 0);
            assert_string_not_equal(text, last);
            memcpy(last, text, sizeof last);
        }
        lmn_compressor_destroy(compressor);
    }
}

static void higher_levels_send_no_more_and_keep_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        for (size_t level = 2; level < lmn_compressor_level_count(compressor); level++) {
            if (lmn_compressor_named_level(compressor, level) !=
                lmn_compressor_named_level(compressor, level - 1)) {
                continue; /* another family of a mixture */
            }
            assert_true(
                lmn_compressor_payload_bytes(compressor, level, lmn_layer_flat(100000)) <=
                lmn_compressor_payload_bytes(compressor, level - 1, lmn_layer_flat(100000)));
            assert_true(lmn_compressor_contraction(compressor, level, lmn_layer_flat(100000)) <=
                        lmn_compressor_contraction(compressor, level - 1, lmn_layer_flat(100000)));
        }
        lmn_compressor_destroy(compressor);
    }
}

static void level_0_of_every_spec_is_dense(void **state)
{
    (void)state;
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        char text[64] = "";
        lmn_compressor_level_format(compressor, 0, text, sizeof text);
        assert_string_equal(text, "dense");
        assert_int_equal(lmn_compressor_combine(compressor, 0), LMN_COMBINE_SUM);
        assert_int_equal(lmn_compressor_payload_bytes(compressor, 0, lmn_layer_flat(33)), 132);
        assert_true(lmn_compressor_contraction(compressor, 0, lmn_layer_flat(33)) == 1.0);
        assert_true(lmn_compressor_eta(compressor, 0, lmn_layer_flat(33)).suggested == 1.0);
        lmn_compressor_destroy(compressor);
    }
}

static void eta_of_every_level_is_positive_and_below_its_limit(void **state)
{
    (void)state;
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        for (size_t level = 0; level < lmn_compressor_level_count(compressor); level++) {
            for (size_t j = 0; j < N_COUNTS; j++) {
                const lmn_eta_rule rule =
                    lmn_compressor_eta(compressor, level, lmn_layer_flat(counts[j]));
                assert_true(rule.suggested > 0.0 && rule.suggested < rule.limit);
                assert_true(rule.suggested <= 1.0);
                assert_true(rule.lowest > 0.0 && rule.lowest <= rule.suggested);
                assert_true(rule.suggested <= rule.highest && rule.highest < rule.limit);
            }
        }
        lmn_compressor_destroy(compressor);
    }
}

/* What is kept for those that encode every element, what is sent for top-k, nothing for others. */
static void eta_follows_what_the_family_says(void **state)
{
    (void)state;
    const struct {
        const char *spec;
        double expected; /* 0: what the rule suggests */
    } cases[] = {{"sign", 0.15}, {"quant:bits=2", 0.15}, {"ternary", 0.15}, {"int:bits=8", 0.15},
                 {"topk", 0.02}, {"randk", 0.0},         {"lowrank", 0.0}};
    const lmn_observed observed = {.kept = 0.3, .density = 0.02};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lmn_compressor *compressor = check_new_compressor(cases[i].spec);
        const lmn_layer_shape shape = {.count = 40000, .rows = 200};
        const size_t level = lmn_compressor_static_level(compressor);
        const lmn_eta_rule rule = lmn_compressor_eta(compressor, level, shape);
        const double expected = cases[i].expected > 0.0 ? cases[i].expected : rule.suggested;
        assert_true(lmn_compressor_eta_observed(compressor, level, &rule, &observed) == expected);
        const lmn_eta_rule whole = lmn_compressor_eta(compressor, 0, shape);
        assert_true(lmn_compressor_eta_observed(compressor, 0, &whole, &observed) == 1.0);
        lmn_compressor_destroy(compressor);
    }
}

static void create_unknown_name_or_key_is_refused_by_name(void **state)
{
    (void)state;
    lmn_compressor *compressor = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_compressor_create("topc", &compressor, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "topk"));
    for (size_t i = 0; lmn_compressor_entry(i) != NULL; i++) {
        char spec[LMN_SPEC_NAME_BYTES + 16] = "";
        (void)snprintf(spec, sizeof spec, "%s:nokey=1", lmn_compressor_entry(i)->name);
        err = lmn_error_none();
        assert_int_equal(lmn_compressor_create(spec, &compressor, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "nokey"));
        assert_non_null(lmn_compressor_entry(i)->summary);
    }
    assert_null(compressor);
    lmn_compressor_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_any_vector_gives_a_message_that_fits_and_passes),
        cmocka_unit_test(encode_any_vector_leaves_what_was_not_sent),
        cmocka_unit_test(contraction_any_vector_is_kept),
        cmocka_unit_test(error_curve_any_vector_is_the_energy_of_the_residual),
        cmocka_unit_test(encode_again_with_dirty_memory_gives_the_same_bits),
        cmocka_unit_test(decode_add_with_weight_adds_to_what_is_there),
        cmocka_unit_test(check_truncated_message_is_refused),
        cmocka_unit_test(check_flipped_bits_do_no_harm),
        cmocka_unit_test(encode_bad_level_or_small_payload_is_refused),
        cmocka_unit_test(levels_of_every_spec_are_described),
        cmocka_unit_test(higher_levels_send_no_more_and_keep_no_more),
        cmocka_unit_test(level_0_of_every_spec_is_dense),
        cmocka_unit_test(eta_of_every_level_is_positive_and_below_its_limit),
        cmocka_unit_test(eta_follows_what_the_family_says),
        cmocka_unit_test(create_unknown_name_or_key_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
