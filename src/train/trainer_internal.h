/*
 * What the files of the trainer share.
 *
 * The parts, each with its file: settings (what was asked for), learner (graph, plan, parameters,
 * optimiser), progress (the numbers that a resumed run goes on from) and records (run.h5). Layers
 * are the parameters in the order in which their gradients become ready; the reducer, the
 * parameters and the optimiser's slots all count them in that order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TRAINER_INTERNAL_H
#define LAMINA_TRAINER_INTERNAL_H

#include "batch_internal.h"
#include "lamina/checkpoint.h"
#include "lamina/memory.h"
#include "lamina/optimizer.h"
#include "lamina/results.h"
#include "lamina/schedule.h"
#include "lamina/shard.h"
#include "lamina/trace.h"
#include "lamina/trainer.h"

/* What the ranks tell each other with every step, summed by the reducer. */
enum {
    LMN__SCALAR_LOSS = 0,
    LMN__SCALAR_HITS = 1,
    LMN__SCALAR_STOP = 2,       /* ranks that want to stop */
    LMN__SCALAR_CHECKPOINT = 3, /* 1 when rank 0's clock says that a checkpoint is due */
    LMN__SCALAR_TIME = 4,       /* 1 when rank 0's clock says that the time is over */
    LMN__SCALAR_READY = 5,      /* ranks that are through with their part of a checkpoint */
    LMN__SCALAR_COUNT = 6
};

/* Outputs of the learner's plan: loss, hits, then for each parameter of the graph its gradient, or
   the value that it follows when it is a statistic. */
enum { LMN__OUTPUT_LOSS = 0, LMN__OUTPUT_HITS = 1, LMN__OUTPUT_GRADIENTS = 2 };

/* A text that the application keeps with the run. */
typedef struct lmn__description {
    struct lmn__description *next; /* owned */
    bool must_match;
    char *name;  /* owned */
    char *value; /* owned */
} lmn__description;

typedef struct lmn__settings {
    lmn_trainer_options options; /* texts in the arena */
    lmn_arena *texts;
    uint64_t total_steps;
    lmn__description *descriptions; /* in the order in which they were given */
} lmn__settings;

typedef struct lmn__learner {
    lmn_graph *graph;
    lmn_task_graph task;
    lmn_plan *plan;
    lmn__inputs inputs;
    size_t n_layers;
    const lmn_tensor **gradients; /* [n_layers] by index of the parameter in the graph: its
                                     gradient, or what it follows */
    size_t *order;                /* [n_layers] index in the graph of each layer */
    size_t *layer_of;             /* [n_layers] the reverse */
    lmn_parameters *parameters;   /* by layer */
    lmn_optimizer *optimizer;
    lmn_schedule *schedule;
    size_t n_slots;
    lmn_arena *slot_memory;
    float **slots; /* [n_layers][n_slots] */
} lmn__learner;

/* Everything but arrays that a resumed run goes on from. Times are rank 0's. */
typedef struct lmn__progress {
    uint64_t steps;
    uint64_t updates; /* steps that were not skipped */
    uint64_t skipped;
    uint64_t skipped_in_a_row;
    uint64_t bytes_sent; /* by all ranks, as far as they were added up */
    uint64_t bytes_dense;
    uint64_t param_hash;  /* set when a checkpoint is written */
    double loss;          /* of the last step */
    double seconds;       /* in steps */
    double input_seconds; /* of these, waiting for batches */
    double adapt_seconds; /* of these, deciding on levels */
    double total_seconds;
    uint64_t test_samples; /* 0 while nothing was evaluated */
    double test_loss;
    double test_accuracy;
} lmn__progress;

/* Numbers that tell a checkpoint of this run from one of another. */
typedef struct lmn__identity {
    uint64_t global_batch;
    uint64_t seed;
    uint64_t dataset_fingerprint;
    uint64_t total_steps; /* may change: a run can be made longer */
} lmn__identity;

/* Steps whose bytes are not yet added up over ranks; after so many it is done. */
#define LMN__RECORD_STEPS 256

/* How often a run on shards may go on with another number of ranks, and once more. */
#define LMN__STAGES_MAX ((size_t)256)

/* Rows that a table can hold back: those that wait and those of the next round. */
#define LMN__TABLE_ROWS ((size_t)2 * LMN__RECORD_STEPS)

/* One step, for the row in run.h5; times are this rank's. */
typedef struct lmn__step_record {
    uint64_t step;
    bool applied;
    double loss, lr;
    double seconds, seconds_read, seconds_compute, seconds_encode, seconds_wait, seconds_decode;
} lmn__step_record;

typedef struct lmn__records {
    size_t n_waiting;
    lmn__step_record waiting[LMN__RECORD_STEPS];
    uint64_t bytes[2 * LMN__RECORD_STEPS]; /* sent and dense of each step */
    size_t n_layers;
    uint64_t *levels_recorded; /* [n_layers] of the last row of /levels; UINT64_MAX: no row yet */
    uint64_t *levels_now;      /* [n_layers] of the open or last step */
    /* [2][n_layers] eta and what compression keeps, of the last row of /feedback (zeros: no row
       yet) and of the open or last step */
    double *feedback_recorded, *feedback_now;
    /* Rank 0 only, and only with a results file. */
    lmn_results *results;
    lmn_table *steps, *evaluations, *levels, *layer_bytes, *feedback;
    lmn_table *trials;        /* NULL also where no times are weighed */
    lmn_table *decisions;     /* NULL also where levels are never decided on */
    lmn_cell *cells;          /* [1 + 2 * n_layers] */
    lmn_cell *decision_cells; /* a row of /decisions */
    double flushed_at;
    lmn_status pending;      /* a failure that waits for the next point of agreement */
    lmn_error pending_error; /* its message */
} lmn__records;

typedef struct lmn__waits lmn__waits; /* trainer_waits.c */

struct lmn_trainer {
    lmn_world *world;           /* borrowed */
    const lmn_dataset *dataset; /* borrowed */
    lmn_task task;              /* its user is borrowed */
    uint64_t sample_count;      /* of the training split */
    uint64_t test_count;
    lmn__settings settings;
    lmn_sharding sharding;
    lmn_shard shard;                         /* of this rank; zeros without shards */
    lmn_shard_stage stages[LMN__STAGES_MAX]; /* of numbers of ranks; behind the last: zeros */
    lmn__learner learner;
    lmn_reducer_layer *layers; /* [n_layers] as the reducer was given them */
    lmn_reducer *reducer;
    lmn_evaluator *evaluator; /* NULL without a test split */
    lmn_reader *reader;
    lmn__records *records;
    lmn__waits *waits;
    lmn_state *state;
    lmn_checkpoint_writer *writer; /* NULL: no checkpoints, or not yet */
    uint64_t *merges;              /* of the vocabulary that is kept with checkpoints; NULL: none */
    lmn_trace *trace;              /* NULL: none is asked for */
    bool trace_is_written;
    lmn__progress progress;
    lmn__identity identity;   /* as in the checkpoint, after loading */
    lmn_step_report report;   /* of the last step */
    bool stop_wanted;         /* by some rank, agreed on in the last step */
    bool checkpoint_wanted;   /* by rank 0's clock, agreed on in the last step */
    bool time_is_over;        /* by rank 0's clock, agreed on in the last step */
    bool all_ready;           /* with their parts of a checkpoint, agreed on in the last step */
    uint64_t evaluated_steps; /* steps made when this process last evaluated; UINT64_MAX: never */
    lmn_evaluation evaluation;
    double started_at;       /* clock at the start of lmn_trainer_run */
    double seconds_before;   /* total seconds of the runs that this one goes on from */
    double checkpoint_at;    /* clock at the last checkpoint */
    double step_seconds;     /* of recent steps, smoothed */
    double seconds_inside;   /* in the last step: blocked while values of all ranks were summed */
    double last_lr;          /* of the last step */
    uint64_t own_bytes_sent; /* by this rank in this process, for progress lines */
    uint64_t own_bytes_dense;
};

/* trainer_settings.c: local, but for _agree, which is collective. */
lmn_status lmn__settings_create(lmn__settings *settings, const lmn_trainer_options *options,
                                const lmn_dataset_info *info, int size, lmn_error *err);
lmn_status lmn__settings_agree(const lmn__settings *settings, lmn_world *world, lmn_error *err);
void lmn__settings_destroy(lmn__settings *settings);

/* trainer_learner.c: local. */
lmn_status lmn__learner_create(lmn__learner *learner, const lmn_task *task,
                               const lmn_dataset_info *info, const lmn_trainer_options *options,
                               int size, lmn_error *err);
lmn_status lmn__learner_bind_gradients(lmn__learner *learner, lmn_reducer *reducer, lmn_error *err);
/* Whether a layer is a statistic, which follows a value instead of descending. */
bool lmn__learner_is_statistic(const lmn__learner *learner, size_t layer);
void lmn__learner_update(const lmn__learner *learner, const lmn_reducer *reducer, double lr,
                         uint64_t update);
lmn_status lmn__learner_add_state(lmn__learner *learner, lmn_state *state, lmn_error *err);
void lmn__learner_destroy(lmn__learner *learner);

/**
 * interval.c: seconds of work between two checkpoints that cost the least time in all, writing and
 * repeating counted, when one takes write_seconds > 0 and failures come failure_seconds > 0 apart.
 * J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps",
 * Future Generation Computer Systems 22 (2006) 303-312; its first term is J. W. Young's of 1974.
 */
double lmn__checkpoint_interval(double write_seconds, double failure_seconds);

/* trainer_step.c: collective. */
lmn_status lmn__trainer_step(lmn_trainer *trainer, lmn_error *err);

/* trainer_trace.c */
lmn_status lmn__trainer_make_trace(lmn_trainer *trainer, lmn_error *err); /* local */
/* The trace when `step` is one of those to be shown, else NULL. Local. */
lmn_trace *lmn__trainer_trace(const lmn_trainer *trainer, uint64_t step);
/* Write it once its last step is made, or with `last` what there is. Collective. */
lmn_status lmn__trainer_write_trace(lmn_trainer *trainer, bool last, lmn_error *err);

/* trainer_state.c: collective. */
lmn_status lmn__trainer_make_state(lmn_trainer *trainer, lmn_error *err); /* local */
lmn_status lmn__trainer_restore(lmn_trainer *trainer, lmn_error *err);
/* Numbers that a checkpoint of this run holds. Local. */
lmn__identity lmn__trainer_identity(const lmn_trainer *trainer);

/* trainer_checkpoint.c: collective. */
lmn_status lmn__trainer_open_writer(lmn_trainer *trainer, lmn_error *err);
/* Write one of what is now; in the background when it is asked for and the run goes on. */
lmn_status lmn__trainer_checkpoint(lmn_trainer *trainer, lmn_error *err);
/* After a step: take what is written in the background further, as far as all ranks are. */
lmn_status lmn__trainer_follow_checkpoint(lmn_trainer *trainer, lmn_error *err);
/* The run has ended with `status`: a checkpoint on its way is brought to its end where the ranks
   can still do that together. Returns how the run ended after that. */
lmn_status lmn__trainer_close_checkpoint(lmn_trainer *trainer, lmn_status status, lmn_error *err);
/* Rank 0's clock says that one is due. Local. */
bool lmn__trainer_is_time_to_save(const lmn_trainer *trainer);
/* Whether this rank is through with its part of one on its way. Local. */
bool lmn__trainer_is_ready(const lmn_trainer *trainer);

/* trainer_records.c */
lmn_status lmn__records_create(lmn_trainer *trainer, lmn_error *err); /* local */
lmn_status lmn__records_open(lmn_trainer *trainer, lmn_error *err);   /* collective */
void lmn__records_note_plan(lmn_trainer *trainer);                    /* local, after begin */
void lmn__records_add_step(lmn_trainer *trainer, const lmn__step_record *record); /* local */
void lmn__records_add_evaluation(lmn_trainer *trainer);                           /* local */
/* Add up bytes over ranks and write rows; to the file, too, when `flush`. Collective. */
lmn_status lmn__records_gather(lmn_trainer *trainer, bool flush, lmn_error *err);

/* trainer_waits.c: who waited for whom. */
lmn_status lmn__waits_create(lmn_trainer *trainer, lmn_error *err); /* local */
void lmn__waits_destroy(lmn__waits *self);
/* The table; rank 0, file open. */
lmn_status lmn__waits_open_table(lmn_trainer *trainer, lmn_error *err);
/* After that. Takes the placements, NULL elsewhere than on rank 0. Collective. */
lmn_status lmn__waits_open(lmn_trainer *trainer, lmn_placement *placements, lmn_error *err);
/* After the step's report; how long it took. Local. */
void lmn__waits_add_step(lmn_trainer *trainer, double step_seconds);
/* Settle all steps since the last time; after the times of the run are shared. Collective. */
lmn_status lmn__waits_gather(lmn_trainer *trainer, lmn_error *err);
/* Rank 0 with a table: step `step`, the i-th of those that were settled; and what is known of the
 * ranks in all. */
bool lmn__waits_is_nearly_full(const lmn_trainer *trainer);
lmn_status lmn__waits_write_row(lmn_trainer *trainer, size_t i, uint64_t step, lmn_error *err);
lmn_status lmn__waits_set_lists(const lmn_trainer *trainer, lmn_error *err);
/* At the end: measure the link where that is wanted, and tell all ranks what only rank 0 knows.
 * Collective. */
lmn_status lmn__waits_measure_link(lmn_trainer *trainer, lmn_error *err);
lmn_status lmn__waits_share_host(lmn_trainer *trainer, lmn_error *err);
const lmn_waiting *lmn__waits_total(const lmn_trainer *trainer);

/* trainer_decisions.c: the table of decisions on levels. Local. */
lmn_status lmn__decisions_open(lmn_trainer *trainer, lmn_error *err); /* rank 0, file open */
lmn_status lmn__decisions_add(lmn_trainer *trainer, uint64_t step, lmn_error *err);
void lmn__records_destroy(lmn__records *records);

/* trainer_shards.c */
lmn_status lmn__shards_create(lmn_trainer *trainer, lmn_error *err);               /* local */
lmn_status lmn__shards_agree(const lmn_trainer *trainer, lmn_error *err);          /* collective */
lmn_status lmn__shards_add_state(lmn_trainer *trainer, lmn_error *err);            /* local */
lmn_status lmn__shards_go_on(lmn_trainer *trainer, uint64_t step, lmn_error *err); /* local */
lmn_status lmn__shards_record(const lmn_trainer *trainer, lmn_error *err);         /* rank 0 only */
const lmn_shard *lmn__shard_of(const lmn_trainer *trainer); /* NULL without shards; local */

/* trainer_attributes.c: rank 0 only. */
lmn_status lmn__attributes_set_run(const lmn_trainer *trainer, const lmn_placement *placements,
                                   lmn_error *err);
lmn_status lmn__attributes_set_summary(const lmn_trainer *trainer, lmn_error *err);

/* trainer.c: rank 0's clock since the beginning of the run, earlier processes included. */
double lmn__trainer_total_seconds(const lmn_trainer *trainer);
double lmn__trainer_epochs(const lmn_trainer *trainer);
/* Whether all steps are made, or all the time is used that there was for them. */
bool lmn__trainer_is_complete(const lmn_trainer *trainer);

#endif
