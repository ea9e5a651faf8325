/*
 * Importers: other people's files into dataset.h5.
 *
 * Serial; no MPI needed. The output appears under its name only when it is complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IMPORT_H
#define LAMINA_IMPORT_H

#include "lamina/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** IDX files (the format of MNIST), plain or gzip by content. All strings are borrowed. */
typedef struct lmn_import_idx_options {
    const char *train_images; /* u8, [N, H, W] or [N, H, W, C] */
    const char *train_labels; /* u8, [N] */
    const char *test_images;  /* both may be NULL: no test split */
    const char *test_labels;
    const char *title;              /* for people; may be NULL */
    const char *const *class_names; /* [n_classes]; NULL: "0", "1", ... as many as labels need */
    size_t n_classes;
} lmn_import_idx_options;

/**
 * Write the dataset `output` from IDX files. Pixel values map to [0, 1] (scale 1/255, offset 0).
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (wrong magic, element type, truncated or damaged gzip, data
 * after the end, images and labels of different counts, label without a class), each naming the
 * file.
 */
lmn_status lmn_import_idx(const lmn_import_idx_options *options, const char *output,
                          lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
