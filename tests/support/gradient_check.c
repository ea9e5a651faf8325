/*
 * Derivatives against central differences.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"

#include "lamina/memory.h"
#include "lamina/ops.h"
#include "lamina/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The third order of three inputs has 3 + 1 + 4 + 8 variables. */
#define VARIABLES_MAX 16

#define BINDINGS_MAX 8

/* Rounding of f32 divided by the step, and the step squared, stay below the tolerance. */
static const float STEP = 1e-2F;
static const double TOLERANCE = 4e-3;

static const lmn_run DEFAULT_RUN = {.seed = 1, .training = true};

/* A list of tensors, in order and with repetitions. */
typedef struct tensor_list {
    const lmn_tensor *items[VARIABLES_MAX];
    size_t n;
} tensor_list;

/* The function that is differentiated at one order: the sum of `parts` times `probes`. */
typedef struct probed_sum {
    tensor_list parts;
    tensor_list probes; /* inputs */
} probed_sum;

/* A case on its way through the orders. */
typedef struct checker {
    const gradient_case *checked;
    lmn_graph *graph;
    tensor_list variables;        /* inputs that are differentiated by */
    tensor_list bound;            /* variables and probes, each once */
    float *values[VARIABLES_MAX]; /* of `bound`; owned */
    const lmn_tensor *labels;     /* NULL without labels */
    int32_t *label_values;        /* owned, aligned */
} checker;

lmn_graph *new_graph(void)
{
    lmn_graph *graph = NULL;
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    return graph;
}

lmn_shape shape_of(size_t d0, size_t d1, size_t d2, size_t d3)
{
    const size_t dims[] = {d0, d1, d2, d3};
    size_t n = 0;
    while (n < 4 && dims[n] != 0) {
        n++;
    }
    return lmn_shape_make(n, dims);
}

void fill_uniform(uint32_t layer, float low, float high, size_t n, float *values_out)
{
    const lmn_stream stream = {.seed = 12345, .layer = layer};
    lmn_stream_uniform(&stream, 0, n, values_out);
    for (size_t i = 0; i < n; i++) {
        values_out[i] = low + (high - low) * values_out[i];
    }
}

/* Multiples of 0.1 in random order, shifted by half of it so that none is near 0. */
static void fill_distinct(uint32_t layer, size_t n, float *values_out)
{
    const size_t half = n / 2;
    for (size_t i = 0; i < n; i++) {
        const uint64_t place = lmn_permute(12345, layer, i, n);
        values_out[i] = 0.1F * ((float)place - (float)half + 0.5F);
    }
}

void assert_close(const float *have, const double *want, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++) {
        const double found = (double)have[i];
        const bool is_close = fabs(found - want[i]) <= tolerance * (1.0 + fabs(want[i]));
        const bool is_same_infinity = isinf(want[i]) && found == want[i];
        if (!is_close && !is_same_infinity) {
            fail_msg("element %zu is %.9g instead of %.9g", i, found, want[i]);
        }
    }
}

void assert_refused(const lmn_graph *graph, lmn_status status, const char *part)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_graph_status(graph, &err), status);
    if (strstr(err.message, part) == NULL) {
        fail_msg("'%s' does not say '%s'", err.message, part);
    }
}

static void must(lmn_status status, const lmn_error *err)
{
    if (status != LMN_OK) {
        fail_msg("%s", err->message);
    }
}

void run_graph(const lmn_graph *graph, const lmn_tensor *output, const binding *bindings,
               size_t n_bindings, const lmn_run *run, float *values_out)
{
    lmn_error err = lmn_error_none();
    must(lmn_graph_status(graph, &err), &err);
    lmn_plan *plan = NULL;
    must(lmn_plan_create(graph, &output, 1, NULL, &plan, &err), &err);
    void *memory[BINDINGS_MAX] = {NULL};
    assert_true(n_bindings <= BINDINGS_MAX);
    for (size_t i = 0; i < n_bindings; i++) {
        const size_t count = lmn_shape_count(lmn_tensor_shape(bindings[i].tensor));
        memory[i] = lmn_alloc(count, sizeof(float), NULL);
        assert_non_null(memory[i]);
        memcpy(memory[i], bindings[i].values, count * sizeof(float));
        must(lmn_plan_bind(plan, bindings[i].tensor, memory[i], &err), &err);
    }
    must(lmn_plan_run(plan, run == NULL ? &DEFAULT_RUN : run, &err), &err);
    const size_t count = lmn_shape_count(lmn_tensor_shape(output));
    memcpy(values_out, lmn_plan_value(plan, output), count * sizeof *values_out);
    lmn_plan_destroy(plan);
    for (size_t i = 0; i < n_bindings; i++) {
        lmn_free(memory[i]);
    }
}

static void list_add(tensor_list *list, const lmn_tensor *tensor)
{
    assert_true(list->n < VARIABLES_MAX);
    list->items[list->n++] = tensor;
}

static bool list_has(const tensor_list *list, const lmn_tensor *tensor)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i] == tensor) {
            return true;
        }
    }
    return false;
}

/* A new f32 input with values of its own. */
static const lmn_tensor *add_input(checker *c, lmn_shape shape, float low, float high)
{
    char name[32];
    (void)snprintf(name, sizeof name, "v%zu", c->bound.n);
    const lmn_tensor *input = lmn_input(c->graph, name, LMN_F32, shape);
    const size_t count = lmn_shape_count(&shape);
    const uint32_t layer = (uint32_t)c->bound.n;
    float *values = lmn_alloc(count, sizeof *values, NULL);
    assert_non_null(values);
    assert_true(c->bound.n < VARIABLES_MAX);
    if (low == 0.0F && high == 0.0F) {
        fill_distinct(layer, count, values);
    } else {
        fill_uniform(layer, low, high, count, values);
    }
    c->values[c->bound.n] = values;
    list_add(&c->bound, input);
    return input;
}

/* Every part times its probe, summed in the graph, so that it can be differentiated. */
static const lmn_tensor *sum_in_graph(const checker *c, const probed_sum *sum)
{
    const lmn_tensor *total = lmn_constant(c->graph, 0.0F, shape_of(0, 0, 0, 0));
    for (size_t i = 0; i < sum->parts.n; i++) {
        const lmn_tensor *product = lmn_mul(c->graph, sum->parts.items[i], sum->probes.items[i]);
        const lmn_tensor *part = lmn_reduce_sum(c->graph, product, LMN_ALL_AXES, false);
        total = lmn_add(c->graph, total, part);
    }
    return total;
}

static lmn_plan *make_plan(const checker *c, const tensor_list *outputs)
{
    tensor_list unique = {.n = 0};
    for (size_t i = 0; i < outputs->n; i++) {
        if (!list_has(&unique, outputs->items[i])) {
            list_add(&unique, outputs->items[i]);
        }
    }
    lmn_error err = lmn_error_none();
    lmn_plan *plan = NULL;
    must(lmn_plan_create(c->graph, unique.items, unique.n, NULL, &plan, &err), &err);
    for (size_t i = 0; i < c->bound.n; i++) {
        must(lmn_plan_bind(plan, c->bound.items[i], c->values[i], &err), &err);
    }
    if (c->labels != NULL) {
        must(lmn_plan_bind(plan, c->labels, c->label_values, &err), &err);
    }
    return plan;
}

static float *values_of(const checker *c, const lmn_tensor *input)
{
    size_t i = 0;
    while (i + 1 < c->bound.n && c->bound.items[i] != input) {
        i++;
    }
    return c->values[i];
}

/* The probed sum, in double. */
static double evaluate(const checker *c, lmn_plan *plan, const probed_sum *sum)
{
    lmn_error err = lmn_error_none();
    must(lmn_plan_run(plan, &DEFAULT_RUN, &err), &err);
    double total = 0.0;
    for (size_t i = 0; i < sum->parts.n; i++) {
        const lmn_tensor *part = sum->parts.items[i];
        const float *values = lmn_plan_value(plan, part);
        const float *probe = values_of(c, sum->probes.items[i]);
        for (size_t k = 0; k < lmn_shape_count(lmn_tensor_shape(part)); k++) {
            total += (double)values[k] * (double)probe[k];
        }
    }
    return total;
}

/* Move one number by a step in both directions. */
static double difference(const checker *c, lmn_plan *plan, const probed_sum *sum, float *value)
{
    const float before = *value;
    *value = before + STEP;
    const float above = *value;
    const double high = evaluate(c, plan, sum);
    *value = before - STEP;
    const float below = *value;
    const double low = evaluate(c, plan, sum);
    *value = before;
    return (high - low) / ((double)above - (double)below);
}

/* Check the gradient in variable `index` against a difference for each of its elements. */
static void compare(const checker *c, lmn_plan *plan, const probed_sum *sum, size_t index,
                    const float *grad)
{
    const lmn_tensor *variable = c->variables.items[index];
    float *values = values_of(c, variable);
    for (size_t i = 0; i < lmn_shape_count(lmn_tensor_shape(variable)); i++) {
        const double want = difference(c, plan, sum, &values[i]);
        const double have = (double)grad[i];
        if (!(fabs(have - want) <= TOLERANCE * (1.0 + fabs(want)))) {
            fail_msg("variable %zu, element %zu: derivative is %g, differences give %g", index, i,
                     have, want);
        }
    }
}

static void check_order(const checker *c, const probed_sum *sum, const tensor_list *grads)
{
    lmn_plan *sum_plan = make_plan(c, &sum->parts);
    lmn_plan *grad_plan = make_plan(c, grads);
    lmn_error err = lmn_error_none();
    must(lmn_plan_run(grad_plan, &DEFAULT_RUN, &err), &err);
    for (size_t i = 0; i < c->variables.n; i++) {
        compare(c, sum_plan, sum, i, lmn_plan_value(grad_plan, grads->items[i]));
    }
    lmn_plan_destroy(sum_plan);
    lmn_plan_destroy(grad_plan);
}

/* Give each part a probe. */
static void add_probes(checker *c, probed_sum *sum)
{
    for (size_t i = 0; i < sum->parts.n; i++) {
        const lmn_shape shape = *lmn_tensor_shape(sum->parts.items[i]);
        list_add(&sum->probes, add_input(c, shape, -1.0F, 1.0F));
    }
}

static void check_orders(checker *c, const lmn_tensor *y)
{
    probed_sum sum = {.parts = {.items = {y}, .n = 1}};
    for (int order = 1; order <= c->checked->orders; order++) {
        add_probes(c, &sum);
        tensor_list grads = {.n = c->variables.n};
        lmn_error err = lmn_error_none();
        must(lmn_gradients(c->graph, sum_in_graph(c, &sum), c->variables.items, c->variables.n,
                           grads.items, &err),
             &err);
        check_order(c, &sum, &grads);
        if (order < c->checked->orders) {
            for (size_t i = 0; i < sum.probes.n; i++) {
                list_add(&c->variables, sum.probes.items[i]);
            }
            sum = (probed_sum){.parts = grads};
        }
    }
}

void check_gradients(const gradient_case *checked)
{
    checker c = {.checked = checked, .graph = new_graph()};
    for (size_t i = 0; i < checked->n_inputs; i++) {
        list_add(&c.variables, add_input(&c, checked->shapes[i], checked->low, checked->high));
    }
    if (checked->labels != NULL) {
        c.labels = lmn_input(c.graph, "labels", LMN_I32, shape_of(checked->n_labels, 0, 0, 0));
        c.label_values = lmn_alloc(checked->n_labels, sizeof *c.label_values, NULL);
        assert_non_null(c.label_values);
        memcpy(c.label_values, checked->labels, checked->n_labels * sizeof *c.label_values);
    }
    const lmn_tensor *y = checked->build(c.graph, c.variables.items, c.labels);
    lmn_error err = lmn_error_none();
    must(lmn_graph_status(c.graph, &err), &err);
    check_orders(&c, y);
    lmn_graph_destroy(c.graph);
    for (size_t i = 0; i < c.bound.n; i++) {
        lmn_free(c.values[i]);
    }
    lmn_free(c.label_values);
}
