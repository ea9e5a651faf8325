/*
 * The order in which a plan runs its nodes.
 *
 * Creation order is a topological order and already a good one: forward, then backward from the
 * last layer to the first. What it lacks is haste: a weight's gradient stands after the gradient
 * that is passed on to the layer below, although nothing waits for the latter outside this process.
 * So nodes that lead to one output only, or are one, are eager: they run as soon as their inputs
 * are there, those nearest to their output first. The others run in creation order. Eager nodes are
 * also what frees memory: they are the last readers of activations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "plan_internal.h"

/* Which outputs a tensor leads to. */
#define REACHES_NONE SIZE_MAX
#define REACHES_MANY (SIZE_MAX - 1)

/* What is known of each tensor while scheduling; [n_tensors] each, owned. */
typedef struct scheduler {
    lmn_plan *plan;
    size_t *reaches;  /* index of the only output that it leads to, or one of the above */
    size_t *distance; /* ops between it and its nearest output */
    bool *eager;
    bool *done;   /* available: scheduled, or never to be scheduled */
    size_t first; /* no node before this one waits to be scheduled */
} scheduler;

static void merge_reach(size_t *reaches, size_t other)
{
    if (*reaches == REACHES_NONE) {
        *reaches = other;
    } else if (*reaches != other) {
        *reaches = REACHES_MANY;
    }
}

/* From the outputs back: how far from which outputs everything is. */
static void look_ahead(scheduler *state)
{
    lmn_plan *plan = state->plan;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        state->reaches[i] = REACHES_NONE;
        state->distance[i] = SIZE_MAX;
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        const size_t index = plan->outputs[k].tensor->index;
        state->reaches[index] = k;
        state->distance[index] = 0;
        state->eager[plan->root[index]] = true;
    }
    for (size_t i = plan->n_tensors; i > 0; i--) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i - 1);
        for (size_t k = 0; k < tensor->n_inputs && plan->needed[i - 1]; k++) {
            const size_t input = tensor->inputs[k]->index;
            merge_reach(&state->reaches[input], state->reaches[i - 1]);
            if (state->distance[i - 1] < state->distance[input]) {
                state->distance[input] = state->distance[i - 1] + 1;
            }
        }
    }
}

static void mark_start(scheduler *state)
{
    const lmn_plan *plan = state->plan;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        state->eager[i] = state->eager[i] || state->reaches[i] < REACHES_MANY;
        state->done[i] = plan->groups[i].first == NULL;
    }
}

static bool is_ready(const scheduler *state, const lmn_tensor *last)
{
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(state->plan, last, inputs);
    bool ready = true;
    for (size_t k = 0; k < n; k++) {
        ready = ready && state->done[state->plan->root[inputs[k]->index]];
    }
    return ready;
}

/*
 * The node to run next, or n_tensors when all have run: the eager one that is ready and nearest to
 * its output, else the oldest. The oldest is ready, since its inputs are older.
 */
static size_t pick_next(scheduler *state)
{
    const size_t n = state->plan->n_tensors;
    while (state->first < n && state->done[state->first]) {
        state->first++;
    }
    size_t best = state->first;
    bool found = false;
    for (size_t i = state->first; i < n; i++) {
        const bool nearer = !found || state->distance[i] < state->distance[best];
        if (!state->done[i] && state->eager[i] && nearer &&
            is_ready(state, lmn__graph_tensor(state->plan->graph, i))) {
            best = i;
            found = true;
        }
    }
    return best;
}

static void fill_order(scheduler *state)
{
    lmn_plan *plan = state->plan;
    for (size_t i = pick_next(state); i < plan->n_tensors; i = pick_next(state)) {
        plan->order[plan->n_nodes] = lmn__graph_tensor(plan->graph, i);
        plan->n_nodes++;
        state->done[i] = true;
    }
}

static void find_last_uses(lmn_plan *plan)
{
    for (size_t position = 0; position < plan->n_nodes; position++) {
        const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
        const size_t n = lmn__group_inputs(plan, plan->order[position], inputs);
        for (size_t k = 0; k < n; k++) {
            const size_t root = plan->root[inputs[k]->index];
            if (plan->groups[root].first != NULL) {
                plan->last_use[plan->writer[root]] = position;
            }
        }
        plan->last_use[position] = position;
        plan->writer[plan->order[position]->index] = position;
    }
}

/* Outputs sorted by when they are final, equals by index: insertion, as they come nearly sorted. */
static void order_outputs(lmn_plan *plan)
{
    for (size_t k = 0; k < plan->n_outputs; k++) {
        lmn__plan_output *output = &plan->outputs[k];
        const size_t root = plan->root[output->tensor->index];
        const bool runs = lmn__graph_tensor(plan->graph, root)->op->kind == LMN__OP_COMPUTE;
        output->ready = runs ? plan->last_use[plan->writer[root]] + 1 : 0;
        size_t place = k;
        while (place > 0 && plan->outputs[plan->output_order[place - 1]].ready > output->ready) {
            plan->output_order[place] = plan->output_order[place - 1];
            place--;
        }
        plan->output_order[place] = k;
    }
}

void lmn__plan_trace(lmn_plan *plan)
{
    find_last_uses(plan);
    order_outputs(plan);
}

lmn_status lmn__plan_schedule(lmn_plan *plan, lmn_error *err)
{
    const size_t n = plan->n_tensors;
    scheduler state = {.plan = plan};
    lmn_status status = LMN_ERR_MEMORY;
    state.reaches = lmn_alloc(n, sizeof *state.reaches, err);
    state.distance = lmn_alloc(n, sizeof *state.distance, err);
    state.eager = lmn_alloc(n, sizeof *state.eager, err);
    state.done = lmn_alloc(n, sizeof *state.done, err);
    if (state.reaches != NULL && state.distance != NULL && state.eager != NULL &&
        state.done != NULL) {
        look_ahead(&state);
        mark_start(&state);
        fill_order(&state);
        lmn__plan_trace(plan);
        status = LMN_OK;
    }
    lmn_free(state.done);
    lmn_free(state.eager);
    lmn_free(state.distance);
    lmn_free(state.reaches);
    return status;
}
