/*
 * Parameters: one block, any order, matched to graphs by name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "lamina/ops.h"
#include "lamina/parameters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3 };

/* In the order of adding: "b/weight" [5, 3], "c/bias" [3], "a/scale" scalar. */
static const lmn_shape shapes[N] = {
    {.n_dims = 2, .dims = {5, 3}}, {.n_dims = 1, .dims = {3}}, {.n_dims = 0}};
static const char *const names[N] = {"b/weight", "c/bias", "a/scale"};

static lmn_graph *make_graph(const size_t *order, size_t n)
{
    lmn_graph *graph = NULL;
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    for (size_t i = 0; i < n; i++) {
        const lmn_init init = {.kind = LMN_INIT_NORMAL, .value = 1.0F};
        assert_non_null(lmn_parameter(graph, names[order[i]], shapes[order[i]], init));
    }
    return graph;
}

static const size_t ascending[N] = {0, 1, 2};
static const size_t permuted[N] = {2, 0, 1};

static lmn_parameters *make_parameters(const lmn_graph *graph, const size_t *order)
{
    lmn_parameters *parameters = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_parameters_create(graph, order, &parameters, &err), LMN_OK);
    return parameters;
}

static void parameters_create_in_an_order_places_by_it(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *parameters = make_parameters(graph, permuted);
    assert_int_equal(lmn_parameters_count(parameters), N);
    assert_int_equal(lmn_parameters_total(parameters), 15 + 3 + 1);
    for (size_t place = 0; place < N; place++) {
        assert_string_equal(lmn_parameters_name(parameters, place), names[permuted[place]]);
        assert_true(
            lmn_shape_equal(lmn_parameters_shape(parameters, place), &shapes[permuted[place]]));
        assert_int_equal((uintptr_t)lmn_parameters_values(parameters, place) % LMN_ALIGNMENT, 0);
    }
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(graph);
}

static void parameters_create_without_order_takes_the_graphs(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(permuted, N);
    lmn_parameters *parameters = make_parameters(graph, NULL);
    for (size_t place = 0; place < N; place++) {
        assert_string_equal(lmn_parameters_name(parameters, place), names[permuted[place]]);
    }
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(graph);
}

static void parameters_destroy_null_is_allowed(void **state)
{
    (void)state;
    lmn_parameters_destroy(NULL);
}

static void parameters_init_is_what_the_graph_says(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *parameters = make_parameters(graph, permuted);
    lmn_parameters_init(parameters, 5);
    for (size_t place = 0; place < N; place++) {
        float expected[15];
        const lmn_tensor *tensor = lmn_graph_parameter(graph, permuted[place]);
        lmn_parameter_init(tensor, 5, expected);
        assert_memory_equal(lmn_parameters_values(parameters, place), expected,
                            lmn_shape_count(lmn_tensor_shape(tensor)) * sizeof(float));
    }
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(graph);
}

static void parameters_hash_does_not_depend_on_order(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *a = make_parameters(graph, NULL);
    lmn_parameters *b = make_parameters(graph, permuted);
    lmn_parameters_init(a, 5);
    lmn_parameters_init(b, 5);
    assert_true(lmn_parameters_hash(a) == lmn_parameters_hash(b));
    lmn_parameters_destroy(a);
    lmn_parameters_destroy(b);
    lmn_graph_destroy(graph);
}

static void parameters_hash_sees_every_value(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *parameters = make_parameters(graph, NULL);
    lmn_parameters_init(parameters, 5);
    const uint64_t before = lmn_parameters_hash(parameters);
    for (size_t place = 0; place < N; place++) {
        const size_t count = lmn_shape_count(lmn_parameters_shape(parameters, place));
        for (size_t i = 0; i < count; i++) {
            float *value = &lmn_parameters_values(parameters, place)[i];
            const float kept = *value;
            *value += 1.0F;
            assert_true(lmn_parameters_hash(parameters) != before);
            *value = kept;
        }
    }
    assert_true(lmn_parameters_hash(parameters) == before);
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(graph);
}

/* The sum of all parameters of a graph, as the one output of a plan. */
static lmn_plan *make_sum_plan(lmn_graph *graph, const lmn_tensor **sum_out)
{
    const lmn_tensor *sum = lmn_constant(graph, 0.0F, shapes[2]);
    for (size_t i = 0; i < lmn_graph_parameter_count(graph); i++) {
        const lmn_tensor *all =
            lmn_reduce_sum(graph, lmn_graph_parameter(graph, i), LMN_ALL_AXES, false);
        sum = lmn_add(graph, lmn_scale(graph, sum, 10.0F), all);
    }
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_plan_create(graph, &sum, 1, NULL, &plan, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    *sum_out = sum;
    return plan;
}

static void parameters_bind_graph_of_another_order_matches_by_name(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_graph *other = make_graph(permuted, N); /* a/scale, b/weight, c/bias */
    lmn_parameters *parameters = make_parameters(graph, NULL);
    for (size_t place = 0; place < N; place++) {
        const size_t count = lmn_shape_count(lmn_parameters_shape(parameters, place));
        memset(lmn_parameters_values(parameters, place), 0, count * sizeof(float));
        lmn_parameters_values(parameters, place)[0] = (float)(place + 1);
    }
    const lmn_tensor *sum = NULL;
    lmn_plan *plan = make_sum_plan(other, &sum);
    assert_int_equal(lmn_parameters_bind(parameters, other, plan, NULL), LMN_OK);
    const lmn_run run = {.training = false};
    assert_int_equal(lmn_plan_run(plan, &run, NULL), LMN_OK);
    const float *value = lmn_plan_value(plan, sum);
    assert_true(*value == 312.0F); /* scale 3, weight 1, bias 2 */
    lmn_plan_destroy(plan);
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(other);
    lmn_graph_destroy(graph);
}

/* Whether binding parameters of all three to `other` fails with `words`. */
static void assert_bind_refused(lmn_graph *other, const char *words)
{
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *parameters = make_parameters(graph, NULL);
    const lmn_tensor *sum = NULL;
    lmn_plan *plan = make_sum_plan(other, &sum);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_parameters_bind(parameters, other, plan, &err), LMN_ERR_SHAPE);
    assert_non_null(strstr(err.message, words));
    lmn_plan_destroy(plan);
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(other);
    lmn_graph_destroy(graph);
}

static void parameters_bind_other_count_is_refused(void **state)
{
    (void)state;
    assert_bind_refused(make_graph(ascending, N - 1), "2 parameters");
}

static void parameters_bind_unknown_name_is_refused(void **state)
{
    (void)state;
    lmn_graph *other = make_graph(ascending, N - 1);
    assert_non_null(lmn_parameter(other, "z/scale", shapes[2], (lmn_init){0}));
    assert_bind_refused(other, "z/scale");
}

static void parameters_bind_other_shape_is_refused(void **state)
{
    (void)state;
    lmn_graph *other = make_graph(ascending, N - 1);
    assert_non_null(lmn_parameter(other, "a/scale", shapes[1], (lmn_init){0}));
    assert_bind_refused(other, "[3]");
}

static void parameters_add_state_twice_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = make_graph(ascending, N);
    lmn_parameters *parameters = make_parameters(graph, NULL);
    lmn_state *list = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    assert_int_equal(lmn_parameters_add_state(parameters, list, &err), LMN_OK);
    assert_int_equal(lmn_parameters_add_state(parameters, list, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "/parameters/b/weight"));
    lmn_state_destroy(list);
    lmn_parameters_destroy(parameters);
    lmn_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_create_in_an_order_places_by_it),
        cmocka_unit_test(parameters_create_without_order_takes_the_graphs),
        cmocka_unit_test(parameters_destroy_null_is_allowed),
        cmocka_unit_test(parameters_init_is_what_the_graph_says),
        cmocka_unit_test(parameters_hash_does_not_depend_on_order),
        cmocka_unit_test(parameters_hash_sees_every_value),
        cmocka_unit_test(parameters_bind_graph_of_another_order_matches_by_name),
        cmocka_unit_test(parameters_bind_other_count_is_refused),
        cmocka_unit_test(parameters_bind_unknown_name_is_refused),
        cmocka_unit_test(parameters_bind_other_shape_is_refused),
        cmocka_unit_test(parameters_add_state_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
