/*
 * Sparse messages: sizes, writing, checking, reading.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sparse_internal.h"

#include <assert.h>

#define HEADER_BYTES sizeof(lmn__sparse_header)

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t lmn_sparse_bytes_max(size_t n_max, size_t span, lmn_sparse_values format)
{
    const size_t n = smaller(n_max, span);
    if (n == 0) {
        return HEADER_BYTES;
    }
    const size_t fixed = smaller(lmn__sparse_index_bytes(LMN_SPARSE_RAW, n, span),
                                 lmn__sparse_index_bytes(LMN_SPARSE_BITMAP, n, span));
    return HEADER_BYTES + smaller(fixed, lmn__sparse_elias_fano_bytes_max(n, span)) +
           lmn__sparse_value_bytes(format, n);
}

/* The code that takes the fewest bytes, of equals the first. */
static lmn_sparse_indices shortest_code(const lmn__sparse_support *support, size_t *bytes_out)
{
    lmn_sparse_indices shortest = LMN_SPARSE_RAW;
    *bytes_out = lmn__sparse_support_bytes(shortest, support);
    for (int i = 1; i < LMN_SPARSE_INDICES_COUNT; i++) {
        const lmn_sparse_indices code = (lmn_sparse_indices)i;
        const size_t bytes = lmn__sparse_support_bytes(code, support);
        if (bytes < *bytes_out) {
            *bytes_out = bytes;
            shortest = code;
        }
    }
    return shortest;
}

size_t lmn_sparse_write(const uint32_t *indices, const float *values, size_t n, lmn_range range,
                        lmn_sparse_values format, unsigned char *payload)
{
    assert(n <= range.count && range.first + range.count <= UINT32_MAX);
    const lmn__sparse_support support = {.indices = indices, .n = n, .range = range};
    lmn__sparse_header header = {
        .version = LMN__SPARSE_VERSION, .values = (uint8_t)format, .n = (uint32_t)n};
    size_t index_bytes = 0;
    if (n > 0) {
        const lmn_sparse_indices code = shortest_code(&support, &index_bytes);
        header.indices = (uint8_t)code;
        lmn__sparse_index_write(code, &support, payload + HEADER_BYTES, index_bytes);
        lmn__sparse_value_write(format, values, n, payload + HEADER_BYTES + index_bytes);
    }
    memcpy(payload, &header, HEADER_BYTES);
    return HEADER_BYTES + index_bytes + lmn__sparse_value_bytes(format, n);
}

static lmn__sparse_header header_of(const lmn_sparse_message *message)
{
    lmn__sparse_header header;
    memcpy(&header, message->payload, HEADER_BYTES);
    return header;
}

size_t lmn_sparse_count(const lmn_sparse_message *message)
{
    return header_of(message).n;
}

lmn_sparse_indices lmn_sparse_indices_of(const lmn_sparse_message *message)
{
    return (lmn_sparse_indices)header_of(message).indices;
}

lmn_sparse_values lmn_sparse_values_of(const lmn_sparse_message *message)
{
    return (lmn_sparse_values)header_of(message).values;
}

static lmn_status check_header(const lmn_sparse_message *message, size_t n_max, lmn_error *err)
{
    if (message->bytes < HEADER_BYTES) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: %zu bytes are too few for a header", message->bytes);
    }
    const lmn__sparse_header header = header_of(message);
    if (header.version != LMN__SPARSE_VERSION || header.zero != 0) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: version %u is not known, only %u is",
                             (unsigned)header.version, (unsigned)LMN__SPARSE_VERSION);
    }
    if (header.indices >= LMN_SPARSE_INDICES_COUNT || header.values >= LMN_SPARSE_VALUES_COUNT) {
        return lmn_error_set(
            err, LMN_ERR_MESSAGE,
            "sparse message: no code %u for indices or no format %u for values is known",
            (unsigned)header.indices, (unsigned)header.values);
    }
    const size_t n_allowed = smaller(n_max, message->range.count);
    if (header.n > n_allowed) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: says %u entries where at most %zu can be",
                             (unsigned)header.n, n_allowed);
    }
    return LMN_OK;
}

static lmn_status check_entries(const lmn_sparse_message *message, size_t index_bytes,
                                lmn_error *err)
{
    const lmn__sparse_header header = header_of(message);
    const lmn_status status =
        lmn__sparse_index_check((lmn_sparse_indices)header.indices, message->payload + HEADER_BYTES,
                                index_bytes, header.n, message->range, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t bad = lmn__sparse_value_check(
        (lmn_sparse_values)header.values, message->payload + HEADER_BYTES + index_bytes, header.n);
    if (bad < header.n) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: the value of entry %zu is NaN, infinity or no code",
                             bad);
    }
    return LMN_OK;
}

lmn_status lmn_sparse_check(const lmn_sparse_message *message, size_t n_max, lmn_error *err)
{
    const lmn_status status = check_header(message, n_max, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__sparse_header header = header_of(message);
    const size_t value_bytes = lmn__sparse_value_bytes((lmn_sparse_values)header.values, header.n);
    const size_t rest = message->bytes - HEADER_BYTES;
    if (rest < value_bytes || (header.n == 0 && rest > 0)) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "sparse message: %zu bytes do not fit its %u entries", message->bytes,
                             (unsigned)header.n);
    }
    return header.n == 0 ? LMN_OK : check_entries(message, rest - value_bytes, err);
}

/* A reader of the entries of a checked message. */
typedef struct reader {
    lmn__sparse_cursor cursor;
    lmn_sparse_values format;
    const unsigned char *values;
    size_t n;
} reader;

static reader reader_of(const lmn_sparse_message *message)
{
    const lmn__sparse_header header = header_of(message);
    const lmn_sparse_values format = (lmn_sparse_values)header.values;
    return (reader){
        .cursor = lmn__sparse_cursor_at((lmn_sparse_indices)header.indices,
                                        message->payload + HEADER_BYTES, header.n, message->range),
        .format = format,
        .values = message->payload + message->bytes - lmn__sparse_value_bytes(format, header.n),
        .n = header.n};
}

/* The next entries, up to LMN__SPARSE_BLOCK; returns their number. */
static size_t read_block(reader *from, uint32_t *indices, float *values)
{
    const size_t first = from->cursor.done;
    const size_t count = smaller(from->n - first, LMN__SPARSE_BLOCK);
    lmn__sparse_cursor_read(&from->cursor, count, indices);
    lmn__sparse_value_read(from->format, from->values, from->n, first, count, values);
    return count;
}

void lmn_sparse_read(const lmn_sparse_message *message, uint32_t *indices, float *values)
{
    reader from = reader_of(message);
    while (from.cursor.done < from.n) {
        const size_t first = from.cursor.done;
        (void)read_block(&from, indices + first, values + first);
    }
}

/* A reader whose indices count from the start of the range. */
static reader reader_from_zero(const lmn_sparse_message *message)
{
    lmn_sparse_message here = *message;
    here.range.first = 0;
    return reader_of(&here);
}

void lmn_sparse_add(const lmn_sparse_message *message, float weight, float *acc)
{
    reader from = reader_from_zero(message);
    uint32_t indices[LMN__SPARSE_BLOCK];
    float values[LMN__SPARSE_BLOCK];
    while (from.cursor.done < from.n) {
        const size_t count = read_block(&from, indices, values);
        for (size_t i = 0; i < count; i++) {
            acc[indices[i]] += weight * values[i];
        }
    }
}

void lmn_sparse_sum_add(lmn_sparse_sum *sum, const lmn_sparse_message *message, float weight)
{
    assert(message->range.count == sum->range.count);
    reader from = reader_from_zero(message);
    uint32_t indices[LMN__SPARSE_BLOCK];
    float values[LMN__SPARSE_BLOCK];
    while (from.cursor.done < from.n) {
        const size_t count = read_block(&from, indices, values);
        for (size_t i = 0; i < count; i++) {
            sum->sum[indices[i]] += weight * values[i];
            sum->marks[indices[i] / 64] |= (uint64_t)1 << indices[i] % 64;
        }
    }
}
