/*
 * What the files of the search for plans within a limit share: its state.
 *
 * plan_recompute.c decides what to drop, plan_segments.c finds what must run again for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PLAN_RECOMPUTE_INTERNAL_H
#define LAMINA_PLAN_RECOMPUTE_INTERNAL_H

#include "lamina/memory.h"
#include "plan_internal.h"

/** The highest load of the arena: bytes that are alive at once. */
typedef struct lmn__summit {
    size_t bytes;
    size_t n_positions; /* at which it is reached */
    size_t position;    /* the first of them */
} lmn__summit;

/** A value that may be dropped next. */
typedef struct lmn__candidate {
    size_t node;
    double score;
} lmn__candidate;

/** What becomes of a value during its wait. */
typedef enum lmn__drops {
    LMN__KEPT = 0,
    LMN__DROPPED_ONCE = 1, /* until a segment that it is part of runs again */
    LMN__DROPPED_TWICE = 2 /* after that, too, until it is used itself */
} lmn__drops;

/**
 * State of the search. The original order is numbered by `node`, 0 .. n_nodes - 1; positions are
 * those of the plan's present order. [n_nodes] unless said otherwise; all in one arena.
 */
typedef struct lmn__search {
    lmn_plan *plan;
    lmn_arena *tables; /* owned */
    const lmn_tensor **nodes;
    size_t n_nodes;
    size_t *node_of;    /* [n_tensors] of a root that runs: its node */
    double *work;       /* of running the node once */
    size_t *last_read;  /* node that reads its value last */
    size_t *wait_start; /* the longest time between two uses of its value: the nodes that use it */
    size_t *wait_end;   /* before and after; both 0 when it must not be dropped */
    lmn__drops *drops;  /* during its wait */
    size_t *until;      /* node up to which its value is there; scratch */
    size_t *chain;      /* nodes to run again; scratch */
    size_t *mark;       /* equals `n_marks` when in the chain */
    size_t n_marks;
    lmn__candidate *candidates;
    size_t *origin;  /* [capacity] of a position: the node that runs, or for which it runs */
    size_t *load;    /* [capacity + 1] bytes alive at a position; scratch */
    lmn__summit top; /* of the present order */
} lmn__search;

/** Everything about the plan's original order, which is its present one. */
void lmn__search_look(lmn__search *s);

/** Fill `until` as it is before anything has run again. */
void lmn__search_reset(lmn__search *s);

/**
 * Collect what must run again right before the node `at`, so that the value of `wanted` is there:
 * chain [returned count], as it must run. 0 when something may not run again.
 */
size_t lmn__search_chain(lmn__search *s, size_t wanted, size_t at);

/**
 * Make the plan's order the one that follows from what is dropped. Returns false, and leaves no
 * usable order, when there is none: something may not run again, or too much would.
 */
bool lmn__search_order(lmn__search *s);

#endif
