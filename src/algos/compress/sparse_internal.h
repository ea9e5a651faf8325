/*
 * The two halves of a sparse message: its index block and its value block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SPARSE_INTERNAL_H
#define LAMINA_SPARSE_INTERNAL_H

#include "lamina/sparse.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* Messages are copied to and from memory as they are. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian host needs byte swaps here");

/* Entries that are decoded together; scaled values share a scale over so many. */
#define LMN__SPARSE_BLOCK ((size_t)512)

#define LMN__SPARSE_VERSION 1

typedef struct lmn__sparse_header {
    uint8_t version;
    uint8_t indices; /* lmn_sparse_indices */
    uint8_t values;  /* lmn_sparse_values */
    uint8_t zero;
    uint32_t n;
} lmn__sparse_header;

static_assert(sizeof(lmn__sparse_header) == 8, "the header is part of the wire format");

/** Ascending indices of a range. */
typedef struct lmn__sparse_support {
    const uint32_t *indices; /* [n] */
    size_t n;
    lmn_range range;
} lmn__sparse_support;

/** Bytes of the index block of n >= 1 entries, for the codes whose size follows from counts. */
size_t lmn__sparse_index_bytes(lmn_sparse_indices code, size_t n, size_t span);

/** The largest Elias-Fano block of up to n >= 1 entries. */
size_t lmn__sparse_elias_fano_bytes_max(size_t n, size_t span);

/** Exact bytes of the index block of any code, n >= 1; a multiple of 4. */
size_t lmn__sparse_support_bytes(lmn_sparse_indices code, const lmn__sparse_support *support);

/** Write the index block of a code [bytes, of the functions above]. */
void lmn__sparse_index_write(lmn_sparse_indices code, const lmn__sparse_support *support,
                             unsigned char *block, size_t bytes);

/** A reader of an index block. */
typedef struct lmn__sparse_cursor {
    lmn_sparse_indices code;
    uint32_t first; /* of the range */
    size_t done;    /* entries read */
    /* RAW and DELTA: what is to be read next; Elias-Fano: low bits. */
    const unsigned char *next;
    unsigned low_bits;
    uint32_t smallest; /* DELTA: that the next index, from the start of the range, can be */
    /* BITMAP and high bits of Elias-Fano: 64-bit words. */
    const unsigned char *words;
    size_t word;
    uint64_t bits; /* left of it */
} lmn__sparse_cursor;

lmn__sparse_cursor lmn__sparse_cursor_at(lmn_sparse_indices code, const unsigned char *block,
                                         size_t n, lmn_range range);

/** The next `count` indices; the block must hold them. */
void lmn__sparse_cursor_read(lmn__sparse_cursor *cursor, size_t count, uint32_t *indices);

/** Whether a block [bytes] holds n >= 1 ascending indices of a range and nothing else; n is at most
 *  range.count. Errors: LMN_ERR_MESSAGE. */
lmn_status lmn__sparse_index_check(lmn_sparse_indices code, const unsigned char *block,
                                   size_t bytes, size_t n, lmn_range range, lmn_error *err);

/** Bytes of the value block of n entries; a multiple of 4. */
size_t lmn__sparse_value_bytes(lmn_sparse_values format, size_t n);

void lmn__sparse_value_write(lmn_sparse_values format, const float *values, size_t n,
                             unsigned char *block);

/** Values first .. first + count - 1 of n; first is a multiple of LMN__SPARSE_BLOCK and count at
 *  most that. */
void lmn__sparse_value_read(lmn_sparse_values format, const unsigned char *block, size_t n,
                            size_t first, size_t count, float *values);

/** The first of n values that is not what a writer writes, or n. block [lmn__sparse_value_bytes] */
size_t lmn__sparse_value_check(lmn_sparse_values format, const unsigned char *block, size_t n);

#endif
