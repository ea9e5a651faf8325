/*
 * Who waited for whom, and what the link delivered, in words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "waiting_text.h"

#include "text.h"

#include <stdio.h>

/* Less of the steps than this is not worth a name. */
static const double WORTH_A_NAME = 0.01;

static void say_ranks(const lmn_waiting *w, waiting_text *text)
{
    const double steps = (double)w->steps;
    const double share = w->step_seconds > 0.0 ? w->seconds / w->step_seconds : 0.0;
    const double all_ms = 1e3 * w->seconds / steps;
    if (share < WORTH_A_NAME) {
        (void)snprintf(text->ranks, sizeof text->ranks,
                       "waiting: %.2f ms a step (%.1f %%), no rank kept the others", all_ms,
                       100.0 * share);
        return;
    }
    (void)snprintf(text->ranks, sizeof text->ranks,
                   "waiting: rank %d on %s was the last in %.0f %% of steps, and the others waited "
                   "%.2f ms a step for it (%.1f %% of the time); for all ranks together %.2f ms "
                   "(%.1f %%)",
                   w->rank, w->host, 100.0 * (double)w->rank_steps / steps,
                   1e3 * w->rank_seconds / steps, 100.0 * w->rank_seconds / w->step_seconds, all_ms,
                   100.0 * share);
}

static void say_link(const lmn_waiting *w, waiting_text *text)
{
    char measured[96] = "";
    if (w->measured > 0.0) {
        (void)snprintf(measured, sizeof measured, ", %.0f %% of the %s/s that were measured",
                       100.0 * w->delivered / w->measured, text_bytes((uint64_t)w->measured).data);
    }
    (void)snprintf(text->link, sizeof text->link,
                   "link: a rank sent %s/s while gradients were under way%s",
                   text_bytes((uint64_t)w->delivered).data, measured);
}

waiting_text waiting_text_make(const lmn_waiting *waiting)
{
    waiting_text text = {.ranks = ""};
    if (waiting->rank >= 0 && waiting->steps > 0) {
        say_ranks(waiting, &text);
    }
    if (waiting->delivered > 0.0) {
        say_link(waiting, &text);
    }
    return text;
}
