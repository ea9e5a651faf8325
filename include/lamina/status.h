/*
 * Status codes and error messages.
 *
 * Every fallible function returns an lmn_status and takes a caller-owned lmn_error (which may be
 * NULL). The function that detects a failure writes what failed, where, and what to do; callers
 * pass it up unchanged or add context once. An lmn_error has a fixed size, so reporting needs no
 * heap and a message can be broadcast to the other ranks (see lmn_agree in lamina/world.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_STATUS_H
#define LAMINA_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LMN_NODISCARD __attribute__((warn_unused_result))
#define LMN_PRINTF(format_index, first_index)                                                      \
    __attribute__((format(printf, format_index, first_index)))
#else
#define LMN_NODISCARD
#define LMN_PRINTF(format_index, first_index)
#endif

/* X(NAME, value, text); positive: not finished, 0: done, negative: failed. */
#define LMN_STATUS_LIST(X)                                                                         \
    X(LMN_IN_PROGRESS, 1, "in progress")                                                           \
    X(LMN_OK, 0, "ok")                                                                             \
    X(LMN_ERR_ARGUMENT, -1, "argument does not fit")                                               \
    X(LMN_ERR_MEMORY, -2, "out of memory")                                                         \
    X(LMN_ERR_USAGE, -3, "option or spec not understood")                                          \
    X(LMN_ERR_SHAPE, -4, "shapes do not fit")                                                      \
    X(LMN_ERR_IO, -5, "the file system refused")                                                   \
    X(LMN_ERR_FORMAT, -6, "file is damaged, truncated or of another kind")                         \
    X(LMN_ERR_COMM, -7, "MPI failed")                                                              \
    X(LMN_ERR_MESSAGE, -8, "a compressed message is damaged")                                      \
    X(LMN_ERR_NONFINITE, -9, "NaN or infinity")                                                    \
    X(LMN_ERR_DIVERGED, -10, "ranks hold different values")                                        \
    X(LMN_ERR_UNSUPPORTED, -11, "not supported")

#define LMN_STATUS_ENUM(name, value, text) name = (value),
typedef enum lmn_status { LMN_STATUS_LIST(LMN_STATUS_ENUM) } lmn_status;
#undef LMN_STATUS_ENUM

#define LMN_ERROR_MESSAGE_BYTES 1024

/** What went wrong. Plain data: may be copied, sent and kept. */
typedef struct lmn_error {
    lmn_status status;                     /* LMN_OK while nothing failed */
    int rank;                              /* rank that failed, -1 when it does not matter */
    char message[LMN_ERROR_MESSAGE_BYTES]; /* one line, no newline, always terminated */
} lmn_error;

/** The text of a status code; "unknown status" for any other number. */
const char *lmn_status_text(lmn_status status);

/** An lmn_error that holds nothing. */
lmn_error lmn_error_none(void);

/**
 * Write a message into `err` (may be NULL) and return `status`, so that a failing function can end
 * with `return lmn_error_set(err, LMN_ERR_IO, "cannot open '%s': %s", path, reason);`.
 * A message that does not fit is cut and ends in "...". Safe when an argument points into `err`.
 */
lmn_status lmn_error_set(lmn_error *err, lmn_status status, const char *format, ...)
    LMN_PRINTF(3, 4);

/** Put "context: " before the message that `err` holds. No effect on NULL or an empty error. */
void lmn_error_add_context(lmn_error *err, const char *format, ...) LMN_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif

#endif
