/*
 * Progress of a training run, for people.
 *
 * On a terminal one line is rewritten in place, elsewhere a plain line comes every few seconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_PROGRESS_H
#define LAMINA_APPS_PROGRESS_H

#include "console.h"
#include "lamina/lamina.h"

typedef struct progress {
    console *console;     /* borrowed */
    const lmn_task *task; /* borrowed; what the metrics of an evaluation are */
    double next_s;        /* when to show a line again, by the run's clock */
    uint64_t first_step;  /* steps before this process began */
    bool has_begun;
} progress;

progress progress_make(console *c);

/** For lmn_trainer_options.on_progress, with a progress as its user data. */
void progress_show(progress *p, const lmn_training_progress *state);

#endif
