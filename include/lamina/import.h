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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What every importer is told. All strings are borrowed; all 0 is a valid choice. */
typedef struct lmn_import_common {
    const char *title;              /* for people; may be NULL */
    const char *const *class_names; /* [n_classes] by label; NULL: from the data, or numbers */
    size_t n_classes;
    bool standardise; /* store mean and deviation of the training split, for the reader to apply */
} lmn_import_common;

/** IDX files (the format of MNIST), plain or gzip by content. All strings are borrowed. */
typedef struct lmn_import_idx_options {
    const char *train_images; /* u8, [N, H, W] or [N, H, W, C] */
    const char *train_labels; /* u8, [N] */
    const char *test_images;  /* both may be NULL: no test split */
    const char *test_labels;
    lmn_import_common common; /* without names classes are "0", "1", ... as many as labels need */
} lmn_import_idx_options;

/**
 * Write the dataset `output` from IDX files. Pixel values map to [0, 1] (scale 1/255, offset 0).
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (wrong magic, element type, truncated or damaged gzip, data
 * after the end, images and labels of different counts, label without a class), each naming the
 * file.
 */
lmn_status lmn_import_idx(const lmn_import_idx_options *options, const char *output,
                          lmn_error *err) LMN_NODISCARD;

/** Which CIFAR: told by the size of a record where it is not said. */
typedef enum lmn_cifar_format {
    LMN_CIFAR_AUTO = 0,
    LMN_CIFAR_10 = 1, /* 1 label byte a record */
    LMN_CIFAR_100 = 2 /* 2 label bytes: coarse (20 classes), fine (100 classes) */
} lmn_cifar_format;

/** The binary files of CIFAR-10 and CIFAR-100, plain or gzip by content. Strings are borrowed. */
typedef struct lmn_import_cifar_options {
    const char *const *train; /* [n_train] */
    size_t n_train;
    const char *const *test; /* [n_test]; 0: no test split */
    size_t n_test;
    lmn_cifar_format format;
    bool coarse;              /* CIFAR-100: the coarse labels in place of the fine ones */
    lmn_import_common common; /* without names: those of CIFAR-10, or numbers */
} lmn_import_cifar_options;

/**
 * Write the dataset `output`, images u8 [N, 32, 32, 3] that map to [0, 1].
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (no whole number of records, a label that is no class,
 * different formats, damaged gzip), LMN_ERR_ARGUMENT, each naming the file.
 */
lmn_status lmn_import_cifar(const lmn_import_cifar_options *options, const char *output,
                            lmn_error *err) LMN_NODISCARD;

/** LIBSVM files, plain or gzip by content: sparse rows. Strings are borrowed. */
typedef struct lmn_import_libsvm_options {
    const char *train;
    const char *test;    /* NULL: no test split */
    uint64_t n_features; /* 0: the largest index in both files */
    bool targets;        /* labels are numbers to predict, even if they are whole and few */
    lmn_import_common common;
} lmn_import_libsvm_options;

/**
 * Write the dataset `output`, vectors as sparse rows. Labels become classes, ordered by value, when
 * all are whole numbers and at most 1000 differ; else targets. Files are read twice; memory does
 * not grow with them. Errors: LMN_ERR_IO (a pipe, too); LMN_ERR_FORMAT, naming file and line (an
 * index that is 0, not ascending or too large, a number that is none or not finite, a missing
 * label); LMN_ERR_ARGUMENT (standardise: sparse rows would become dense).
 */
lmn_status lmn_import_libsvm(const lmn_import_libsvm_options *options, const char *output,
                             lmn_error *err) LMN_NODISCARD;

/** What the samples of NumPy arrays are. */
typedef enum lmn_numpy_samples {
    LMN_NUMPY_AUTO = 0,   /* 3 or 4 dimensions: images, 2: vectors */
    LMN_NUMPY_IMAGES = 1, /* [N, H, W] or [N, H, W, C] */
    LMN_NUMPY_VECTORS = 2 /* [N, D] */
} lmn_numpy_samples;

/**
 * Arrays that NumPy saved. Each is a text "FILE", a .npy file, plain or gzip, or an archive with
 * one member; or "FILE:MEMBER", of an .npz archive. Strings are borrowed.
 */
typedef struct lmn_import_numpy_options {
    lmn_numpy_samples kind;
    const char *train_samples;
    const char *train_labels; /* [N] or [N, 1] */
    const char *test_samples; /* both may be NULL: no test split */
    const char *test_labels;
    const char *archive; /* in place of all of them: members x_train, y_train, x_test, y_test */
    bool targets;        /* labels are numbers to predict, even if they are integers */
    lmn_import_common common;
} lmn_import_numpy_options;

/**
 * Write the dataset `output`. Images of bytes stay bytes and map to [0, 1]; all other samples are
 * stored as f32. Integer labels are classes from 0, floating-point ones are targets.
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (no NumPy array, truncated or damaged, Fortran order, a type
 * or shape that does not fit, NaN, infinity, too large for f32, a label without a class),
 * LMN_ERR_ARGUMENT.
 */
lmn_status lmn_import_numpy(const lmn_import_numpy_options *options, const char *output,
                            lmn_error *err) LMN_NODISCARD;

/** Whether a table of text begins with the names of its columns. */
typedef enum lmn_csv_header {
    LMN_CSV_HEADER_AUTO = 0, /* yes when row 1 has a text where row 2 has a number, or no number */
    LMN_CSV_HEADER_YES = 1,
    LMN_CSV_HEADER_NO = 2
} lmn_csv_header;

/**
 * Tables of text (CSV, RFC 4180), plain or gzip by content: one column is the answer, the others
 * are features. Columns are named as in the header, or by number from 1. Strings are borrowed.
 */
typedef struct lmn_import_csv_options {
    const char *train;
    const char *test; /* NULL: no file of its own */
    char separator;   /* 0: ',' */
    lmn_csv_header header;
    const char *label;       /* column of the classes, */
    const char *target;      /* or of the number to predict; one of them, the other NULL */
    const char *const *drop; /* [n_drop] columns to leave out */
    size_t n_drop;
    const char *missing; /* for empty cells: a number, or "mean" (of the training split); NULL: an
                            empty cell is an error */
    double test_part;    /* of the rows of `train`, drawn by (seed, row): the test split; else 0 */
    uint64_t seed;
    lmn_import_common common;
} lmn_import_csv_options;

/**
 * Write the dataset `output`, dense vectors. Labels become classes, numbers in order of value
 * before words in order of bytes. Files are read twice; memory does not grow with them. Errors:
 * LMN_ERR_IO (a pipe, too); LMN_ERR_FORMAT, naming file, line and column (a text or an empty cell
 * among the features, a number that is not finite or too large, rows of different length, a quote
 * that is not closed, more than 65536 labels); LMN_ERR_ARGUMENT (no such column).
 */
lmn_status lmn_import_csv(const lmn_import_csv_options *options, const char *output,
                          lmn_error *err) LMN_NODISCARD;

/** Text of any encoding, plain or gzip by content. All strings are borrowed. */
typedef struct lmn_import_text_options {
    const char *const *files; /* [n_files] read one after the other, as if they were one */
    size_t n_files;
    const char *vocabulary; /* "bytes" or "bpe:size=1024", see lamina/vocabulary.h */
    double test_part;       /* of the bytes, 0 to below 1: how much of the end is kept to test with;
                               the cut is moved on to the start of a line where there is one */
    const char *title;      /* for people; may be NULL */
} lmn_import_text_options;

/**
 * Write the dataset `output` from text. The vocabulary is learnt from the training part alone. The
 * whole text is held in memory.
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (damaged gzip, no text); LMN_ERR_USAGE (vocabulary);
 * LMN_ERR_ARGUMENT (test_part out of range, nothing left to train with).
 */
lmn_status lmn_import_text(const lmn_import_text_options *options, const char *output,
                           lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
