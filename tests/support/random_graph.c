/*
 * Random graphs for tests of plans. All values are matrices of one shape, so that everything fits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "random_graph.h"

#include "compute/compute_internal.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ROWS    3
#define COLUMNS 5

size_t dice_roll(dice *source, size_t limit)
{
    const lmn_stream stream = {.seed = source->seed};
    uint32_t word = 0;
    lmn_stream_u32(&stream, source->next, 1, &word);
    source->next++;
    return word % limit;
}

/* y[i] = a[n - 1 - i] + b[i], by way of a workspace: may be written over b but not over a. */

static lmn_status flip_run(const lmn__node_run *node_run)
{
    const float *a = node_run->inputs[0];
    const float *b = node_run->inputs[1];
    float *flipped = node_run->workspace;
    float *y = node_run->output;
    const size_t n = lmn_shape_count(&node_run->node->shape);
    for (size_t i = 0; i < n; i++) {
        flipped[i] = b[i];
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = a[n - 1 - i] + flipped[i];
    }
    return LMN_OK;
}

static size_t flip_workspace(const lmn_tensor *node)
{
    return lmn__tensor_bytes(node);
}

static unsigned flip_overwrites(const lmn_tensor *node)
{
    (void)node;
    return 2;
}

static const lmn__op flip_op = {
    .name = "flip",
    .no_gradient = true,
    .run = flip_run,
    .workspace_bytes = flip_workspace,
    .may_overwrite = flip_overwrites,
};

/* Sum of four operands, in place on any: and elementwise ops may follow it. */

static lmn_status blend_run(const lmn__node_run *node_run)
{
    float *y = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node_run->node->shape); i++) {
        float sum = 0.0F;
        for (size_t k = 0; k < node_run->node->n_inputs; k++) {
            const float *x = node_run->inputs[k];
            sum += x[i];
        }
        y[i] = 0.25F * sum;
    }
    lmn__epilogue_apply(node_run->epilogue, 0, lmn_shape_count(&node_run->node->shape), y);
    return LMN_OK;
}

static const lmn_tensor *blend_vjp(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input)
{
    (void)node;
    (void)input;
    return lmn_scale(graph, grad, 0.25F);
}

static unsigned blend_overwrites(const lmn_tensor *node)
{
    (void)node;
    return 15;
}

static const lmn__op blend_op = {.name = "blend",
                                 .vjp = blend_vjp,
                                 .takes_epilogue = true,
                                 .run = blend_run,
                                 .may_overwrite = blend_overwrites};

static lmn_shape matrix(void)
{
    return lmn_shape_make(2, (const size_t[]){ROWS, COLUMNS});
}

static const lmn_tensor *any_value(random_graph *s)
{
    /* Mostly late ones, so that graphs get deep. */
    const size_t a = dice_roll(&s->dice, s->n_values);
    const size_t b = dice_roll(&s->dice, s->n_values);
    return s->values[a > b ? a : b];
}

static const lmn_tensor *sum_and_repeat(random_graph *s, const lmn_tensor *x)
{
    const unsigned axes = (unsigned)dice_roll(&s->dice, 3) + 1;
    const lmn_tensor *sum = lmn_reduce_sum(s->graph, x, axes, true);
    return lmn_broadcast_to(s->graph, sum, matrix());
}

static const lmn_tensor *product(random_graph *s, const lmn_tensor *a, const lmn_tensor *b)
{
    const lmn_tensor *square = lmn_matmul(s->graph, a, b, false, true);
    return lmn_matmul(s->graph, lmn_tanh(s->graph, square), b, dice_roll(&s->dice, 2) == 1, false);
}

static const lmn_tensor *reshaped_twice(random_graph *s, const lmn_tensor *x)
{
    const lmn_shape flat = {.n_dims = 1, .dims = {(size_t)ROWS * COLUMNS}};
    const lmn_tensor *line = lmn_reshape(s->graph, x, flat);
    const bool with_op = dice_roll(&s->dice, 2) == 1;
    return lmn_reshape(s->graph, with_op ? lmn_scale(s->graph, line, 0.5F) : line, matrix());
}

static const lmn_tensor *custom(random_graph *s, const lmn__op *op, size_t n)
{
    const lmn_tensor *inputs[LMN__INPUTS_MAX];
    for (size_t k = 0; k < n; k++) {
        inputs[k] = any_value(s);
    }
    return lmn__tensor_new(s->graph, op, inputs, n, matrix(), LMN_F32, NULL);
}

static const lmn_tensor *random_node(random_graph *s)
{
    const lmn_tensor *a = any_value(s);
    const lmn_tensor *b = any_value(s);
    switch (dice_roll(&s->dice, 14)) {
    case 0:
        return lmn_add(s->graph, a, b);
    case 1:
        return lmn_sub(s->graph, a, b);
    case 2:
        return lmn_mul(s->graph, a, b);
    case 3:
        return lmn_relu(s->graph, a);
    case 4:
        return lmn_tanh(s->graph, a);
    case 5:
        return lmn_gate(s->graph, a, b);
    case 6:
        return sum_and_repeat(s, a);
    case 7:
        return product(s, a, b);
    case 8:
        return reshaped_twice(s, a);
    case 9:
        return lmn_stop_gradient(s->graph, a);
    case 10:
        return lmn_sigmoid(s->graph, a);
    case 11:
        return lmn_transpose(s->graph, lmn_transpose(s->graph, a, (const size_t[]){1, 0}),
                             (const size_t[]){1, 0});
    case 12:
        return custom(s, &blend_op, 4);
    default:
        return custom(s, &flip_op, 2);
    }
}

static void add_value(random_graph *s, const lmn_tensor *tensor)
{
    lmn_error err = lmn_error_none();
    if (lmn_graph_status(s->graph, &err) != LMN_OK) {
        fail_msg("seed %zu: %s", (size_t)s->dice.seed, err.message);
    }
    assert_true(s->n_values < RANDOM_GRAPH_VALUES_MAX);
    s->values[s->n_values] = tensor;
    s->n_values++;
}

static void add_output(random_graph *s, const lmn_tensor *tensor)
{
    for (size_t k = 0; k < s->n_outputs; k++) {
        if (s->outputs[k] == tensor) {
            return;
        }
    }
    assert_true(s->n_outputs < RANDOM_GRAPH_OUTPUTS_MAX);
    s->outputs[s->n_outputs] = tensor;
    s->n_outputs++;
}

/* The gradients of one value in the parameters, and sometimes the gradients of those. */
static void add_gradients(random_graph *s)
{
    const lmn_tensor *wrt[2] = {lmn_graph_parameter(s->graph, 0), lmn_graph_parameter(s->graph, 1)};
    const lmn_tensor *y = s->values[s->n_values - 1];
    const size_t orders = dice_roll(&s->dice, 3);
    for (size_t i = 0; i < orders; i++) {
        const lmn_tensor *grads[2] = {NULL, NULL};
        const lmn_tensor *loss = lmn_reduce_mean(s->graph, y, LMN_ALL_AXES, false);
        lmn_error err = lmn_error_none();
        if (lmn_gradients(s->graph, loss, wrt, 2, grads, &err) != LMN_OK) {
            fail_msg("seed %zu: %s", (size_t)s->dice.seed, err.message);
        }
        add_output(s, grads[0]);
        add_output(s, grads[1]);
        add_output(s, loss);
        y = grads[i % 2];
    }
}

random_graph random_graph_create(uint64_t seed)
{
    random_graph s = {.dice = {.seed = seed}};
    assert_int_equal(lmn_graph_create(&s.graph, NULL), LMN_OK);
    add_value(&s, lmn_input(s.graph, "x", LMN_F32, matrix()));
    add_value(&s, lmn_parameter(s.graph, "a", matrix(), (lmn_init){0}));
    add_value(&s, lmn_parameter(s.graph, "b", matrix(), (lmn_init){0}));
    add_value(&s, lmn_constant(s.graph, 0.5F, matrix()));
    const size_t n_nodes = 1 + dice_roll(&s.dice, 30);
    for (size_t i = 0; i < n_nodes; i++) {
        add_value(&s, random_node(&s));
    }
    const size_t n_outputs = 1 + dice_roll(&s.dice, 4);
    for (size_t k = 0; k < n_outputs; k++) {
        add_output(&s, any_value(&s));
    }
    add_gradients(&s);
    return s;
}

void random_graph_destroy(random_graph *random)
{
    lmn_graph_destroy(random->graph);
    *random = (random_graph){0};
}
