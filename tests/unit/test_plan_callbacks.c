/*
 * Tests of what a run tells its caller: outputs as they become final, and time between nodes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT        4
#define N_LAYERS     3
#define N_PARAMETERS ((size_t)2 * N_LAYERS)
#define N_OUTPUTS    (N_PARAMETERS + 1)

static const lmn_shape VECTOR = {.n_dims = 1, .dims = {COUNT}};

/* A network of N_LAYERS dense layers and the gradients of its parameters: weights and biases of
 * layer 0, then of layer 1, and so on. */
typedef struct network {
    lmn_graph *graph;
    const lmn_tensor *parameters[N_PARAMETERS];
    const lmn_tensor *outputs[N_OUTPUTS]; /* gradients, then the loss */
} network;

static network new_network(void)
{
    static const char *const names[N_PARAMETERS] = {"w0", "b0", "w1", "b1", "w2", "b2"};
    network net = {.graph = check_new_graph()};
    const lmn_shape square = {.n_dims = 2, .dims = {COUNT, COUNT}};
    const lmn_tensor *x = lmn_input(net.graph, "x", LMN_F32, square);
    for (size_t k = 0; k < (size_t)N_LAYERS; k++) {
        net.parameters[2 * k] = lmn_parameter(net.graph, names[2 * k], square, (lmn_init){0});
        net.parameters[2 * k + 1] =
            lmn_parameter(net.graph, names[2 * k + 1], VECTOR, (lmn_init){0});
        x = lmn_matmul(net.graph, x, net.parameters[2 * k], false, false);
        x = lmn_relu(net.graph, lmn_add(net.graph, x, net.parameters[2 * k + 1]));
    }
    const lmn_tensor *loss = lmn_reduce_mean(net.graph, x, LMN_ALL_AXES, false);
    net.outputs[N_PARAMETERS] = loss;
    lmn_error err = lmn_error_none();
    if (lmn_gradients(net.graph, loss, net.parameters, N_PARAMETERS, net.outputs, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return net;
}

static void bind_all(lmn_plan *plan, const lmn_graph *graph, float *memory)
{
    for (size_t i = 0; i < lmn__graph_tensor_count(graph); i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(graph, i);
        if (tensor->op->kind == LMN__OP_INPUT || tensor->op->kind == LMN__OP_PARAMETER) {
            check_bind(plan, tensor, memory);
        }
    }
}

/* What the callbacks saw. */
typedef struct record {
    size_t outputs[N_OUTPUTS];
    size_t nodes_before[N_OUTPUTS]; /* progress calls before each output */
    size_t n_outputs;
    size_t n_progress;
    size_t fail_at; /* output that makes the callback fail */
} record;

static lmn_status record_output(void *user, size_t index, lmn_error *err)
{
    record *seen = user;
    if (index == seen->fail_at) {
        return lmn_error_set(err, LMN_ERR_COMM, "stop at %zu", index);
    }
    seen->outputs[seen->n_outputs] = index;
    seen->nodes_before[seen->n_outputs] = seen->n_progress;
    seen->n_outputs++;
    return LMN_OK;
}

static lmn_status record_progress(void *user, lmn_error *err)
{
    (void)err;
    record *seen = user;
    seen->n_progress++;
    return LMN_OK;
}

static lmn_status fail_progress(void *user, lmn_error *err)
{
    (void)user;
    return lmn_error_set(err, LMN_ERR_COMM, "no progress");
}

static void plan_run_hands_out_in_output_order_as_early_as_can_be(void **state)
{
    (void)state;
    network net = new_network();
    lmn_plan *plan = check_new_plan(net.graph, net.outputs, N_OUTPUTS);
    float *memory = lmn_alloc((size_t)COUNT * COUNT, sizeof *memory, NULL);
    bind_all(plan, net.graph, memory);
    record seen = {.fail_at = SIZE_MAX};
    const lmn_run run = {.on_output = record_output, .on_progress = record_progress, .user = &seen};
    check_run(plan, &run);
    size_t order[N_OUTPUTS];
    lmn_plan_output_order(plan, order);
    assert_int_equal(seen.n_outputs, N_OUTPUTS);
    assert_int_equal(seen.n_progress, lmn_plan_get_stats(plan).n_nodes);
    assert_memory_equal(seen.outputs, order, sizeof order);
    /* The loss first; then layer by layer from the last, weight and bias one node apart. */
    assert_int_equal(order[0], N_PARAMETERS);
    for (size_t k = 1; k < N_OUTPUTS; k += 2) {
        const size_t layer = (size_t)N_LAYERS - 1 - k / 2;
        assert_int_equal(order[k] / 2, layer);
        assert_int_equal(order[k + 1] / 2, layer);
        assert_int_equal(seen.nodes_before[k + 1], seen.nodes_before[k] + 1);
    }
    lmn_free(memory);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(net.graph);
}

static void plan_run_with_failing_callback_ends_with_its_error(void **state)
{
    (void)state;
    network net = new_network();
    lmn_plan *plan = check_new_plan(net.graph, net.outputs, N_OUTPUTS);
    float *memory = lmn_alloc((size_t)COUNT * COUNT, sizeof *memory, NULL);
    bind_all(plan, net.graph, memory);
    record seen = {.fail_at = 2};
    lmn_run run = {.on_output = record_output, .on_progress = record_progress, .user = &seen};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_run(plan, &run, &err), LMN_ERR_COMM);
    check_message(&err, "stop at 2");
    assert_true(seen.n_progress < lmn_plan_get_stats(plan).n_nodes);
    run.on_progress = fail_progress;
    assert_int_equal(lmn_plan_run(plan, &run, &err), LMN_ERR_COMM);
    check_message(&err, "no progress");
    lmn_free(memory);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(net.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_run_hands_out_in_output_order_as_early_as_can_be),
        cmocka_unit_test(plan_run_with_failing_callback_ends_with_its_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
