/*
 * Reading arrays that NumPy saved: .npy files, plain or gzip, and members of .npz archives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_NPY_INTERNAL_H
#define LAMINA_IO_NPY_INTERNAL_H

#include "source_internal.h"
#include "zip_internal.h"

#define LMN__NPY_DIMS_MAX 8

typedef enum lmn__npy_type {
    LMN__NPY_BOOL,
    LMN__NPY_U8,
    LMN__NPY_U16,
    LMN__NPY_U32,
    LMN__NPY_U64,
    LMN__NPY_I8,
    LMN__NPY_I16,
    LMN__NPY_I32,
    LMN__NPY_I64,
    LMN__NPY_F32,
    LMN__NPY_F64
} lmn__npy_type;

/** An array that is read from front to back. */
typedef struct lmn__npy {
    bool is_member;     /* of an archive */
    lmn__source source; /* when it is a file of its own */
    lmn__zip zip;       /* when it is a member */
    char name[512];     /* for messages: path, or path:member */
    lmn__npy_type type;
    size_t element_bytes;
    int n_dims;
    uint64_t dims[LMN__NPY_DIMS_MAX];
    uint64_t row_elements; /* elements of one row: all dimensions but the first */
    unsigned char *block;  /* owned: elements as they are stored */
    size_t capacity;       /* elements that it holds */
} lmn__npy;

/**
 * Open path, or member `member` of the archive at path (NULL: of a plain .npy file, or the only
 * member), and read the header.
 * Errors: LMN_ERR_IO, LMN_ERR_MEMORY; LMN_ERR_FORMAT (no NumPy array, truncated, big-endian,
 * Fortran order, or a type that has no numbers, with what to do in NumPy).
 */
lmn_status lmn__npy_open(lmn__npy *npy, const char *path, const char *member,
                         lmn_error *err) LMN_NODISCARD;
void lmn__npy_close(lmn__npy *npy);

bool lmn__npy_is_float(const lmn__npy *npy);

/** "(60000, 28, 28)", for messages. */
void lmn__npy_shape_text(const lmn__npy *npy, char *text, size_t capacity);

/**
 * The next `count` elements as f32.
 * first  index of the first of them in the array, for messages
 * Errors: LMN_ERR_FORMAT (truncated or damaged; not finite, or too large for f32), LMN_ERR_IO.
 */
lmn_status lmn__npy_read_f32(lmn__npy *npy, uint64_t first, float *values, size_t count,
                             lmn_error *err) LMN_NODISCARD;

/** The same of integers; a u64 beyond i64 is refused. */
lmn_status lmn__npy_read_i64(lmn__npy *npy, uint64_t first, int64_t *values, size_t count,
                             lmn_error *err) LMN_NODISCARD;

/** The next bytes as they are stored, all of them; elements of type U8 are bytes. */
lmn_status lmn__npy_read_bytes(lmn__npy *npy, void *data, size_t bytes,
                               lmn_error *err) LMN_NODISCARD;

/** Check that the array ends here. Errors: LMN_ERR_FORMAT. */
lmn_status lmn__npy_finish(lmn__npy *npy, lmn_error *err) LMN_NODISCARD;

#endif
