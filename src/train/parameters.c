/*
 * Parameters in one block of memory, in the order that their owner chose.
 *
 * Graphs are matched by name: the plan that evaluates may list its parameters in another order than
 * the one that trains.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/parameters.h"

#include "lamina/hash.h"
#include "lamina/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(LMN_DIMS_MAX <= LMN_STATE_DIMS_MAX, "a checkpoint holds every shape of a graph");

typedef struct parameter {
    const lmn_tensor *tensor; /* borrowed from the graph */
    float *values;            /* [count of its shape] in the arena */
} parameter;

struct lmn_parameters {
    size_t count;
    parameter *places;         /* [count] */
    const parameter **by_name; /* [count] the same, sorted by name */
    lmn_arena *arena;
};

static size_t count_of(const parameter *item)
{
    return lmn_shape_count(lmn_tensor_shape(item->tensor));
}

static int compare_names(const void *a, const void *b)
{
    const parameter *const *left = a;
    const parameter *const *right = b;
    return strcmp(lmn_tensor_name((*left)->tensor), lmn_tensor_name((*right)->tensor));
}

static lmn_status take_values(lmn_parameters *parameters, lmn_error *err)
{
    size_t bytes = 0;
    for (size_t place = 0; place < parameters->count; place++) {
        bytes += lmn_align_up(count_of(&parameters->places[place]) * sizeof(float));
    }
    const lmn_status status = lmn_arena_create(bytes, &parameters->arena, err);
    for (size_t place = 0; place < parameters->count && status == LMN_OK; place++) {
        parameter *item = &parameters->places[place];
        item->values = lmn_arena_take(parameters->arena, count_of(item), sizeof(float));
        assert(item->values != NULL);
    }
    return status;
}

static lmn_status fill(lmn_parameters *parameters, const lmn_graph *graph, const size_t *order,
                       lmn_error *err)
{
    const size_t count = lmn_graph_parameter_count(graph);
    parameters->places = lmn_alloc(count, sizeof *parameters->places, err);
    parameters->by_name = (const parameter **)lmn_alloc(count, sizeof(parameter *), err);
    if (parameters->places == NULL || parameters->by_name == NULL) {
        return LMN_ERR_MEMORY;
    }
    parameters->count = count;
    for (size_t place = 0; place < count; place++) {
        const size_t index = order != NULL ? order[place] : place;
        parameters->places[place].tensor = lmn_graph_parameter(graph, index);
        parameters->by_name[place] = &parameters->places[place];
    }
    qsort(parameters->by_name, count, sizeof(const parameter *), compare_names);
    return take_values(parameters, err);
}

lmn_status lmn_parameters_create(const lmn_graph *graph, const size_t *order,
                                 lmn_parameters **parameters_out, lmn_error *err)
{
    lmn_parameters *parameters = lmn_alloc(1, sizeof *parameters, err);
    if (parameters == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = fill(parameters, graph, order, err);
    if (status != LMN_OK) {
        lmn_parameters_destroy(parameters);
        return status;
    }
    *parameters_out = parameters;
    return LMN_OK;
}

void lmn_parameters_destroy(lmn_parameters *parameters)
{
    if (parameters == NULL) {
        return;
    }
    lmn_arena_destroy(parameters->arena);
    lmn_free(parameters->places);
    lmn_free((void *)parameters->by_name);
    lmn_free(parameters);
}

void lmn_parameters_init(lmn_parameters *parameters, uint64_t seed)
{
    for (size_t place = 0; place < parameters->count; place++) {
        lmn_parameter_init(parameters->places[place].tensor, seed,
                           parameters->places[place].values);
    }
}

size_t lmn_parameters_count(const lmn_parameters *parameters)
{
    return parameters->count;
}

const char *lmn_parameters_name(const lmn_parameters *parameters, size_t place)
{
    return lmn_tensor_name(parameters->places[place].tensor);
}

const lmn_shape *lmn_parameters_shape(const lmn_parameters *parameters, size_t place)
{
    return lmn_tensor_shape(parameters->places[place].tensor);
}

float *lmn_parameters_values(lmn_parameters *parameters, size_t place)
{
    return parameters->places[place].values;
}

size_t lmn_parameters_total(const lmn_parameters *parameters)
{
    size_t total = 0;
    for (size_t place = 0; place < parameters->count; place++) {
        total += count_of(&parameters->places[place]);
    }
    return total;
}

uint64_t lmn_parameters_hash(const lmn_parameters *parameters)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const parameter *item = parameters->by_name[i];
        hash = lmn_hash64(item->values, count_of(item) * sizeof(float), hash);
    }
    return hash;
}

static const parameter *find(const lmn_parameters *parameters, const lmn_tensor *tensor)
{
    const parameter key = {.tensor = tensor};
    const parameter *const key_pointer = &key;
    const parameter *const *found = bsearch(&key_pointer, parameters->by_name, parameters->count,
                                            sizeof(const parameter *), compare_names);
    return found != NULL ? *found : NULL;
}

static lmn_status check_fits(const parameter *found, const lmn_tensor *tensor, lmn_error *err)
{
    if (found == NULL) {
        return lmn_error_set(err, LMN_ERR_SHAPE,
                             "the graph's parameter '%s' is not among those that it is to be bound "
                             "to: build both graphs by the same task",
                             lmn_tensor_name(tensor));
    }
    if (!lmn_shape_equal(lmn_tensor_shape(found->tensor), lmn_tensor_shape(tensor))) {
        char have[128];
        char want[128];
        lmn_shape_format(lmn_tensor_shape(found->tensor), have, sizeof have);
        lmn_shape_format(lmn_tensor_shape(tensor), want, sizeof want);
        return lmn_error_set(err, LMN_ERR_SHAPE,
                             "parameter '%s' is %s, but the graph to be bound needs %s",
                             lmn_tensor_name(tensor), have, want);
    }
    return LMN_OK;
}

lmn_status lmn_parameters_bind(lmn_parameters *parameters, const lmn_graph *graph, lmn_plan *plan,
                               lmn_error *err)
{
    const size_t count = lmn_graph_parameter_count(graph);
    if (count != parameters->count) {
        return lmn_error_set(err, LMN_ERR_SHAPE,
                             "the graph has %zu parameters, but %zu are to be bound to it", count,
                             parameters->count);
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        const lmn_tensor *tensor = lmn_graph_parameter(graph, i);
        const parameter *found = find(parameters, tensor);
        status = check_fits(found, tensor, err);
        if (status == LMN_OK) {
            status = lmn_plan_bind(plan, tensor, found->values, err);
        }
    }
    return status;
}

lmn_status lmn_parameters_add_state(lmn_parameters *parameters, lmn_state *state, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t place = 0; place < parameters->count && status == LMN_OK; place++) {
        const parameter *item = &parameters->places[place];
        const lmn_shape *shape = lmn_tensor_shape(item->tensor);
        char path[512];
        (void)snprintf(path, sizeof path, "/parameters/%s", lmn_tensor_name(item->tensor));
        status = lmn_state_add_array(state, path, "1", LMN_STATE_REPLICATED, LMN_STATE_F32,
                                     shape->n_dims, shape->dims, item->values, err);
    }
    return status;
}
