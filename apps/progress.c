/*
 * Progress of a training run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "progress.h"

#include "evaluation_text.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>

static const double TERMINAL_INTERVAL_S = 0.1;
static const double PLAIN_INTERVAL_S = 5.0;

progress progress_make(console *c)
{
    return (progress){.console = c};
}

/* Seconds to go, if steps go on taking what they took so far. */
static double seconds_left(const progress *p, const lmn_training_progress *state)
{
    const uint64_t made = state->step - p->first_step;
    if (made == 0 || state->total_steps <= state->step) {
        return 0.0;
    }
    const double by_steps =
        state->seconds / (double)made * (double)(state->total_steps - state->step);
    return by_steps < state->seconds_left ? by_steps : state->seconds_left;
}

static void show_line(progress *p, const lmn_training_progress *state)
{
    char wire[160] = "nothing to send";
    if (state->bytes_dense > 0) {
        (void)snprintf(wire, sizeof wire, "wire %s a rank, %s", text_bytes(state->bytes_sent).data,
                       text_comparison(state->bytes_sent, state->bytes_dense).data);
    }
    char line[320];
    (void)snprintf(line, sizeof line,
                   "epoch %.2f  step %" PRIu64 "/%" PRIu64
                   "  loss %.4f  %.0f samples/s  %s left  %s",
                   state->epoch, state->step, state->total_steps, state->loss, state->samples_per_s,
                   text_seconds(seconds_left(p, state)).data, wire);
    if (p->console->is_terminal) {
        console_rewrite(p->console, line);
    } else {
        console_say(p->console, "%s", line);
    }
}

static void show_evaluation(progress *p, const lmn_training_progress *state)
{
    const lmn_evaluation *e = state->evaluation;
    console_say(p->console, "epoch %.2f  step %" PRIu64 "  test %s (%" PRIu64 " samples, %.1f s)",
                state->epoch, state->step, evaluation_text_make(p->task, e).data, e->samples,
                e->seconds);
}

void progress_show(progress *p, const lmn_training_progress *state)
{
    if (!p->has_begun) {
        p->has_begun = true;
        p->first_step = state->step > 0 ? state->step - 1 : 0;
        p->next_s = p->console->is_terminal ? 0.0 : PLAIN_INTERVAL_S;
    }
    if (state->evaluation != NULL) {
        show_evaluation(p, state);
    }
    if (state->seconds >= p->next_s) {
        show_line(p, state);
        p->next_s =
            state->seconds + (p->console->is_terminal ? TERMINAL_INTERVAL_S : PLAIN_INTERVAL_S);
    }
}
