/*
 * What becomes of a run whose ranks do not come together any more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_STALL_WATCH_H
#define LAMINA_APPS_STALL_WATCH_H

#include "lamina/lamina.h"

#include <stdbool.h>

/**
 * Watch the ranks, see lamina/watch.h: after `text` (such as 5m) of silence or standstill one line
 * says which rank is late, and every process ends with EXIT_CODE_LOST. Without a text nothing is
 * watched. Collective; the text must agree. Errors: LMN_ERR_USAGE, those of the watch.
 * must_end   whether a launcher wants this process to end, see lmn_watch_options
 * watch_out  ended by lmn_watch_destroy; may become NULL
 */
lmn_status stall_watch_start(lmn_world *world, const char *text, bool (*must_end)(void *user),
                             lmn_watch **watch_out, lmn_error *err) LMN_NODISCARD;

#endif
