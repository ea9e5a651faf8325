/*
 * The console: what a program says to people, and that only one rank says it.
 *
 * Lines about the run go to stderr, answers that were asked for to stdout. On a terminal one line
 * may be open, which is rewritten in place; whatever else is said clears it first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_CONSOLE_H
#define LAMINA_APPS_CONSOLE_H

#include "lamina/log.h"
#include "lamina/status.h"

#include <stdbool.h>

typedef struct console {
    int rank;
    bool is_quiet;    /* errors only */
    bool is_terminal; /* of stderr */
    bool line_is_open;
} console;

/** A console for a process that has not started MPI: its rank is what the launcher says, or 0. */
console console_make(bool is_quiet);

/** One line to stderr, or nothing when quiet or not rank 0. */
void console_say(console *c, const char *format, ...) LMN_PRINTF(2, 3);

/** The same, rewriting the open line. For terminals. */
void console_rewrite(console *c, const char *line);

/** One line to stdout, or nothing when quiet or not rank 0. */
void console_answer(console *c, const char *format, ...) LMN_PRINTF(2, 3);

/** "lamina: message" to stderr on rank 0, also when quiet. */
void console_error(console *c, const lmn_error *err);

/** The same from any rank, which it names: for errors that ranks cannot agree on any more. */
void console_error_of_rank(console *c, const lmn_error *err);

/** A logger that writes here; borrows the console. Ranks other than 0 write warnings only. */
lmn_logger console_logger(console *c);

#endif
