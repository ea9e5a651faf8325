/*
 * What tests of the compute room do all the time: each call either works or fails the test with the
 * library's message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_COMPUTE_CHECK_H
#define LAMINA_TESTS_COMPUTE_CHECK_H

#include "lamina/graph.h"
#include "lamina/plan.h"

lmn_graph *check_new_graph(void);
lmn_plan *check_new_plan(const lmn_graph *graph, const lmn_tensor *const *outputs, size_t n);
void check_bind(lmn_plan *plan, const lmn_tensor *tensor, void *memory);
void check_run(lmn_plan *plan, const lmn_run *run);

/** The smallest limit of memory that a plan of the outputs keeps, as a refusal names it; 0 when it
 * needs none. */
size_t check_least_memory(const lmn_graph *graph, const lmn_tensor *const *outputs, size_t n);

/** The message holds `part`. */
void check_message(const lmn_error *err, const char *part);

#endif
