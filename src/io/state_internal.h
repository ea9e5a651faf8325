/*
 * What a list of state holds, for the files that walk it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_STATE_INTERNAL_H
#define LAMINA_IO_STATE_INTERNAL_H

#include "h5_internal.h"
#include "lamina/checkpoint.h"

typedef struct lmn__state_array {
    char *name; /* owned */
    char *unit; /* owned */
    lmn_state_kind kind;
    lmn_state_type type;
    size_t n_dims;
    size_t dims[LMN_STATE_DIMS_MAX];
    size_t count; /* elements in `data`: product of dims, or of a slice this rank's */
    size_t first; /* of a slice: where this rank's run begins */
    lmn_state_elastic elastic;
    void *data; /* [count] borrowed */
} lmn__state_array;

typedef struct lmn__state_number {
    char *name;      /* owned */
    uint64_t *value; /* borrowed */
} lmn__state_number;

typedef struct lmn__state_text {
    char *name;  /* owned */
    char *value; /* owned */
    bool must_match;
} lmn__state_text;

/** A list that grows by doubling; items are of one of the types above. */
typedef struct lmn__state_list {
    void *items; /* [capacity] owned */
    size_t count;
    size_t capacity;
} lmn__state_list;

struct lmn_state {
    lmn__state_list arrays;
    lmn__state_list numbers;
    lmn__state_list texts;
    char *layout;        /* owned; NULL: flat */
    uint64_t workers;    /* 0: every rank */
    uint64_t ranks_read; /* that wrote the file read last; 0: none */
    bool was_cut_anew;
};

/** Whose the rows of per-rank arrays are. */
const char *lmn__state_layout(const lmn_state *state);
uint64_t lmn__state_workers(const lmn_state *state, int size);

/** "replicated", ... */
const char *lmn__state_kind_name(lmn_state_kind kind);

const lmn__state_array *lmn__state_arrays(const lmn_state *state);
const lmn__state_number *lmn__state_numbers(const lmn_state *state);
const lmn__state_text *lmn__state_texts(const lmn_state *state);

/** "f32", ...; element size in bytes; type in memory and in the file (not to be closed). */
const char *lmn__state_type_name(lmn_state_type type);
size_t lmn__state_type_bytes(lmn_state_type type);
hid_t lmn__state_memory_type(lmn_state_type type);
hid_t lmn__state_file_type(lmn_state_type type);

/** Shape in the file: per-rank arrays have the ranks in front. */
lmn__h5_shape lmn__state_file_shape(const lmn__state_array *array, uint64_t ranks);

/** 64-bit hash of everything that must agree on all ranks; chain by `seed`. */
uint64_t lmn__state_hash(const lmn_state *state, uint64_t seed);

#endif
