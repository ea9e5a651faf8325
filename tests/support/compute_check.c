/*
 * What tests of the compute room do all the time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

lmn_graph *check_new_graph(void)
{
    lmn_graph *graph = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_graph_create(&graph, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return graph;
}

lmn_plan *check_new_plan(const lmn_graph *graph, const lmn_tensor *const *outputs, size_t n)
{
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_plan_create(graph, outputs, n, NULL, &plan, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return plan;
}

void check_bind(lmn_plan *plan, const lmn_tensor *tensor, void *memory)
{
    lmn_error err = lmn_error_none();
    if (lmn_plan_bind(plan, tensor, memory, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

void check_run(lmn_plan *plan, const lmn_run *run)
{
    lmn_error err = lmn_error_none();
    if (lmn_plan_run(plan, run, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

size_t check_least_memory(const lmn_graph *graph, const lmn_tensor *const *outputs, size_t n)
{
    static const char before[] = "it takes ";
    lmn_plan_options options = lmn_plan_options_default();
    options.memory_bytes = 1;
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_plan_create(graph, outputs, n, &options, &plan, &err) == LMN_OK) {
        lmn_plan_destroy(plan);
        return 0;
    }
    assert_int_equal(err.status, LMN_ERR_MEMORY);
    check_message(&err, before);
    return strtoul(strstr(err.message, before) + strlen(before), NULL, 10);
}

void check_message(const lmn_error *err, const char *part)
{
    if (strstr(err->message, part) == NULL) {
        fail_msg("'%s' is not in '%s'", part, err->message);
    }
}
