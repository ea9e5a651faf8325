/*
 * Tests of graphs: shapes, constructors that refuse, errors that stick, start values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEED 7

static const lmn_shape SCALAR = {.n_dims = 0};
static const lmn_init ZERO_INIT = {.kind = LMN_INIT_CONSTANT, .value = 0.0F};

static lmn_shape vector_of(size_t count)
{
    return lmn_shape_make(1, (const size_t[]){count});
}

static lmn_shape matrix_of(size_t rows, size_t columns)
{
    return lmn_shape_make(2, (const size_t[]){rows, columns});
}

/* The graph failed with this status, and its message holds `part`. */
static void assert_failed(const lmn_graph *graph, lmn_status status, const char *part)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_graph_status(graph, &err), status);
    assert_int_equal(err.status, status);
    check_message(&err, part);
}

/* Shapes. */

static void shape_format_of_any_rank_writes_extents(void **state)
{
    (void)state;
    char text[32];
    const lmn_shape matrix = matrix_of(128, 10);
    lmn_shape_format(&matrix, text, sizeof text);
    assert_string_equal(text, "[128, 10]");
    lmn_shape_format(&SCALAR, text, sizeof text);
    assert_string_equal(text, "[]");
}

static void shape_format_without_room_stays_terminated(void **state)
{
    (void)state;
    const lmn_shape matrix = matrix_of(128, 10);
    for (size_t capacity = 1; capacity < 12; capacity++) {
        char text[16];
        memset(text, 'x', sizeof text);
        lmn_shape_format(&matrix, text, capacity);
        assert_non_null(memchr(text, '\0', capacity));
        assert_int_equal(text[capacity], 'x');
    }
    char untouched = 'x';
    lmn_shape_format(&matrix, &untouched, 0);
    assert_int_equal(untouched, 'x');
}

static void shape_equal_with_other_extent_or_rank_is_false(void **state)
{
    (void)state;
    const lmn_shape a = matrix_of(3, 4);
    const lmn_shape b = matrix_of(3, 5);
    const lmn_shape c = lmn_shape_make(3, (const size_t[]){3, 4, 1});
    assert_true(lmn_shape_equal(&a, &a));
    assert_false(lmn_shape_equal(&a, &b));
    assert_false(lmn_shape_equal(&a, &c));
    assert_int_equal(lmn_shape_count(&a), 12);
    assert_int_equal(lmn_shape_count(&SCALAR), 1);
}

static void shape_broadcast_as_in_numpy_fits_or_not(void **state)
{
    (void)state;
    lmn_shape result = SCALAR;
    const lmn_shape column = matrix_of(4, 1);
    const lmn_shape row = vector_of(3);
    const lmn_shape both = matrix_of(4, 3);
    assert_true(lmn__shape_broadcast(&column, &row, &result));
    assert_true(lmn_shape_equal(&result, &both));
    assert_true(lmn__shape_broadcast(&SCALAR, &both, &result));
    assert_true(lmn_shape_equal(&result, &both));
    const lmn_shape other = vector_of(2);
    assert_false(lmn__shape_broadcast(&both, &other, &result));
}

static void shape_reduce_with_and_without_keep_drops_axes(void **state)
{
    (void)state;
    const lmn_shape shape = lmn_shape_make(3, (const size_t[]){2, 3, 4});
    const lmn_shape kept = lmn__shape_reduce(&shape, 5, true);
    const lmn_shape expected = lmn_shape_make(3, (const size_t[]){1, 3, 1});
    assert_true(lmn_shape_equal(&kept, &expected));
    const lmn_shape gone = lmn__shape_reduce(&shape, 5, false);
    const lmn_shape three = vector_of(3);
    assert_true(lmn_shape_equal(&gone, &three));
    const lmn_shape all = lmn__shape_reduce(&shape, LMN_ALL_AXES, false);
    assert_true(lmn_shape_equal(&all, &SCALAR));
}

/* Refusals. */

static void input_with_impossible_shape_is_refused(void **state)
{
    (void)state;
    const lmn_shape refused[] = {
        matrix_of(3, 0),
        lmn_shape_make(7, (const size_t[]){1, 1, 1, 1, 1, 1, 1}),
        matrix_of(SIZE_MAX / 2, 3),
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        lmn_graph *graph = check_new_graph();
        assert_null(lmn_input(graph, "images", LMN_F32, refused[i]));
        assert_failed(graph, LMN_ERR_SHAPE, "input 'images': shape [");
        lmn_graph_destroy(graph);
    }
}

static void input_without_name_or_dtype_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    assert_null(lmn_input(graph, "", LMN_F32, SCALAR));
    assert_failed(graph, LMN_ERR_ARGUMENT, "without a name");
    lmn_graph_destroy(graph);
    graph = check_new_graph();
    assert_null(lmn_input(graph, "x", (lmn_dtype)9, SCALAR));
    assert_failed(graph, LMN_ERR_ARGUMENT, "unknown dtype 9");
    lmn_graph_destroy(graph);
}

static void parameter_with_known_name_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    assert_non_null(lmn_parameter(graph, "dense1/weight", SCALAR, ZERO_INIT));
    assert_null(lmn_parameter(graph, "dense1/weight", SCALAR, ZERO_INIT));
    assert_failed(graph, LMN_ERR_ARGUMENT, "'dense1/weight' exists already");
    assert_int_equal(lmn_graph_parameter_count(graph), 1);
    lmn_graph_destroy(graph);
}

static void op_with_null_operand_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SCALAR);
    assert_null(lmn_add(graph, x, NULL));
    assert_failed(graph, LMN_ERR_ARGUMENT, "add: operand 1 is missing");
    lmn_graph_destroy(graph);
}

static void op_with_operand_of_other_graph_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    lmn_graph *other = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SCALAR);
    const lmn_tensor *y = lmn_input(other, "y", LMN_F32, SCALAR);
    assert_null(lmn_add(graph, x, y));
    assert_failed(graph, LMN_ERR_ARGUMENT, "'y') belongs to another graph");
    assert_int_equal(lmn_graph_status(other, NULL), LMN_OK);
    lmn_graph_destroy(graph);
    lmn_graph_destroy(other);
}

static void op_with_operand_of_other_dtype_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, vector_of(4));
    assert_null(lmn_add(graph, labels, labels));
    assert_failed(graph, LMN_ERR_ARGUMENT, "('labels') is i32, not f32");
    lmn_graph_destroy(graph);
}

static void graph_status_after_several_errors_is_the_first(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, matrix_of(2, 3));
    const lmn_tensor *b = lmn_input(graph, "b", LMN_F32, vector_of(4));
    const lmn_tensor *bad = lmn_add(graph, a, b);
    assert_null(bad);
    assert_failed(graph, LMN_ERR_SHAPE, "[2, 3]");
    assert_failed(graph, LMN_ERR_SHAPE, "[4]");
    assert_null(lmn_relu(graph, bad));
    assert_null(lmn_relu(graph, a));
    assert_null(lmn_input(graph, "c", LMN_F32, SCALAR));
    assert_null(lmn_parameter(graph, "", SCALAR, ZERO_INIT));
    assert_failed(graph, LMN_ERR_SHAPE, "add");

    const lmn_tensor *grad = a;
    assert_int_equal(lmn_gradients(graph, bad, &a, 1, &grad, NULL), LMN_ERR_SHAPE);
    assert_ptr_equal(grad, a);
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_plan_create(graph, &a, 1, NULL, &plan, &err), LMN_ERR_SHAPE);
    assert_null(plan);
    assert_non_null(strstr(err.message, "add"));
    lmn_graph_destroy(graph);
    lmn_graph_destroy(NULL);
}

static void tensor_name_is_given_name_or_op(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    char name[] = "images";
    const lmn_tensor *x = lmn_input(graph, name, LMN_F32, vector_of(5));
    name[0] = 'X';
    assert_string_equal(lmn_tensor_name(x), "images");
    assert_string_equal(lmn_tensor_name(lmn_relu(graph, x)), "relu");
    assert_int_equal(lmn_tensor_dtype(x), LMN_F32);
    assert_int_equal(lmn_tensor_shape(x)->dims[0], 5);
    lmn_graph_destroy(graph);
}

/* Start values. */

static void parameter_init_constant_fills_with_value(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_init init = {.kind = LMN_INIT_CONSTANT, .value = 0.25F};
    const lmn_tensor *bias = lmn_parameter(graph, "bias", vector_of(3), init);
    float values[3] = {9, 9, 9};
    lmn_parameter_init(bias, SEED, values);
    for (size_t i = 0; i < 3; i++) {
        assert_true(values[i] == 0.25F);
    }
    lmn_graph_destroy(graph);
}

static void parameter_init_normal_depends_on_seed_and_index_only(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    lmn_graph *graph = check_new_graph();
    const lmn_init init = {.kind = LMN_INIT_NORMAL, .value = 0.1F};
    const lmn_tensor *first = lmn_parameter(graph, "first", vector_of(COUNT), init);
    (void)lmn_input(graph, "between", LMN_F32, SCALAR);
    const lmn_tensor *second = lmn_parameter(graph, "second", vector_of(COUNT), init);
    assert_ptr_equal(lmn_graph_parameter(graph, 1), second);
    lmn_graph *twin_graph = check_new_graph();
    (void)lmn_input(twin_graph, "before", LMN_F32, SCALAR);
    const lmn_tensor *twin = lmn_parameter(twin_graph, "twin", vector_of(COUNT), init);

    float *a = lmn_alloc(COUNT, sizeof *a, NULL);
    float *b = lmn_alloc(COUNT, sizeof *b, NULL);
    assert_true(a != NULL && b != NULL);
    lmn_parameter_init(first, SEED, a);
    double sum = 0.0;
    double squares = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        sum += (double)a[i];
        squares += (double)a[i] * (double)a[i];
    }
    /* Four standard errors of the mean and of the variance. */
    assert_true(fabs(sum / COUNT) < 4 * 0.1 / sqrt(COUNT));
    assert_true(fabs(squares / COUNT / 0.01 - 1.0) < 4 * sqrt(2.0 / COUNT));
    lmn_parameter_init(twin, SEED, b);
    assert_memory_equal(a, b, COUNT * sizeof *a);
    lmn_parameter_init(second, SEED, b);
    assert_memory_not_equal(a, b, COUNT * sizeof *a);
    lmn_parameter_init(first, SEED + 1, b);
    assert_memory_not_equal(a, b, COUNT * sizeof *a);
    lmn_free(a);
    lmn_free(b);
    lmn_graph_destroy(graph);
    lmn_graph_destroy(twin_graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_format_of_any_rank_writes_extents),
        cmocka_unit_test(shape_format_without_room_stays_terminated),
        cmocka_unit_test(shape_equal_with_other_extent_or_rank_is_false),
        cmocka_unit_test(shape_broadcast_as_in_numpy_fits_or_not),
        cmocka_unit_test(shape_reduce_with_and_without_keep_drops_axes),
        cmocka_unit_test(input_with_impossible_shape_is_refused),
        cmocka_unit_test(input_without_name_or_dtype_is_refused),
        cmocka_unit_test(parameter_with_known_name_is_refused),
        cmocka_unit_test(op_with_null_operand_is_refused),
        cmocka_unit_test(op_with_operand_of_other_graph_is_refused),
        cmocka_unit_test(op_with_operand_of_other_dtype_is_refused),
        cmocka_unit_test(graph_status_after_several_errors_is_the_first),
        cmocka_unit_test(tensor_name_is_given_name_or_op),
        cmocka_unit_test(parameter_init_constant_fills_with_value),
        cmocka_unit_test(parameter_init_normal_depends_on_seed_and_index_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
