/*
 * Runs of a plan.
 *
 * Nodes run one after the other in the plan's order. After each, the outputs that have become final
 * are handed to the caller, and then the caller gets a moment to move its communication on. Nothing
 * is allocated, and nothing of a run outlives it but the values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
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

static const void *value_of(const lmn_plan *plan, const lmn_tensor *tensor)
{
    return plan->memory[plan->root[tensor->index]];
}

static void fill_epilogue(const lmn_plan *plan, const lmn__group *group, lmn__epilogue *epilogue)
{
    const lmn_shape *shape = &group->first->shape;
    epilogue->n_steps = group->n_steps;
    epilogue->n_columns = shape->n_dims == 0 ? 1 : shape->dims[shape->n_dims - 1];
    for (size_t i = 0; i < group->n_steps; i++) {
        epilogue->steps[i] = group->steps[i];
        if (group->operands[i] != NULL) {
            epilogue->steps[i].operand = value_of(plan, group->operands[i]);
        }
    }
}

static lmn_status run_group(const lmn_plan *plan, const lmn_tensor *last, const lmn_run *run,
                            lmn_error *err)
{
    const lmn__group *group = &plan->groups[last->index];
    const lmn_tensor *node = group->first;
    lmn__epilogue epilogue;
    fill_epilogue(plan, group, &epilogue);
    lmn__node_run node_run = {
        .node = node,
        .output = plan->memory[last->index],
        .workspace = plan->workspace_bytes > 0 ? plan->workspace : NULL,
        .state = group->prepared.state,
        .epilogue = &epilogue,
        .run = run,
        .err = err,
    };
    for (size_t k = 0; k < node->n_inputs; k++) {
        node_run.inputs[k] = value_of(plan, node->inputs[k]);
    }
    return node->op->run(&node_run);
}

static lmn_status run_at(const lmn_plan *plan, size_t position, const lmn_run *run, lmn_error *err)
{
    const double start = run->node_seconds != NULL ? lmn_clock_seconds() : 0.0;
    const lmn_tensor *last = plan->order[position];
    if (plan->places[last->index] == LMN__PLACE_ARENA) {
        /* A value that is computed again may have another place than before. */
        plan->memory[last->index] = lmn__plan_arena_at(plan, position);
    }
    const lmn_status status = run_group(plan, last, run, err);
    if (run->node_seconds != NULL) {
        run->node_seconds[position] += lmn_clock_seconds() - start;
    }
    return status;
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
        status = run_at(plan, i, run, err);
        if (status == LMN_OK) {
            status = hand_out(plan, run, i + 1, &next, err);
        }
        if (status == LMN_OK && run->on_progress != NULL) {
            status = run->on_progress(run->user, err);
        }
    }
    return status;
}
