/*
 * The trace of a few steps.
 *
 * It is written as soon as its last step is made, so that it can be looked at while a long run goes
 * on; a run that ends before writes what there is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

/* Enough to see what repeats; a step of a large model has hundreds of spans. */
enum { TRACED_STEPS = 5, SPANS_PER_STEP = 16, SPANS_PER_LAYER = 4 };

lmn_status lmn__trainer_make_trace(lmn_trainer *trainer, lmn_error *err)
{
    if (trainer->settings.options.trace_path == NULL) {
        return LMN_OK;
    }
    const size_t spans = SPANS_PER_STEP + SPANS_PER_LAYER * trainer->learner.n_layers;
    return lmn_trace_create(TRACED_STEPS * spans, &trainer->trace, err);
}

lmn_trace *lmn__trainer_trace(const lmn_trainer *trainer, uint64_t step)
{
    const uint64_t first = trainer->settings.options.trace_step;
    const bool is_shown = step >= first && step - first < TRACED_STEPS;
    return is_shown ? trainer->trace : NULL;
}

lmn_status lmn__trainer_write_trace(lmn_trainer *trainer, bool last, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const bool is_whole = trainer->progress.steps >= options->trace_step + TRACED_STEPS;
    if (trainer->trace == NULL || trainer->trace_is_written || !(is_whole || last)) {
        return LMN_OK;
    }
    trainer->trace_is_written = true;
    return lmn_trace_write(trainer->world, trainer->trace, options->trace_path, err);
}
