/*
 * Functions of convex problems: gradients against central differences, curvature against
 * differences of gradients, sparse rows against dense ones, drawn rows against all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"
#include "train/convex_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 13, FEATURES = 7, CLASSES = 3, DIMENSION_MAX = FEATURES * CLASSES };

/* A problem of one worker on the stack; every third number of its matrix is 0. */
typedef struct fixture {
    lmn_convex_problem problem;
    lmn__convex_part part;
    double dense[ROWS * FEATURES], answers[ROWS], outputs[2 * CLASSES];
    size_t starts[ROWS + 1];
    uint32_t indices[ROWS * FEATURES];
    double values[ROWS * FEATURES];
    double x[DIMENSION_MAX];
} fixture;

static double draw(uint32_t what, size_t index)
{
    const lmn_stream stream = {.seed = 3, .layer = what, .purpose = LMN_STREAM_USER};
    float normal = 0.0F;
    lmn_stream_normal(&stream, index, 1, &normal);
    return (double)normal;
}

static void fill_data(fixture *f)
{
    size_t n = 0;
    for (size_t row = 0; row < ROWS; row++) {
        f->starts[row] = n;
        for (size_t i = 0; i < FEATURES; i++) {
            const size_t place = row * FEATURES + i;
            f->dense[place] = place % 3 == 0 ? 0.0 : draw(0, place);
            if (place % 3 != 0) {
                f->indices[n] = (uint32_t)i;
                f->values[n++] = f->dense[place];
            }
        }
    }
    f->starts[ROWS] = n;
}

/* classes: 0 for least squares. */
static void make(fixture *f, size_t classes, lmn__convex_regularizer regularizer,
                 lmn_convex_scale scale)
{
    *f = (fixture){0};
    fill_data(f);
    f->part = (lmn__convex_part){.matrix = {.rows = ROWS, .columns = FEATURES, .dense = f->dense},
                                 .answers = f->answers};
    const size_t outputs = classes > 2 ? classes : 1;
    f->problem =
        (lmn_convex_problem){.loss = classes == 0 ? LMN_CONVEX_LEAST_SQUARES : LMN_CONVEX_LOGISTIC,
                             .workers = 1,
                             .own = {.count = 1},
                             .features = FEATURES,
                             .classes = classes,
                             .outputs = outputs,
                             .dimension = outputs * FEATURES,
                             .scale = scale,
                             .regularizer = regularizer,
                             .lambda = 0.3,
                             .parts = &f->part,
                             .outputs_memory = f->outputs};
    for (size_t row = 0; row < ROWS; row++) {
        const double side = row % 2 == 0 ? 1.0 : -1.0;
        const double class = classes == 2 ? side : (double)(row % CLASSES);
        f->answers[row] = classes == 0 ? draw(1, row) : class;
    }
    for (size_t i = 0; i < f->problem.dimension; i++) {
        f->x[i] = draw(2, i);
    }
}

static const lmn__convex_draw all_rows = {.batch = 0};

static double value_at(const fixture *f, const double *x)
{
    double gradient[DIMENSION_MAX];
    return lmn__convex_gradient(&f->problem, 0, &all_rows, x, gradient);
}

static void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * (1.0 + fabs(b)))) {
        fail_msg("%.17g is not %.17g", a, b);
    }
}

static void assert_gradient_is_right(fixture *f)
{
    const double h = 1e-5;
    double gradient[DIMENSION_MAX];
    (void)lmn__convex_gradient(&f->problem, 0, &all_rows, f->x, gradient);
    for (size_t i = 0; i < f->problem.dimension; i++) {
        const double at = f->x[i];
        f->x[i] = at + h;
        const double above = value_at(f, f->x);
        f->x[i] = at - h;
        const double below = value_at(f, f->x);
        f->x[i] = at;
        assert_near(gradient[i], (above - below) / (2.0 * h), 1e-8);
    }
}

static void assert_curvature_is_right(fixture *f)
{
    const double h = 1e-5;
    double direction[DIMENSION_MAX] = {0};
    double product[DIMENSION_MAX] = {0};
    double moved[DIMENSION_MAX] = {0};
    double above[DIMENSION_MAX];
    double below[DIMENSION_MAX];
    const size_t n = f->problem.dimension;
    for (size_t i = 0; i < n; i++) {
        direction[i] = draw(4, i);
    }
    lmn__convex_curve(&f->problem, 0, f->x, direction, product);
    for (size_t i = 0; i < n; i++) {
        moved[i] = f->x[i] + h * direction[i];
    }
    (void)lmn__convex_gradient(&f->problem, 0, &all_rows, moved, above);
    for (size_t i = 0; i < n; i++) {
        moved[i] = f->x[i] - h * direction[i];
    }
    (void)lmn__convex_gradient(&f->problem, 0, &all_rows, moved, below);
    for (size_t i = 0; i < n; i++) {
        assert_near(product[i], (above[i] - below[i]) / (2.0 * h), 1e-7);
    }
}

/* Calls `check` with every loss, regulariser and scale. */
static void with_all_problems(void (*check)(fixture *f))
{
    static const size_t classes[] = {0, 2, CLASSES};
    for (size_t c = 0; c < 3; c++) {
        for (int regularizer = LMN__CONVEX_NONE; regularizer <= LMN__CONVEX_NONCONVEX;
             regularizer++) {
            fixture f;
            make(&f, classes[c], (lmn__convex_regularizer)regularizer, LMN_CONVEX_SCALE_SUM);
            check(&f);
            make(&f, classes[c], (lmn__convex_regularizer)regularizer, LMN_CONVEX_SCALE_MEAN);
            check(&f);
        }
    }
}

static void gradient_is_that_of_central_differences(void **state)
{
    (void)state;
    with_all_problems(assert_gradient_is_right);
}

static void curve_is_that_of_differences_of_gradients(void **state)
{
    (void)state;
    with_all_problems(assert_curvature_is_right);
}

static void assert_sparse_equals_dense(fixture *f)
{
    double dense[DIMENSION_MAX];
    double sparse[DIMENSION_MAX];
    const double dense_value = lmn__convex_gradient(&f->problem, 0, &all_rows, f->x, dense);
    f->part.matrix = (lmn__convex_matrix){.rows = ROWS,
                                          .columns = FEATURES,
                                          .starts = f->starts,
                                          .indices = f->indices,
                                          .values = f->values};
    const double sparse_value = lmn__convex_gradient(&f->problem, 0, &all_rows, f->x, sparse);
    assert_near(sparse_value, dense_value, 1e-14);
    for (size_t i = 0; i < f->problem.dimension; i++) {
        assert_near(sparse[i], dense[i], 1e-13);
    }
}

static void gradient_of_sparse_rows_is_that_of_dense_ones(void **state)
{
    (void)state;
    with_all_problems(assert_sparse_equals_dense);
}

/* Values by hand: one row (1, 2), answer 3. */
static void gradient_of_one_row_has_the_values_of_the_formula(void **state)
{
    (void)state;
    fixture f;
    make(&f, 0, LMN__CONVEX_L2, LMN_CONVEX_SCALE_SUM);
    f.part.matrix.rows = 1;
    f.part.matrix.columns = 2;
    f.problem.features = 2;
    f.problem.dimension = 2;
    f.dense[0] = 1.0;
    f.dense[1] = 2.0;
    f.answers[0] = 3.0;
    double gradient[2];
    const double x[] = {2.0, 1.0};
    const double value = lmn__convex_gradient(&f.problem, 0, &all_rows, x, gradient);
    assert_near(value, 0.5 * 1.0 + 0.15 * 5.0, 1e-15);
    assert_near(gradient[0], 1.0 + 0.6, 1e-15);
    assert_near(gradient[1], 2.0 + 0.3, 1e-15);
}

static void gradient_far_out_does_not_overflow(void **state)
{
    (void)state;
    fixture f;
    for (size_t classes = 2; classes <= CLASSES; classes++) {
        make(&f, classes, LMN__CONVEX_NONE, LMN_CONVEX_SCALE_MEAN);
        double gradient[DIMENSION_MAX];
        for (size_t i = 0; i < f.problem.dimension; i++) {
            f.x[i] *= 1e4;
        }
        const double value = lmn__convex_gradient(&f.problem, 0, &all_rows, f.x, gradient);
        assert_true(isfinite(value) && value > 1e3);
        for (size_t i = 0; i < f.problem.dimension; i++) {
            assert_true(isfinite(gradient[i]));
        }
    }
}

/* The mean over many draws; its deviation falls as the root of their number. */
static void gradient_of_drawn_rows_is_right_in_the_mean(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    fixture f;
    make(&f, CLASSES, LMN__CONVEX_L2, LMN_CONVEX_SCALE_SUM);
    double whole[DIMENSION_MAX];
    double mean[DIMENSION_MAX] = {0};
    (void)lmn__convex_gradient(&f.problem, 0, &all_rows, f.x, whole);
    for (uint32_t step = 0; step < DRAWS; step++) {
        const lmn__convex_draw drawn = {.batch = 5, .seed = 9, .step = step};
        double gradient[DIMENSION_MAX];
        (void)lmn__convex_gradient(&f.problem, 0, &drawn, f.x, gradient);
        for (size_t i = 0; i < f.problem.dimension; i++) {
            mean[i] += gradient[i] / DRAWS;
        }
    }
    for (size_t i = 0; i < f.problem.dimension; i++) {
        assert_near(mean[i], whole[i], 0.1);
    }
}

static void gradient_of_drawn_rows_depends_on_seed_step_and_worker(void **state)
{
    (void)state;
    fixture f;
    make(&f, 0, LMN__CONVEX_NONE, LMN_CONVEX_SCALE_SUM);
    const lmn__convex_draw draws[] = {{.batch = 3, .seed = 1, .step = 1},
                                      {.batch = 3, .seed = 2, .step = 1},
                                      {.batch = 3, .seed = 1, .step = 2},
                                      {.batch = 3, .seed = 1, .step = 1}};
    double first[DIMENSION_MAX];
    (void)lmn__convex_gradient(&f.problem, 0, &draws[0], f.x, first);
    for (size_t i = 0; i < 4; i++) {
        double again[DIMENSION_MAX];
        f.problem.own.first = i == 3 ? 1 : 0;
        (void)lmn__convex_gradient(&f.problem, 0, &draws[i], f.x, again);
        size_t n_same = 0;
        for (size_t k = 0; k < FEATURES; k++) {
            n_same += first[k] == again[k] ? 1 : 0;
        }
        assert_true((n_same == FEATURES) == (i == 0));
    }
}

static void noise_has_the_stated_energy(void **state)
{
    (void)state;
    enum { DRAWS = 4000 };
    fixture f;
    make(&f, CLASSES, LMN__CONVEX_NONE, LMN_CONVEX_SCALE_SUM);
    f.problem.sigma = 3.0;
    double energy = 0.0;
    for (uint32_t step = 0; step < DRAWS; step++) {
        const lmn__convex_draw drawn = {.seed = 4, .step = step};
        double noise[DIMENSION_MAX] = {0};
        lmn__convex_add_noise(&f.problem, 0, &drawn, noise);
        energy += lmn__convex_dot(noise, noise, f.problem.dimension) / DRAWS;
    }
    assert_near(energy, 9.0, 0.03);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_that_of_central_differences),
        cmocka_unit_test(curve_is_that_of_differences_of_gradients),
        cmocka_unit_test(gradient_of_sparse_rows_is_that_of_dense_ones),
        cmocka_unit_test(gradient_of_one_row_has_the_values_of_the_formula),
        cmocka_unit_test(gradient_far_out_does_not_overflow),
        cmocka_unit_test(gradient_of_drawn_rows_is_right_in_the_mean),
        cmocka_unit_test(gradient_of_drawn_rows_depends_on_seed_step_and_worker),
        cmocka_unit_test(noise_has_the_stated_energy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
