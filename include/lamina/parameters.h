/*
 * Parameters: the trained values of a model in one block of memory.
 *
 * Laid out in any order that the owner of the block wants (training uses the order in which
 * gradients become ready), each parameter on a 64-byte boundary. Graphs built by the same task have
 * the same parameters, so one set serves the training plan and the evaluation plan.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PARAMETERS_H
#define LAMINA_PARAMETERS_H

#include "lamina/checkpoint.h"
#include "lamina/graph.h"
#include "lamina/plan.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_parameters lmn_parameters;

/**
 * Memory for all parameters of `graph` (borrowed until destroy), zero until initialised.
 * order  [n] the graph's parameter index at each place; NULL: the graph's own order
 * Errors: LMN_ERR_MEMORY.
 */
lmn_status lmn_parameters_create(const lmn_graph *graph, const size_t *order,
                                 lmn_parameters **parameters_out, lmn_error *err) LMN_NODISCARD;
void lmn_parameters_destroy(lmn_parameters *parameters);

/** Start values: a function of seed and the model only. */
void lmn_parameters_init(lmn_parameters *parameters, uint64_t seed);

/* By place, 0 .. count - 1. */
size_t lmn_parameters_count(const lmn_parameters *parameters);
const char *lmn_parameters_name(const lmn_parameters *parameters, size_t place);
const lmn_shape *lmn_parameters_shape(const lmn_parameters *parameters, size_t place);
float *lmn_parameters_values(lmn_parameters *parameters, size_t place);

/** Sum of the elements of all parameters. */
size_t lmn_parameters_total(const lmn_parameters *parameters);

/** 64-bit hash of all values, by name order, so that it does not depend on the layout. */
uint64_t lmn_parameters_hash(const lmn_parameters *parameters);

/**
 * Bind a graph's parameters, matched by name, to a plan of it.
 * Errors: LMN_ERR_SHAPE when the graph has other parameters than these, naming one.
 */
lmn_status lmn_parameters_bind(lmn_parameters *parameters, const lmn_graph *graph, lmn_plan *plan,
                               lmn_error *err) LMN_NODISCARD;

/** Add them to a checkpoint's list as "/parameters/<name>". */
lmn_status lmn_parameters_add_state(lmn_parameters *parameters, lmn_state *state,
                                    lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
