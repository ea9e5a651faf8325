/*
 * The naive executor, an oracle for plans.
 *
 * Results and workspaces start as NaN, so a kernel that counts on zeroed memory is found out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "naive_run.h"

#include "compute/compute_internal.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void naive_fill(const lmn_tensor *tensor, uint64_t seed, void *values_out)
{
    const size_t count = lmn_shape_count(lmn_tensor_shape(tensor));
    const lmn_stream stream = {.seed = seed, .layer = (uint32_t)tensor->index};
    float *floats = values_out;
    lmn_stream_uniform(&stream, 0, count, floats);
    int32_t *integers = values_out;
    for (size_t i = 0; i < count; i++) {
        if (tensor->dtype == LMN_F32) {
            floats[i] = 2.0F * floats[i] - 1.0F;
        } else {
            const int32_t integer = (int32_t)(3.0F * floats[i]);
            memcpy(&integers[i], &integer, sizeof integer);
        }
    }
}

static void *poisoned(size_t bytes)
{
    void *memory = lmn_alloc(bytes, 1, NULL);
    assert_non_null(memory);
    memset(memory, 0xFF, bytes);
    return memory;
}

static void run_node(const lmn_tensor *node, void **values, const lmn_run *run)
{
    lmn_error err = lmn_error_none();
    lmn__prepared prepared = {0};
    if (node->op->prepare != NULL) {
        assert_int_equal(node->op->prepare(node, &prepared, &err), LMN_OK);
    } else if (node->op->workspace_bytes != NULL) {
        prepared.workspace_bytes = node->op->workspace_bytes(node);
    }
    void *workspace = poisoned(prepared.workspace_bytes);
    const lmn__epilogue epilogue = {.n_steps = 0};
    lmn__node_run node_run = {
        .node = node,
        .output = values[node->index],
        .workspace = prepared.workspace_bytes == 0 ? NULL : workspace,
        .state = prepared.state,
        .epilogue = &epilogue,
        .run = run,
        .err = &err,
    };
    for (size_t k = 0; k < node->n_inputs; k++) {
        node_run.inputs[k] = values[node->inputs[k]->index];
    }
    assert_int_equal(node->op->run(&node_run), LMN_OK);
    lmn_free(workspace);
    if (node->op->release != NULL) {
        node->op->release(prepared.state);
    }
}

static void compute(const lmn_tensor *tensor, void **values, uint64_t seed, const lmn_run *run)
{
    const size_t bytes = lmn__tensor_bytes(tensor);
    values[tensor->index] = poisoned(bytes);
    float *floats = values[tensor->index];
    switch (tensor->op->kind) {
    case LMN__OP_INPUT:
    case LMN__OP_PARAMETER:
        naive_fill(tensor, seed, floats);
        break;
    case LMN__OP_CONSTANT:
        for (size_t i = 0; i < bytes / sizeof *floats; i++) {
            floats[i] = tensor->attributes.scalar;
        }
        break;
    case LMN__OP_VIEW:
        memcpy(floats, values[tensor->inputs[0]->index], bytes);
        break;
    case LMN__OP_COMPUTE:
    default:
        run_node(tensor, values, run);
        break;
    }
}

naive_values naive_run(const lmn_graph *graph, uint64_t seed, const lmn_run *run)
{
    naive_values result = {.n = lmn__graph_tensor_count(graph)};
    result.values = (void **)lmn_alloc(result.n, sizeof *result.values, NULL);
    assert_non_null(result.values);
    for (size_t i = 0; i < result.n; i++) {
        compute(lmn__graph_tensor(graph, i), result.values, seed, run);
    }
    return result;
}

void naive_free(naive_values *values)
{
    for (size_t i = 0; i < values->n; i++) {
        lmn_free(values->values[i]);
    }
    lmn_free((void *)values->values);
    *values = (naive_values){0};
}

const float *naive_value(const naive_values *values, const lmn_tensor *tensor)
{
    return values->values[tensor->index];
}
