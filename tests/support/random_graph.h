/*
 * Random graphs for tests of plans.
 *
 * Each mixes ops of all kinds, among them two that are as awkward as the rules for ops allow, and
 * has some values, a loss, gradients and sometimes gradients of gradients as outputs. A function of
 * its seed only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_RANDOM_GRAPH_H
#define LAMINA_TESTS_RANDOM_GRAPH_H

#include "lamina/graph.h"

#include <stdint.h>

#define RANDOM_GRAPH_OUTPUTS_MAX 16
#define RANDOM_GRAPH_VALUES_MAX  64

/** Draws by number, so that graph i is the same wherever it is built. */
typedef struct dice {
    uint64_t seed;
    uint64_t next;
} dice;

/** From 0 .. limit - 1. */
size_t dice_roll(dice *source, size_t limit);

typedef struct random_graph {
    lmn_graph *graph; /* owned */
    dice dice;
    const lmn_tensor *values[RANDOM_GRAPH_VALUES_MAX]; /* an input and two parameters first */
    size_t n_values;
    const lmn_tensor *outputs[RANDOM_GRAPH_OUTPUTS_MAX]; /* all different */
    size_t n_outputs;
} random_graph;

/** Inputs and parameters of a random graph: values[0] .. values[RANDOM_GRAPH_BOUND - 1]. */
#define RANDOM_GRAPH_BOUND 3

random_graph random_graph_create(uint64_t seed);
void random_graph_destroy(random_graph *random);

#endif
