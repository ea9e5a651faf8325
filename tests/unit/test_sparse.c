/*
 * Sparse messages: every code and format keeps its entries and its promised size, the shortest code
 * is taken, and no damage does harm.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/compress/sparse_internal.h"
#include "algos_check.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "lamina/sparse.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MILLION ((((size_t)1) << 20) + 1)

typedef struct entries {
    uint32_t *indices;
    float *values;
    size_t n;
    lmn_range range;
} entries;

/* How indices lie in their range. */
typedef enum pattern { PATTERN_SPREAD, PATTERN_FRONT, PATTERN_BACK, PATTERN_COUNT } pattern;

/* Spread: one at a random place of each of n nearly equal parts; the last part's is the last. */
static uint32_t index_at(const entries *e, size_t i, pattern layout)
{
    if (layout == PATTERN_FRONT) {
        return (uint32_t)(e->range.first + i);
    }
    if (layout == PATTERN_BACK) {
        return (uint32_t)(e->range.first + e->range.count - e->n + i);
    }
    const lmn_range part = lmn_partition(e->range.count, e->n, i);
    const lmn_stream stream = {.seed = 5, .layer = (uint32_t)e->n};
    uint32_t word = 0;
    lmn_stream_u32(&stream, i, 1, &word);
    const size_t place = i + 1 == e->n ? part.count - 1 : word % part.count;
    return (uint32_t)(e->range.first + part.first + place);
}

static entries new_entries(size_t n, lmn_range range, pattern layout)
{
    entries e = {.indices = check_new_bytes(n * sizeof(uint32_t)),
                 .values = check_new_floats(n),
                 .n = n,
                 .range = range};
    check_fill(e.values, n, CHECK_NORMAL, 3);
    for (size_t i = 0; i < n; i++) {
        e.indices[i] = index_at(&e, i, layout);
    }
    return e;
}

static void free_entries(entries *e)
{
    lmn_free(e->indices);
    lmn_free(e->values);
}

/* A copy in memory of just that size, so that tools see overruns. */
static unsigned char *exact_copy(const unsigned char *payload, size_t bytes)
{
    unsigned char *copy = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, payload, bytes);
    return copy;
}

static lmn_sparse_message write(const entries *e, lmn_sparse_values format)
{
    const size_t capacity = lmn_sparse_bytes_max(e->n, e->range.count, format);
    unsigned char *payload = check_new_bytes(capacity);
    memset(payload, 0xA5, capacity);
    const size_t bytes = lmn_sparse_write(e->indices, e->values, e->n, e->range, format, payload);
    assert_true(bytes <= capacity);
    const lmn_sparse_message message = {
        .payload = exact_copy(payload, bytes), .bytes = bytes, .range = e->range};
    lmn_free(payload);
    return message;
}

static void free_message(const lmn_sparse_message *message)
{
    void *payload = NULL;
    memcpy(&payload, &message->payload, sizeof payload);
    free(payload);
}

static void assert_passes(const lmn_sparse_message *message, size_t n_max)
{
    lmn_error err = lmn_error_none();
    if (lmn_sparse_check(message, n_max, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

static void assert_round_trip(const entries *e, lmn_sparse_values format)
{
    const lmn_sparse_message message = write(e, format);
    assert_passes(&message, e->n);
    assert_int_equal(lmn_sparse_count(&message), e->n);
    entries got = new_entries(e->n, e->range, PATTERN_FRONT);
    float *acc = check_new_floats(e->range.count);
    lmn_sparse_read(&message, got.indices, got.values);
    lmn_sparse_add(&message, 0.5F, acc);
    float *expected = check_new_floats(e->n);
    memcpy(expected, e->values, e->n * sizeof expected[0]);
    lmn_sparse_round(expected, e->n, format);
    assert_memory_equal(got.indices, e->indices, e->n * sizeof e->indices[0]);
    check_same_bits(got.values, expected, e->n);
    for (size_t i = 0; i < e->n; i++) {
        float *place = &acc[e->indices[i] - e->range.first];
        assert_true(*place == 0.5F * expected[i]);
        *place = 0.0F;
    }
    assert_true(check_energy(acc, e->range.count) == 0.0);
    lmn_free(acc);
    lmn_free(expected);
    free_entries(&got);
    free_message(&message);
}

static void assert_round_trips(size_t n, lmn_range range)
{
    for (pattern layout = PATTERN_SPREAD; layout < PATTERN_COUNT; layout++) {
        entries e = new_entries(n, range, layout);
        for (int format = 0; format < LMN_SPARSE_VALUES_COUNT; format++) {
            assert_round_trip(&e, (lmn_sparse_values)format);
        }
        free_entries(&e);
    }
}

static void write_any_support_and_format_reads_back(void **state)
{
    (void)state;
    const size_t spans[] = {1, 2, 31, 64, 65, 1000, 70000, MILLION};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        const size_t d = spans[i];
        const size_t counts[] = {0, 1, d / 1000, d / 100, d / 20, d / 4, d / 2, d - 1, d};
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
            assert_round_trips(counts[j], (lmn_range){.first = j % 2 == 0 ? 0 : 12345, .count = d});
        }
    }
}

/* Each code, whether it is the shortest or not. */
static void assert_code_reads_back(lmn_sparse_indices code, const entries *e)
{
    const lmn__sparse_support support = {.indices = e->indices, .n = e->n, .range = e->range};
    const size_t bytes = lmn__sparse_support_bytes(code, &support);
    unsigned char *block = malloc(bytes);
    assert_non_null(block);
    memset(block, 0x5A, bytes);
    lmn__sparse_index_write(code, &support, block, bytes);
    lmn_error err = lmn_error_none();
    if (lmn__sparse_index_check(code, block, bytes, e->n, e->range, &err) != LMN_OK) {
        fail_msg("code %d: %s", (int)code, err.message);
    }
    lmn__sparse_cursor cursor = lmn__sparse_cursor_at(code, block, e->n, e->range);
    for (size_t i = 0; i < e->n; i++) {
        uint32_t index = 0;
        lmn__sparse_cursor_read(&cursor, 1, &index);
        assert_int_equal(index, e->indices[i]);
    }
    free(block);
}

static void assert_codes_read_back(size_t n, lmn_range range)
{
    for (pattern layout = PATTERN_SPREAD; layout < PATTERN_COUNT; layout++) {
        entries e = new_entries(n, range, layout);
        for (int code = 0; code < LMN_SPARSE_INDICES_COUNT; code++) {
            assert_code_reads_back((lmn_sparse_indices)code, &e);
        }
        free_entries(&e);
    }
}

static void every_code_of_any_support_reads_back(void **state)
{
    (void)state;
    const size_t spans[] = {1, 3, 64, 100, 5000, MILLION};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        const size_t d = spans[i];
        const size_t counts[] = {1, 2, 1 + d / 700, 1 + d / 90, 1 + d / 3, d};
        for (size_t j = 0; j < sizeof counts / sizeof counts[0] && counts[j] <= d; j++) {
            assert_codes_read_back(counts[j], (lmn_range){.first = 77, .count = d});
        }
    }
}

static size_t pad(size_t bits, size_t unit)
{
    return (bits + 8 * unit - 1) / (8 * unit) * unit;
}

static void index_blocks_have_the_bytes_of_their_formulas(void **state)
{
    (void)state;
    const size_t d = MILLION;
    for (size_t n = 1; n < d; n = n * 3 + 1) {
        entries e = new_entries(n, (lmn_range){.first = 0, .count = d}, PATTERN_SPREAD);
        const lmn__sparse_support support = {.indices = e.indices, .n = n, .range = e.range};
        const size_t low = (size_t)floor(log2((double)d / (double)n));
        const size_t elias_fano = pad(n * low, 8) + pad(n + (d >> low) + 1, 8);
        size_t groups = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t gap = i == 0 ? e.indices[0] : e.indices[i] - e.indices[i - 1] - 1;
            for (groups++; gap >= 128; gap /= 128) {
                groups++;
            }
        }
        assert_int_equal(lmn__sparse_support_bytes(LMN_SPARSE_RAW, &support), 4 * n);
        assert_int_equal(lmn__sparse_support_bytes(LMN_SPARSE_DELTA, &support), pad(8 * groups, 4));
        assert_int_equal(lmn__sparse_support_bytes(LMN_SPARSE_BITMAP, &support), pad(d, 8));
        assert_int_equal(lmn__sparse_support_bytes(LMN_SPARSE_ELIAS_FANO, &support), elias_fano);
        free_entries(&e);
    }
}

static void value_blocks_have_the_bytes_of_their_formulas(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 511, 512, 513, 1025};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const size_t n = counts[i];
        const size_t scales = 4 * ((n + 511) / 512);
        assert_int_equal(lmn__sparse_value_bytes(LMN_SPARSE_F32, n), 4 * n);
        assert_int_equal(lmn__sparse_value_bytes(LMN_SPARSE_BF16, n), pad(16 * n, 4));
        assert_int_equal(lmn__sparse_value_bytes(LMN_SPARSE_Q8, n), scales + pad(8 * n, 4));
        assert_int_equal(lmn__sparse_value_bytes(LMN_SPARSE_Q4, n), scales + pad(4 * n, 4));
    }
}

static void elias_fano_golden_support_has_the_documented_bytes(void **state)
{
    (void)state;
    const uint32_t indices[] = {1, 4, 7, 13};
    const unsigned char expected[16] = {0x71, 0, 0, 0, 0, 0, 0, 0, 0x4D};
    const lmn__sparse_support support = {
        .indices = indices, .n = 4, .range = {.first = 0, .count = 16}};
    unsigned char block[16];
    assert_int_equal(lmn__sparse_support_bytes(LMN_SPARSE_ELIAS_FANO, &support), sizeof block);
    lmn__sparse_index_write(LMN_SPARSE_ELIAS_FANO, &support, block, sizeof block);
    assert_memory_equal(block, expected, sizeof expected);
}

static void write_golden_entries_has_the_documented_bytes(void **state)
{
    (void)state;
    uint32_t indices[] = {10, 11, 13};
    float values[] = {7.0F, -3.0F, 1.0F};
    const entries e = {
        .indices = indices, .values = values, .n = 3, .range = {.first = 10, .count = 300}};
    const unsigned char expected[] = {1, 1, 3,    0,    3,    0,    0, 0, /* delta, 4 bits */
                                      0, 0, 1,    0,                      /* distances */
                                      0, 0, 0xE0, 0x40, 0x4E, 0x08, 0, 0};
    const lmn_sparse_message message = write(&e, LMN_SPARSE_Q4);
    assert_int_equal(message.bytes, sizeof expected);
    assert_memory_equal(message.payload, expected, sizeof expected);
    free_message(&message);
}

static lmn_sparse_indices code_of(size_t n, size_t d, pattern layout)
{
    entries e = new_entries(n, (lmn_range){.first = 0, .count = d}, layout);
    const lmn_sparse_message message = write(&e, LMN_SPARSE_F32);
    const lmn_sparse_indices code = lmn_sparse_indices_of(&message);
    const lmn__sparse_support support = {.indices = e.indices, .n = n, .range = e.range};
    size_t shortest = SIZE_MAX;
    for (int other = LMN_SPARSE_INDICES_COUNT - 1; other >= 0; other--) {
        const size_t bytes = lmn__sparse_support_bytes((lmn_sparse_indices)other, &support);
        shortest = bytes < shortest ? bytes : shortest;
        assert_true(other > (int)code || bytes >= shortest);
    }
    assert_int_equal(message.bytes, 8 + shortest + 4 * n);
    free_entries(&e);
    free_message(&message);
    return code;
}

static void write_takes_the_shortest_code_of_equals_the_first(void **state)
{
    (void)state;
    assert_int_equal(code_of(MILLION / 2, MILLION, PATTERN_SPREAD), LMN_SPARSE_BITMAP);
    assert_int_equal(code_of(MILLION / 20, MILLION, PATTERN_SPREAD), LMN_SPARSE_ELIAS_FANO);
    assert_int_equal(code_of(MILLION / 1000, MILLION, PATTERN_SPREAD), LMN_SPARSE_ELIAS_FANO);
    assert_int_equal(code_of(MILLION / 1000, MILLION, PATTERN_FRONT), LMN_SPARSE_DELTA);
    assert_int_equal(code_of(1, MILLION, PATTERN_BACK), LMN_SPARSE_RAW);
    assert_int_equal(code_of(1, 2, PATTERN_BACK), LMN_SPARSE_RAW);
}

static void bytes_max_bounds_every_smaller_message_closely(void **state)
{
    (void)state;
    const size_t d = 5000;
    size_t largest[LMN_SPARSE_VALUES_COUNT] = {0};
    for (size_t n = 0; n <= d; n += 1 + n / 50) {
        entries e = new_entries(n, (lmn_range){.first = 0, .count = d}, PATTERN_SPREAD);
        for (int format = 0; format < LMN_SPARSE_VALUES_COUNT; format++) {
            const lmn_sparse_message message = write(&e, (lmn_sparse_values)format);
            largest[format] = message.bytes > largest[format] ? message.bytes : largest[format];
            const size_t bound = lmn_sparse_bytes_max(n, d, (lmn_sparse_values)format);
            assert_true(largest[format] <= bound);
            if (n > 100) { /* distances in single bytes can be shorter */
                assert_true(lmn_sparse_indices_of(&message) == LMN_SPARSE_DELTA ||
                            bound <= message.bytes + 24);
            }
            free_message(&message);
        }
        free_entries(&e);
    }
    assert_int_equal(lmn_sparse_bytes_max(d + 9, d, LMN_SPARSE_F32), 8 + 632 + 4 * d);
}

/* By how much rounding may move value i: half a step of its block. */
static double half_step(const float *values, size_t n, size_t i, lmn_sparse_values format)
{
    if (format == LMN_SPARSE_BF16) {
        return ldexp(fabs((double)values[i]), -8);
    }
    double largest = 0.0;
    for (size_t j = i / 512 * 512; j < n && j < (i / 512 + 1) * 512; j++) {
        largest = fmax(largest, fabs((double)values[j]));
    }
    return largest / (format == LMN_SPARSE_Q8 ? 127.0 : 7.0) / 2.0;
}

static void assert_rounding_is_close(const float *values, size_t n, lmn_sparse_values format)
{
    float *rounded = check_new_floats(n);
    memcpy(rounded, values, n * sizeof values[0]);
    lmn_sparse_round(rounded, n, format);
    for (size_t i = 0; i < n; i++) {
        const double off = fabs((double)rounded[i] - (double)values[i]);
        assert_true(off <= half_step(values, n, i, format) * (1.0 + 1e-6) + 0x1p-100);
    }
    lmn_free(rounded);
}

static void round_stays_within_half_a_step(void **state)
{
    (void)state;
    const size_t n = 1300;
    float *values = check_new_floats(n);
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(values, n, kind, 21);
        for (int format = 1; format < LMN_SPARSE_VALUES_COUNT; format++) {
            assert_rounding_is_close(values, n, (lmn_sparse_values)format);
        }
    }
    lmn_free(values);
}

static void round_extreme_values_stays_finite(void **state)
{
    (void)state;
    for (int format = 0; format < LMN_SPARSE_VALUES_COUNT; format++) {
        float values[] = {FLT_MAX, -FLT_MAX, 1.0F, FLT_MAX / 3.0F};
        uint32_t indices[] = {0, 1, 2, 3};
        const entries e = {
            .indices = indices, .values = values, .n = 4, .range = {.first = 0, .count = 4}};
        const lmn_sparse_message message = write(&e, (lmn_sparse_values)format);
        assert_passes(&message, 4);
        lmn_sparse_round(values, 4, (lmn_sparse_values)format);
        assert_true(isfinite(values[0]) && values[0] > 3.3e38F && values[1] == -values[0]);
        free_message(&message);
    }
    float tiny[] = {1e-40F, -1e-44F};
    lmn_sparse_round(tiny, 2, LMN_SPARSE_Q8);
    assert_true(tiny[0] == 0.0F && tiny[1] == 0.0F);
}

/* Whatever the bytes: refused, or read inside the range (sanitizers watch). */
static void damage(const lmn_sparse_message *message, uint64_t trial)
{
    uint32_t words[6] = {0};
    const lmn_stream stream = {.seed = 9, .layer = (uint32_t)message->bytes};
    lmn_stream_u32(&stream, 6 * trial, 6, words);
    const size_t bytes = trial % 3 == 0 ? words[0] % (message->bytes + 1) : message->bytes;
    unsigned char *copy = exact_copy(message->payload, bytes);
    for (size_t i = 1; i < 1 + trial % 5 && bytes > 0; i++) {
        copy[words[i] % (trial % 2 == 0 && bytes > 8 ? 8 : bytes)] ^=
            (unsigned char)(words[i] >> 24);
    }
    const lmn_sparse_message damaged = {.payload = copy, .bytes = bytes, .range = message->range};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_sparse_check(&damaged, 2000, &err);
    assert_true(status == LMN_OK || (status == LMN_ERR_MESSAGE && strlen(err.message) > 0));
    if (status == LMN_OK) {
        float *acc = check_new_floats(message->range.count);
        lmn_sparse_add(&damaged, 1.0F, acc);
        for (size_t i = 0; i < message->range.count; i++) {
            assert_true(isfinite(acc[i]));
        }
        lmn_free(acc);
    }
    free(copy);
}

static void damage_entries(const entries *e)
{
    for (int format = 0; format < LMN_SPARSE_VALUES_COUNT; format++) {
        const lmn_sparse_message message = write(e, (lmn_sparse_values)format);
        for (uint64_t trial = 0; trial < 300; trial++) {
            damage(&message, trial);
        }
        free_message(&message);
    }
}

static void check_damaged_bytes_do_no_harm(void **state)
{
    (void)state;
    const size_t counts[] = {1, 3, 30, 700, 1900};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (pattern layout = PATTERN_SPREAD; layout < PATTERN_COUNT; layout++) {
            entries e = new_entries(counts[i], (lmn_range){.first = 500, .count = 2000}, layout);
            damage_entries(&e);
            free_entries(&e);
        }
    }
}

/* Random index blocks of every code: a block that passes the check holds what it says. */
static void check_random_index_blocks_do_no_harm(void **state)
{
    (void)state;
    const lmn_range range = {.first = 0, .count = 200};
    for (uint32_t trial = 0; trial < 20000; trial++) {
        const lmn_stream stream = {.seed = 13, .layer = trial};
        uint32_t words[64];
        lmn_stream_u32(&stream, 0, 64, words);
        const lmn_sparse_indices code = (lmn_sparse_indices)(words[0] % LMN_SPARSE_INDICES_COUNT);
        const size_t n = 1 + words[1] % 8;
        const size_t bytes = code == LMN_SPARSE_DELTA ? 4 * (size_t)(1 + words[2] % 4)
                                                      : lmn__sparse_index_bytes(code, n, 200);
        for (size_t i = 4; i < 64; i++) {
            words[i] &= words[i] >> 16 & words[i] << 7 & 0x7F7F7F7FU; /* few bits set */
        }
        unsigned char *block = exact_copy((const unsigned char *)(words + 4), bytes);
        if (lmn__sparse_index_check(code, block, bytes, n, range, NULL) == LMN_OK) {
            lmn__sparse_cursor cursor = lmn__sparse_cursor_at(code, block, n, range);
            uint32_t indices[8] = {0};
            lmn__sparse_cursor_read(&cursor, n, indices);
            for (size_t i = 0; i < n; i++) {
                assert_true(indices[i] < 200 && (i == 0 || indices[i] > indices[i - 1]));
            }
        }
        free(block);
    }
}

/* Entries cut into ranges, each sent to its owner and added in the order of ranks. */
static void sum_of_split_messages_equals_adding_whole_ones(void **state)
{
    (void)state;
    const size_t d = 3001;
    const size_t n_ranks = 3;
    const size_t n_of_rank[] = {400, 0, 35};
    float *whole = check_new_floats(d);
    float *from_parts = check_new_floats(d);
    for (size_t owner = 0; owner < n_ranks; owner++) {
        const lmn_range range = lmn_partition(d, n_ranks, owner);
        void *memory = check_new_bytes(lmn_sparse_sum_bytes(range.count));
        lmn_sparse_sum sum = lmn_sparse_sum_of(range, memory);
        for (size_t rank = 0; rank < n_ranks; rank++) {
            entries e =
                new_entries(n_of_rank[rank], (lmn_range){.first = 0, .count = d}, PATTERN_SPREAD);
            const lmn_sparse_message all = write(&e, LMN_SPARSE_F32);
            if (owner == 0) {
                lmn_sparse_add(&all, 0.3F, whole);
            }
            const size_t bounds[] = {range.first, range.first + range.count};
            size_t cuts[2] = {0};
            lmn_sparse_split(e.indices, e.n, bounds, 2, cuts);
            const entries mine = {.indices = e.indices + cuts[0],
                                  .values = e.values + cuts[0],
                                  .n = cuts[1] - cuts[0],
                                  .range = range};
            const lmn_sparse_message part = write(&mine, LMN_SPARSE_F32);
            assert_passes(&part, range.count);
            lmn_sparse_sum_add(&sum, &part, 0.3F);
            free_entries(&e);
            free_message(&all);
            free_message(&part);
        }
        entries merged = new_entries(lmn_sparse_sum_count(&sum), range, PATTERN_FRONT);
        assert_int_equal(lmn_sparse_sum_take(&sum, merged.indices, merged.values), merged.n);
        assert_int_equal(lmn_sparse_sum_count(&sum), 0);
        const lmn_sparse_message message = write(&merged, LMN_SPARSE_F32);
        lmn_sparse_add(&message, 1.0F, from_parts + range.first);
        for (size_t i = 0; i < lmn_sparse_sum_bytes(range.count); i++) {
            assert_int_equal(((const unsigned char *)memory)[i], 0);
        }
        free_message(&message);
        free_entries(&merged);
        lmn_free(memory);
    }
    check_same_bits(whole, from_parts, d);
    lmn_free(whole);
    lmn_free(from_parts);
}

static void sum_keeps_entries_that_cancel(void **state)
{
    (void)state;
    uint32_t indices[] = {6, 9};
    float values[] = {1.5F, -2.0F};
    entries e = {.indices = indices, .values = values, .n = 2, .range = {.first = 5, .count = 100}};
    void *memory = check_new_bytes(lmn_sparse_sum_bytes(100));
    lmn_sparse_sum sum = lmn_sparse_sum_of(e.range, memory);
    const lmn_sparse_message message = write(&e, LMN_SPARSE_F32);
    lmn_sparse_sum_add(&sum, &message, 1.0F);
    lmn_sparse_sum_add(&sum, &message, -1.0F);
    uint32_t got[2] = {0};
    float rest[2] = {1.0F, 1.0F};
    assert_int_equal(lmn_sparse_sum_take(&sum, got, rest), 2);
    assert_memory_equal(got, indices, sizeof got);
    assert_true(rest[0] == 0.0F && rest[1] == 0.0F);
    free_message(&message);
    lmn_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_any_support_and_format_reads_back),
        cmocka_unit_test(every_code_of_any_support_reads_back),
        cmocka_unit_test(index_blocks_have_the_bytes_of_their_formulas),
        cmocka_unit_test(value_blocks_have_the_bytes_of_their_formulas),
        cmocka_unit_test(elias_fano_golden_support_has_the_documented_bytes),
        cmocka_unit_test(write_golden_entries_has_the_documented_bytes),
        cmocka_unit_test(write_takes_the_shortest_code_of_equals_the_first),
        cmocka_unit_test(bytes_max_bounds_every_smaller_message_closely),
        cmocka_unit_test(round_stays_within_half_a_step),
        cmocka_unit_test(round_extreme_values_stays_finite),
        cmocka_unit_test(check_damaged_bytes_do_no_harm),
        cmocka_unit_test(check_random_index_blocks_do_no_harm),
        cmocka_unit_test(sum_of_split_messages_equals_adding_whole_ones),
        cmocka_unit_test(sum_keeps_entries_that_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
