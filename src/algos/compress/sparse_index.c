/*
 * Index blocks of sparse messages: four ways to write ascending numbers below a limit.
 *
 * Bitmaps and the high bits of Elias-Fano are bit vectors in 64-bit words, so one reader walks
 * both: the next set bit is at position index, or high part + number of entries before it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sparse_internal.h"

#include <assert.h>

#define WORD_BYTES sizeof(uint64_t)
#define WORD_BITS  ((size_t)64)
/* A 32-bit number has at most five groups of seven bits. */
#define GROUPS_MAX 5

static uint64_t load_word(const unsigned char *from)
{
    uint64_t word = 0;
    memcpy(&word, from, WORD_BYTES);
    return word;
}

static size_t bytes_of_bits(size_t bits)
{
    return (bits + WORD_BITS - 1) / WORD_BITS * WORD_BYTES;
}

/* floor(log2(span / n)): the low bits of Elias-Fano that make the whole the shortest. */
static unsigned low_bits_of(size_t n, size_t span)
{
    return 63U - (unsigned)__builtin_clzll((unsigned long long)(span / n));
}

static size_t low_bytes(size_t n, unsigned low_bits)
{
    return bytes_of_bits(n * low_bits);
}

static size_t elias_fano_bytes(size_t n, size_t span, unsigned low_bits)
{
    return low_bytes(n, low_bits) + bytes_of_bits(n + (span >> low_bits) + 1);
}

size_t lmn__sparse_index_bytes(lmn_sparse_indices code, size_t n, size_t span)
{
    switch (code) {
    case LMN_SPARSE_RAW:
        return sizeof(uint32_t) * n;
    case LMN_SPARSE_BITMAP:
        return bytes_of_bits(span);
    default:
        assert(code == LMN_SPARSE_ELIAS_FANO);
        return elias_fano_bytes(n, span, low_bits_of(n, span));
    }
}

/* The size grows with n as long as the number of low bits stays the same, so it is largest at the
   last n of each such stretch. */
size_t lmn__sparse_elias_fano_bytes_max(size_t n, size_t span)
{
    unsigned low_bits = low_bits_of(n, span);
    size_t largest = elias_fano_bytes(n, span, low_bits);
    for (low_bits++; span >> low_bits > 0; low_bits++) {
        const size_t bytes = elias_fano_bytes(span >> low_bits, span, low_bits);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

/* Distances count from the smallest index that could follow. */
static size_t delta_bytes(const lmn__sparse_support *support)
{
    uint32_t gap = support->indices[0] - (uint32_t)support->range.first;
    size_t bytes =
        support->n + (gap >= 1U << 7) + (gap >= 1U << 14) + (gap >= 1U << 21) + (gap >= 1U << 28);
    /* A vector of counters of 32 bits; 2^26 gaps cannot overflow it. */
    for (size_t start = 1; start < support->n; start += (size_t)1 << 26) {
        const size_t rest = support->n - start;
        const size_t end = start + (rest < (size_t)1 << 26 ? rest : (size_t)1 << 26);
        uint32_t more = 0;
#pragma omp simd reduction(+ : more)
        for (size_t i = start; i < end; i++) {
            const uint32_t distance = support->indices[i] - support->indices[i - 1] - 1;
            more += (uint32_t)(distance >> 7 != 0) + (uint32_t)(distance >> 14 != 0) +
                    (uint32_t)(distance >> 21 != 0) + (uint32_t)(distance >> 28 != 0);
        }
        bytes += more;
    }
    return (bytes + 3) / 4 * 4;
}

size_t lmn__sparse_support_bytes(lmn_sparse_indices code, const lmn__sparse_support *support)
{
    return code == LMN_SPARSE_DELTA
               ? delta_bytes(support)
               : lmn__sparse_index_bytes(code, support->n, support->range.count);
}

static void write_raw(const lmn__sparse_support *support, unsigned char *block)
{
    for (size_t i = 0; i < support->n; i++) {
        const uint32_t index = support->indices[i] - (uint32_t)support->range.first;
        memcpy(block + sizeof index * i, &index, sizeof index);
    }
}

static void write_delta(const lmn__sparse_support *support, unsigned char *block, size_t bytes)
{
    unsigned char *next = block;
    uint32_t smallest = (uint32_t)support->range.first;
    for (size_t i = 0; i < support->n; i++) {
        uint32_t distance = support->indices[i] - smallest;
        while (distance >> 7 != 0) {
            *next++ = (unsigned char)(distance | 0x80U);
            distance >>= 7;
        }
        *next++ = (unsigned char)distance;
        smallest = support->indices[i] + 1;
    }
    memset(next, 0, (size_t)(block + bytes - next));
}

/* Bits are gathered in a register and stored when the next one falls into another word. */
typedef struct bit_writer {
    unsigned char *words;
    size_t word;
    uint64_t bits;
} bit_writer;

static void write_bit(bit_writer *writer, size_t position)
{
    const size_t word = position / WORD_BITS;
    if (word != writer->word) {
        memcpy(writer->words + WORD_BYTES * writer->word, &writer->bits, WORD_BYTES);
        writer->word = word;
        writer->bits = 0;
    }
    writer->bits |= (uint64_t)1 << position % WORD_BITS;
}

static void write_bitmap(const lmn__sparse_support *support, unsigned char *block, size_t bytes)
{
    memset(block, 0, bytes);
    bit_writer writer = {.words = block};
    for (size_t i = 0; i < support->n; i++) {
        write_bit(&writer, support->indices[i] - support->range.first);
    }
    memcpy(block + WORD_BYTES * writer.word, &writer.bits, WORD_BYTES);
}

/* Low parts of fewer than 32 bits each, end to end. */
static void write_low(const lmn__sparse_support *support, unsigned low_bits, unsigned char *block)
{
    /* cppcheck-suppress shiftTooManyBits ; there are fewer than 32 low bits */
    const uint64_t mask = ((uint64_t)1 << low_bits) - 1;
    uint64_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < support->n; i++) {
        const uint64_t low = (support->indices[i] - support->range.first) & mask;
        bits |= low << n_bits;
        n_bits += low_bits;
        if (n_bits >= WORD_BITS) {
            memcpy(block, &bits, WORD_BYTES);
            block += WORD_BYTES;
            n_bits -= (unsigned)WORD_BITS;
            bits = n_bits == 0 ? 0 : low >> (low_bits - n_bits);
        }
    }
    if (n_bits > 0) {
        memcpy(block, &bits, WORD_BYTES);
    }
}

static void write_elias_fano(const lmn__sparse_support *support, unsigned char *block, size_t bytes)
{
    const unsigned low_bits = low_bits_of(support->n, support->range.count);
    const size_t low = low_bytes(support->n, low_bits);
    if (low_bits > 0) {
        write_low(support, low_bits, block);
    }
    bit_writer writer = {.words = block + low};
    memset(writer.words, 0, bytes - low);
    for (size_t i = 0; i < support->n; i++) {
        write_bit(&writer, ((support->indices[i] - support->range.first) >> low_bits) + i);
    }
    memcpy(writer.words + WORD_BYTES * writer.word, &writer.bits, WORD_BYTES);
}

void lmn__sparse_index_write(lmn_sparse_indices code, const lmn__sparse_support *support,
                             unsigned char *block, size_t bytes)
{
    switch (code) {
    case LMN_SPARSE_RAW:
        write_raw(support, block);
        break;
    case LMN_SPARSE_DELTA:
        write_delta(support, block, bytes);
        break;
    case LMN_SPARSE_BITMAP:
        write_bitmap(support, block, bytes);
        break;
    default:
        write_elias_fano(support, block, bytes);
        break;
    }
}

lmn__sparse_cursor lmn__sparse_cursor_at(lmn_sparse_indices code, const unsigned char *block,
                                         size_t n, lmn_range range)
{
    lmn__sparse_cursor cursor = {.code = code, .first = (uint32_t)range.first, .next = block};
    if (n == 0 || code == LMN_SPARSE_RAW || code == LMN_SPARSE_DELTA) {
        return cursor;
    }
    if (code == LMN_SPARSE_ELIAS_FANO) {
        cursor.low_bits = low_bits_of(n, range.count);
        block += low_bytes(n, cursor.low_bits);
    }
    cursor.words = block;
    cursor.bits = load_word(block);
    return cursor;
}

static void read_raw(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices)
{
    memcpy(indices, cursor->next, count * sizeof *indices);
    cursor->next += count * sizeof *indices;
    if (cursor->first != 0) {
#pragma omp simd
        for (size_t i = 0; i < count; i++) {
            indices[i] += cursor->first;
        }
    }
}

/* Most distances take one or two groups. */
static void read_delta(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices)
{
    const unsigned char *next = cursor->next;
    uint32_t smallest = cursor->smallest;
    for (size_t i = 0; i < count; i++) {
        uint32_t group = *next++;
        uint32_t distance = group & 0x7FU;
        for (unsigned shift = 7; group >= 0x80U; shift += 7) {
            group = *next++;
            distance |= (group & 0x7FU) << shift;
        }
        const uint32_t index = smallest + distance;
        indices[i] = index + cursor->first;
        smallest = index + 1;
    }
    cursor->next = next;
    cursor->smallest = smallest;
}

/* The position of the next set bit. */
static inline size_t next_position(lmn__sparse_cursor *cursor)
{
    while (cursor->bits == 0) {
        cursor->word++;
        cursor->bits = load_word(cursor->words + WORD_BYTES * cursor->word);
    }
    const size_t position =
        WORD_BITS * cursor->word + (size_t)__builtin_ctzll((unsigned long long)cursor->bits);
    cursor->bits &= cursor->bits - 1;
    return position;
}

static void read_bitmap(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices)
{
    lmn__sparse_cursor at = *cursor;
    for (size_t i = 0; i < count; i++) {
        indices[i] = at.first + (uint32_t)next_position(&at);
    }
    *cursor = at;
}

/* A load of a whole word at a low part stays inside the block: the high bits follow. */
static void read_elias_fano(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices)
{
    lmn__sparse_cursor at = *cursor;
    const uint64_t mask = ((uint64_t)1 << at.low_bits) - 1;
    for (size_t i = 0; i < count; i++) {
        const size_t entry = at.done + i;
        const size_t bit = entry * at.low_bits;
        const uint64_t low = load_word(at.next + bit / 8) >> bit % 8 & mask;
        const uint64_t high = (uint64_t)(next_position(&at) - entry);
        indices[i] = at.first + (uint32_t)(high << at.low_bits | low);
    }
    *cursor = at;
}

void lmn__sparse_cursor_read(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices)
{
    switch (cursor->code) {
    case LMN_SPARSE_RAW:
        read_raw(cursor, count, indices);
        break;
    case LMN_SPARSE_DELTA:
        read_delta(cursor, count, indices);
        break;
    case LMN_SPARSE_BITMAP:
        read_bitmap(cursor, count, indices);
        break;
    default:
        read_elias_fano(cursor, count, indices);
        break;
    }
    cursor->done += count;
}

/* Whether a bit vector has n bits set, none of them at or above `limit`. */
static bool bits_fit(const unsigned char *words, size_t n, size_t limit)
{
    size_t seen = 0;
    const size_t n_words = bytes_of_bits(limit) / WORD_BYTES;
    for (size_t i = 0; i < n_words; i++) {
        seen += (size_t)__builtin_popcountll((unsigned long long)load_word(words + WORD_BYTES * i));
    }
    const size_t used = limit % WORD_BITS;
    return seen == n && (used == 0 || load_word(words + WORD_BYTES * (n_words - 1)) >> used == 0);
}

/* Whether a block of distances holds n of them, which stay below `span`, and padding. */
static bool delta_fits(const unsigned char *block, size_t bytes, size_t n, size_t span)
{
    uint64_t smallest = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t distance = 0;
        unsigned group = 0x80U;
        for (unsigned shift = 0; group >= 0x80U; shift += 7) {
            if (at == bytes || shift == 7 * GROUPS_MAX) {
                return false;
            }
            group = block[at++];
            distance |= (uint64_t)(group & 0x7FU) << shift;
        }
        if (smallest + distance >= span) {
            return false;
        }
        smallest += distance + 1;
    }
    return (at + 3) / 4 * 4 == bytes;
}

/* Before a cursor may walk over the block. */
static bool block_fits(lmn_sparse_indices code, const unsigned char *block, size_t bytes, size_t n,
                       size_t span)
{
    if (code == LMN_SPARSE_DELTA) {
        return delta_fits(block, bytes, n, span);
    }
    if (bytes != lmn__sparse_index_bytes(code, n, span)) {
        return false;
    }
    if (code == LMN_SPARSE_BITMAP) {
        return bits_fit(block, n, span);
    }
    if (code == LMN_SPARSE_ELIAS_FANO) {
        const unsigned low_bits = low_bits_of(n, span);
        return bits_fit(block + low_bytes(n, low_bits), n, n + (span >> low_bits) + 1);
    }
    return true;
}

lmn_status lmn__sparse_index_check(lmn_sparse_indices code, const unsigned char *block,
                                   size_t bytes, size_t n, lmn_range range, lmn_error *err)
{
    if (!block_fits(code, block, bytes, n, range.count)) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: its %zu bytes do not hold the indices of %zu entries "
                             "of %zu elements",
                             bytes, n, range.count);
    }
    const lmn_range whole = {.first = 0, .count = range.count};
    lmn__sparse_cursor cursor = lmn__sparse_cursor_at(code, block, n, whole);
    uint64_t smallest = 0; /* that the next index may be */
    uint32_t indices[LMN__SPARSE_BLOCK];
    for (size_t first = 0; first < n; first += LMN__SPARSE_BLOCK) {
        const size_t count = n - first < LMN__SPARSE_BLOCK ? n - first : LMN__SPARSE_BLOCK;
        lmn__sparse_cursor_read(&cursor, count, indices);
        for (size_t i = 0; i < count; i++) {
            if (indices[i] < smallest || indices[i] >= range.count) {
                return lmn_error_set(
                    err, LMN_ERR_MESSAGE,
                    "sparse message: entry %zu has index %u; from %llu to %zu would fit", first + i,
                    (unsigned)indices[i], (unsigned long long)smallest, range.count - 1);
            }
            smallest = (uint64_t)indices[i] + 1;
        }
    }
    return LMN_OK;
}
