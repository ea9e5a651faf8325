/*
 * Exchanges: how the layers of a bucket become estimates, one file per way.
 *
 * A bucket has a list of exchanges, one for each way in which its layers may travel. In every step
 * each layer belongs to one of them, by the way in which its level combines (lmn_combine): to the
 * dense one at level 0, else to that of the level's family. The reducer drives the list and knows
 * nothing of families. To add a way, write exchange_<way>.c with a constant lmn__exchange_kind and
 * return it from lmn__exchange_ways in exchange_choice.c.
 *
 * In a step an exchange encodes (local, may fail), starts, is moved on until it has nothing to wait
 * for, checks what arrived, and commits (local, cannot fail). Nothing that outlasts the step may
 * change before the commit. First phases start in the order of buckets; a later phase starts when
 * the one before has arrived, which may be in another order on every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_EXCHANGE_INTERNAL_H
#define LAMINA_EXCHANGE_INTERNAL_H

#include "reducer_internal.h"

/** One way; constant. All functions but those said to be may not be NULL. */
struct lmn__exchange_kind {
    lmn_combine combine; /* of the levels of layers that it carries */
    /* v is wanted in memory (lmn__layer.vector) until the commit, which advances states in place;
       otherwise encoding pulls v from the source, and states are advanced as it goes. */
    bool needs_vectors;
    bool sends_entries; /* single entries of v, of which the encoder tells the source afterwards */
    bool keeps_mean;    /* h is kept by the exchange, not in lmn__layer.tracked */
    bool counts_steps;  /* what is sent depends on lmn__layer.compressed_steps */
    /** What all ranks together send for one layer at a level, by this way. */
    uint64_t (*wire_bytes)(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level);
    /** What it needs of lmn_reducer.scratch for a layer, bytes; free for all between two calls.
     * NULL: nothing. */
    size_t (*scratch_bytes)(const lmn_reducer *reducer, const lmn__layer *layer);
    /** All memory. Local. Errors: LMN_ERR_MEMORY. *exchange_out stays NULL when no layer of the
     *  bucket can come this way. Where another rank leads the bucket, nothing but add_state and
     *  destroy will be called: it stays NULL, too, unless there is state to add. */
    lmn_status (*create)(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err);
    /** The collectives. Collective. */
    lmn_status (*connect)(lmn__exchange *exchange, lmn_error *err);
    /** Form and encode what this rank says. Local. Errors: LMN_ERR_NONFINITE (lmn__nonfinite), and
     *  others. */
    lmn_status (*encode)(lmn__exchange *exchange, lmn_error *err);
    /** Start. silent: this rank has nothing honest to say, perhaps without having encoded; the step
     *  will be discarded, but nobody must wait for it. Errors: LMN_ERR_COMM. */
    lmn_status (*start)(lmn__exchange *exchange, bool silent, lmn_error *err);
    /** Never blocks. LMN_IN_PROGRESS, LMN_OK when all has arrived, LMN_ERR_COMM. */
    lmn_status (*progress)(lmn__exchange *exchange, lmn_error *err);
    /** Whether what arrived can be used; only when no rank was silent. LMN_ERR_MESSAGE, or the same
     *  on all ranks LMN_ERR_NONFINITE. NULL: always. */
    lmn_status (*check)(const lmn__exchange *exchange, lmn_error *err);
    /** The estimates, states after the step, and what else outlasts it. */
    void (*commit)(lmn__exchange *exchange);
    uint64_t (*bytes_sent)(const lmn__exchange *exchange); /* ever */
    /** What belongs to a checkpoint beside the layers' own states. NULL: nothing. */
    lmn_status (*add_state)(lmn__exchange *exchange, lmn_state *state, lmn_error *err);
    /** Whether what add_state named can be, once it was loaded. Local. LMN_ERR_FORMAT. NULL:
     *  always. */
    lmn_status (*restored)(const lmn__exchange *exchange, lmn_error *err);
    /** Take over what lies of h in this rank's slice, when it was formed anew: elements first ..
     *  first + count - 1 of a layer. NULL: the exchange keeps no h. */
    void (*set_mean)(lmn__exchange *exchange, const lmn__layer *layer, size_t first, size_t count,
                     const float *mean);
    void (*destroy)(lmn__exchange *exchange); /* also half-built */
};

/** The head of every exchange. */
struct lmn__exchange {
    const lmn__exchange_kind *kind;
    lmn_reducer *reducer; /* borrowed */
    lmn__bucket *bucket;  /* borrowed */
};

extern const lmn__exchange_kind lmn__exchange_dense;
extern const lmn__exchange_kind lmn__exchange_gather;
extern const lmn__exchange_kind lmn__exchange_merge;
extern const lmn__exchange_kind lmn__exchange_balanced;
extern const lmn__exchange_kind lmn__exchange_sparse; /* gather or merge, for each bucket */
extern const lmn__exchange_kind lmn__exchange_sliced;
extern const lmn__exchange_kind lmn__exchange_rounds;

/** What carries the messages of a gathering exchange, for tests. */
lmn_collective *lmn__gather_collective(const lmn__exchange *exchange);

/**
 * The ways of a compressor's levels.
 * collective  lmn_reducer_options.collective
 * ways_out    [LMN__WAYS] by lmn_combine; NULL: no level combines so
 * Errors: LMN_ERR_USAGE (no such collective, or not for any of the families).
 */
lmn_status lmn__exchange_ways(const lmn_compressor *compressor, const char *collective,
                              const lmn__exchange_kind **ways_out, lmn_error *err) LMN_NODISCARD;

/** Whether there are levels above 0. */
bool lmn__compresses(const lmn_reducer *reducer);

/** The way of a level. */
const lmn__exchange_kind *lmn__way_of(const lmn_reducer *reducer, size_t level);

/** Whether a layer travels by this exchange in this step. */
static inline bool lmn__carries(const lmn__exchange *exchange, const lmn__layer *layer)
{
    return layer->way == exchange->kind->combine;
}

/** How many layers of its bucket do. */
static inline size_t lmn__carried_count(const lmn__exchange *exchange)
{
    return exchange->bucket->carried[exchange->kind->combine];
}

/** Whether an encoder of this way writes a state of the feedback while it walks v; else the state
 *  is advanced in place, in the commit. */
bool lmn__way_writes_state(const lmn_reducer *reducer, const lmn__exchange_kind *way, size_t state);

/** Encode the message of a whole layer into job->payload; all of the job but that and its capacity
 *  is filled in. Errors: LMN_ERR_NONFINITE, those of lmn_compressor_encode. */
lmn_status lmn__layer_encode(const lmn_reducer *reducer, lmn__layer *layer,
                             const lmn_source *source, lmn_encode_job *job,
                             lmn_error *err) LMN_NODISCARD;

/** A layer of a bucket by its place there. */
lmn__layer *lmn__bucket_layer(const lmn__exchange *exchange, size_t place);

/** Whether a layer may travel compressed in some step. */
bool lmn__may_be_compressed(const lmn_reducer *reducer, const lmn__layer *layer);

/** Whether a layer may travel at this level, compressed and in this way, in some step. */
bool lmn__may_travel_at(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                        lmn_combine way);

/** The same at any level. */
bool lmn__may_travel_by(const lmn_reducer *reducer, const lmn__layer *layer, lmn_combine way);

/** The same of any layer of a bucket. */
bool lmn__bucket_may_travel_by(const lmn_reducer *reducer, const lmn__bucket *bucket,
                               lmn_combine way);

/** Whether a layer may have this level in some step. */
bool lmn__may_have_level(const lmn_reducer *reducer, const lmn__layer *layer, size_t level);

/** What the compressor keeps of a layer. */
lmn_compressor_memory lmn__layer_memory(const lmn_reducer *reducer, const lmn__layer *layer);

/** The exchanges of a bucket that this rank drives: all, or none where another rank leads it. */
size_t lmn__bucket_driven(const lmn__bucket *bucket);

/** The rank in the whole world of a rank of the team, for messages. */
int lmn__team_world_rank(const lmn_reducer *reducer, int rank);

/** Whether h of a layer is kept in lmn__layer.tracked. Where some ways keep it so and others in
 *  slices, it is in slices after a step by such a way (lmn__layer.mean_in_slices). */
bool lmn__layer_has_mean(const lmn_reducer *reducer, const lmn__layer *layer);

/** Whether the estimate of this step is lmn__layer.average, not `tracked`. */
static inline bool lmn__estimate_is_average(const lmn__layer *layer)
{
    return layer->tracked == NULL || layer->way == LMN_COMBINE_SLICED;
}

/** Whether no value [count] is NaN or infinity. */
bool lmn__is_finite_vector(const float *values, size_t count);

/** LMN_ERR_NONFINITE, naming layer, rank and step. */
lmn_status lmn__nonfinite(const lmn_reducer *reducer, const lmn__layer *layer, lmn_error *err);

/** The random numbers of a layer in this step; rank LMN_STREAM_ALL_RANKS for shared ones. */
lmn_stream lmn__layer_stream(const lmn_reducer *reducer, const lmn__layer *layer, unsigned rank);

/* Elements whose states are worked on together: they fit the nearest cache. */
#define LMN__LAYER_TILE ((size_t)4096)
/* Elements from which threads share a layer. */
#define LMN__SHARED_COUNT ((size_t)1 << 18)
/* Elements of a layer from which on no cache holds its arrays from one step to the next. */
#define LMN__FAR_COUNT ((size_t)1 << 20)

/* reducer_source.c: a layer as encoders see it, and its states. */

/** vector [count] = v[first ..]. Returns false when it holds NaN or infinity. */
bool lmn__layer_form(const lmn__layer *layer, size_t first, size_t count, float *vector);

/** All of v into layer->vector, with threads where it is large. */
bool lmn__layer_form_vector(const lmn__layer *layer);

/** A source that writes the states after the step to layer->next. It borrows the layer. */
lmn_source lmn__layer_source(lmn__layer *layer);

/** Copy the compressor's memory of a layer, so that encoding may change the copy. Returns it. */
float *lmn__layer_memory_copy(const lmn__layer *layer);

/** The step counts: what the source and the encoder wrote becomes the states and the memory. */
void lmn__layer_commit_next(lmn__layer *layer);

/** States and memory go back to the arrays that they began in; with `copy` they keep their values.
 */
void lmn__layer_settle(lmn__layer *layer, bool copy);

/** The states after a step that sent `sent` of [first .. first + count - 1], in place. Any thread,
 *  for parts that do not overlap. */
void lmn__layer_advance(lmn__layer *layer, size_t first, size_t count, const float *vector,
                        const float *sent);

#endif
