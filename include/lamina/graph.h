/*
 * Graphs: computations described once and run every step.
 *
 * A graph is a list of immutable tensors, each made by an op constructor (lamina/ops.h) from
 * earlier ones, with its shape inferred on the spot. Constructors return NULL when something does
 * not fit and the graph keeps the first error; NULL inputs give NULL. So a model is written without
 * checks and lmn_graph_status is asked once at the end.
 *
 * lmn_gradients adds the backward computation as ordinary tensors, written with the same
 * constructors, so gradients can be differentiated again.
 *
 * Tensors hold no memory: lamina/plan.h places and runs them. Row-major; images NHWC.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_GRAPH_H
#define LAMINA_GRAPH_H

#include "lamina/dtype.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LMN_DIMS_MAX 6

/** Extents, outermost first; n_dims 0 is a scalar. Every extent is at least 1. */
typedef struct lmn_shape {
    size_t n_dims;
    size_t dims[LMN_DIMS_MAX];
} lmn_shape;

typedef struct lmn_graph lmn_graph;
typedef struct lmn_tensor lmn_tensor;

/** How a parameter starts. */
typedef enum lmn_init_kind { LMN_INIT_CONSTANT = 0, LMN_INIT_NORMAL = 1 } lmn_init_kind;
typedef struct lmn_init {
    lmn_init_kind kind;
    float value; /* the constant, or the standard deviation of a mean-zero normal */
} lmn_init;

lmn_status lmn_graph_create(lmn_graph **graph_out, lmn_error *err) LMN_NODISCARD;

/** Frees the graph and its tensors; NULL is allowed. Plans made from it must be gone. */
void lmn_graph_destroy(lmn_graph *graph);

/** The first error that a constructor met, with its message, or LMN_OK. */
lmn_status lmn_graph_status(const lmn_graph *graph, lmn_error *err) LMN_NODISCARD;

/** A shape from [n_dims] extents; more than LMN_DIMS_MAX or a zero extent is refused by its user.
 */
lmn_shape lmn_shape_make(size_t n_dims, const size_t *dims);
size_t lmn_shape_count(const lmn_shape *shape);
bool lmn_shape_equal(const lmn_shape *a, const lmn_shape *b);

/** "[128, 10]" into text; always terminated. */
void lmn_shape_format(const lmn_shape *shape, char *text, size_t capacity);

/** A value given anew at every run, bound in the plan. `name` is copied. */
const lmn_tensor *lmn_input(lmn_graph *graph, const char *name, lmn_dtype dtype, lmn_shape shape);

/** A trained f32 value, bound in the plan. Names are unique: "conv1/weight". */
const lmn_tensor *lmn_parameter(lmn_graph *graph, const char *name, lmn_shape shape, lmn_init init);

/**
 * A statistic: f32 values that are learnt by watching, not by gradients, such as the running mean
 * of batch norm. It is one of the graph's parameters (bound, hashed and kept in checkpoints like
 * all), but has no gradient: after every applied step the trainer sets
 *     statistic = (1 - momentum) * statistic + momentum * mean over ranks of `observed`
 * where `observed` is given later by lmn_statistic_follow. Every element starts as `start` says.
 * start     [count of shape] copied
 * momentum  above 0, at most 1
 */
const lmn_tensor *lmn_statistic(lmn_graph *graph, const char *name, lmn_shape shape,
                                const float *start, float momentum);

/** Let a statistic follow `observed`, f32 of its shape. Once for each statistic. */
void lmn_statistic_follow(lmn_graph *graph, const lmn_tensor *statistic,
                          const lmn_tensor *observed);

/** What a statistic follows, and how fast; NULL and 0 for parameters that are trained. */
const lmn_tensor *lmn_statistic_observed(const lmn_tensor *parameter);
float lmn_statistic_momentum(const lmn_tensor *parameter);
bool lmn_parameter_is_statistic(const lmn_tensor *parameter);

/** f32 tensor filled with one value. */
const lmn_tensor *lmn_constant(lmn_graph *graph, float value, lmn_shape shape);

/** The graph's parameters in the order they were added. */
size_t lmn_graph_parameter_count(const lmn_graph *graph);
const lmn_tensor *lmn_graph_parameter(const lmn_graph *graph, size_t index);

/**
 * Write the start values of a parameter or statistic. The same for every rank and rank count: a
 * function of seed and the parameter's index in its graph. values_out  [count of the parameter's
 * shape]
 */
void lmn_parameter_init(const lmn_tensor *parameter, uint64_t seed, float *values_out);

const char *lmn_tensor_name(const lmn_tensor *tensor);
const lmn_shape *lmn_tensor_shape(const lmn_tensor *tensor);
lmn_dtype lmn_tensor_dtype(const lmn_tensor *tensor);

/**
 * Add the gradients of a scalar with respect to `wrt` by reverse-mode differentiation.
 * loss      f32 scalar
 * wrt       [n] f32 tensors of the graph, usually parameters
 * grads_out [n] each of the shape of wrt[i]; a zero constant where loss does not depend on it
 * Errors, also kept by the graph: LMN_ERR_SHAPE (loss is not a scalar), LMN_ERR_UNSUPPORTED naming
 * the op that has no derivative.
 */
lmn_status lmn_gradients(lmn_graph *graph, const lmn_tensor *loss, const lmn_tensor *const *wrt,
                         size_t n, const lmn_tensor **grads_out, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
