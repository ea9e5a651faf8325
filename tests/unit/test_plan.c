/*
 * Tests of plans through their public interface: binding, running, refusals.
 *
 * Callbacks are in test_plan_callbacks.c, random graphs in test_plan_random.c, heap allocation in
 * test_plan_allocation.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEED  3
#define COUNT 4

static const lmn_shape SHAPE = {.n_dims = 1, .dims = {COUNT}};
static const lmn_shape SCALAR = {.n_dims = 0};
static const lmn_run PLAIN_RUN = {.training = false};

static float *new_values(void)
{
    float *values = lmn_alloc(COUNT, sizeof *values, NULL);
    assert_non_null(values);
    return values;
}

static void assert_all(const float *values, float expected)
{
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(values[i] == expected);
    }
}

static void fill(float *values, float value)
{
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = value;
    }
}

/* Creating. */

static void plan_create_with_same_output_twice_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *y = lmn_relu(graph, lmn_input(graph, "x", LMN_F32, SHAPE));
    const lmn_tensor *const outputs[] = {y, y};
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_create(graph, outputs, 2, NULL, &plan, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "outputs 0 and 1 are the same tensor ('relu')");
    assert_null(plan);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

static void plan_create_with_missing_or_foreign_output_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    lmn_graph *other = check_new_graph();
    const lmn_tensor *outputs[] = {NULL};
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_create(graph, outputs, 1, NULL, &plan, &err), LMN_ERR_ARGUMENT);
    outputs[0] = lmn_constant(other, 1.0F, SCALAR);
    assert_int_equal(lmn_plan_create(graph, outputs, 1, NULL, &plan, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "output 0 is missing or belongs to another graph");
    lmn_graph_destroy(graph);
    lmn_graph_destroy(other);
}

static void plan_create_leaves_out_what_no_output_needs(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SHAPE);
    (void)lmn_exp(graph, lmn_input(graph, "unused", LMN_F32, SHAPE));
    const lmn_tensor *y = lmn_scale(graph, x, 2.0F);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    assert_int_equal(lmn_plan_get_stats(plan).n_nodes, 1);
    float *values = new_values();
    check_bind(plan, x, values);
    check_run(plan, &PLAIN_RUN);
    lmn_free(values);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

static void plan_create_of_elementwise_chain_needs_one_value(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SHAPE);
    const lmn_tensor *y = x;
    for (size_t i = 0; i < 5; i++) {
        y = lmn_tanh(graph, y);
    }
    const lmn_tensor *sum = lmn_reduce_sum(graph, y, LMN_ALL_AXES, false);
    lmn_plan *plan = check_new_plan(graph, &sum, 1);
    const lmn_plan_stats stats = lmn_plan_get_stats(plan);
    assert_int_equal(stats.n_nodes, 6);
    assert_int_equal(stats.n_in_place, 4);
    assert_true(stats.arena_bytes < stats.unshared_bytes);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

/* Binding. */

static void plan_run_with_unbound_memory_is_refused_by_name(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "images", LMN_F32, SHAPE);
    const lmn_tensor *w = lmn_parameter(graph, "scale/weight", SHAPE, (lmn_init){0});
    const lmn_tensor *y = lmn_mul(graph, x, w);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_run(plan, &PLAIN_RUN, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "input 'images' is not bound");
    float *values = new_values();
    check_bind(plan, x, values);
    assert_int_equal(lmn_plan_run(plan, &PLAIN_RUN, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "parameter 'scale/weight' is not bound");
    check_bind(plan, w, values);
    check_run(plan, &PLAIN_RUN);
    lmn_free(values);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

static void plan_bind_of_unfit_memory_or_tensor_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    lmn_graph *other = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SHAPE);
    const lmn_tensor *inner = lmn_tanh(graph, x);
    const lmn_tensor *y = lmn_exp(graph, inner);
    const lmn_tensor *foreign = lmn_input(other, "x", LMN_F32, SHAPE);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    float *values = new_values();
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_bind(plan, x, values + 1, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "memory for 'x' is not 64-byte aligned");
    assert_int_equal(lmn_plan_bind(plan, x, NULL, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "no memory given to bind 'x'");
    assert_int_equal(lmn_plan_bind(plan, inner, values, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "('tanh') is not an input, parameter or output");
    assert_int_equal(lmn_plan_bind(plan, foreign, values, &err), LMN_ERR_ARGUMENT);
    check_message(&err, "another graph");
    assert_null(lmn_plan_value(plan, inner));
    lmn_free(values);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
    lmn_graph_destroy(other);
}

static void plan_bind_of_inputs_that_are_not_needed_is_accepted(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *unused = lmn_parameter(graph, "unused", SHAPE, (lmn_init){0});
    const lmn_tensor *y = lmn_relu(graph, lmn_constant(graph, 3.0F, SHAPE));
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    const lmn_tensor *later = lmn_input(graph, "later", LMN_F32, SHAPE);
    float *values = new_values();
    check_bind(plan, unused, values);
    check_bind(plan, later, values);
    check_run(plan, &PLAIN_RUN);
    assert_all(lmn_plan_value(plan, y), 3.0F);
    lmn_free(values);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

static void plan_bind_again_moves_the_next_run(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SHAPE);
    const lmn_tensor *y = lmn_scale(graph, x, 2.0F);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    float *first = new_values();
    float *second = new_values();
    float *result = new_values();
    fill(first, 1.0F);
    fill(second, 5.0F);
    check_bind(plan, x, first);
    check_run(plan, &PLAIN_RUN);
    assert_all(lmn_plan_value(plan, y), 2.0F);
    check_bind(plan, x, second);
    check_bind(plan, y, result);
    check_run(plan, &PLAIN_RUN);
    assert_all(result, 10.0F);
    assert_ptr_equal(lmn_plan_value(plan, y), result);
    assert_all(first, 1.0F);
    assert_all(second, 5.0F);
    lmn_free(first);
    lmn_free(second);
    lmn_free(result);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

/* Outputs that have no memory of their own. */

#define N_ALIASES 5

/* An input, a constant, a value and two views, all of them outputs. */
static lmn_plan *new_alias_plan(lmn_graph *graph, const lmn_tensor *outputs[N_ALIASES])
{
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SHAPE);
    const lmn_tensor *y = lmn_scale(graph, x, 3.0F);
    outputs[0] = x;
    outputs[1] = lmn_constant(graph, 4.0F, SHAPE);
    outputs[2] = y;
    outputs[3] = lmn_reshape(graph, y, (lmn_shape){.n_dims = 2, .dims = {COUNT / 2, 2}});
    outputs[4] = lmn_stop_gradient(graph, x);
    return check_new_plan(graph, outputs, N_ALIASES);
}

static void plan_value_of_views_inputs_and_constants_is_found(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *outputs[N_ALIASES] = {NULL};
    lmn_plan *plan = new_alias_plan(graph, outputs);
    float *x = new_values();
    fill(x, 1.0F);
    check_bind(plan, outputs[0], x);
    check_run(plan, &PLAIN_RUN);
    const float expected[N_ALIASES] = {1.0F, 4.0F, 3.0F, 3.0F, 1.0F};
    for (size_t k = 0; k < N_ALIASES; k++) {
        assert_all(lmn_plan_value(plan, outputs[k]), expected[k]);
    }
    lmn_free(x);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

typedef struct spoil {
    float *memory[N_ALIASES];
} spoil;

/* What a reducer may do: overwrite an output as soon as it is handed over. */
static lmn_status spoil_output(void *user, size_t index, lmn_error *err)
{
    (void)err;
    spoil *target = user;
    if (index == 2) {
        fill(target->memory[index], -1.0F);
    }
    return LMN_OK;
}

static void plan_run_with_bound_views_copies_before_handing_out(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *outputs[N_ALIASES] = {NULL};
    lmn_plan *plan = new_alias_plan(graph, outputs);
    spoil target = {{NULL}};
    for (size_t k = 0; k < N_ALIASES; k++) {
        target.memory[k] = new_values();
        check_bind(plan, outputs[k], target.memory[k]);
    }
    fill(target.memory[0], 1.0F);
    const lmn_run run = {.on_output = spoil_output, .user = &target};
    check_run(plan, &run);
    const float expected[N_ALIASES] = {1.0F, 4.0F, -1.0F, 3.0F, 1.0F};
    for (size_t k = 0; k < N_ALIASES; k++) {
        assert_all(target.memory[k], expected[k]);
        assert_ptr_equal(lmn_plan_value(plan, outputs[k]), target.memory[k]);
        lmn_free(target.memory[k]);
    }
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

/* An op that shows what a kernel gets, and one that fails. */

static lmn_status show_run(const lmn__node_run *node_run)
{
    float *y = node_run->output;
    assert_non_null(node_run->workspace);
    y[0] = (float)node_run->run->seed;
    y[1] = (float)node_run->run->step;
    y[2] = (float)node_run->run->first_row;
    y[3] = node_run->run->training ? 1.0F : 0.0F;
    return LMN_OK;
}

static size_t show_workspace(const lmn_tensor *node)
{
    (void)node;
    return 10;
}

static lmn_status failing_run(const lmn__node_run *node_run)
{
    return lmn_error_set(node_run->err, LMN_ERR_NONFINITE, "%s met NaN",
                         lmn_tensor_name(node_run->node));
}

static const lmn__op show_op = {
    .name = "show", .run = show_run, .workspace_bytes = show_workspace, .no_gradient = true};
static const lmn__op failing_op = {.name = "failing", .run = failing_run};

static void plan_run_passes_run_and_workspace_to_kernels(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *y = lmn__tensor_new(graph, &show_op, NULL, 0, SHAPE, LMN_F32, NULL);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    const lmn_run run = {.seed = 11, .step = 12, .first_row = 13, .training = true};
    check_run(plan, &run);
    const float expected[COUNT] = {11.0F, 12.0F, 13.0F, 1.0F};
    assert_memory_equal(lmn_plan_value(plan, y), expected, sizeof expected);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

static void plan_run_with_failing_kernel_ends_with_its_error(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *y = lmn__tensor_new(graph, &failing_op, NULL, 0, SHAPE, LMN_F32, NULL);
    lmn_plan *plan = check_new_plan(graph, &y, 1);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_run(plan, &PLAIN_RUN, &err), LMN_ERR_NONFINITE);
    check_message(&err, "failing met NaN");
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_create_with_same_output_twice_is_refused),
        cmocka_unit_test(plan_create_with_missing_or_foreign_output_is_refused),
        cmocka_unit_test(plan_create_leaves_out_what_no_output_needs),
        cmocka_unit_test(plan_create_of_elementwise_chain_needs_one_value),
        cmocka_unit_test(plan_run_with_unbound_memory_is_refused_by_name),
        cmocka_unit_test(plan_bind_of_unfit_memory_or_tensor_is_refused),
        cmocka_unit_test(plan_bind_of_inputs_that_are_not_needed_is_accepted),
        cmocka_unit_test(plan_bind_again_moves_the_next_run),
        cmocka_unit_test(plan_value_of_views_inputs_and_constants_is_found),
        cmocka_unit_test(plan_run_with_bound_views_copies_before_handing_out),
        cmocka_unit_test(plan_run_passes_run_and_workspace_to_kernels),
        cmocka_unit_test(plan_run_with_failing_kernel_ends_with_its_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
