/*
 * The parameters of a checkpoint in memory, with their views in another layout.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_WEIGHT_SET_H
#define LAMINA_APPS_WEIGHT_SET_H

#include "weight_layout.h"

typedef struct weight_set {
    array_list arrays; /* of /parameters/, in order of their names */
    float **ours;      /* [arrays.count] owned, each owned */
    size_t n_views;
    weight_view *views; /* [n_views] owned */
    size_t *array_of;   /* [n_views] owned: which array a view is of */
} weight_set;

/**
 * List the parameters of a checkpoint and make room for them; reads their numbers, too, when
 * `with_values`.
 * Errors: LMN_ERR_FORMAT (it has none), LMN_ERR_MEMORY, those of lmn_file_read_f64.
 */
lmn_status weight_set_read(const lmn_file *file, const char *model, weight_layout layout,
                           bool with_values, weight_set *set_out, lmn_error *err) LMN_NODISCARD;
void weight_set_free(weight_set *set);

/** "[3, 4]" */
void weight_shape_text(size_t n_dims, const uint64_t *dims, char text[256]);

#endif
