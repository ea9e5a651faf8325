/*
 * Which ops run together.
 *
 * An op whose kernel takes an epilogue (a product, a convolution, batch norm) swallows the
 * elementwise ops that follow it, as long as each is the only reader of the one before: their
 * values never exist in memory, and the work is done while results are still in cache. Such a chain
 * is a group; the last of its tensors stands for it. Every other op is a group of its own.
 *
 * No cycle can arise: nothing but the chain itself depends on a value inside the chain, so an
 * operand that a step reads from outside never waits for the group.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "plan_internal.h"

#include <stdio.h>
#include <string.h>

/* State of fusion; indexed by tensor, [n_tensors] each, owned. */
typedef struct fusion {
    lmn_plan *plan;
    size_t *n_readers; /* of a root: needed ops that read it or a view of it, once per operand */
    size_t *reader;    /* of a root: the last of them */
    bool *is_output;   /* of a root: it or a view of it is an output */
    bool *is_taken;    /* part of a group already */
} fusion;

void lmn__plan_look(lmn_plan *plan)
{
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i);
        const bool is_view = tensor->op->kind == LMN__OP_VIEW;
        plan->root[i] = is_view ? plan->root[tensor->inputs[0]->index] : i;
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        plan->needed[plan->outputs[k].tensor->index] = true;
    }
    for (size_t i = plan->n_tensors; i > 0; i--) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i - 1);
        for (size_t k = 0; k < tensor->n_inputs && plan->needed[i - 1]; k++) {
            plan->needed[tensor->inputs[k]->index] = true;
        }
    }
}

static void count_readers(const fusion *state)
{
    const lmn_plan *plan = state->plan;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i);
        if (!plan->needed[i] || tensor->op->kind == LMN__OP_VIEW) {
            continue;
        }
        for (size_t k = 0; k < tensor->n_inputs; k++) {
            const size_t root = plan->root[tensor->inputs[k]->index];
            state->n_readers[root]++;
            state->reader[root] = i;
        }
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        state->is_output[plan->root[plan->outputs[k].tensor->index]] = true;
    }
}

static void append_name(lmn__group *group, const char *name)
{
    const size_t used = strlen(group->fused);
    (void)snprintf(group->fused + used, sizeof group->fused - used, "%s%s", used > 0 ? "+" : "",
                   name);
}

static size_t last_extent(const lmn_tensor *tensor)
{
    return tensor->shape.n_dims == 0 ? 1 : tensor->shape.dims[tensor->shape.n_dims - 1];
}

/*
 * Add the only reader of `last` to the group, if it can be a step. Returns the group's new last
 * tensor, or NULL.
 */
static const lmn_tensor *extend(const fusion *state, lmn__group *group, const lmn_tensor *last)
{
    const lmn_plan *plan = state->plan;
    if (state->n_readers[last->index] != 1 || state->is_output[last->index] ||
        group->n_steps == LMN__EPILOGUE_MAX) {
        return NULL;
    }
    const lmn_tensor *next = lmn__graph_tensor(plan->graph, state->reader[last->index]);
    if (next->op->as_step == NULL || state->is_taken[next->index]) {
        return NULL;
    }
    size_t input = 0;
    while (plan->root[next->inputs[input]->index] != last->index) {
        input++;
    }
    lmn__epilogue_step *step = &group->steps[group->n_steps];
    size_t operand = SIZE_MAX;
    if (!next->op->as_step(next, input, step, &operand)) {
        return NULL;
    }
    /* Rows must be rows of the op that runs, even behind a reshape. */
    if (step->kind == LMN__STEP_ADD_ROW && last_extent(next) != last_extent(group->first)) {
        return NULL;
    }
    group->operands[group->n_steps] = operand == SIZE_MAX ? NULL : next->inputs[operand];
    group->n_steps++;
    append_name(group, next->op->name);
    return next;
}

/* The group of `first` and of all that can follow it. */
static void form_group(const fusion *state, const lmn_tensor *first, bool fuse)
{
    lmn_plan *plan = state->plan;
    lmn__group group = {.first = first};
    const lmn_tensor *last = first;
    const lmn_tensor *next = fuse && first->op->takes_epilogue ? extend(state, &group, last) : NULL;
    state->is_taken[first->index] = true;
    while (next != NULL) {
        last = next;
        state->is_taken[last->index] = true;
        next = extend(state, &group, last);
    }
    plan->groups[last->index] = group;
    plan->stats.n_fused += group.n_steps;
}

/*
 * First the ops that take others in, later ones first: where two results are added, the one that is
 * computed last takes the addition, since by then the other is there. Then all that remain.
 */
static void form_groups(const fusion *state, bool fuse)
{
    const lmn_plan *plan = state->plan;
    for (int takes = 1; takes >= 0; takes--) {
        for (size_t i = plan->n_tensors; i > 0; i--) {
            const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i - 1);
            const bool runs = plan->needed[i - 1] && tensor->op->kind == LMN__OP_COMPUTE;
            if (runs && !state->is_taken[i - 1] && tensor->op->takes_epilogue == (takes == 1)) {
                form_group(state, tensor, fuse);
            }
        }
    }
}

size_t lmn__group_inputs(const lmn_plan *plan, const lmn_tensor *last,
                         const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX])
{
    const lmn__group *group = &plan->groups[last->index];
    size_t n = 0;
    for (size_t k = 0; k < group->first->n_inputs; k++) {
        inputs[n++] = group->first->inputs[k];
    }
    for (size_t k = 0; k < group->n_steps; k++) {
        if (group->operands[k] != NULL) {
            inputs[n++] = group->operands[k];
        }
    }
    return n;
}

size_t lmn__group_bytes(const lmn_plan *plan, const lmn_tensor *last)
{
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(plan, last, inputs);
    size_t bytes = lmn__tensor_bytes(last);
    for (size_t k = 0; k < n; k++) {
        bytes += lmn__tensor_bytes(inputs[k]);
    }
    return bytes;
}

double lmn__group_flops(const lmn_plan *plan, const lmn_tensor *last)
{
    const lmn_tensor *first = plan->groups[last->index].first;
    return first->op->flops != NULL ? first->op->flops(first) : 0.0;
}

bool lmn__group_asks_ranks(const lmn_plan *plan, const lmn_tensor *last)
{
    const lmn_tensor *first = plan->groups[last->index].first;
    return first->op->asks_ranks != NULL && first->op->asks_ranks(first);
}

lmn_status lmn__plan_fuse(lmn_plan *plan, bool fuse, lmn_error *err)
{
    const size_t n = plan->n_tensors;
    fusion state = {.plan = plan};
    lmn_status status = LMN_ERR_MEMORY;
    state.n_readers = lmn_alloc(n, sizeof *state.n_readers, err);
    state.reader = lmn_alloc(n, sizeof *state.reader, err);
    state.is_output = lmn_alloc(n, sizeof *state.is_output, err);
    state.is_taken = lmn_alloc(n, sizeof *state.is_taken, err);
    if (state.n_readers != NULL && state.reader != NULL && state.is_output != NULL &&
        state.is_taken != NULL) {
        count_readers(&state);
        form_groups(&state, fuse);
        status = LMN_OK;
    }
    lmn_free(state.is_taken);
    lmn_free(state.is_output);
    lmn_free(state.reader);
    lmn_free(state.n_readers);
    return status;
}
