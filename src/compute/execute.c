/*
 * Runs of a plan.
 *
 * Nodes run one after the other in the plan's order. After each, the outputs that have become final
 * are handed to the caller, and then the caller gets a moment to move its communication on. Nothing
 * is allocated, and nothing of a run outlives it but the values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_internal.h"

#include <string.h>

static lmn_status check_bound(const lmn_plan *plan, lmn_error *err)
{
    for (size_t i = 0; i < plan->n_tensors; i++) {
        if (plan->places[i] == LMN__PLACE_BOUND && plan->memory[i] == NULL) {
            const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i);
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "plan: %s '%s' is not bound to memory; call lmn_plan_bind before "
                                 "lmn_plan_run",
                                 tensor->op->name, lmn_tensor_name(tensor));
        }
    }
    return LMN_OK;
}

static lmn_status run_node(const lmn_plan *plan, const lmn_tensor *node, const lmn_run *run,
                           lmn_error *err)
{
    lmn__node_run node_run = {
        .node = node,
        .output = plan->memory[node->index],
        .workspace = plan->workspace_bytes > 0 ? plan->workspace : NULL,
        .run = run,
        .err = err,
    };
    for (size_t k = 0; k < node->n_inputs; k++) {
        node_run.inputs[k] = plan->memory[plan->root[node->inputs[k]->index]];
    }
    return node->op->run(&node_run);
}

/* One past the last output, in output_order, that is final once `n_run` nodes have run. */
static size_t count_final(const lmn_plan *plan, size_t first, size_t n_run)
{
    size_t end = first;
    while (end < plan->n_outputs && plan->outputs[plan->output_order[end]].ready <= n_run) {
        end++;
    }
    return end;
}

/* Hand out the outputs that are final once `n_run` nodes have run; `next` counts all handed out. */
static lmn_status hand_out(const lmn_plan *plan, const lmn_run *run, size_t n_run, size_t *next,
                           lmn_error *err)
{
    const size_t end = count_final(plan, *next, n_run);
    /* All copies first: the callback may overwrite an output that another one is a view of. */
    for (size_t k = *next; k < end; k++) {
        const lmn__plan_output *output = &plan->outputs[plan->output_order[k]];
        if (output->copy_to != NULL) {
            memcpy(output->copy_to, plan->memory[plan->root[output->tensor->index]],
                   lmn__tensor_bytes(output->tensor));
        }
    }
    lmn_status status = LMN_OK;
    while (*next < end && status == LMN_OK) {
        if (run->on_output != NULL) {
            status = run->on_output(run->user, plan->output_order[*next], err);
        }
        *next += 1;
    }
    return status;
}

lmn_status lmn_plan_run(lmn_plan *plan, const lmn_run *run, lmn_error *err)
{
    lmn_status status = check_bound(plan, err);
    size_t next = 0;
    if (status == LMN_OK) {
        status = hand_out(plan, run, 0, &next, err);
    }
    for (size_t i = 0; i < plan->n_nodes && status == LMN_OK; i++) {
        status = run_node(plan, plan->order[i], run, err);
        if (status == LMN_OK) {
            status = hand_out(plan, run, i + 1, &next, err);
        }
        if (status == LMN_OK && run->on_progress != NULL) {
            status = run->on_progress(run->user, err);
        }
    }
    return status;
}
