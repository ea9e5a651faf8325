/*
 * What holds for the messages of every family, however the work is cut up: parts are slices of the
 * whole, and threads do not show.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Specs beyond the bare names, which are taken from the registry. */
static const char *const more_specs[] = {
    "quant:bits=3,bucket=32",
    "quant:bits=1",
    "quant:rounding=stochastic",
    "quant:bucket=4096",
    "sign:values=two",
    "ternary:packing=trits,clip=2.5",
    "ternary:bucket=32",
    "sign:bucket=2048",
    "natural:rounding=stochastic",
    "fp16:bucket=64",
    "sign+quant:bucket=64+topk",
};

#define N_MORE_SPECS (sizeof more_specs / sizeof more_specs[0])

/* Spec `index` to test, NULL past the last. */
static const char *spec_at(size_t index)
{
    if (index < N_MORE_SPECS) {
        return more_specs[index];
    }
    const lmn_spec_entry *entry = lmn_compressor_entry(index - N_MORE_SPECS);
    return entry == NULL ? NULL : entry->name;
}

/* Whether a compressor combines in that way at its static level. */
static bool combines(const lmn_compressor *compressor, lmn_combine combine)
{
    const size_t level = lmn_compressor_static_level(compressor);
    return lmn_compressor_combine(compressor, level) == combine;
}

/* Parts of a grain and of two grains in turn, and the rest, are slices of message and residual. */
static void parts_are_slices(const char *spec, size_t count, check_kind kind)
{
    float *vector = check_new_floats(count);
    check_fill(vector, count, kind, 7);
    check_coded whole = check_code(spec, vector, count, 3);
    const size_t level = whole.encoding->job.level;
    const size_t grain = lmn_compressor_grain(whole.compressor);
    assert_true(grain > 0);
    assert_int_equal(lmn_compressor_part_bytes(whole.compressor, level, grain) % 4, 0);
    check_encoding *part = check_new_encoding(whole.compressor, level, lmn_layer_flat(count));
    memcpy(part->vector, vector, count * sizeof vector[0]);
    lmn_encode_job *job = &part->job;
    job->stream.step = 3;
    size_t offset = 0;
    for (size_t n_grains = 1; job->first < count; n_grains = 3 - n_grains) {
        const size_t left = count - job->first;
        job->count = left < n_grains * grain ? left : n_grains * grain;
        job->payload_capacity = lmn_compressor_part_bytes(whole.compressor, level, job->count);
        assert_int_equal(lmn_compressor_encode(whole.compressor, job, NULL), LMN_OK);
        assert_int_equal(job->payload_bytes, job->payload_capacity);
        assert_memory_equal(job->payload, whole.encoding->job.payload + offset, job->payload_bytes);
        const lmn_decode_job message = check_message_of(part);
        assert_int_equal(lmn_compressor_check(whole.compressor, &message, NULL), LMN_OK);
        offset += job->payload_bytes;
        job->first += job->count;
    }
    assert_int_equal(offset, whole.encoding->job.payload_bytes);
    check_same_bits(part->vector, whole.encoding->vector, count);
    check_free_encoding(part);
    check_free_coded(&whole);
    lmn_free(vector);
}

static void encode_a_part_gives_a_slice_of_the_message(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 31, 512, 1057, 5000, 9001};
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        const bool is_sliced = combines(compressor, LMN_COMBINE_SLICED);
        lmn_compressor_destroy(compressor);
        for (size_t j = 0; is_sliced && j < sizeof counts / sizeof counts[0]; j++) {
            parts_are_slices(spec_at(i), counts[j], CHECK_NORMAL);
            parts_are_slices(spec_at(i), counts[j], CHECK_SPARSE);
        }
    }
}

/* Enough for several threads, and no multiple of anything. */
#define SHARED_COUNT ((size_t)300007)
#define LEVELS_MAX   64

typedef struct outcome {
    check_coded coded;
    double curve[LEVELS_MAX];
} outcome;

static outcome code_with_threads(const char *spec, const float *vector, int threads)
{
    lmn_compute_set_threads(threads);
    outcome o = {.coded = check_code(spec, vector, SHARED_COUNT, 1)};
    assert_true(lmn_compressor_level_count(o.coded.compressor) <= LEVELS_MAX);
    lmn_compressor_error_curve(o.coded.compressor, vector, lmn_layer_flat(SHARED_COUNT), o.curve,
                               o.coded.encoding->job.scratch);
    lmn_compute_set_threads(1);
    return o;
}

static void threads_agree(const char *spec)
{
    float *vector = check_new_floats(SHARED_COUNT);
    check_fill(vector, SHARED_COUNT, CHECK_NORMAL, 5);
    outcome one = code_with_threads(spec, vector, 1);
    const lmn_encode_job *job = &one.coded.encoding->job;
    for (int threads = 2; threads <= 4; threads += 2) {
        outcome other = code_with_threads(spec, vector, threads);
        assert_int_equal(other.coded.encoding->job.payload_bytes, job->payload_bytes);
        assert_memory_equal(other.coded.encoding->job.payload, job->payload, job->payload_bytes);
        check_same_bits(other.coded.encoding->vector, one.coded.encoding->vector, SHARED_COUNT);
        check_same_bits(other.coded.decoded, one.coded.decoded, SHARED_COUNT);
        assert_memory_equal(other.curve, one.curve, sizeof one.curve);
        check_free_coded(&other.coded);
    }
    check_free_coded(&one.coded);
    lmn_free(vector);
}

static void encode_with_more_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        const bool has_messages =
            combines(compressor, LMN_COMBINE_SPARSE) || combines(compressor, LMN_COMBINE_SLICED);
        lmn_compressor_destroy(compressor);
        if (has_messages) {
            threads_agree(spec_at(i));
        }
    }
}

/* A bad bucket near the end of a message that threads share is found, and named. */
static void check_damage_in_a_large_message_names_the_bucket(void **state)
{
    (void)state;
    float *vector = check_new_floats(SHARED_COUNT);
    check_fill(vector, SHARED_COUNT, CHECK_NORMAL, 5);
    check_coded coded = check_code("quant", vector, SHARED_COUNT, 0);
    const uint32_t infinity = UINT32_C(0x7F800000);
    const size_t bytes =
        lmn_compressor_part_bytes(coded.compressor, coded.encoding->job.level, 512);
    unsigned char *payload = coded.encoding->job.payload;
    memcpy(payload + 580 * bytes, &infinity, sizeof infinity);
    memcpy(payload + 570 * bytes, &infinity, sizeof infinity);
    const lmn_decode_job message = check_message_of(coded.encoding);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_compressor_check(coded.compressor, &message, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "bucket 570 of 586"));
    check_free_coded(&coded);
    lmn_free(vector);
}

/* A source that meets infinity at one place, and counts. */
typedef struct broken {
    size_t place;
    size_t n_formed, n_void, n_sent; /* elements */
} broken;

static bool form(void *user, size_t first, size_t count, float *vector)
{
    broken *b = user;
    for (size_t i = 0; i < count; i++) {
        vector[i] = first + i == b->place ? INFINITY : 1.0F;
    }
    const bool is_finite = b->place < first || b->place >= first + count;
    b->n_formed += count;
    b->n_void += is_finite ? 0 : count;
    return is_finite;
}

static void sent(void *user, size_t first, size_t count, const float *vector, const float *values)
{
    broken *b = user;
    assert_non_null(vector);
    assert_non_null(values);
    (void)first;
    b->n_sent += count;
}

static void encode_infinity_is_told_and_the_message_is_void(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        if (combines(compressor, LMN_COMBINE_SLICED)) {
            broken b = {.place = 4321};
            check_encoding *encoding = check_new_encoding(
                compressor, lmn_compressor_static_level(compressor), lmn_layer_flat(COUNT));
            encoding->source = (lmn_source){.form = form, .sent = sent, .user = &b};
            assert_int_equal(lmn_compressor_encode(compressor, &encoding->job, NULL), LMN_OK);
            assert_false(encoding->job.is_finite);
            assert_int_equal(encoding->job.payload_bytes, 0);
            assert_int_equal(b.n_formed, COUNT);
            assert_int_equal(b.n_sent + b.n_void, COUNT);
            assert_true(b.n_void > 0);
            check_free_encoding(encoding);
        }
        lmn_compressor_destroy(compressor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_a_part_gives_a_slice_of_the_message),
        cmocka_unit_test(encode_with_more_threads_gives_the_same_bits),
        cmocka_unit_test(check_damage_in_a_large_message_names_the_bucket),
        cmocka_unit_test(encode_infinity_is_told_and_the_message_is_void),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
