/*
 * What becomes of a run whose ranks do not come together any more.
 *
 * It must end without MPI, which would wait, and without the application's own threads, which may
 * hang in a file system: what is said goes out in one write, and the process ends there and then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "stall_watch.h"

#include "command.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double SECONDS_MIN = 0.1;
static const double SECONDS_MAX = 1e7;

static void end_run(void *user, const char *message, bool is_finder)
{
    (void)user;
    char line[LMN_ERROR_MESSAGE_BYTES];
    (void)snprintf(line, sizeof line,
                   "lamina: %s; the run ends here, and the same command with --resume goes on from "
                   "its newest checkpoint\n",
                   message);
    /* A launcher ends the others when the first one ends, and may drop what it has not passed on
       yet: the line goes first. */
    struct timespec pause = {.tv_nsec = is_finder ? 200000000 : 500000000};
    if (is_finder) {
        (void)!write(STDERR_FILENO, line, strlen(line));
    }
    (void)nanosleep(&pause, NULL);
    _exit(EXIT_CODE_LOST);
}

lmn_status stall_watch_start(lmn_world *world, const char *text, bool (*must_end)(void *user),
                             lmn_watch **watch_out, lmn_error *err)
{
    *watch_out = NULL;
    lmn_watch_options options = {.on_stall = end_run, .must_end = must_end};
    if (text == NULL) {
        return LMN_OK;
    }
    if (lmn_parse_seconds(text, &options.seconds, err) != LMN_OK || options.seconds < SECONDS_MIN ||
        options.seconds > SECONDS_MAX) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --stall-timeout: '%s' is not a time, such as 90s, 10m or 1h",
                             text);
    }
    return lmn_watch_create(world, &options, watch_out, err);
}
