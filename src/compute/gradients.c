/*
 * Reverse-mode differentiation.
 *
 * The tensors from the loss back to the start of the graph are visited in reverse order, which is a
 * reverse topological order; each hands its gradient on to those inputs that `wrt` feeds, by the
 * VJP of its op, and an input that is reached several times sums what it gets as it arrives. Paths
 * that lead to no `wrt` are never built, so the gradient of the first layer's input costs nothing.
 * VJPs are written with the public constructors: what they add can be differentiated again. An op
 * may have a composition instead, its value written with other ops; the gradient then goes through
 * that, in a reverse pass of its own over what the composition added.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"
#include "lamina/memory.h"

/* State of one differentiation; indexed by tensor, for the tensors up to the loss. */
typedef struct backward {
    lmn_graph *graph;
    const lmn_tensor *loss;
    bool *depends;            /* [loss->index + 1] owned; whether a wrt feeds it differentiably */
    const lmn_tensor **grads; /* [loss->index + 1] owned; what arrived so far, or NULL */
} backward;

static lmn_status check_request(lmn_graph *graph, const lmn_tensor *loss,
                                const lmn_tensor *const *wrt, size_t n, lmn_error *err)
{
    /* NULL stands for an earlier error, which says more than its consequences. */
    if (!lmn__graph_has_failed(graph) && (loss == NULL || loss->graph != graph)) {
        (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                              "gradients: the loss is missing or belongs to another graph");
    } else if (!lmn__graph_has_failed(graph) &&
               (loss->shape.n_dims != 0 || loss->dtype != LMN_F32)) {
        (void)lmn__graph_fail(
            graph, LMN_ERR_SHAPE,
            "gradients: the loss '%s' has shape %s, but it must be an f32 scalar; "
            "reduce it first",
            lmn_tensor_name(loss), lmn__shape_text(&loss->shape).text);
    }
    for (size_t i = 0; i < n && !lmn__graph_has_failed(graph); i++) {
        if (wrt[i] == NULL || wrt[i]->graph != graph || wrt[i]->dtype != LMN_F32) {
            (void)lmn__graph_fail(
                graph, LMN_ERR_ARGUMENT,
                "gradients: tensor %zu to differentiate by is missing, of another "
                "graph or not f32",
                i);
        }
    }
    return lmn_graph_status(graph, err);
}

/* Mark every tensor up to the loss that changes, differentiably, with one of `wrt`. */
static void mark_dependence(backward *state, const lmn_tensor *const *wrt, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (wrt[i]->index <= state->loss->index) {
            state->depends[wrt[i]->index] = true;
        }
    }
    for (size_t i = 0; i <= state->loss->index; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(state->graph, i);
        for (size_t k = 0; k < tensor->n_inputs && !tensor->op->no_gradient; k++) {
            state->depends[i] = state->depends[i] || state->depends[tensor->inputs[k]->index];
        }
    }
}

/* These three call each other as deep as compositions are nested: a composition is written with ops
   that have a VJP, or a composition of simpler ops. */
/* NOLINTBEGIN(misc-no-recursion) */
static const lmn_tensor *vjp_of(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                size_t k);

static const lmn_tensor *add_share(lmn_graph *graph, const lmn_tensor *sum, const lmn_tensor *share)
{
    return sum == NULL || share == NULL ? (sum == NULL ? share : sum) : lmn_add(graph, sum, share);
}

/* A reverse pass over a composition, towards one tensor that it reads. */
typedef struct local_pass {
    lmn_graph *graph;
    const lmn_tensor *target;
    size_t first;              /* index of the first tensor that the composition added */
    const lmn_tensor **grads;  /* [tensors added] what arrived so far, or NULL */
    const lmn_tensor *arrived; /* at the target */
} local_pass;

static void propagate_locally(local_pass *pass, const lmn_tensor *tensor, const lmn_tensor *grad)
{
    for (size_t j = 0; j < tensor->n_inputs && !tensor->op->no_gradient; j++) {
        const lmn_tensor *input = tensor->inputs[j];
        const bool is_target = input == pass->target;
        if ((!is_target && input->index < pass->first) || input->dtype != LMN_F32) {
            continue;
        }
        const lmn_tensor *share = vjp_of(pass->graph, tensor, grad, j);
        const lmn_tensor **sum =
            is_target ? &pass->arrived : &pass->grads[input->index - pass->first];
        *sum = add_share(pass->graph, *sum, share);
    }
}

/* The gradient of `node` in its input k, by way of the composition of its op. */
static const lmn_tensor *vjp_through(lmn_graph *graph, const lmn_tensor *node,
                                     const lmn_tensor *grad, size_t k)
{
    for (size_t j = 0; j < k; j++) {
        if (node->inputs[j] == node->inputs[k]) {
            return NULL; /* the pass for operand j has met every use of this tensor */
        }
    }
    local_pass pass = {
        .graph = graph, .target = node->inputs[k], .first = lmn__graph_tensor_count(graph)};
    const lmn_tensor *value = node->op->compose(graph, node);
    if (value == NULL || value->index < pass.first) {
        return value == pass.target ? grad : NULL;
    }
    const size_t n = value->index + 1 - pass.first;
    lmn_error err = lmn_error_none();
    pass.grads = (const lmn_tensor **)lmn_alloc(n, sizeof(lmn_tensor *), &err);
    if (pass.grads == NULL) {
        return lmn__graph_fail(graph, LMN_ERR_MEMORY, "%s", err.message);
    }
    pass.grads[n - 1] = grad;
    for (size_t i = n; i > 0 && !lmn__graph_has_failed(graph); i--) {
        if (pass.grads[i - 1] != NULL) {
            propagate_locally(&pass, lmn__graph_tensor(graph, pass.first + i - 1),
                              pass.grads[i - 1]);
        }
    }
    lmn_free((void *)pass.grads);
    return pass.arrived;
}

/* The share of the gradient that input `k` of `node` gets; NULL: none, or an error. */
static const lmn_tensor *vjp_of(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                size_t k)
{
    if (node->op->vjp == NULL && node->op->compose == NULL) {
        return lmn__graph_fail(graph, LMN_ERR_UNSUPPORTED,
                               "gradients: %s has no derivative; stop the gradient before it or "
                               "use another op",
                               node->op->name);
    }
    const lmn_tensor *share = node->op->vjp != NULL ? node->op->vjp(graph, node, grad, k)
                                                    : vjp_through(graph, node, grad, k);
    if (share != NULL && !lmn_shape_equal(&share->shape, &node->inputs[k]->shape)) {
        return lmn__graph_fail(
            graph, LMN_ERR_SHAPE,
            "gradients: the derivative of %s in operand %zu has shape %s, but the "
            "operand has %s",
            node->op->name, k, lmn__shape_text(&share->shape).text,
            lmn__shape_text(&node->inputs[k]->shape).text);
    }
    return share;
}

/* NOLINTEND(misc-no-recursion) */

/* Hand the gradient of `node` on to its inputs. */
static void propagate(const backward *state, const lmn_tensor *node)
{
    for (size_t k = 0; k < node->n_inputs && !lmn__graph_has_failed(state->graph); k++) {
        const size_t input = node->inputs[k]->index;
        if (!state->depends[input] || node->inputs[k]->dtype != LMN_F32) {
            continue;
        }
        const lmn_tensor *share = vjp_of(state->graph, node, state->grads[node->index], k);
        state->grads[input] = add_share(state->graph, state->grads[input], share);
    }
}

static void run_backward(backward *state)
{
    if (!state->depends[state->loss->index]) {
        return;
    }
    state->grads[state->loss->index] = lmn_constant(state->graph, 1.0F, (lmn_shape){.n_dims = 0});
    for (size_t i = state->loss->index + 1; i > 0; i--) {
        const lmn_tensor *node = lmn__graph_tensor(state->graph, i - 1);
        if (lmn__graph_has_failed(state->graph)) {
            return;
        }
        if (state->grads[i - 1] != NULL && !node->op->no_gradient) {
            propagate(state, node);
        }
    }
}

/* What arrived at `tensor`, or zero. NULL after an error. */
static const lmn_tensor *gradient_of(const backward *state, const lmn_tensor *tensor)
{
    const bool reached = tensor->index <= state->loss->index && state->grads[tensor->index] != NULL;
    return reached ? state->grads[tensor->index] : lmn_constant(state->graph, 0.0F, tensor->shape);
}

/* Write all results or none. */
static lmn_status collect(const backward *state, const lmn_tensor *const *wrt, size_t n,
                          const lmn_tensor **grads_out, lmn_error *err)
{
    const lmn_tensor **results = (const lmn_tensor **)lmn_alloc(n, sizeof(lmn_tensor *), err);
    if (results == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        results[i] = gradient_of(state, wrt[i]);
    }
    const lmn_status status = lmn_graph_status(state->graph, err);
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        grads_out[i] = results[i];
    }
    lmn_free((void *)results);
    return status;
}

lmn_status lmn_gradients(lmn_graph *graph, const lmn_tensor *loss, const lmn_tensor *const *wrt,
                         size_t n, const lmn_tensor **grads_out, lmn_error *err)
{
    lmn_status status = check_request(graph, loss, wrt, n, err);
    if (status != LMN_OK) {
        return status;
    }
    backward state = {.graph = graph, .loss = loss};
    state.depends = lmn_alloc(loss->index + 1, sizeof *state.depends, err);
    state.grads = (const lmn_tensor **)lmn_alloc(loss->index + 1, sizeof(lmn_tensor *), err);
    if (state.depends == NULL || state.grads == NULL) {
        status = LMN_ERR_MEMORY;
    } else {
        mark_dependence(&state, wrt, n);
        run_backward(&state);
        status = collect(&state, wrt, n, grads_out, err);
    }
    lmn_free((void *)state.grads);
    lmn_free(state.depends);
    return status;
}
