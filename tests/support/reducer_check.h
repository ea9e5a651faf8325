/*
 * What tests of the reducer do all the time: a world, a reducer over four layers, steps whose
 * gradients every rank can compute for all ranks, and a hash of everything that outlasts a step.
 *
 * Gradients are a function of (rank, layer, step, element), so each rank knows everybody's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_REDUCER_CHECK_H
#define LAMINA_TESTS_REDUCER_CHECK_H

#include "lamina/checkpoint.h"
#include "lamina/reducer.h"
#include "lamina/world.h"

#include <stddef.h>
#include <stdint.h>

enum { CHECK_LAYERS = 4, CHECK_COUNT_1 = 3000, CHECK_COUNT_2 = 5000 };

/** Layers 1 and 2 are large, 0 and 3 small; with the options below they have a bucket each. */
extern const lmn_reducer_layer check_layers[CHECK_LAYERS];
extern const size_t check_counts[CHECK_LAYERS];

/** Each layer once for each spec of the registries: the name alone, or with keys for small ones. */
const char *check_compressor_spec(size_t index); /* NULL past the last */
const char *check_feedback_spec(size_t index);

lmn_world *check_new_world(void);

lmn_reducer_options check_reducer_options(const char *compress, const char *feedback,
                                          const char *allocate);
lmn_reducer *check_new_reducer(lmn_world *world, const char *compress, const char *feedback,
                               const char *allocate);

void check_fill_gradient(int rank, size_t layer, uint64_t step, float *gradient);

/** Begin a step and hand all layers over, from a rank's gradient of `step`. */
void check_hand_over(lmn_reducer *reducer, lmn_world *world, uint64_t step);

/** A whole step, which must not fail; scalar 1 is the rank + 1. */
lmn_step_report check_run_step(lmn_reducer *reducer, lmn_world *world, uint64_t step);

uint64_t check_estimate_hash(const lmn_reducer *reducer);
void check_same_everywhere(lmn_world *world, uint64_t value);

/** Mean over ranks of a step's gradients, in double. [count], to be freed. */
double *check_mean_gradient(int size, size_t layer, uint64_t step);

/** to [count of the layer] += this rank's part of all errors that are fed back: its e over the
 * number of ranks, and E of its slice. Their sum over ranks is what is owed. */
void check_add_errors(const lmn_reducer *reducer, size_t layer, double *to);

/** What a checkpoint would hold, settled. To be destroyed. */
lmn_state *check_reducer_state(lmn_reducer *reducer);
uint64_t check_state_hash(lmn_reducer *reducer);

/** Make `to` remember what `from` remembers, as a checkpoint would. Collective. */
void check_copy_state(lmn_reducer *from, lmn_reducer *to);

#endif
