/*
 * The naive executor: every tensor of a graph in memory of its own, in the order of creation.
 *
 * Nothing is shared, reordered, overwritten or left out, so it is the oracle for plans. Inputs and
 * parameters hold numbers that depend on a seed and their place in the graph only; the tests give a
 * plan the same ones with naive_fill.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_NAIVE_RUN_H
#define LAMINA_TESTS_NAIVE_RUN_H

#include "lamina/graph.h"
#include "lamina/plan.h"

#include <stdint.h>

typedef struct naive_values {
    void **values; /* [n] by tensor index, owned */
    size_t n;
} naive_values;

/** The values of an input or parameter: f32 uniform in [-1, 1), i32 in 0 .. 2. */
void naive_fill(const lmn_tensor *tensor, uint64_t seed, void *values_out);

/** Compute all tensors of `graph`; fails the test when a node fails. */
naive_values naive_run(const lmn_graph *graph, uint64_t seed, const lmn_run *run);
void naive_free(naive_values *values);

/** The value of a tensor as f32. */
const float *naive_value(const naive_values *values, const lmn_tensor *tensor);

#endif
