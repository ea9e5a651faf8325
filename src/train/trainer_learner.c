/*
 * The learner: one rank's share of the mathematics, from a batch to gradients and from an estimate
 * to new parameters.
 *
 * The task's graph gets the gradients of all parameters as outputs. The order in which the plan
 * finishes them becomes the order of the layers, so that what leaves first lies first in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static lmn_status take_tables(lmn__learner *learner, lmn_error *err)
{
    const size_t n = lmn_graph_parameter_count(learner->graph);
    if (n == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the model has no parameters: there is nothing to train");
    }
    learner->n_layers = n;
    learner->gradients = (const lmn_tensor **)lmn_alloc(n, sizeof(lmn_tensor *), err);
    learner->order = lmn_alloc(n, sizeof *learner->order, err);
    learner->layer_of = lmn_alloc(n, sizeof *learner->layer_of, err);
    if (learner->gradients == NULL || learner->order == NULL || learner->layer_of == NULL) {
        return LMN_ERR_MEMORY;
    }
    return LMN_OK;
}

/* The parameters that have gradients; returns how many. trained [n_layers] */
static size_t list_trained(const lmn__learner *learner, const lmn_tensor **trained)
{
    size_t n = 0;
    for (size_t i = 0; i < learner->n_layers; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(learner->graph, i);
        if (!lmn_parameter_is_statistic(parameter)) {
            trained[n++] = parameter;
        }
    }
    return n;
}

/* Spread the gradients of the trained parameters, and put what statistics follow between them. */
static lmn_status place_gradients(lmn__learner *learner, const lmn_tensor *const *found,
                                  lmn_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < learner->n_layers; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(learner->graph, i);
        const bool is_statistic = lmn_parameter_is_statistic(parameter);
        learner->gradients[i] = is_statistic ? lmn_statistic_observed(parameter) : found[n++];
        if (learner->gradients[i] == NULL) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "statistic '%s' follows no value: the model calls "
                                 "lmn_statistic_follow for each",
                                 lmn_tensor_name(parameter));
        }
    }
    return LMN_OK;
}

/* outputs [LMN__OUTPUT_GRADIENTS + n_layers] */
static lmn_status differentiate(lmn__learner *learner, const lmn_tensor **outputs, lmn_error *err)
{
    const size_t n = learner->n_layers;
    const lmn_tensor **trained = (const lmn_tensor **)lmn_alloc(n, sizeof(lmn_tensor *), err);
    const lmn_tensor **found = (const lmn_tensor **)lmn_alloc(n, sizeof(lmn_tensor *), err);
    lmn_status status = trained == NULL || found == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        const size_t n_trained = list_trained(learner, trained);
        status = lmn_gradients(learner->graph, learner->task.loss, trained, n_trained, found, err);
    }
    if (status == LMN_OK) {
        status = place_gradients(learner, found, err);
    }
    lmn_free((void *)found);
    lmn_free((void *)trained);
    outputs[LMN__OUTPUT_LOSS] = learner->task.loss;
    outputs[LMN__OUTPUT_HITS] = learner->task.hits;
    memcpy((void *)(outputs + LMN__OUTPUT_GRADIENTS), (const void *)learner->gradients,
           n * sizeof(lmn_tensor *));
    return status;
}

/* scratch [LMN__OUTPUT_GRADIENTS + n_layers] */
static void order_layers(lmn__learner *learner, size_t *scratch)
{
    lmn_plan_output_order(learner->plan, scratch);
    size_t layer = 0;
    for (size_t i = 0; i < LMN__OUTPUT_GRADIENTS + learner->n_layers; i++) {
        if (scratch[i] >= LMN__OUTPUT_GRADIENTS) {
            const size_t index = scratch[i] - LMN__OUTPUT_GRADIENTS;
            learner->layer_of[index] = layer;
            learner->order[layer++] = index;
        }
    }
}

static lmn_status make_plan(lmn__learner *learner, size_t memory_bytes, lmn_error *err)
{
    lmn_plan_options options = lmn_plan_options_default();
    options.memory_bytes = memory_bytes;
    const size_t n_outputs = LMN__OUTPUT_GRADIENTS + learner->n_layers;
    const lmn_tensor **outputs =
        (const lmn_tensor **)lmn_alloc(n_outputs, sizeof(lmn_tensor *), err);
    size_t *scratch = lmn_alloc(n_outputs, sizeof *scratch, err);
    lmn_status status = outputs == NULL || scratch == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = differentiate(learner, outputs, err);
    }
    if (status == LMN_OK) {
        status = lmn_plan_create(learner->graph, outputs, n_outputs, &options, &learner->plan, err);
    }
    if (status == LMN_OK) {
        order_layers(learner, scratch);
    }
    lmn_free((void *)outputs);
    lmn_free(scratch);
    return status;
}

bool lmn__learner_is_statistic(const lmn__learner *learner, size_t layer)
{
    return lmn_parameter_is_statistic(lmn_graph_parameter(learner->graph, learner->order[layer]));
}

/* Values that the optimiser remembers of a layer in each slot: none of a statistic. */
static size_t slot_elements(const lmn__learner *learner, size_t layer)
{
    return lmn__learner_is_statistic(learner, layer)
               ? 0
               : lmn_shape_count(lmn_parameters_shape(learner->parameters, layer));
}

static lmn_status take_slots(lmn__learner *learner, lmn_error *err)
{
    learner->n_slots = lmn_optimizer_slot_count(learner->optimizer);
    learner->slots = lmn_alloc(learner->n_layers * learner->n_slots, sizeof *learner->slots, err);
    if (learner->slots == NULL) {
        return LMN_ERR_MEMORY;
    }
    size_t bytes = 0;
    for (size_t layer = 0; layer < learner->n_layers; layer++) {
        bytes += learner->n_slots * lmn_align_up(slot_elements(learner, layer) * sizeof(float));
    }
    const lmn_status status = lmn_arena_create(bytes, &learner->slot_memory, err);
    for (size_t i = 0; i < learner->n_layers * learner->n_slots && status == LMN_OK; i++) {
        const size_t count = slot_elements(learner, i / learner->n_slots);
        learner->slots[i] =
            count == 0 ? NULL : lmn_arena_take(learner->slot_memory, count, sizeof(float));
        assert(count == 0 || learner->slots[i] != NULL);
    }
    return status;
}

static lmn_status take_memory(lmn__learner *learner, const lmn_dataset_info *info, uint64_t seed,
                              lmn_error *err)
{
    lmn_status status =
        lmn_parameters_create(learner->graph, learner->order, &learner->parameters, err);
    if (status == LMN_OK) {
        lmn_parameters_init(learner->parameters, seed);
        status = lmn_parameters_bind(learner->parameters, learner->graph, learner->plan, err);
    }
    if (status == LMN_OK) {
        status = lmn__inputs_create(&learner->inputs, info, &learner->task, learner->plan, err);
    }
    if (status == LMN_OK) {
        status = take_slots(learner, err);
    }
    return status;
}

lmn_status lmn__learner_create(lmn__learner *learner, const lmn_task *task,
                               const lmn_dataset_info *info, const lmn_trainer_options *options,
                               int size, lmn_error *err)
{
    lmn_status status = lmn_optimizer_create(options->optimizer, &learner->optimizer, err);
    if (status == LMN_OK) {
        status = lmn_schedule_create(options->schedule, &learner->schedule, err);
    }
    if (status == LMN_OK) {
        status = lmn_graph_create(&learner->graph, err);
    }
    if (status == LMN_OK) {
        const size_t rows = lmn__slice_rows(options->global_batch, size);
        status = task->build(task->user, learner->graph, rows, &learner->task, err);
    }
    if (status == LMN_OK) {
        status = take_tables(learner, err);
    }
    if (status == LMN_OK) {
        status = make_plan(learner, options->memory_bytes, err);
    }
    return status == LMN_OK ? take_memory(learner, info, options->seed, err) : status;
}

lmn_status lmn__learner_bind_gradients(lmn__learner *learner, lmn_reducer *reducer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t layer = 0; layer < learner->n_layers && status == LMN_OK; layer++) {
        status = lmn_plan_bind(learner->plan, learner->gradients[learner->order[layer]],
                               lmn_reducer_gradient(reducer, layer), err);
    }
    return status;
}

/* A statistic moves towards the mean over ranks of what it follows. */
static void follow(const lmn__learner *learner, size_t layer, const float *observed)
{
    const lmn_tensor *statistic = lmn_graph_parameter(learner->graph, learner->order[layer]);
    const float momentum = lmn_statistic_momentum(statistic);
    const size_t count = lmn_shape_count(lmn_tensor_shape(statistic));
    float *values = lmn_parameters_values(learner->parameters, layer);
    for (size_t i = 0; i < count; i++) {
        values[i] = (1.0F - momentum) * values[i] + momentum * observed[i];
    }
}

/* Weight decay is for matrices and filters; biases and scales stay free. */
static void descend(const lmn__learner *learner, size_t layer, const float *gradient, double lr,
                    uint64_t update)
{
    const lmn_shape *shape = lmn_parameters_shape(learner->parameters, layer);
    lmn_update slice = {.count = lmn_shape_count(shape),
                        .param = lmn_parameters_values(learner->parameters, layer),
                        .gradient = gradient,
                        .lr = lr,
                        .update = update,
                        .decay = shape->n_dims >= 2};
    for (size_t i = 0; i < learner->n_slots; i++) {
        slice.slot[i] = learner->slots[layer * learner->n_slots + i];
    }
    lmn_optimizer_update(learner->optimizer, &slice);
}

void lmn__learner_update(const lmn__learner *learner, const lmn_reducer *reducer, double lr,
                         uint64_t update)
{
    for (size_t layer = 0; layer < learner->n_layers; layer++) {
        const float *estimate = lmn_reducer_estimate(reducer, layer);
        if (lmn__learner_is_statistic(learner, layer)) {
            follow(learner, layer, estimate);
        } else {
            descend(learner, layer, estimate, lr, update);
        }
    }
}

lmn_status lmn__learner_add_state(lmn__learner *learner, lmn_state *state, lmn_error *err)
{
    lmn_status status = lmn_parameters_add_state(learner->parameters, state, err);
    for (size_t i = 0; i < learner->n_layers * learner->n_slots && status == LMN_OK; i++) {
        const size_t layer = i / learner->n_slots;
        if (slot_elements(learner, layer) == 0) {
            continue;
        }
        const lmn_shape *shape = lmn_parameters_shape(learner->parameters, layer);
        char path[512];
        (void)snprintf(path, sizeof path, "/optimizer/%s/%s",
                       lmn_optimizer_slot_name(learner->optimizer, i % learner->n_slots),
                       lmn_parameters_name(learner->parameters, layer));
        status = lmn_state_add_array(state, path, "1", LMN_STATE_REPLICATED, LMN_STATE_F32,
                                     shape->n_dims, shape->dims, learner->slots[i], err);
    }
    return status;
}

void lmn__learner_destroy(lmn__learner *learner)
{
    lmn_plan_destroy(learner->plan);
    lmn__inputs_destroy(&learner->inputs);
    lmn_parameters_destroy(learner->parameters);
    lmn_graph_destroy(learner->graph);
    lmn_optimizer_destroy(learner->optimizer);
    lmn_schedule_destroy(learner->schedule);
    lmn_arena_destroy(learner->slot_memory);
    lmn_free((void *)learner->slots);
    lmn_free((void *)learner->gradients);
    lmn_free(learner->order);
    lmn_free(learner->layer_of);
}
