/*
 * Plans: made, bound, asked.
 *
 * Pointers live in one table, `memory`, indexed by root: everything inside the plan is entered when
 * the plan is made, inputs and parameters when they are bound, and outputs are overwritten when
 * they are bound. A run only reads the table, so memory may be bound anew between runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "plan_internal.h"

#include <stdint.h>
#include <stdlib.h>

static lmn_status check_outputs(const lmn_graph *graph, const lmn_tensor *const *outputs, size_t n,
                                lmn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (outputs[i] == NULL || outputs[i]->graph != graph) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "plan: output %zu is missing or belongs to another graph", i);
        }
        for (size_t k = 0; k < i; k++) {
            if (outputs[k] == outputs[i]) {
                return lmn_error_set(
                    err, LMN_ERR_ARGUMENT,
                    "plan: outputs %zu and %zu are the same tensor ('%s'); list it "
                    "once",
                    k, i, lmn_tensor_name(outputs[i]));
            }
        }
    }
    return LMN_OK;
}

/* Everything whose size is known before planning. */
static lmn_status allocate_tables(lmn_plan *plan, lmn_error *err)
{
    const size_t n = plan->n_tensors;
    const size_t capacity = plan->capacity;
    plan->outputs = lmn_alloc(plan->n_outputs, sizeof *plan->outputs, err);
    plan->output_order = lmn_alloc(plan->n_outputs, sizeof *plan->output_order, err);
    plan->needed = lmn_alloc(n, sizeof *plan->needed, err);
    plan->root = lmn_alloc(n, sizeof *plan->root, err);
    plan->groups = lmn_alloc(n, sizeof *plan->groups, err);
    plan->order = (const lmn_tensor **)lmn_alloc(capacity, sizeof(lmn_tensor *), err);
    plan->again = lmn_alloc(capacity, sizeof *plan->again, err);
    plan->last_use = lmn_alloc(capacity, sizeof *plan->last_use, err);
    plan->writer = lmn_alloc(n, sizeof *plan->writer, err);
    plan->places = lmn_alloc(n, sizeof *plan->places, err);
    plan->blocks = lmn_alloc(capacity, sizeof *plan->blocks, err);
    plan->block_of = lmn_alloc(capacity, sizeof *plan->block_of, err);
    plan->in_place = lmn_alloc(capacity, sizeof *plan->in_place, err);
    plan->memory = (void **)lmn_alloc(n, sizeof *plan->memory, err);
    const bool complete = plan->outputs != NULL && plan->output_order != NULL &&
                          plan->needed != NULL && plan->root != NULL && plan->groups != NULL &&
                          plan->order != NULL && plan->again != NULL && plan->last_use != NULL &&
                          plan->writer != NULL && plan->places != NULL && plan->blocks != NULL &&
                          plan->block_of != NULL && plan->in_place != NULL && plan->memory != NULL;
    return complete ? LMN_OK : LMN_ERR_MEMORY;
}

/*
 * Outputs get memory that is not touched here: most are bound elsewhere before the first run, and
 * pages that nobody writes cost nothing.
 */
static lmn_status allocate_kept(lmn_plan *plan, lmn_error *err)
{
    if (plan->kept_bytes > 0 && posix_memalign(&plan->kept, LMN_ALIGNMENT, plan->kept_bytes) != 0) {
        plan->kept = NULL;
        return lmn_error_set(err, LMN_ERR_MEMORY, "plan: no memory for %zu bytes of outputs",
                             plan->kept_bytes);
    }
    return LMN_OK;
}

static lmn_status allocate_memory(lmn_plan *plan, lmn_error *err)
{
    plan->arena = lmn_alloc(plan->arena_bytes, 1, err);
    plan->constants = lmn_alloc(plan->constant_bytes, 1, err);
    plan->workspace = lmn_alloc(plan->workspace_bytes, 1, err);
    if (plan->arena == NULL || plan->constants == NULL || plan->workspace == NULL) {
        lmn_error_add_context(err, "plan of %zu nodes", plan->n_nodes);
        return LMN_ERR_MEMORY;
    }
    return allocate_kept(plan, err);
}

static void fill_constant(const lmn_tensor *constant, void *memory)
{
    float *values = memory;
    const size_t count = lmn_shape_count(&constant->shape);
    for (size_t i = 0; i < count; i++) {
        values[i] = constant->attributes.scalar;
    }
}

/* Enter every address inside the plan into the table; those in the arena a run enters again. */
static void fill_memory_table(lmn_plan *plan)
{
    for (size_t position = 0; position < plan->n_nodes; position++) {
        const size_t index = plan->order[position]->index;
        if (plan->places[index] == LMN__PLACE_ARENA) {
            plan->memory[index] = lmn__plan_arena_at(plan, position);
        }
    }
    size_t constants_used = 0;
    size_t kept_used = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i);
        if (plan->places[i] == LMN__PLACE_KEPT) {
            plan->memory[i] = (char *)plan->kept + kept_used;
            kept_used += lmn_align_up(lmn__tensor_bytes(tensor));
        } else if (plan->places[i] == LMN__PLACE_CONSTANT) {
            plan->memory[i] = (char *)plan->constants + constants_used;
            constants_used += lmn_align_up(lmn__tensor_bytes(tensor));
            fill_constant(tensor, plan->memory[i]);
        }
    }
}

/* The stats that are sums over the nodes. */
static void count_nodes(lmn_plan *plan)
{
    lmn_plan_stats *stats = &plan->stats;
    stats->n_nodes = plan->n_nodes;
    for (size_t position = 0; position < plan->n_nodes; position++) {
        const lmn_tensor *last = plan->order[position];
        const size_t workspace = plan->groups[last->index].prepared.workspace_bytes;
        const bool in_arena = plan->places[last->index] == LMN__PLACE_ARENA;
        const double flops = lmn__group_flops(plan, last);
        stats->unshared_bytes +=
            lmn_align_up(workspace) + (in_arena ? lmn_align_up(lmn__tensor_bytes(last)) : 0);
        stats->n_in_place += plan->in_place[position] ? 1 : 0;
        stats->n_recomputed += plan->again[position] ? 1 : 0;
        stats->flops += flops;
        stats->recomputed_flops += plan->again[position] ? flops : 0.0;
    }
}

static lmn_status build(lmn_plan *plan, const lmn_tensor *const *outputs,
                        const lmn_plan_options *options, lmn_error *err)
{
    lmn_status status = allocate_tables(plan, err);
    if (status != LMN_OK) {
        return status;
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        plan->outputs[k].tensor = outputs[k];
    }
    lmn__plan_look(plan);
    status = lmn__plan_fuse(plan, options->fuse, err);
    if (status == LMN_OK) {
        status = lmn__plan_schedule(plan, err);
    }
    if (status == LMN_OK) {
        status = lmn__plan_prepare(plan, err);
    }
    if (status == LMN_OK) {
        lmn__plan_place(plan);
        status = lmn__plan_fit(plan, options->memory_bytes, err);
    }
    if (status == LMN_OK) {
        status = allocate_memory(plan, err);
    }
    if (status == LMN_OK) {
        fill_memory_table(plan);
        count_nodes(plan);
    }
    return status;
}

lmn_plan_options lmn_plan_options_default(void)
{
    return (lmn_plan_options){.fuse = true};
}

lmn_status lmn_plan_create(const lmn_graph *graph, const lmn_tensor *const *outputs,
                           size_t n_outputs, const lmn_plan_options *options, lmn_plan **plan_out,
                           lmn_error *err)
{
    const lmn_plan_options usual = lmn_plan_options_default();
    lmn_status status = lmn_graph_status(graph, err);
    if (status == LMN_OK) {
        status = check_outputs(graph, outputs, n_outputs, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    lmn_plan *plan = lmn_alloc(1, sizeof *plan, err);
    if (plan == NULL) {
        return LMN_ERR_MEMORY;
    }
    plan->graph = graph;
    plan->n_tensors = lmn__graph_tensor_count(graph);
    plan->n_outputs = n_outputs;
    options = options != NULL ? options : &usual;
    plan->capacity = options->memory_bytes > 0 ? 2 * plan->n_tensors : plan->n_tensors;
    status = build(plan, outputs, options, err);
    if (status != LMN_OK) {
        lmn_plan_destroy(plan);
        return status;
    }
    *plan_out = plan;
    return LMN_OK;
}

void lmn_plan_destroy(lmn_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    if (plan->groups != NULL) {
        lmn__plan_release(plan);
    }
    free(plan->kept);
    lmn_free(plan->workspace);
    lmn_free(plan->constants);
    lmn_free(plan->arena);
    lmn_free((void *)plan->memory);
    lmn_free(plan->in_place);
    lmn_free(plan->block_of);
    lmn_free(plan->blocks);
    lmn_free(plan->places);
    lmn_free(plan->writer);
    lmn_free(plan->last_use);
    lmn_free(plan->again);
    lmn_free((void *)plan->order);
    lmn_free(plan->groups);
    lmn_free(plan->root);
    lmn_free(plan->needed);
    lmn_free(plan->output_order);
    lmn_free(plan->outputs);
    lmn_free(plan);
}

void lmn_plan_output_order(const lmn_plan *plan, size_t *order_out)
{
    for (size_t k = 0; k < plan->n_outputs; k++) {
        order_out[k] = plan->output_order[k];
    }
}

/* The output that `tensor` is, or NULL. */
static lmn__plan_output *find_output(const lmn_plan *plan, const lmn_tensor *tensor)
{
    for (size_t k = 0; k < plan->n_outputs; k++) {
        if (plan->outputs[k].tensor == tensor) {
            return &plan->outputs[k];
        }
    }
    return NULL;
}

static lmn_status check_memory(const lmn_tensor *tensor, const void *memory, lmn_error *err)
{
    if (memory == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "plan: no memory given to bind '%s' to",
                             lmn_tensor_name(tensor));
    }
    if ((uintptr_t)memory % LMN_ALIGNMENT != 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "plan: memory for '%s' is not %d-byte aligned; take it from lmn_alloc",
                             lmn_tensor_name(tensor), LMN_ALIGNMENT);
    }
    return LMN_OK;
}

lmn_status lmn_plan_bind(lmn_plan *plan, const lmn_tensor *tensor, void *memory, lmn_error *err)
{
    if (tensor == NULL || tensor->graph != plan->graph) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "plan: the tensor to bind is missing or belongs to another graph");
    }
    const lmn_status status = check_memory(tensor, memory, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__op_kind kind = tensor->op->kind;
    if (kind == LMN__OP_INPUT || kind == LMN__OP_PARAMETER) {
        /* One that was added after the plan was made is not needed by it. */
        if (tensor->index < plan->n_tensors) {
            plan->memory[tensor->index] = memory;
        }
        return LMN_OK;
    }
    lmn__plan_output *output = find_output(plan, tensor);
    if (output == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "plan: tensor %zu ('%s') is not an input, parameter or output of this "
                             "plan and cannot be bound",
                             tensor->index, lmn_tensor_name(tensor));
    }
    if (kind == LMN__OP_COMPUTE) {
        plan->memory[tensor->index] = memory;
    } else {
        output->copy_to = memory;
    }
    return LMN_OK;
}

const void *lmn_plan_value(const lmn_plan *plan, const lmn_tensor *output)
{
    const lmn__plan_output *found = find_output(plan, output);
    if (found == NULL) {
        return NULL;
    }
    return found->copy_to != NULL ? found->copy_to : plan->memory[plan->root[output->index]];
}

lmn_plan_stats lmn_plan_get_stats(const lmn_plan *plan)
{
    return plan->stats;
}

lmn_plan_node lmn_plan_get_node(const lmn_plan *plan, size_t index)
{
    const lmn_tensor *last = plan->order[index];
    const lmn__group *group = &plan->groups[last->index];
    const lmn__op *op = group->first->op;
    return (lmn_plan_node){
        .op = op->name,
        .fused = group->fused,
        .kernel = group->prepared.kernel != NULL ? group->prepared.kernel : "c",
        .tensor = last,
        .flops = lmn__group_flops(plan, last),
        .bytes = lmn__group_bytes(plan, last),
        .in_place = plan->in_place[index],
        .recomputed = plan->again[index],
    };
}

bool lmn_plan_asks_ranks(const lmn_plan *plan)
{
    bool asks = false;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        asks = asks || lmn__group_asks_ranks(plan, plan->order[i]);
    }
    return asks;
}
