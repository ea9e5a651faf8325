/*
 * The training loop: data, gradients, reduction, update, evaluation, checkpoints and results.
 *
 * One trainer is one run. Applications that want another loop use the same parts: lamina/reducer.h,
 * lamina/parameters.h, lamina/optimizer.h, lamina/evaluator.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TRAINER_H
#define LAMINA_TRAINER_H

#include "lamina/dataset.h"
#include "lamina/evaluator.h"
#include "lamina/parameters.h"
#include "lamina/plan.h"
#include "lamina/reducer.h"
#include "lamina/task.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_trainer lmn_trainer;

/** State of a run after a step, for progress lines. Rank 0 only. */
typedef struct lmn_training_progress {
    uint64_t step; /* steps made so far */
    uint64_t total_steps;
    double epoch; /* passes over the training split so far */
    double loss;  /* mean of the last step's global batch */
    double lr;
    double seconds;       /* since training began in this process */
    double seconds_left;  /* of max_seconds; infinity without it */
    double samples_per_s; /* over the last steps */
    uint64_t bytes_sent;  /* by rank 0, since training began in this process */
    uint64_t bytes_dense;
    const lmn_evaluation *evaluation; /* not NULL right after an evaluation */
} lmn_training_progress;

typedef struct lmn_trainer_options {
    lmn_reducer_options reducer;      /* n_scalars is the trainer's own */
    const char *optimizer;            /* "sgd:momentum=0.9" */
    const char *schedule;             /* "cosine" */
    double lr;                        /* 0.05 */
    double epochs;                    /* passes over the training split; used when steps is 0 */
    uint64_t steps;                   /* training steps in all; 0: from epochs */
    size_t global_batch;              /* samples of a step over all ranks; 128 */
    const char *augment;              /* of training images, as lmn_augment_parse reads; "none" */
    const char *split;                /* which samples each rank trains on, as
                                         lmn_sharding_parse reads; "iid" */
    uint64_t seed;                    /* 1 */
    size_t memory_bytes;              /* limit of the plan of a step on each rank, as in
                                         lmn_plan_options; 0: none */
    uint64_t evaluate_every;          /* steps; 0: after every epoch; always at the end */
    const char *results_path;         /* run.h5; NULL: none */
    const char *checkpoint_directory; /* NULL: no checkpoints */
    uint64_t checkpoint_every;        /* steps; 0: not by steps */
    double checkpoint_seconds;        /* by the clock of rank 0; 0: not by time */
    double failure_seconds; /* mean time between failures of the whole run: checkpoints come by rank
                               0's clock as often as costs least in all, by the measured time of the
                               last one; 0: unknown, they do not. Not with checkpoint_seconds */
    size_t checkpoint_keep; /* 3; 0: all */
    bool checkpoint_async;  /* each rank copies its part and a thread writes it while training goes
                               on; the last one of a run is written at once. One that is due while
                               another is on its way waits for it when it goes by steps, and comes
                               later when it goes by time */
    bool resume;            /* go on from the newest complete checkpoint, if there is one;
                               without it a directory with checkpoints is refused */
    uint64_t verify_every;  /* steps between comparisons of parameters across ranks; 100 */
    uint64_t skip_limit;    /* skipped steps in a row that end the run; 50 */
    const char *trace_path; /* where five steps are shown in time, see lamina/trace.h; NULL: none */
    uint64_t trace_step;    /* the first of them that this process makes; 10 */
    bool measure_link;      /* after the last step, so that the summary can compare: about a second;
                               false. Trainings in the same world that follow may then add up in
                               another order, see lmn_link_measure */
    double max_seconds;     /* by the clock of rank 0, resumed processes included: the step in which
                               they are over is the last, and the run counts as complete; the
                               schedule does not know of it. 0: no limit */
    /* Asked on every rank after every step: true on any rank ends the run on all of them after the
     * same step, with a checkpoint. May be NULL. */
    bool (*should_stop)(void *user);
    /* Called on rank 0 after every step. May be NULL. */
    void (*on_progress)(void *user, const lmn_training_progress *progress);
    void *user;
} lmn_trainer_options;

lmn_trainer_options lmn_trainer_options_default(void);

/**
 * Who waited for whom in the steps that this process made, and what the link delivered.
 *
 * A rank is ready when all its gradients are there (lmn_reducer_finish is called). All moments of a
 * step are put on the clock of rank 0 (lmn_world_compare_clocks). What a rank waits for the last
 * one is the time from its own moment to that of the last rank, but not more than it was blocked
 * (seconds_wait of its step); the time that the exchange itself takes comes after that moment and
 * is not in it. Where ranks meet inside the passes (synchronised batch normalisation), messages are
 * small and all leave together: there a rank waited for what it was blocked longer than the rank
 * that was blocked least. `Last` in a step is who waited least: it is the one that was waited for.
 *
 * What the link delivered is taken of the last rank of each step alone: it finds the others ready,
 * so while its buckets are under way it waits for messages, not for ranks.
 */
typedef struct lmn_waiting {
    uint64_t steps;            /* that this is about */
    double step_seconds;       /* that they took, on this rank */
    int rank;                  /* whose lateness cost the others most; -1: one rank, or no step */
    char host[LMN_HOST_BYTES]; /* where it ran */
    uint64_t rank_steps;       /* in which it was the last */
    double rank_seconds;       /* that another rank waited in these, in the mean over the others */
    double seconds;            /* the same in all steps, whoever was last */
    double clock_error;        /* by which moments on different hosts may be off, at most */
    double flight_bytes;       /* sent in each step by its last rank, added up */
    double flight_seconds;     /* in which they were under way; 0: nothing travelled */
    double delivered;          /* bytes a second that a rank sent: their quotient; 0: nothing */
    double measured; /* what the link can do, of lmn_link the faster line; 0: nobody knows */
} lmn_waiting;

/** How a run ended. */
typedef struct lmn_training_summary {
    bool stopped;     /* by should_stop, after a checkpoint where a directory is set */
    uint64_t steps;   /* made in all, resumed ones included */
    uint64_t skipped; /* of these, skipped */
    double epochs;
    double loss;          /* of the last step */
    lmn_evaluation test;  /* the last one; samples 0 when none was made */
    double seconds;       /* training, without evaluation and checkpoints, resumed ones included */
    double total_seconds; /* everything */
    double input_seconds; /* of training: waiting for batches; rank 0, resumed ones included */
    double adapt_seconds; /* of training: deciding on levels, error curves included; likewise */
    uint64_t bytes_sent;  /* by all ranks */
    uint64_t bytes_dense; /* what all ranks would have sent dense */
    uint64_t param_hash;
    uint64_t parameters; /* elements */
    lmn_waiting waiting;
} lmn_training_summary;

/**
 * Build graph, plan, reducer and reader.
 * Collective over world. world, dataset and task are borrowed; texts in options are copied.
 * Errors, the same on all ranks: those of the parts; LMN_ERR_ARGUMENT (batch smaller than ranks; a
 * split that the dataset has no labels or too few samples for).
 */
lmn_status lmn_trainer_create(lmn_world *world, const lmn_dataset *dataset, const lmn_task *task,
                              const lmn_trainer_options *options, lmn_trainer **trainer_out,
                              lmn_error *err) LMN_NODISCARD;
void lmn_trainer_destroy(lmn_trainer *trainer);

/** What the training begins with, before lmn_trainer_run, which reads a checkpoint over it where it
 *  resumes. The same on all ranks. Borrowed. */
lmn_parameters *lmn_trainer_parameters(lmn_trainer *trainer);

/** The plan of a training step, for reports. Borrowed. */
const lmn_plan *lmn_trainer_plan(const lmn_trainer *trainer);

/**
 * Keep a text with the run: an attribute of /configuration in run.h5 and of every checkpoint.
 * With `must_match` a resumed run must have been given the same text. Before lmn_trainer_run; the
 * same on all ranks. Local. Errors: LMN_ERR_ARGUMENT (a name that is taken), LMN_ERR_MEMORY.
 */
lmn_status lmn_trainer_describe(lmn_trainer *trainer, const char *name, const char *value,
                                bool must_match, lmn_error *err) LMN_NODISCARD;

/**
 * Keep a vocabulary (copied) in every checkpoint, so that its model can be used without the
 * dataset; lmn_generator_vocabulary reads it. Once, before lmn_trainer_run; the same on all ranks.
 * Local. Errors: LMN_ERR_MEMORY.
 */
lmn_status lmn_trainer_keep_vocabulary(lmn_trainer *trainer, const lmn_vocabulary *vocabulary,
                                       lmn_error *err) LMN_NODISCARD;

/**
 * Load the newest checkpoint when resuming, then train to the end, or until stopped. Once only.
 * Collective. Errors, the same on all ranks: LMN_ERR_NONFINITE (too many skipped steps),
 * LMN_ERR_DIVERGED (parameters differ between ranks), LMN_ERR_IO (checkpoint or results), those of
 * the parts. What was written before stays whole.
 */
lmn_status lmn_trainer_run(lmn_trainer *trainer, lmn_training_summary *summary_out,
                           lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
