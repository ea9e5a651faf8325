/*
 * Graphs: a growing list of immutable tensors that remembers its first error.
 *
 * A tensor is appended after its inputs, so the order of the list is a topological order; the
 * differentiation and the planner rely on that. Tensors are allocated one by one and never move.
 * Once an error was recorded every constructor returns NULL, so that the first message is the one
 * that counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"
#include "lamina/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Pointers to tensors, growing. */
typedef struct tensor_list {
    lmn_tensor **items; /* [count] of [capacity]; the list is owned, the tensors by the graph */
    size_t count;
    size_t capacity;
} tensor_list;

struct lmn_graph {
    tensor_list tensors;    /* owned */
    tensor_list parameters; /* the parameters among them */
    lmn_error err;          /* the first error */
};

lmn_status lmn_graph_create(lmn_graph **graph_out, lmn_error *err)
{
    lmn_graph *graph = lmn_alloc(1, sizeof *graph, err);
    if (graph == NULL) {
        return LMN_ERR_MEMORY;
    }
    graph->err = lmn_error_none();
    *graph_out = graph;
    return LMN_OK;
}

static void tensor_destroy(lmn_tensor *tensor)
{
    if (tensor != NULL) {
        lmn_free(tensor->name);
        lmn_free(tensor->statistic);
        lmn_free(tensor);
    }
}

void lmn_graph_destroy(lmn_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    for (size_t i = 0; i < graph->tensors.count; i++) {
        tensor_destroy(graph->tensors.items[i]);
    }
    lmn_free((void *)graph->tensors.items);
    lmn_free((void *)graph->parameters.items);
    lmn_free(graph);
}

lmn_status lmn_graph_status(const lmn_graph *graph, lmn_error *err)
{
    if (graph->err.status != LMN_OK && err != NULL) {
        *err = graph->err;
    }
    return graph->err.status;
}

bool lmn__graph_has_failed(const lmn_graph *graph)
{
    return graph->err.status != LMN_OK;
}

const lmn_tensor *lmn__graph_fail(lmn_graph *graph, lmn_status status, const char *format, ...)
{
    if (!lmn__graph_has_failed(graph)) {
        char message[LMN_ERROR_MESSAGE_BYTES];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        (void)lmn_error_set(&graph->err, status, "%s", message);
    }
    return NULL;
}

bool lmn__inputs_fit(lmn_graph *graph, const lmn__op *op, const lmn_tensor *const *inputs, size_t n)
{
    for (size_t i = 0; i < n && !lmn__graph_has_failed(graph); i++) {
        if (inputs[i] == NULL) {
            (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "%s: operand %zu is missing", op->name,
                                  i);
        } else if (inputs[i]->graph != graph) {
            (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                                  "%s: operand %zu ('%s') belongs to another graph", op->name, i,
                                  lmn_tensor_name(inputs[i]));
        } else if (inputs[i]->dtype != ((op->i32_inputs >> i & 1U) != 0 ? LMN_I32 : LMN_F32)) {
            (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "%s: operand %zu ('%s') is %s, not %s",
                                  op->name, i, lmn_tensor_name(inputs[i]),
                                  inputs[i]->dtype == LMN_I32 ? "i32" : "f32",
                                  inputs[i]->dtype == LMN_I32 ? "f32" : "i32");
        }
    }
    return !lmn__graph_has_failed(graph);
}

/* Make room for one more pointer. */
static lmn_status list_reserve(tensor_list *list, lmn_error *err)
{
    if (list->count < list->capacity) {
        return LMN_OK;
    }
    const size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
    lmn_tensor **items = (lmn_tensor **)lmn_alloc(capacity, sizeof(lmn_tensor *), err);
    if (items == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (list->count > 0) {
        memcpy((void *)items, (const void *)list->items, list->count * sizeof(lmn_tensor *));
    }
    lmn_free((void *)list->items);
    list->items = items;
    list->capacity = capacity;
    return LMN_OK;
}

/* Append a copy of `proto`, which the graph numbers and names. `name` may be NULL. */
static const lmn_tensor *tensor_append(lmn_graph *graph, const lmn_tensor *proto, const char *name)
{
    if (list_reserve(&graph->tensors, &graph->err) != LMN_OK) {
        return NULL;
    }
    lmn_tensor *tensor = lmn_alloc(1, sizeof *tensor, &graph->err);
    if (tensor == NULL) {
        return NULL;
    }
    *tensor = *proto;
    tensor->graph = graph;
    tensor->index = graph->tensors.count;
    tensor->name = NULL;
    if (name != NULL) {
        tensor->name = lmn_alloc(strlen(name) + 1, 1, &graph->err);
        if (tensor->name == NULL) {
            tensor_destroy(tensor);
            return NULL;
        }
        memcpy(tensor->name, name, strlen(name) + 1);
    }
    graph->tensors.items[graph->tensors.count] = tensor;
    graph->tensors.count++;
    return tensor;
}

static bool shape_accepted(lmn_graph *graph, const char *what, const char *name,
                           const lmn_shape *shape)
{
    if (!lmn__graph_has_failed(graph) && !lmn__shape_is_valid(shape)) {
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE,
                              "%s%s%s%s: shape %s with %zu axes is not possible: extents are at "
                              "least 1, axes at most %d, and the values must fit into memory",
                              what, name == NULL ? "" : " '", name == NULL ? "" : name,
                              name == NULL ? "" : "'", lmn__shape_text(shape).text, shape->n_dims,
                              LMN_DIMS_MAX);
    }
    return !lmn__graph_has_failed(graph);
}

const lmn_tensor *lmn__tensor_new(lmn_graph *graph, const lmn__op *op,
                                  const lmn_tensor *const *inputs, size_t n, lmn_shape shape,
                                  lmn_dtype dtype, const lmn__attributes *attributes)
{
    if (n > LMN__INPUTS_MAX) {
        return lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "%s: %zu operands, at most %d are possible",
                               op->name, n, LMN__INPUTS_MAX);
    }
    if (!lmn__inputs_fit(graph, op, inputs, n) || !shape_accepted(graph, op->name, NULL, &shape)) {
        return NULL;
    }
    lmn_tensor proto = {.op = op, .n_inputs = n, .shape = shape, .dtype = dtype};
    for (size_t i = 0; i < n; i++) {
        proto.inputs[i] = inputs[i];
    }
    if (attributes != NULL) {
        proto.attributes = *attributes;
    }
    return tensor_append(graph, &proto, NULL);
}

static const lmn__op input_op = {.name = "input", .kind = LMN__OP_INPUT, .no_gradient = true};
static const lmn__op parameter_op = {
    .name = "parameter", .kind = LMN__OP_PARAMETER, .no_gradient = true};
static const lmn__op constant_op = {
    .name = "constant", .kind = LMN__OP_CONSTANT, .no_gradient = true};

static bool name_accepted(lmn_graph *graph, const char *what, const char *name)
{
    if (name == NULL || name[0] == '\0') {
        (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "%s without a name: give it one", what);
    }
    return !lmn__graph_has_failed(graph);
}

const lmn_tensor *lmn_input(lmn_graph *graph, const char *name, lmn_dtype dtype, lmn_shape shape)
{
    if (!name_accepted(graph, "input", name) || !shape_accepted(graph, "input", name, &shape)) {
        return NULL;
    }
    if (dtype != LMN_F32 && dtype != LMN_I32) {
        return lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "input '%s': unknown dtype %d", name,
                               (int)dtype);
    }
    const lmn_tensor proto = {.op = &input_op, .shape = shape, .dtype = dtype};
    return tensor_append(graph, &proto, name);
}

const lmn_tensor *lmn_parameter(lmn_graph *graph, const char *name, lmn_shape shape, lmn_init init)
{
    if (!name_accepted(graph, "parameter", name) ||
        !shape_accepted(graph, "parameter", name, &shape)) {
        return NULL;
    }
    tensor_list *parameters = &graph->parameters;
    for (size_t i = 0; i < parameters->count; i++) {
        if (strcmp(parameters->items[i]->name, name) == 0) {
            return lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                                   "parameter '%s' exists already: names must differ", name);
        }
    }
    if (list_reserve(parameters, &graph->err) != LMN_OK) {
        return NULL;
    }
    const lmn_tensor proto = {
        .op = &parameter_op,
        .shape = shape,
        .dtype = LMN_F32,
        .attributes = {.init = init, .parameter_index = parameters->count},
    };
    const lmn_tensor *parameter = tensor_append(graph, &proto, name);
    if (parameter != NULL) {
        parameters->items[parameters->count] = graph->tensors.items[parameter->index];
        parameters->count++;
    }
    return parameter;
}

const lmn_tensor *lmn_statistic(lmn_graph *graph, const char *name, lmn_shape shape,
                                const float *start, float momentum)
{
    if (!(momentum > 0.0F && momentum <= 1.0F)) {
        return lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                               "statistic '%s': momentum %g is not above 0 and at most 1", name,
                               (double)momentum);
    }
    const lmn_tensor *parameter = lmn_parameter(graph, name, shape, (lmn_init){0});
    if (parameter == NULL) {
        return NULL;
    }
    lmn_tensor *statistic = graph->parameters.items[parameter->attributes.parameter_index];
    const size_t count = lmn_shape_count(&shape);
    statistic->statistic =
        lmn_alloc(1, sizeof *statistic->statistic + count * sizeof *start, &graph->err);
    if (statistic->statistic == NULL) {
        return NULL;
    }
    statistic->statistic->momentum = momentum;
    memcpy(statistic->statistic->start, start, count * sizeof *start);
    return statistic;
}

void lmn_statistic_follow(lmn_graph *graph, const lmn_tensor *statistic, const lmn_tensor *observed)
{
    if (lmn__graph_has_failed(graph) || statistic == NULL || observed == NULL) {
        return;
    }
    if (statistic->graph != graph || observed->graph != graph ||
        !lmn_parameter_is_statistic(statistic) || statistic->statistic->observed != NULL) {
        (void)lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                              "'%s' follows a value already or is no statistic of this graph",
                              lmn_tensor_name(statistic));
    } else if (!lmn_shape_equal(&statistic->shape, &observed->shape) ||
               observed->dtype != LMN_F32) {
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE,
                              "statistic '%s' of shape %s cannot follow a value of shape %s",
                              lmn_tensor_name(statistic), lmn__shape_text(&statistic->shape).text,
                              lmn__shape_text(&observed->shape).text);
    } else {
        statistic->statistic->observed = observed;
    }
}

bool lmn_parameter_is_statistic(const lmn_tensor *parameter)
{
    return parameter->statistic != NULL;
}

const lmn_tensor *lmn_statistic_observed(const lmn_tensor *parameter)
{
    return parameter->statistic != NULL ? parameter->statistic->observed : NULL;
}

float lmn_statistic_momentum(const lmn_tensor *parameter)
{
    return parameter->statistic != NULL ? parameter->statistic->momentum : 0.0F;
}

const lmn_tensor *lmn_constant(lmn_graph *graph, float value, lmn_shape shape)
{
    const lmn__attributes attributes = {.scalar = value};
    return lmn__tensor_new(graph, &constant_op, NULL, 0, shape, LMN_F32, &attributes);
}

size_t lmn_graph_parameter_count(const lmn_graph *graph)
{
    return graph->parameters.count;
}

const lmn_tensor *lmn_graph_parameter(const lmn_graph *graph, size_t index)
{
    return graph->parameters.items[index];
}

size_t lmn__graph_tensor_count(const lmn_graph *graph)
{
    return graph->tensors.count;
}

const lmn_tensor *lmn__graph_tensor(const lmn_graph *graph, size_t index)
{
    return graph->tensors.items[index];
}

const lmn_tensor *lmn__tensor_find(const lmn_graph *graph, const lmn__op *op,
                                   const lmn_tensor *const *inputs, size_t n)
{
    for (size_t i = graph->tensors.count; i > 0; i--) {
        const lmn_tensor *tensor = graph->tensors.items[i - 1];
        bool is_same = tensor->op == op && tensor->n_inputs == n;
        for (size_t k = 0; k < n && is_same; k++) {
            is_same = tensor->inputs[k] == inputs[k];
        }
        if (is_same) {
            return tensor;
        }
    }
    return NULL;
}
