/*
 * The algorithms of allreduce, each a part that allreduce.c owns and drives, and the choice.
 *
 * A job is what one start asks for; the parts borrow it from the allreduce.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ALLREDUCE_INTERNAL_H
#define LAMINA_ALLREDUCE_INTERNAL_H

#include "arithmetic_internal.h"
#include "collective_internal.h"
#include "lamina/partition.h"
#include "lamina/tuning.h"
#include "pattern_internal.h"
#include "stream_internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** recv = factor * sum, or maximum, over ranks of send; world size >= 2 and count >= 1. */
typedef struct lmn__job {
    const lmn__arithmetic *arithmetic; /* of the allreduce, constant */
    const void *send;                  /* [count] borrowed */
    void *recv;                        /* [count] borrowed */
    size_t count;
    float factor;
} lmn__job;

/** Number `index` of a vector in memory. */
static inline const void *lmn__number(const lmn__job *job, const void *vector, size_t index)
{
    return (const unsigned char *)vector + index * job->arithmetic->bytes;
}
static inline void *lmn__number_of(const lmn__job *job, void *vector, size_t index)
{
    return (unsigned char *)vector + index * job->arithmetic->bytes;
}

/* Pieces of a vector that are under way at a time: enough that links stay busy while a rank
 * computes or waits for its core, 4 MB to each other rank. Never more memory than the whole vector
 * takes. */
#define LMN__LANES 64

struct lmn__direct;

/** One piece of the vector on its way: direct reduce-scatter and allgather of its slices. */
typedef struct lmn__lane {
    struct lmn__direct *direct; /* borrowed */
    lmn_range piece;            /* numbers of the vector */
    size_t index;               /* of the piece */
    unsigned char *terms;       /* [world size - 1][stride] owned; the others' parts of our slice */
    uint16_t *rounded;          /* [largest piece] owned, only where the wire has a form of its own:
                                   what this rank sends; then also its finished slice */
    bool is_reduced;            /* our slice holds the sum */
    bool is_gathering;          /* and is being sent */
    lmn__stream scatter_send;
    lmn__stream scatter_receive;
    lmn__stream gather_send;
    lmn__stream gather_receive;
} lmn__lane;

/** Direct reduce-scatter and allgather, piece by piece. */
typedef struct lmn__direct {
    lmn_collective *owner; /* borrowed */
    const lmn__job *job;   /* borrowed; read while running */
    size_t largest;        /* numbers of a piece at most */
    size_t stride;         /* bytes, at least the largest slice of a piece on the wire */
    int n_lanes;
    size_t n_pieces;   /* of the running vector */
    size_t begun;      /* pieces begun; piece i has lane i % n_lanes */
    size_t finished;   /* pieces finished, the first ones */
    size_t gather_due; /* the piece whose finished slice goes out next */
    lmn__lane lanes[LMN__LANES];
} lmn__direct;

/** Memory for up to `capacity` elements. Local. `direct` is zeroed. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__direct_init(lmn__direct *direct, lmn_collective *owner, const lmn__job *job,
                            size_t capacity, lmn_error *err) LMN_NODISCARD;
void lmn__direct_start(lmn__direct *direct);
lmn_status lmn__direct_progress(lmn__direct *direct, lmn_error *err) LMN_NODISCARD;
/** For a zeroed or half-built one, too. */
void lmn__direct_free(lmn__direct *direct);
uint64_t lmn__direct_bytes(const lmn__arithmetic *arithmetic, int size, size_t count);

/** What a rank waits for in recursive doubling. */
typedef enum lmn__doubling_stage {
    LMN__DOUBLING_BEGIN,  /* nothing yet */
    LMN__DOUBLING_HANDED, /* folded: own values sent, the sum received */
    LMN__DOUBLING_FOLD,   /* the partner's values */
    LMN__DOUBLING_ROUND,  /* the peer's sum and our own on its way */
    LMN__DOUBLING_RETURN, /* the finished sum on its way to the partner */
    LMN__DOUBLING_DONE
} lmn__doubling_stage;

/** Recursive doubling. */
typedef struct lmn__doubler {
    lmn_collective *owner; /* borrowed */
    const lmn__job *job;   /* borrowed; read while running */
    lmn__doubling plan;
    lmn__doubling_stage stage;
    int round;
    void *term;              /* [capacity] owned; what the peer sent */
    MPI_Request requests[2]; /* receive, send */
} lmn__doubler;

lmn_status lmn__doubler_init(lmn__doubler *doubler, lmn_collective *owner, const lmn__job *job,
                             size_t capacity, lmn_error *err) LMN_NODISCARD;
void lmn__doubler_start(lmn__doubler *doubler);
lmn_status lmn__doubler_progress(lmn__doubler *doubler, lmn_error *err) LMN_NODISCARD;
void lmn__doubler_free(lmn__doubler *doubler);
uint64_t lmn__doubler_bytes(const lmn__arithmetic *arithmetic, int size, size_t count);

/* Segments that a route keeps open in each direction. */
#define LMN__RELAY_WINDOW 16

/** A place on a route: a hop and how many of its numbers lie before. */
typedef struct lmn__place {
    int hop;
    size_t offset;
} lmn__place;

/** The segments that are open in one direction, a ring with the oldest at `head`. */
typedef struct lmn__queue {
    bool is_sending;
    lmn__place next; /* the next segment to open */
    int head;
    int n_open;
    MPI_Request requests[LMN__RELAY_WINDOW];
    lmn__place places[LMN__RELAY_WINDOW];
    lmn_range segments[LMN__RELAY_WINDOW]; /* numbers of the vector */
} lmn__queue;

/** A ring, or recursive halving and doubling. */
typedef struct lmn__relay {
    lmn_collective *owner; /* borrowed */
    const lmn__job *job;   /* borrowed; read while running */
    bool is_ring;          /* the running or last one */
    int n_hops;            /* of its route */
    size_t segment;        /* numbers */
    size_t stride;         /* bytes */
    unsigned char *terms;  /* [LMN__RELAY_WINDOW][stride] owned; what came in to be added */
    lmn__queue sends;
    lmn__queue receives;
} lmn__relay;

/** For numbers that travel as they are in memory. */
lmn_status lmn__relay_init(lmn__relay *relay, lmn_collective *owner, const lmn__job *job,
                           size_t capacity, lmn_error *err) LMN_NODISCARD;
void lmn__relay_start(lmn__relay *relay, bool is_ring);
lmn_status lmn__relay_progress(lmn__relay *relay, lmn_error *err) LMN_NODISCARD;
void lmn__relay_free(lmn__relay *relay);
uint64_t lmn__relay_bytes(const lmn__arithmetic *arithmetic, int size, size_t count, bool is_ring);

/** MPI_Iallreduce. */
typedef struct lmn__mpi_sum {
    lmn_collective *owner; /* borrowed */
    const lmn__job *job;   /* borrowed; read while running */
    MPI_Comm comm;         /* owned when is_made */
    MPI_Request request;
    bool is_made;
    bool is_called;
} lmn__mpi_sum;

/** Collective over the owner's world. Errors: LMN_ERR_COMM. */
lmn_status lmn__mpi_sum_init(lmn__mpi_sum *sum, lmn_collective *owner, const lmn__job *job,
                             lmn_error *err) LMN_NODISCARD;
void lmn__mpi_sum_start(lmn__mpi_sum *sum);
lmn_status lmn__mpi_sum_progress(lmn__mpi_sum *sum, lmn_error *err) LMN_NODISCARD;
/** For a zeroed one, too. */
void lmn__mpi_sum_free(lmn__mpi_sum *sum);

/** What an allreduce chooses by, taken from the world when it is created. */
typedef struct lmn__choices {
    const lmn__arithmetic *arithmetic;
    bool has_row;          /* of a table; otherwise the defaults hold */
    size_t doubling_bytes; /* up to which recursive doubling is the default */
    size_t part;           /* bytes of one MPI call */
    lmn_allreduce_algorithm row[LMN_ALLREDUCE_SIZES];
} lmn__choices;

lmn__choices lmn__choices_of(const lmn_world *world, const lmn__arithmetic *arithmetic);
lmn_allreduce_algorithm lmn__choice(const lmn__choices *choices, size_t count);
/** The largest count up to `capacity` that each algorithm gets, 0 for none. */
void lmn__choice_needs(const lmn__choices *choices, size_t capacity,
                       size_t needs[LMN_ALLREDUCE_ALGORITHM_COUNT]);
/** Payload bytes that all ranks together send. */
uint64_t lmn__choice_bytes(lmn_allreduce_algorithm algorithm, const lmn__arithmetic *arithmetic,
                           int size, size_t count);

#endif
