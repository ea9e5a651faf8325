/*
 * When checkpoints are written, and keeping up with one that is written in the background.
 *
 * With every step each rank says whether it is through with its part of the checkpoint on its way
 * (LMN__SCALAR_READY); when all are, they take it on together after that step. So nobody waits for
 * a disk but at the end of a run, and where the next one is due before the last is written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "trainer_internal.h"

lmn_status lmn__trainer_open_writer(lmn_trainer *trainer, lmn_error *err)
{
    const char *directory = trainer->settings.options.checkpoint_directory;
    return directory == NULL
               ? LMN_OK
               : lmn_checkpoint_writer_create(trainer->world, directory, &trainer->writer, err);
}

bool lmn__trainer_is_time_to_save(const lmn_trainer *trainer)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    if (trainer->writer == NULL || lmn_checkpoint_is_open(trainer->writer)) {
        return false;
    }
    double interval = options->checkpoint_seconds;
    const double cost = lmn_checkpoint_cost(trainer->writer);
    if (options->failure_seconds > 0.0 && cost > 0.0) {
        interval = lmn__checkpoint_interval(cost, options->failure_seconds);
    }
    /* With a rate of failures the first checkpoint comes at once, to be measured. */
    const bool has_interval = interval > 0.0 || options->failure_seconds > 0.0;
    return has_interval && lmn_clock_seconds() - trainer->checkpoint_at >= interval;
}

bool lmn__trainer_is_ready(const lmn_trainer *trainer)
{
    return trainer->writer != NULL && lmn_checkpoint_is_ready(trainer->writer);
}

lmn_status lmn__trainer_checkpoint(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    trainer->identity = lmn__trainer_identity(trainer);
    trainer->progress.param_hash = lmn_parameters_hash(trainer->learner.parameters);
    lmn_reducer_settle(trainer->reducer);
    const bool goes_on = !lmn__trainer_is_complete(trainer) && !trainer->stop_wanted;
    const lmn_status status =
        lmn_checkpoint_begin(trainer->writer, trainer->progress.steps, trainer->state,
                             options->checkpoint_keep, options->checkpoint_async && goes_on, err);
    trainer->checkpoint_at = lmn_clock_seconds();
    return status;
}

lmn_status lmn__trainer_follow_checkpoint(lmn_trainer *trainer, lmn_error *err)
{
    const bool is_open = trainer->writer != NULL && lmn_checkpoint_is_open(trainer->writer);
    return is_open && trainer->all_ready ? lmn_checkpoint_advance(trainer->writer, err) : LMN_OK;
}

lmn_status lmn__trainer_close_checkpoint(lmn_trainer *trainer, lmn_status status, lmn_error *err)
{
    if (trainer->writer == NULL || status == LMN_ERR_COMM) {
        return status;
    }
    if (status == LMN_OK) {
        return lmn_checkpoint_finish(trainer->writer, err);
    }
    /* All ranks left the step with the same failure, which is what the run ends with; whether this
       works out as well does not change that, unless the ranks lose each other. */
    const lmn_status closed = lmn_checkpoint_finish(trainer->writer, NULL);
    return closed == LMN_ERR_COMM ? closed : status;
}
