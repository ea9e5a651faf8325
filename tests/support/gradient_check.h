/*
 * Derivatives of ops against central differences, to any order, and runs of small graphs.
 *
 * For a case y = f(x_1, ..., x_n), F_1 is the sum of y times random numbers r. The gradients of F_1
 * in all variables (the x_i) are compared with (F_1(x + h e) - F_1(x - h e)) / 2 h for every
 * element e. Then r joins the variables, F_2 is the sum of those gradients times new random
 * numbers, and so on: order 2 checks products with the Hessian, and that derivatives are right in
 * the gradient that comes in. Sums are taken in double from f32 values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_GRADIENT_CHECK_H
#define LAMINA_TESTS_GRADIENT_CHECK_H

#include "lamina/graph.h"
#include "lamina/plan.h"

#include <stdint.h>

#define GRADIENT_INPUTS_MAX 3

typedef struct gradient_case {
    /** y from the f32 inputs and the i32 labels (NULL without labels). */
    const lmn_tensor *(*build)(lmn_graph *graph, const lmn_tensor *const *inputs,
                               const lmn_tensor *labels);
    size_t n_inputs;
    lmn_shape shapes[GRADIENT_INPUTS_MAX];
    float low, high; /* inputs are uniform between them; both 0: multiples of 0.1, all different,
                        none near 0, for ops with kinks */
    const int32_t *labels; /* [n_labels], or NULL */
    size_t n_labels;
    int orders; /* how many times to differentiate */
} gradient_case;

/** Fails the test with the variable and the element that is wrong. */
void check_gradients(const gradient_case *checked);

/** The value of an input for run_graph. */
typedef struct binding {
    const lmn_tensor *tensor;
    const void *values; /* as many as the tensor has */
} binding;

/**
 * Plan and run `output`, and copy its value to values_out. Fails the test when anything fails.
 * run  NULL: seed 1, step 0, first row 0, training
 */
void run_graph(const lmn_graph *graph, const lmn_tensor *output, const binding *bindings,
               size_t n_bindings, const lmn_run *run, float *values_out);

/** A new graph; the caller destroys it. */
lmn_graph *new_graph(void);

/** A shape from its extents, outermost first; 0 ends the list. */
lmn_shape shape_of(size_t d0, size_t d1, size_t d2, size_t d3);

/** values_out [n] uniform in [low, high), a function of `layer`. */
void fill_uniform(uint32_t layer, float low, float high, size_t n, float *values_out);

/** Fails the test unless |have - want| <= tolerance (1 + |want|) for all n; equal infinities pass.
 */
void assert_close(const float *have, const double *want, size_t n, double tolerance);

/** Fails the test unless the graph holds an error of this status whose message has `part` in it. */
void assert_refused(const lmn_graph *graph, lmn_status status, const char *part);

#endif
