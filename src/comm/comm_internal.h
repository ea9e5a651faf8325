/*
 * What the files of the comm room share: the world's fields and the limits of MPI messages.
 *
 * MPI counts elements in int. Sizes here are size_t; they become int only in lmn__to_int, and what
 * is larger than one message may be is cut by lmn__part.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMM_INTERNAL_H
#define LAMINA_COMM_INTERNAL_H

#include "lamina/link.h"
#include "lamina/tuning.h"
#include "lamina/world.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <mpi.h>

/* Elements (or bytes) of one MPI call at most; fits an int and keeps parts aligned. */
#define LMN__PART_LIMIT ((size_t)1 << 30)
/* Messages that one stream keeps open at a time, see stream_internal.h. */
#define LMN__WINDOW 64
/* Bytes of one message inside a large allreduce, so that additions overlap with transfers. Below
 * 64 KiB with MPI's header: such messages go over TCP at once in the common MPIs, where longer ones
 * wait for an answer that queues behind the data of the other direction. */
#define LMN__SEGMENT_BYTES ((size_t)61440)
/* Allreduces up to this many bytes use recursive doubling: latency counts more than bytes there. */
#define LMN__DOUBLING_BYTES ((size_t)16384)

/** Limits that tests lower to reach with little data what otherwise takes gigabytes or many ranks;
 *  must agree on all ranks and stay as they are while collectives exist. */
typedef struct lmn__limits {
    size_t part;           /* elements or bytes of one MPI call, 1 .. INT_MAX */
    size_t doubling_bytes; /* largest allreduce by recursive doubling */
    size_t segment;        /* bytes of a message inside a large allreduce, >= 1 */
    int window;            /* open messages of a stream, >= 1 */
} lmn__limits;

struct lmn_collective;

/** What the rank notes and a watch reads, from another thread. */
typedef struct lmn__notes {
    _Atomic(const lmn_activity *) activity;
    atomic_uint_fast64_t step;
    atomic_uint_fast64_t ticks; /* notes so far */
} lmn__notes;

struct lmn_world {
    MPI_Comm comm;        /* owned duplicate of the caller's */
    MPI_Comm node_comm;   /* owned */
    MPI_Comm leader_comm; /* owned; MPI_COMM_NULL unless node rank 0 */
    int rank;
    int size;
    const lmn_logger *log; /* borrowed, may be NULL */
    lmn_placement placement;
    lmn__notes notes;
    lmn__limits limits;
    bool has_table; /* allreduces choose by the table, not by default */
    lmn_allreduce_table table;
    bool has_link; /* it was measured */
    lmn_link link;
    double *term;                   /* [LMN__SUM_COUNT] owned; a child's part of a sum */
    int next_tag;                   /* first tag that no collective has */
    int tag_max;                    /* largest tag that MPI allows */
    struct lmn_collective *running; /* collectives in flight, linked through next_running */
};

/* f64 that lmn_world_sum_f64 sends at a time. */
#define LMN__SUM_COUNT 4096
/* The tag of the world's own messages; collectives have those above. */
#define LMN__TAG_WORLD 0

/* Where the real nodes are the nodes of a world. */
#define LMN__REAL_NODES (-1)

/**
 * lmn_world_create with the ranks of each node divided further: those of one `node_color` >= 0
 * become a node. Tests make several nodes of one host with it.
 */
lmn_status lmn__world_create_split(MPI_Comm comm, const lmn_logger *log, int node_color,
                                   lmn_world **world_out, lmn_error *err) LMN_NODISCARD;

/** `count` as MPI wants it; count <= INT_MAX. */
int lmn__to_int(size_t count);

/** How much of `remaining` the next MPI call moves: all of it or the world's limit. */
size_t lmn__part(const lmn_world *world, size_t remaining);

/** lmn_agree over any communicator that returns its errors; for use before there is a world.
 * host  of this rank, for the message when only some fail; NULL: it matters to nobody */
lmn_status lmn__agree_on(MPI_Comm comm, const char *host, lmn_status status,
                         lmn_error *err) LMN_NODISCARD;

/** Set the host, cpus and core_count of this process. Never fails: unknown text stays empty. */
void lmn__placement_probe(lmn_placement *placement);

/** Cut the comma-separated `text` so that it fits `capacity` bytes with "..." as its last item. */
void lmn__cpu_list_cut(char *text, size_t capacity);

#endif
