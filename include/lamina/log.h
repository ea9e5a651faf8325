/*
 * Logging through a handler that the application owns.
 *
 * The library never prints: it hands one line at a time to the handler. Libraries log summaries at
 * info and nothing per training step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LOG_H
#define LAMINA_LOG_H

#include "lamina/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_log_level {
    LMN_LOG_ERROR = 0,
    LMN_LOG_WARN = 1,
    LMN_LOG_INFO = 2,
    LMN_LOG_DEBUG = 3
} lmn_log_level;

/** Receives one line without newline. Must not call back into the object that logs. */
typedef void (*lmn_log_fn)(void *user, lmn_log_level level, const char *line);

/** A sink for log lines; a NULL lmn_logger or a NULL `write` is silence. */
typedef struct lmn_logger {
    lmn_log_level level; /* lines above this level are dropped */
    lmn_log_fn write;
    void *user; /* borrowed; passed to write */
} lmn_logger;

/** Format one line (at most 1023 bytes) and hand it over when `level` is wanted. No heap. */
void lmn_log_write(const lmn_logger *log, lmn_log_level level, const char *format, ...)
    LMN_PRINTF(3, 4);

/** "error", "warn", "info" or "debug". */
const char *lmn_log_level_name(lmn_log_level level);

#ifdef __cplusplus
}
#endif

#endif
