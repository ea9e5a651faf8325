/*
 * Sessions: MPI from start to end around the work of a command, with one outcome for all ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_SESSION_H
#define LAMINA_APPS_SESSION_H

#include "command.h"
#include "console.h"
#include "lamina/lamina.h"

/** The work; collective. Its errors are the same on all ranks, but for LMN_ERR_COMM. */
typedef lmn_status (*session_fn)(lmn_world *world, void *user, lmn_error *err);

/**
 * Start MPI, do `work` if all ranks come with LMN_OK, print the error if there is one, end MPI.
 * status, cause  what parsing the options gave on this rank
 * Returns DONE, FAILED, USAGE or LOST, the same on all ranks. When MPI itself fails the job is
 * ended by MPI_Abort.
 */
exit_code session_run(console *c, lmn_status status, const lmn_error *cause, session_fn work,
                      void *user);

/** The exit code that a status stands for. */
exit_code session_exit_code(lmn_status status);

/**
 * The number of threads for each rank from "auto" or a number: auto shares the cores of a rank with
 * the ranks that run on the same ones.
 * Collective; the text must agree. Errors: LMN_ERR_USAGE, those of comm.
 */
lmn_status session_parse_threads(lmn_world *world, const char *text, int *threads_out,
                                 lmn_error *err) LMN_NODISCARD;

#endif
