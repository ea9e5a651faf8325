/*
 * The watch: ends a run whose ranks wait for one that does not come, and says which one it is.
 *
 * MPI waits for ever for a rank that was stopped, whose host is gone or whose link is down. A watch
 * is a thread on every rank that talks to rank 0's by TCP, past MPI. It sees a rank of which
 * nothing is heard, one that has ended without saying so, and ranks that are well but have made no
 * step forward together. It only reads what the ranks note in their world (lmn_world_note), so it
 * never disturbs them. Method and limits: docs/communication.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_WATCH_H
#define LAMINA_WATCH_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_watch lmn_watch;

typedef struct lmn_watch_options {
    double seconds; /* how long a rank may be silent, or all of them stand still; > 0 */
    /* Called once, from the watch's thread, on every rank that can be reached within about
     * 1.3 * seconds: the ranks will not come together any more, and the process should end at once
     * without MPI. `message` names the late ranks, their hosts and what they were at; is_finder is
     * true on the rank that found out, and false where it was told. */
    void (*on_stall)(void *user, const char *message, bool is_finder);
    /* Whether this process was asked to end, by a signal; asked four times a second from the
     * watch's thread. Who asks may be a launcher that has lost a host, too, and kills what is left
     * a moment later: a rank that was silent for half of `seconds`, or 5 s, is then named at once.
     * NULL: never. */
    bool (*must_end)(void *user);
    void *user;
} lmn_watch_options;

/**
 * Start watching the ranks of a world; with one rank there is nothing to watch.
 * Collective. world is borrowed until destroy; `seconds` must agree.
 * Errors, the same on all ranks: LMN_ERR_COMM (a rank cannot reach rank 0 by TCP), LMN_ERR_MEMORY.
 */
lmn_status lmn_watch_create(lmn_world *world, const lmn_watch_options *options,
                            lmn_watch **watch_out, lmn_error *err) LMN_NODISCARD;

/** Stop watching. Not collective: the others are told that this rank leaves in order. NULL is
 *  allowed. */
void lmn_watch_destroy(lmn_watch *watch);

#ifdef __cplusplus
}
#endif

#endif
