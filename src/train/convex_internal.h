/*
 * Convex problems, for the code that makes them, evaluates them and runs on them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TRAIN_CONVEX_INTERNAL_H
#define LAMINA_TRAIN_CONVEX_INTERNAL_H

#include "lamina/collective.h"
#include "lamina/compressor.h"
#include "lamina/convex.h"
#include "lamina/feedback.h"
#include "lamina/partition.h"
#include "lamina/results.h"

/* ------------------------------------------------------------------ matrices */

/** Rows of a worker: dense where `dense` is there, else sparse. */
typedef struct lmn__convex_matrix {
    size_t rows, columns;
    double *dense;     /* [rows x columns] owned */
    size_t *starts;    /* [rows + 1] owned */
    uint32_t *indices; /* [starts[rows]] owned */
    double *values;    /* [starts[rows]] owned */
} lmn__convex_matrix;

void lmn__convex_matrix_free(lmn__convex_matrix *matrix);

/** Row times vector [columns], added up in an order that nothing but the row decides. */
double lmn__convex_row_dot(const lmn__convex_matrix *matrix, size_t row, const double *vector);

/** vector [columns] += factor * row */
void lmn__convex_row_add(const lmn__convex_matrix *matrix, size_t row, double factor,
                         double *vector);

/** a * b in the same fixed order. */
double lmn__convex_dot(const double *a, const double *b, size_t count);

/* ------------------------------------------------------------------ exchanges */

/**
 * Every worker's message to every rank: ranks send those of their workers one behind the other, and
 * nobody adds anything on the way.
 */
typedef struct lmn__convex_exchange {
    lmn_world *world; /* borrowed */
    size_t workers;
    lmn_range own;              /* workers of this rank */
    size_t capacity;            /* bytes of one message */
    unsigned char *outbox;      /* owned */
    size_t outbox_bytes;        /* used */
    lmn_collective *allgatherv; /* owned */
    /* After a gather, of each worker; messages are 8-byte aligned. */
    const unsigned char **messages; /* [workers] owned; NULL: the worker has nothing to say */
    size_t *bytes;                  /* [workers] owned */
} lmn__convex_exchange;

/** Collective. Errors: LMN_ERR_ARGUMENT (messages of a rank above 2 GiB), memory, comm. */
lmn_status lmn__convex_exchange_create(lmn_world *world, size_t workers, size_t capacity,
                                       lmn__convex_exchange *exchange_out,
                                       lmn_error *err) LMN_NODISCARD;
void lmn__convex_exchange_destroy(lmn__convex_exchange *exchange);

/** Begin: the outbox is empty. */
void lmn__convex_exchange_begin(lmn__convex_exchange *exchange);

/** Where the message of the next own worker is to be written, 8-byte aligned [capacity]. */
unsigned char *lmn__convex_exchange_slot(lmn__convex_exchange *exchange);

/** It has so many bytes; or the worker has nothing to say, since its numbers are not finite. */
void lmn__convex_exchange_put(lmn__convex_exchange *exchange, size_t bytes);
void lmn__convex_exchange_put_nothing(lmn__convex_exchange *exchange);

/** Send and receive. Collective. The first worker without a message, or `workers`, is in
 *  silent_out. */
lmn_status lmn__convex_exchange_gather(lmn__convex_exchange *exchange, size_t *silent_out,
                                       lmn_error *err) LMN_NODISCARD;

/* ------------------------------------------------------------------ problems */

/** Data of one worker. */
typedef struct lmn__convex_part {
    lmn__convex_matrix matrix;
    double *answers; /* [rows] owned; b, or -1 and 1, or the class from 0 */
} lmn__convex_part;

typedef enum lmn__convex_regularizer {
    LMN__CONVEX_NONE,
    LMN__CONVEX_L2,
    LMN__CONVEX_NONCONVEX
} lmn__convex_regularizer;

struct lmn_convex_problem {
    lmn_world *world; /* borrowed */
    lmn_convex_loss loss;
    size_t workers;
    lmn_range own; /* workers of this rank */
    size_t features;
    size_t classes; /* 0 of least squares */
    size_t outputs; /* of a row: 1, or classes when there are more than two */
    size_t dimension;
    uint64_t samples;
    lmn_convex_scale scale;
    lmn__convex_regularizer regularizer;
    double lambda;
    double sigma;
    lmn__convex_part *parts;      /* [own.count] owned */
    double *start;                /* [dimension] owned */
    double *optimum;              /* [dimension] owned; NULL: not known */
    double *outputs_memory;       /* [2 x outputs] owned */
    lmn__convex_exchange vectors; /* of a number and a vector of each worker */
};

/** Take zeroed parts, start and memory of a problem whose sizes are known. Local. */
lmn_status lmn__convex_take_parts(lmn_convex_problem *problem, lmn_error *err) LMN_NODISCARD;

/** Workers of this rank, once it is known how many there are. Errors: LMN_ERR_USAGE. */
lmn_status lmn__convex_deal_workers(lmn_convex_problem *problem, size_t asked, size_t held,
                                    const char *data, lmn_error *err) LMN_NODISCARD;

/* Making the data of own workers. Local, the same outcome on all ranks unless files differ. */
lmn_status lmn__convex_read_hdf5(lmn_convex_problem *problem,
                                 const lmn_convex_problem_options *options,
                                 lmn_error *err) LMN_NODISCARD;
lmn_status lmn__convex_read_libsvm(lmn_convex_problem *problem,
                                   const lmn_convex_problem_options *options,
                                   lmn_error *err) LMN_NODISCARD;
lmn_status lmn__convex_make_synthetic(lmn_convex_problem *problem,
                                      const lmn_convex_problem_options *options,
                                      lmn_error *err) LMN_NODISCARD;

/** Different answers, ascending. */
typedef struct lmn__convex_classes {
    size_t count;
    double *values; /* [capacity] owned */
    size_t capacity;
} lmn__convex_classes;

/** Take note of answers. Errors: LMN_ERR_ARGUMENT (more than can be classes), LMN_ERR_MEMORY. */
lmn_status lmn__convex_classes_add(lmn__convex_classes *classes, const double *answers,
                                   size_t count, lmn_error *err) LMN_NODISCARD;

/** Classes, outputs and dimension of the problem from them. Errors: LMN_ERR_ARGUMENT (only one). */
lmn_status lmn__convex_set_classes(lmn_convex_problem *problem, const lmn__convex_classes *classes,
                                   lmn_error *err) LMN_NODISCARD;

/** Labels in a file become -1 and 1, or classes from 0. answers [count] */
void lmn__convex_number_labels(const lmn_convex_problem *problem,
                               const lmn__convex_classes *classes, double *answers, size_t count);

/* ------------------------------------------------------------------ gradients */

/** Which rows a gradient is made of: all, or `batch` of them that the stream draws. */
typedef struct lmn__convex_draw {
    size_t batch; /* 0: all */
    uint64_t seed;
    uint32_t step;
} lmn__convex_draw;

/** f_i and its gradient, regulariser included, without noise. Local; `part` counts own workers.
 *  gradient_out [dimension] */
double lmn__convex_gradient(const lmn_convex_problem *problem, size_t part,
                            const lmn__convex_draw *draw, const double *x, double *gradient_out);

/** gradient [dimension] += the noise of that worker and step. */
void lmn__convex_add_noise(const lmn_convex_problem *problem, size_t part,
                           const lmn__convex_draw *draw, double *gradient);

/** product_out [dimension] = second derivative of f_i at x, times direction. */
void lmn__convex_curve(const lmn_convex_problem *problem, size_t part, const double *x,
                       const double *direction, double *product_out);

/** Where a vector of the next own worker may be computed [dimension], so that it need not be
 * copied, and putting a number and a vector into the exchange; nothing when they are not finite. */
double *lmn__convex_vector_slot(lmn_convex_problem *problem);
void lmn__convex_put_vector(lmn_convex_problem *problem, double number, const double *vector);

/**
 * Means over workers, in their order, of what is in the exchange: a number and a vector each.
 * Collective. vector_out may be NULL. Errors: LMN_ERR_NONFINITE when some worker had nothing to
 * say.
 */
lmn_status lmn__convex_mean(lmn_convex_problem *problem, double *number_out, double *vector_out,
                            lmn_error *err) LMN_NODISCARD;

/* ------------------------------------------------------------------ compressed messages */

#define LMN__CONVEX_MESSAGES_MAX 2

/**
 * What turns the vectors of all workers into messages, and messages into what was sent. Vectors are
 * f64 in memory; compressors get them rounded to f32, and what they send is exact in f64, so what
 * rounding loses stays with the sender. Level 0 sends vectors whole, f64 in f64 runs.
 */
typedef struct lmn__convex_channel {
    const lmn_convex_problem *problem; /* borrowed */
    const lmn_compressor *compressor;  /* borrowed */
    lmn_layer_shape shape;
    bool is_f32;
    uint64_t seed;
    size_t messages; /* that a worker sends in a step */
    lmn__convex_exchange exchange;
    float *rounded;  /* [own workers x dimension] owned; vectors as compressors get them */
    float *decoded;  /* [dimension] owned; D_i of one worker */
    double *widened; /* [dimension] owned; the same in f64 */
    size_t memory_count;
    float *memory; /* [messages x own workers x memory_count] owned */
    size_t scratch_bytes;
    unsigned char *scratch; /* [own workers x scratch_bytes] owned */
    /* Of families that combine in rounds: numbers of all workers, and sums of them. */
    size_t round_bytes;        /* of a worker's numbers in one round, aligned */
    unsigned char *round_own;  /* [2 x workers x round_bytes] owned */
    unsigned char *round_sum;  /* [2 x round_bytes] owned */
    uint64_t compressed_steps; /* steps at which anything was compressed */
    uint64_t bytes_sent;       /* by all workers together */
} lmn__convex_channel;

/** Collective. Errors: LMN_ERR_USAGE (more workers than the compressor can add up over),
 *  LMN_ERR_ARGUMENT, LMN_ERR_MEMORY, LMN_ERR_COMM. */
lmn_status lmn__convex_channel_create(const lmn_convex_problem *problem,
                                      const lmn_compressor *compressor, bool is_f32, uint64_t seed,
                                      size_t messages, lmn__convex_channel *channel_out,
                                      lmn_error *err) LMN_NODISCARD;
void lmn__convex_channel_destroy(lmn__convex_channel *channel);

/** One message of every worker. */
typedef struct lmn__convex_sending {
    size_t level;
    uint32_t step;
    size_t message;        /* which one of the step */
    const double *vectors; /* [own workers x dimension]; not finite: the worker sends nothing */
    double *sent;          /* [own workers x dimension] out: D_i */
    /* [workers x dimension] h_i of all workers, which grow by D_i; NULL: nothing is tracked. */
    double *tracked;
    bool renews;   /* they count as 0 before: where vectors that travel whole were formed so */
    double *mean;  /* [dimension] out: mean of D_i, or of h_i, over workers in their order */
    size_t silent; /* out: first worker that sent nothing, then the rest is void; else `workers` */
} lmn__convex_sending;

/** Collective. Errors: LMN_ERR_COMM, LMN_ERR_MESSAGE. */
lmn_status lmn__convex_send(lmn__convex_channel *channel, lmn__convex_sending *sending,
                            lmn_error *err) LMN_NODISCARD;

/* ------------------------------------------------------------------ runs */

/** How a run uses what it gets of gradients. */
typedef enum lmn__convex_method {
    LMN__CONVEX_FEEDBACK, /* a mechanism of lamina/feedback.h, then a step along its estimate */
    LMN__CONVEX_IDEAL,    /* the same with ec, about gradients at the optimum */
    LMN__CONVEX_ADEF      /* accelerated, two messages a step */
} lmn__convex_method;

struct lmn_convex_run {
    lmn_convex_problem *problem;    /* borrowed */
    lmn_convex_run_options options; /* texts borrowed */
    lmn__convex_method method;
    lmn_compressor *compressor; /* owned */
    lmn_feedback *feedback;     /* owned; NULL with ADEF */
    lmn__convex_channel channel;
    uint64_t step; /* steps made */
    bool diverged;
    double *x;    /* [dimension] owned, like all that follows */
    double *mean; /* [dimension] */
    /* [workers x dimension] h_i of all workers, which every rank can follow, for it sees all
       messages. Their mean is h: adding up means of messages instead would let h drift away from
       it, by rounding, until that is all the error there is. NULL where nothing is tracked. */
    double *tracked;
    double *estimate; /* [dimension] ADEF: h */
    /* Of own workers, [own workers x dimension]. */
    double *gradients, *vectors, *sent;
    double *values; /* [own workers] f_i, of which the gradients are */
    double *ideal;  /* gradients at the optimum, for LMN__CONVEX_IDEAL */
    double *states[LMN_FEEDBACK_STATES_MAX];
    /* For f32 runs, f32 twins. */
    float *gradients_f32, *vectors_f32, *sent_f32;
    float *states_f32[LMN_FEEDBACK_STATES_MAX];
    /* ADEF: two more sequences, and the sum of weights. */
    double *y, *z;
    double weight_sum;
    bool tracks_from_gradient; /* ADEF: the first message of the run travels whole */
    /* Records. */
    double *optimum; /* NULL without */
    double optimum_objective;
    double *full_gradient; /* [dimension] of f, at a recorded point */
    lmn_convex_record last;
    lmn_results *results; /* rank 0 with a file; else NULL */
    lmn_table *table;     /* the results' */
    lmn_cell *cells;
};

/** Gradients of own workers at a point in this step, in run->gradients, and the functions that they
 *  are of in run->values. */
void lmn__convex_draw_gradients(lmn_convex_run *run, const double *point);

/** Add this step's noise to run->gradients. */
void lmn__convex_disturb_gradients(lmn_convex_run *run);

/** One step from run->x to the next, with gradients at run->x in run->gradients. *silent_out:
 *  as lmn__convex_sending. */
lmn_status lmn__convex_step(lmn_convex_run *run, size_t *silent_out, lmn_error *err) LMN_NODISCARD;

/** The same with ADEF, which takes its gradients elsewhere. */
lmn_status lmn__convex_adef_step(lmn_convex_run *run, size_t *silent_out,
                                 lmn_error *err) LMN_NODISCARD;

/** Choose the method from the feedback option. Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY. */
lmn_status lmn__convex_choose_method(lmn_convex_run *run, lmn_error *err) LMN_NODISCARD;

/** Whether the full gradients of own workers are what a step begins with. */
bool lmn__convex_steps_on_full_gradients(const lmn_convex_run *run);

/** Open the results file, on rank 0. Local. */
lmn_status lmn__convex_results_open(lmn_convex_run *run, lmn_error *err) LMN_NODISCARD;

/** Record run->x, with the objective there and the gradient in run->full_gradient. Local. */
lmn_status lmn__convex_record(lmn_convex_run *run, double objective, lmn_error *err) LMN_NODISCARD;

/** Write the file, on rank 0. Local. */
lmn_status lmn__convex_results_finish(lmn_convex_run *run, lmn_error *err) LMN_NODISCARD;

#endif
