/*
 * Sparse messages: some entries of a long vector, as indices and values.
 *
 * A message holds entries of a range of a vector, indices ascending. Indices are written in the
 * shortest of four ways, chosen by exact size for each message; values as they are or in fewer
 * bits. Bytes: docs/compression.md. A message is checked once, before anything is done with it;
 * the other functions then trust it.
 *
 * A reduction that gives each rank a range of indices to add up takes a message apart and puts
 * another one together: lmn_sparse_read, lmn_sparse_split, lmn_sparse_write for each range; the
 * owner of a range calls lmn_sparse_sum_add for each message in the order of ranks, then
 * lmn_sparse_sum_take and lmn_sparse_write. Read values that are written again as LMN_SPARSE_F32,
 * or in the format they were read in if that is LMN_SPARSE_BF16, lose nothing; scaled values do,
 * because their blocks are cut anew.
 *
 * Indices have 32 bits: first + count of every range is below 2^32. No function is collective or
 * allocates memory; all memory is borrowed for the call.
 *
 * Source of the Elias-Fano code: P. Elias, "Efficient storage and retrieval by content and address
 * of static files", JACM 21(2), 1974.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SPARSE_H
#define LAMINA_SPARSE_H

#include "lamina/partition.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How values are written. Values are finite. */
typedef enum lmn_sparse_values {
    LMN_SPARSE_F32,
    LMN_SPARSE_BF16, /* rounded to nearest, ties to even; never to infinity */
    LMN_SPARSE_Q8,   /* whole multiples, -127 to 127, of 1/127 of the largest of 512 values */
    LMN_SPARSE_Q4    /* whole multiples, -7 to 7, of 1/7 of the largest of 512 values */
} lmn_sparse_values;

#define LMN_SPARSE_VALUES_COUNT 4

/** How indices are written. */
typedef enum lmn_sparse_indices {
    LMN_SPARSE_RAW,       /* u32 each */
    LMN_SPARSE_DELTA,     /* distances in 7-bit groups (LEB128) */
    LMN_SPARSE_BITMAP,    /* a bit for each element of the range */
    LMN_SPARSE_ELIAS_FANO /* low bits as they are, high bits in unary */
} lmn_sparse_indices;

#define LMN_SPARSE_INDICES_COUNT 4

/** Bytes that a message of up to n_max entries of a range of `span` elements can take. */
size_t lmn_sparse_bytes_max(size_t n_max, size_t span, lmn_sparse_values format);

/**
 * Write a message. Returns its bytes, at most lmn_sparse_bytes_max(n, range.count, format).
 * indices  [n] ascending, inside the range
 * values   [n] finite
 * payload  4-byte aligned
 */
size_t lmn_sparse_write(const uint32_t *indices, const float *values, size_t n, lmn_range range,
                        lmn_sparse_values format, unsigned char *payload);

/** values [n] become what a reader of a message of just these values gets. */
void lmn_sparse_round(float *values, size_t n, lmn_sparse_values format);

/** A received message and the range that it is about. */
typedef struct lmn_sparse_message {
    const unsigned char *payload; /* [bytes] 4-byte aligned, of any origin until checked */
    size_t bytes;
    lmn_range range;
} lmn_sparse_message;

/**
 * Whether a message is whole and has at most n_max entries. Never reads outside the payload.
 * Errors: LMN_ERR_MESSAGE, saying what is wrong with it.
 */
lmn_status lmn_sparse_check(const lmn_sparse_message *message, size_t n_max,
                            lmn_error *err) LMN_NODISCARD;

/** Entries of a checked message, and how it writes them. */
size_t lmn_sparse_count(const lmn_sparse_message *message);
lmn_sparse_indices lmn_sparse_indices_of(const lmn_sparse_message *message);
lmn_sparse_values lmn_sparse_values_of(const lmn_sparse_message *message);

/** The entries of a checked message. indices, values [lmn_sparse_count] */
void lmn_sparse_read(const lmn_sparse_message *message, uint32_t *indices, float *values);

/** acc += weight * entries, of a checked message. acc [range.count], of the range alone */
void lmn_sparse_add(const lmn_sparse_message *message, float weight, float *acc);

/**
 * Where to cut entries so that they fall into consecutive ranges.
 * indices  [n] ascending
 * bounds   [n_bounds] ascending
 * cuts     [n_bounds] out: number of entries whose index is below each bound
 */
void lmn_sparse_split(const uint32_t *indices, size_t n, const size_t *bounds, size_t n_bounds,
                      size_t *cuts);

/** A sum of sparse messages of one range. */
typedef struct lmn_sparse_sum {
    lmn_range range;
    float *sum;      /* [range.count] */
    uint64_t *marks; /* bit i: some message had an entry i */
} lmn_sparse_sum;

/** Bytes of memory of a sum over `span` elements. */
size_t lmn_sparse_sum_bytes(size_t span);

/** An empty sum in 64-byte aligned memory [lmn_sparse_sum_bytes], which must be zeroed. Borrowed.
 */
lmn_sparse_sum lmn_sparse_sum_of(lmn_range range, void *memory);

/** sum += weight * entries, of a checked message of the same range. Elements may have been given
 *  other values than zero before, to which messages are then added. */
void lmn_sparse_sum_add(lmn_sparse_sum *sum, const lmn_sparse_message *message, float weight);

/** Entries that the sum has: those of any message, though they may have added up to zero. */
size_t lmn_sparse_sum_count(const lmn_sparse_sum *sum);

/** Take the entries out, in ascending order; the memory is zeroed again. Returns their number.
 *  indices, values [lmn_sparse_sum_count] */
size_t lmn_sparse_sum_take(lmn_sparse_sum *sum, uint32_t *indices, float *values);

#ifdef __cplusplus
}
#endif

#endif
