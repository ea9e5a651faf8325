/*
 * Weights in the files of other frameworks: safetensors, and NumPy's npz.
 *
 * Files hold named arrays of f32 in row-major order. What the arrays are called and how they lie
 * there is the caller's business. Serial; no MPI needed.
 *
 * Formats: Hugging Face, "Safetensors", https://github.com/huggingface/safetensors; NEP 1, "A
 * simple file format for NumPy arrays", in archives of PKWARE's .ZIP file format specification,
 * members stored.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_WEIGHTS_H
#define LAMINA_WEIGHTS_H

#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LMN_WEIGHT_DIMS_MAX 8

/** One array; all is borrowed. */
typedef struct lmn_weight {
    const char *name;
    size_t n_dims; /* 0: a single number */
    uint64_t dims[LMN_WEIGHT_DIMS_MAX];
    const float *values; /* [product of dims] */
} lmn_weight;

/** A fact about the whole file, kept where the format has a place for it. */
typedef struct lmn_weight_note {
    const char *name, *text; /* borrowed */
} lmn_weight_note;

/**
 * Write a .safetensors file: arrays of type F32 in the order given, notes as its metadata. The file
 * appears under its name when it is complete.
 * Errors: LMN_ERR_ARGUMENT (a name twice, a header of more than 100 MB), LMN_ERR_IO,
 * LMN_ERR_MEMORY.
 */
lmn_status lmn_safetensors_write(const char *path, const lmn_weight *weights, size_t count,
                                 const lmn_weight_note *notes, size_t n_notes,
                                 lmn_error *err) LMN_NODISCARD;

/** Write a .npz archive with a member <name>.npy for each array, as numpy.savez does. Notes have no
 *  place in it. Errors as above. */
lmn_status lmn_npz_write(const char *path, const lmn_weight *weights, size_t count,
                         lmn_error *err) LMN_NODISCARD;

typedef struct lmn_safetensors lmn_safetensors;

/**
 * Open a .safetensors file and read its header, of which all is checked against the file's length.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (not that format, damaged, truncated), LMN_ERR_MEMORY.
 */
lmn_status lmn_safetensors_open(const char *path, lmn_safetensors **file_out,
                                lmn_error *err) LMN_NODISCARD;
void lmn_safetensors_close(lmn_safetensors *file);

size_t lmn_safetensors_count(const lmn_safetensors *file);

/** Name and shape of array `index`; values is NULL. Texts live as long as the file is open. */
lmn_weight lmn_safetensors_describe(const lmn_safetensors *file, size_t index);

/**
 * The numbers of array `index` as f32; F16, BF16 and F32 are exact, F64 is rounded.
 * values  [product of dims]
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (a type that is no floating point, a number that is not finite
 * as f32).
 */
lmn_status lmn_safetensors_read(const lmn_safetensors *file, size_t index, float *values,
                                lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
