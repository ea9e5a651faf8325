/*
 * What the files of the compute room share: tensors, ops and the helpers of op constructors.
 *
 * An op is one const table of functions (lmn__op), defined together with its public constructor in
 * ops/<family>.c. The graph, the differentiation, the planner and the executor see ops through that
 * table only, so adding an op touches one file and lamina/ops.h. A constructor checks its inputs,
 * infers the shape of the result and ends in lmn__tensor_new:
 *
 *     const lmn_tensor *lmn_relu(lmn_graph *graph, const lmn_tensor *x)
 *     {
 *         const lmn_tensor *const inputs[] = {x};
 *         if (!lmn__inputs_fit(graph, &relu_op, inputs, 1)) {
 *             return NULL;
 *         }
 *         return lmn__tensor_new(graph, &relu_op, inputs, 1, x->shape, LMN_F32, NULL);
 *     }
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPUTE_INTERNAL_H
#define LAMINA_COMPUTE_INTERNAL_H

#include "lamina/graph.h"
#include "lamina/ops.h"
#include "lamina/plan.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LMN__INPUTS_MAX 8

/**
 * The fixed arguments of an op besides its inputs and the shape of its result. An op uses the
 * fields that it needs and leaves the others zero.
 */
typedef struct lmn__attributes {
    float scalar;               /* factor, rate, value of a constant */
    unsigned axes;              /* bit i: axis i, without bits past the last axis */
    bool keep;                  /* reductions: reduced axes stay with extent 1 */
    bool transpose_a;           /* matmul */
    bool transpose_b;           /* matmul */
    size_t order[LMN_DIMS_MAX]; /* transpose: axis i of the result is axis order[i] of the input */
    lmn_window window;          /* convolution and pooling */
    size_t kernel_h;            /* pooling */
    size_t kernel_w;            /* pooling */
    lmn_init init;              /* parameter */
    size_t parameter_index;     /* parameter: its place among the graph's parameters */
    bool synchronised;          /* batch statistics: over the rows of all ranks */
    size_t axis;                /* the one axis of concat, slice, pad, cumulative_sum */
    size_t first;               /* slice: first element; pad: zeros before */
    bool reverse;               /* cumulative_sum: from the end */
    size_t n_heads;             /* attention */
} lmn__attributes;

typedef struct lmn__op lmn__op;

/** What makes a parameter a statistic. */
typedef struct lmn__statistic {
    float momentum;             /* how fast it follows */
    const lmn_tensor *observed; /* what it follows; NULL until that is given */
    float start[];              /* [count of its shape] */
} lmn__statistic;

/** A value of the graph. Immutable once made; owned by its graph, at a fixed address. */
struct lmn_tensor {
    lmn_graph *graph; /* the owner */
    size_t index;     /* place in the graph; every input has a smaller one */
    const lmn__op *op;
    const lmn_tensor *inputs[LMN__INPUTS_MAX]; /* [n_inputs], then NULL */
    size_t n_inputs;
    lmn_shape shape;
    lmn_dtype dtype;
    lmn__attributes attributes;
    char *name;                /* inputs and parameters: owned; others: NULL */
    lmn__statistic *statistic; /* owned; NULL unless it is one */
};

/* ---- Epilogues: elementwise steps that are fused into the op before them (epilogue.c). ---- */

#define LMN__EPILOGUE_MAX 4

typedef enum lmn__step_kind {
    LMN__STEP_ADD = 0,      /* + operand, an element for each element */
    LMN__STEP_ADD_ROW = 1,  /* + operand, an element for each column: a bias */
    LMN__STEP_RELU = 2,     /* max(., 0) as lmn_relu */
    LMN__STEP_GATE = 3,     /* kept where operand > 0, else 0, as lmn_gate */
    LMN__STEP_SCALE = 4,    /* times scalar */
    LMN__STEP_GELU = 5,     /* as lmn_gelu */
    LMN__STEP_GELU_GRAD = 6 /* times the slope of gelu at operand */
} lmn__step_kind;

typedef struct lmn__epilogue_step {
    lmn__step_kind kind;
    const float *operand; /* whole value, 64-byte aligned, no part of the result */
    float scalar;
} lmn__epilogue_step;

/** What is done to each element of a result before the node is finished, in this order. */
typedef struct lmn__epilogue {
    size_t n_steps; /* 0: nothing */
    lmn__epilogue_step steps[LMN__EPILOGUE_MAX];
    size_t n_columns; /* extent of the last axis of the result */
} lmn__epilogue;

/**
 * Apply all steps, in place, to elements first .. first + count - 1 of the result, which `values`
 * points to. Both are multiples of n_columns. Each step rounds as the op that it stands for, so
 * fusing changes no bit.
 */
void lmn__epilogue_apply(const lmn__epilogue *epilogue, size_t first, size_t count, float *values);

/** One execution of a node: everything that a kernel call may look at. */
typedef struct lmn__node_run {
    const lmn_tensor *node;              /* node->shape, node->inputs[i]->shape, node->attributes */
    const void *inputs[LMN__INPUTS_MAX]; /* [n_inputs] values, 64-byte aligned */
    void *output; /* count of node->shape, 64-byte aligned; holds anything on entry; may be one of
                     the inputs that may_overwrite allows, else overlaps no input */
    void *workspace;   /* what op->prepare or op->workspace_bytes asked for, 64-byte aligned,
                          holds anything; NULL when 0 */
    const void *state; /* what op->prepare made; else NULL */
    const lmn__epilogue *epilogue; /* to be applied by `run`; n_steps 0 unless takes_epilogue */
    const lmn_run *run;            /* seed, step, first_row, training */
    lmn_error *err;                /* for the message when the call fails; may be NULL */
} lmn__node_run;

/** Where the value of an op comes from. */
typedef enum lmn__op_kind {
    LMN__OP_COMPUTE = 0,   /* `run` writes it into memory that the plan gives */
    LMN__OP_VIEW = 1,      /* the memory of input 0, same count and dtype; never runs */
    LMN__OP_INPUT = 2,     /* bound by the user */
    LMN__OP_PARAMETER = 3, /* bound by the user */
    LMN__OP_CONSTANT = 4   /* filled with attributes.scalar when the plan is made */
} lmn__op_kind;

/** What an op makes of a node once, when a plan is made. */
typedef struct lmn__prepared {
    void *state;            /* owned by the plan, given back to op->release; may be NULL */
    size_t workspace_bytes; /* of scratch memory that `run` wants */
    const char *kernel;     /* what will compute it, for reports: "onednn", "winograd" */
} lmn__prepared;

/** An op. Constant; functions that are NULL have the meaning that is given with them. */
struct lmn__op {
    const char *name; /* as the constructor without lmn_: "conv2d"; starts error messages */
    lmn__op_kind kind;

    /** Bit i: input i is i32. All others are f32. */
    unsigned i32_inputs;

    /** Nothing flows back through this op: stop_gradient, hits, one_hot, masks. */
    bool no_gradient;

    /**
     * The gradient of the loss in input `input` (shape of that input), given `grad`, the gradient
     * in `node` (shape of node), written with public constructors, so that it can be differentiated
     * again. Called only for inputs whose gradient is wanted, never for i32 inputs.
     * Returns NULL when the op is constant in that input, or after an error kept by the graph.
     * vjp == NULL without no_gradient: see compose.
     */
    const lmn_tensor *(*vjp)(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                             size_t input);

    /**
     * The value of the node written with ops that have a vjp (of any depth): for ops whose first
     * derivative is fused and whose further derivatives are rare, such as the derivative of batch
     * norm. Differentiation then goes through the composition. NULL without vjp and without
     * no_gradient: the op has no derivative, and differentiating it is refused.
     */
    const lmn_tensor *(*compose)(lmn_graph *graph, const lmn_tensor *node);

    /** Whether `run` calls node_run->run->sum_ranks. NULL: never. */
    bool (*asks_ranks)(const lmn_tensor *node);

    /**
     * Compute the node. Local (unless asks_ranks), allocates nothing, reads nothing but `node_run`.
     * Whatever can be refused earlier is refused by the constructor; LMN_OK otherwise. NULL unless
     * LMN__OP_COMPUTE.
     */
    lmn_status (*run)(const lmn__node_run *node_run);

    /** Bytes of scratch memory that `run` wants. NULL: none. Unused where there is `prepare`. */
    size_t (*workspace_bytes)(const lmn_tensor *node);

    /**
     * Choose and create what computes this node: once for each plan, before its first run, and the
     * place for allocations. A function of the node, the machine and the thread count only. NULL:
     * nothing to prepare.
     */
    lmn_status (*prepare)(const lmn_tensor *node, lmn__prepared *prepared_out, lmn_error *err);
    void (*release)(void *state); /* NULL when prepare makes no state */

    /** Whether `run` honours node_run->epilogue. All elements pass it exactly once. */
    bool takes_epilogue;

    /**
     * Fill the step (kind and scalar; not the operand) as which this elementwise op can follow the
     * op that makes input `input`; operand_out is the index of the input that is the operand, or
     * SIZE_MAX. Returns false when it cannot. NULL: never.
     */
    bool (*as_step)(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                    size_t *operand_out);

    /**
     * Bit i: the result may be written over input i, which has the count and dtype of the result.
     * `run` must then read element e of every such input before it writes element e of the result,
     * and no element of such an input after its place was written. (Two inputs may be one memory;
     * the plan overwrites it only when both bits are set.) NULL: never.
     */
    unsigned (*may_overwrite)(const lmn_tensor *node);

    /** Floating point operations of one run, for products and convolutions. NULL: not counted. */
    double (*flops)(const lmn_tensor *node);
};

/* Constructors: checks, errors, creation (graph.c). */

/**
 * Whether an op can be built from `inputs` [n]: no NULL, all tensors of `graph`, dtypes as the op
 * asks. Returns false when the graph already holds an error, and records one when it does not.
 * Shapes may be looked at only after this returned true.
 */
bool lmn__inputs_fit(lmn_graph *graph, const lmn__op *op, const lmn_tensor *const *inputs,
                     size_t n);

/**
 * Append a tensor to the graph.
 * op          borrowed for ever (a static const table)
 * inputs      [n] with n <= LMN__INPUTS_MAX; checked as by lmn__inputs_fit; may be NULL when n is 0
 * shape       refused when it has a zero extent, too many axes or too many elements
 * attributes  copied; NULL: all zero
 * Returns NULL after recording the error.
 */
const lmn_tensor *lmn__tensor_new(lmn_graph *graph, const lmn__op *op,
                                  const lmn_tensor *const *inputs, size_t n, lmn_shape shape,
                                  lmn_dtype dtype, const lmn__attributes *attributes);

/** Record the graph's error, if it is the first. Always returns NULL, for `return` statements. */
const lmn_tensor *lmn__graph_fail(lmn_graph *graph, lmn_status status, const char *format, ...)
    LMN_PRINTF(3, 4);

/** True once an error was recorded. */
bool lmn__graph_has_failed(const lmn_graph *graph);

/**
 * The last tensor that `op` made of exactly these inputs, or NULL: for derivatives that several
 * operands share, so that they are computed once.
 */
const lmn_tensor *lmn__tensor_find(const lmn_graph *graph, const lmn__op *op,
                                   const lmn_tensor *const *inputs, size_t n);

/** The graph's tensors, in the order they were added (a topological order). */
size_t lmn__graph_tensor_count(const lmn_graph *graph);
const lmn_tensor *lmn__graph_tensor(const lmn_graph *graph, size_t index);

/* Shapes (shape.c). */

/** A shape as text, by value, to be used inside one call: lmn__shape_text(&a->shape).text. */
typedef struct lmn__shape_string {
    char text[144];
} lmn__shape_string;
lmn__shape_string lmn__shape_text(const lmn_shape *shape);

/** Extents at least 1, at most LMN_DIMS_MAX axes, and a count whose bytes fit into size_t. */
bool lmn__shape_is_valid(const lmn_shape *shape);

/** The shape that a and b broadcast to, as in NumPy; false when they do not fit. */
bool lmn__shape_broadcast(const lmn_shape *a, const lmn_shape *b, lmn_shape *shape_out);

/** `shape` reduced over the axes whose bit is set; bits past the last axis do not count. */
lmn_shape lmn__shape_reduce(const lmn_shape *shape, unsigned axes, bool keep);

/** Bytes of a whole value. */
size_t lmn__tensor_bytes(const lmn_tensor *tensor);

#endif
