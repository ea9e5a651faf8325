/*
 * What the files of the planner share: the plan itself.
 *
 * plan_fuse.c decides what runs together, plan_schedule.c in which order, plan_recompute.c what
 * runs again to save memory, plan_memory.c where each value lives, plan.c puts all together and
 * binds the caller's memory, execute.c runs. Everything per tensor is indexed by the tensor's index
 * in its graph, everything per node that runs by its position in the order. A view has no memory:
 * it stands for its `root`, the first tensor behind it that is not a view, and only roots have a
 * place.
 *
 * A group that runs again stands in the order several times. What reads its value reads what was
 * written last, so a value may have several lives, one after the other, in different places.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PLAN_INTERNAL_H
#define LAMINA_PLAN_INTERNAL_H

#include "compute_internal.h"

/** Where the memory of a root comes from. */
typedef enum lmn__place {
    LMN__PLACE_NONE = 0,     /* not needed, or a view */
    LMN__PLACE_BOUND = 1,    /* inputs and parameters: the caller's memory */
    LMN__PLACE_CONSTANT = 2, /* the plan's constants, filled once */
    LMN__PLACE_KEPT = 3,     /* outputs: never shared or overwritten; the caller may bind them */
    LMN__PLACE_ARENA = 4     /* shared by lifetime */
} lmn__place;

/**
 * What runs at one place of the order: an op, and the elementwise ops that are fused into it. Kept
 * by the index of its last tensor, which is the one that gets memory.
 */
typedef struct lmn__group {
    const lmn_tensor *first; /* whose op runs; NULL: no group ends at this tensor */
    size_t n_steps;
    lmn__epilogue_step steps[LMN__EPILOGUE_MAX];   /* without operands, whose memory runs look up */
    const lmn_tensor *operands[LMN__EPILOGUE_MAX]; /* NULL where a step has none */
    char fused[48];                                /* "add+relu" */
    lmn__prepared prepared;
} lmn__group;

/** Inputs that a group can have: those of its op and an operand of each step. */
#define LMN__GROUP_INPUTS_MAX (LMN__INPUTS_MAX + LMN__EPILOGUE_MAX)

/** A piece of the arena: one value, or several that overwrite each other in place. */
typedef struct lmn__block {
    size_t bytes;  /* a multiple of LMN_ALIGNMENT */
    size_t first;  /* position in the order at which it is first written */
    size_t last;   /* position at which it is last read */
    size_t offset; /* bytes from the start of the arena */
} lmn__block;

/** An output and what a run does about it. */
typedef struct lmn__plan_output {
    const lmn_tensor *tensor;
    size_t ready;  /* nodes that have run when it is written and read for the last time; 0 for
                      inputs and constants */
    void *copy_to; /* where the caller wants a value that lives elsewhere (a view); else NULL */
} lmn__plan_output;

struct lmn_plan {
    const lmn_graph *graph; /* borrowed */
    size_t n_tensors;       /* of the graph, when the plan was made */

    lmn__plan_output *outputs; /* [n_outputs] owned */
    size_t n_outputs;
    size_t *output_order; /* [n_outputs] owned; indices into outputs, as they become final */

    /* The schedule. */
    bool *needed;             /* [n_tensors] owned; whether an output depends on it */
    size_t *root;             /* [n_tensors] owned; the tensor whose memory it is */
    lmn__group *groups;       /* [n_tensors] owned; by last tensor */
    const lmn_tensor **order; /* [n_nodes] owned (room for `capacity`); the last tensors of the
                                 groups, as they run */
    bool *again;              /* [n_nodes] owned; whether that group has run before */
    size_t *last_use; /* [n_nodes] owned; position at which what is written there, or a view of it,
                         is written or read for the last time */
    size_t *writer;   /* [n_tensors] owned; of a root that runs: position that wrote it last, while
                         the order is walked through */
    size_t n_nodes;
    size_t capacity; /* nodes that the order can hold */

    /* Memory. */
    lmn__place *places; /* [n_tensors] owned */
    lmn__block *blocks; /* [n_blocks] owned (room for `capacity`) */
    size_t n_blocks;
    size_t *block_of; /* [n_nodes] owned; index into blocks for LMN__PLACE_ARENA */
    bool *in_place;   /* [n_nodes] owned; whether that node overwrites an operand */
    void **memory;   /* [n_tensors] owned; of each root, NULL while unbound. Of values in the arena:
                        where the run has written them last */
    void *arena;     /* owned; arena_bytes */
    void *constants; /* owned; constant_bytes */
    void *kept;      /* owned by malloc; kept_bytes */
    void *workspace; /* owned; workspace_bytes; used by one node at a time */
    size_t arena_bytes;
    size_t constant_bytes;
    size_t kept_bytes;
    size_t workspace_bytes;

    lmn_plan_stats stats;
};

/** Mark what is needed and find the roots: fill needed and root. */
void lmn__plan_look(lmn_plan *plan);

/** After that: form the groups, of one op each unless `fuse`. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__plan_fuse(lmn_plan *plan, bool fuse, lmn_error *err) LMN_NODISCARD;

/** The tensors that the group ending at `last` reads; returns how many. */
size_t lmn__group_inputs(const lmn_plan *plan, const lmn_tensor *last,
                         const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX]);

/** Bytes that the group ending at `last` reads and writes. */
size_t lmn__group_bytes(const lmn_plan *plan, const lmn_tensor *last);

/** Floating point operations of the group ending at `last`, as its op counts them. */
double lmn__group_flops(const lmn_plan *plan, const lmn_tensor *last);

/** Whether the group ending at `last` asks other ranks. */
bool lmn__group_asks_ranks(const lmn_plan *plan, const lmn_tensor *last);

/** After the groups: fill order, n_nodes and what lmn__plan_trace fills. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__plan_schedule(lmn_plan *plan, lmn_error *err) LMN_NODISCARD;

/** After any change of the order: fill last_use, the outputs' `ready` and output_order. */
void lmn__plan_trace(lmn_plan *plan);

/** After the schedule: prepare every op that runs. Errors: LMN_ERR_MEMORY, those of the ops. */
lmn_status lmn__plan_prepare(lmn_plan *plan, lmn_error *err) LMN_NODISCARD;

/** Give back what was prepared. */
void lmn__plan_release(lmn_plan *plan);

/** After that: fill places and all sizes but that of the arena. */
void lmn__plan_place(lmn_plan *plan);

/** After that, and after any change of the order: fill blocks, block_of and in_place. */
void lmn__plan_share(lmn_plan *plan);

/**
 * After lmn__plan_place: give the arena its size and every block its offset. When the plan needs
 * more than `limit` bytes (0: no limit), change the order so that it does not, if that is possible.
 * Errors: LMN_ERR_MEMORY, naming the smallest limit that would do.
 */
lmn_status lmn__plan_fit(lmn_plan *plan, size_t limit, lmn_error *err) LMN_NODISCARD;

/** Where the arena holds what is written at `position`. */
void *lmn__plan_arena_at(const lmn_plan *plan, size_t position);

/**
 * Give every block an offset so that blocks that are alive at the same position do not overlap.
 * Returns the bytes that all of them need together. Errors: LMN_ERR_MEMORY.
 */
lmn_status lmn__plan_pack(lmn__block *blocks, size_t n_blocks, size_t *bytes_out,
                          lmn_error *err) LMN_NODISCARD;

#endif
