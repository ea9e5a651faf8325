/*
 * Convex problems on ranks: workers spread over ranks give the bits that one rank gives, optima are
 * those of closed forms, and mechanisms keep their identities.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_check.h"
#include "lamina/convex.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define DIMENSION_MAX 64

static lmn_convex_problem *new_problem(lmn_world *world, lmn_convex_loss loss, const char *data,
                                       size_t workers, const char *regularizer)
{
    lmn_convex_problem_options options = lmn_convex_problem_options_default();
    options.loss = loss;
    options.data = data;
    options.workers = workers;
    options.regularizer = regularizer;
    lmn_convex_problem *problem = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_convex_problem_create(world, &options, &problem, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(lmn_convex_problem_info(problem).dimension <= DIMENSION_MAX);
    return problem;
}

/* A run to its end; x [DIMENSION_MAX]. */
static lmn_convex_record run(lmn_convex_problem *problem, const lmn_convex_run_options *options,
                             double *x)
{
    lmn_convex_run *made = NULL;
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_convex_run_create(problem, options, &made, &err);
    if (status == LMN_OK) {
        status = lmn_convex_run_all(made, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s with %s: %s", options->compress, options->feedback, err.message);
    }
    memcpy(x, lmn_convex_run_x(made), lmn_convex_problem_info(problem).dimension * sizeof *x);
    const lmn_convex_record last = lmn_convex_run_last(made);
    lmn_convex_run_destroy(made);
    return last;
}

static lmn_world *new_world_of_one(void)
{
    lmn_world *alone = NULL;
    assert_int_equal(lmn_world_create(MPI_COMM_SELF, NULL, &alone, NULL), LMN_OK);
    return alone;
}

/* ------------------------------------------------------------------ any number of ranks */

typedef struct way {
    const char *compress, *feedback;
    size_t batch;
    bool is_f32;
} way;

static void assert_same_on_ranks(lmn_world *world, lmn_convex_loss loss, const char *data,
                                 size_t workers, const way *w)
{
    lmn_world *alone = new_world_of_one();
    lmn_convex_run_options options = lmn_convex_run_options_default();
    options.compress = w->compress;
    options.feedback = w->feedback;
    options.batch = w->batch;
    options.is_f32 = w->is_f32;
    options.steps = 25;
    options.lr = strcmp(w->feedback, "adef") == 0 ? 0.002 : 0.02;
    options.record_every = 8;
    options.with_optimum = true;
    double x[2][DIMENSION_MAX];
    lmn_convex_record last[2];
    lmn_world *const worlds[] = {alone, world};
    size_t dimension = 0;
    for (size_t i = 0; i < 2; i++) {
        lmn_convex_problem *problem = new_problem(worlds[i], loss, data, workers, NULL);
        dimension = lmn_convex_problem_info(problem).dimension;
        assert_int_equal(lmn_convex_problem_info(problem).workers, workers);
        last[i] = run(problem, &options, x[i]);
        lmn_convex_problem_destroy(problem);
    }
    size_t n_same = 0;
    for (size_t i = 0; i < dimension; i++) {
        n_same += x[0][i] == x[1][i] ? 1 : 0;
    }
    if (n_same < dimension || last[0].objective != last[1].objective ||
        last[0].grad_norm != last[1].grad_norm || last[0].bits_per_rank != last[1].bits_per_rank ||
        last[0].distance != last[1].distance || last[0].suboptimality != last[1].suboptimality) {
        fail_msg("%s with %s: other bits on several ranks", w->compress, w->feedback);
    }
    assert_true(last[0].bits_per_rank > 0.0 && isfinite(last[0].distance));
    lmn_world_destroy(alone);
}

static void run_workers_on_ranks_have_the_bits_of_one_rank(void **state)
{
    static const way ways[] = {
        {"dense", "none", 0, false},
        {"topk:density=0.1", "econtrol", 0, false},
        {"topk:density=0.1", "ef21_sgdm", 3, false},
        {"topk:density=0.2", "adef", 0, false},
        {"topk:density=0.1", "ec-ideal", 0, false},
        {"topk:density=0.1", "econtrol", 0, true},
        {"quant:bits=4,rounding=stochastic", "ec", 2, false},
        {"randk:density=0.2", "ec", 0, false},
        {"int", "econtrol", 0, false},
        {"lowrank:rank=1,wire=bf16", "ec", 0, true},
        {"lowrank:rank=1,alternate=yes", "econtrol", 0, false},
    };
    lmn_world *world = *state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        assert_same_on_ranks(world, LMN_CONVEX_LEAST_SQUARES, "synthetic:d=30,zeta=10,sigma=2",
                             i % 2 == 0 ? 8 : 4, &ways[i]);
    }
    assert_same_on_ranks(world, LMN_CONVEX_LOGISTIC, "synthetic:d=20,m=15,skew=0.8", 8, &ways[1]);
    assert_same_on_ranks(world, LMN_CONVEX_LOGISTIC, "synthetic:d=20,m=15,skew=0.8", 5, &ways[6]);
}

/* ------------------------------------------------------------------ optima */

/* The optimum that is known from the making of the data, and the one that Newton's method finds
   when a regulariser too weak to matter makes it forget it. */
static void optimum_of_synthetic_least_squares_is_the_closed_form(void **state)
{
    static const char data[] = "synthetic:n=4,d=30,zeta=10";
    lmn_convex_problem *known = new_problem(*state, LMN_CONVEX_LEAST_SQUARES, data, 4, NULL);
    lmn_convex_problem *found =
        new_problem(*state, LMN_CONVEX_LEAST_SQUARES, data, 4, "l2:lambda=1e-14");
    assert_true(lmn_convex_problem_info(known).optimum_is_known);
    assert_false(lmn_convex_problem_info(found).optimum_is_known);
    double a[DIMENSION_MAX];
    double b[DIMENSION_MAX];
    double gradient[DIMENSION_MAX];
    double value = 0.0;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_convex_optimum(known, a, &err), LMN_OK);
    assert_int_equal(lmn_convex_optimum(found, b, &err), LMN_OK);
    assert_int_equal(lmn_convex_evaluate(known, a, &value, gradient, &err), LMN_OK);
    for (size_t i = 0; i < 30; i++) {
        assert_true(fabs(a[i] - b[i]) < 1e-12 * (1.0 + fabs(a[i])));
        assert_true(fabs(gradient[i]) < 1e-12);
        const double distance = lmn_convex_problem_start(known)[i] - a[i];
        assert_true(fabs(distance - 1.0 / sqrt(30.0)) < 1e-12);
    }
    lmn_convex_problem_destroy(known);
    lmn_convex_problem_destroy(found);
}

static void optimum_of_logistic_problems_has_no_gradient(void **state)
{
    lmn_convex_problem *problem =
        new_problem(*state, LMN_CONVEX_LOGISTIC, "synthetic:n=4,d=20,m=30,skew=0.8", 0, NULL);
    double x[DIMENSION_MAX];
    double gradient[DIMENSION_MAX];
    double at_optimum = 0.0;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_convex_optimum(problem, x, &err), LMN_OK);
    assert_int_equal(lmn_convex_evaluate(problem, x, &at_optimum, gradient, &err), LMN_OK);
    for (size_t i = 0; i < 20; i++) {
        assert_true(fabs(gradient[i]) < 1e-14);
    }
    double at_zero = 0.0;
    memset(x, 0, sizeof x);
    assert_int_equal(lmn_convex_evaluate(problem, x, &at_zero, NULL, &err), LMN_OK);
    assert_true(fabs(at_zero - log(2.0)) < 1e-14);
    assert_true(at_optimum < at_zero);
    lmn_convex_problem_destroy(problem);
}

static void optimum_that_need_not_exist_is_refused(void **state)
{
    static const char *const regularizers[] = {"none", "nonconvex", "l2:lambda=0"};
    for (size_t i = 0; i < 3; i++) {
        lmn_convex_problem *problem =
            new_problem(*state, LMN_CONVEX_LOGISTIC, "synthetic:n=4,d=5,m=5", 0, regularizers[i]);
        double x[DIMENSION_MAX];
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_convex_optimum(problem, x, &err), LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "optim"));
        lmn_convex_problem_destroy(problem);
    }
}

/* ------------------------------------------------------------------ mechanisms */

/* Ranks change nothing of a run, as shown above, but its cost. */
static bool is_shown_on_one_rank(lmn_world *world)
{
    return lmn_world_size(world) > 1;
}

static lmn_convex_record run_squares(lmn_world *world, const char *compress, const char *feedback,
                                     double lr, uint64_t steps, double *x)
{
    lmn_convex_problem *problem =
        new_problem(world, LMN_CONVEX_LEAST_SQUARES, "synthetic:n=8,d=40,zeta=10", 8, NULL);
    lmn_convex_run_options options = lmn_convex_run_options_default();
    options.compress = compress;
    options.feedback = feedback;
    options.lr = lr;
    options.steps = steps;
    options.record_every = steps;
    options.with_optimum = true;
    const lmn_convex_record last = run(problem, &options, x);
    lmn_convex_problem_destroy(problem);
    return last;
}

static void run_econtrol_without_eta_is_ef21(void **state)
{
    double x[2][DIMENSION_MAX];
    (void)run_squares(*state, "topk:density=0.1", "econtrol:eta=0", 0.01, 100, x[0]);
    (void)run_squares(*state, "topk:density=0.1", "ef21", 0.01, 100, x[1]);
    assert_memory_equal(x[0], x[1], 40 * sizeof(double));
}

/* Dense descent on an isotropic quadratic: the error shrinks by 1 - lr L in each step. */
static void run_dense_follows_the_closed_form(void **state)
{
    const double smoothness = 9.0 * 17.0 / 48.0;
    double x[DIMENSION_MAX];
    const lmn_convex_record last = run_squares(*state, "dense", "none", 0.01, 100, x);
    const double wanted = pow(1.0 - 0.01 * smoothness, 200.0);
    assert_true(fabs(last.distance - wanted) < 1e-9 * wanted);
    assert_true(last.bits_per_rank == 100.0 * 40.0 * 64.0);
    assert_true(fabs(last.suboptimality - 0.5 * smoothness * wanted) < 1e-9);
}

/* Where workers disagree, ec stays away from the optimum, in proportion to the step; those that
   track arrive, to the last digits. */
static void run_tracking_reaches_the_optimum_and_ec_does_not(void **state)
{
    static const char *const arriving[] = {"ef21", "econtrol", "ec-ideal", "ef21_sgdm"};
    double x[DIMENSION_MAX];
    if (is_shown_on_one_rank(*state)) {
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        const lmn_convex_record last =
            run_squares(*state, "topk:density=0.1", arriving[i], 0.02, 1500, x);
        assert_true(last.distance < 1e-24);
    }
    const lmn_convex_record coarse = run_squares(*state, "topk:density=0.1", "ec", 0.02, 1500, x);
    const lmn_convex_record fine = run_squares(*state, "topk:density=0.1", "ec", 0.01, 1500, x);
    assert_true(fine.distance > 1e-4);
    assert_true(coarse.distance > 2.0 * fine.distance && coarse.distance < 8.0 * fine.distance);
    const lmn_convex_record plain = run_squares(*state, "topk:density=0.1", "none", 0.01, 1500, x);
    assert_true(plain.distance > 10.0 * coarse.distance);
}

/* ------------------------------------------------------------------ refusals */

static void create_more_ranks_than_workers_is_refused(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    if (size == 1) {
        return;
    }
    lmn_convex_problem_options options = lmn_convex_problem_options_default();
    options.data = "synthetic:d=4";
    options.workers = (size_t)size - 1;
    lmn_convex_problem *problem = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_convex_problem_create(world, &options, &problem, &err), LMN_ERR_USAGE);
    assert_null(problem);
    assert_non_null(strstr(err.message, "ranks are more than"));
}

/* Problems that are refused with a message that has all of `text`. */
static void create_what_makes_no_sense_is_refused(void **state)
{
    static const struct {
        lmn_convex_loss loss;
        lmn_status status;
        const char *data, *regularizer, *text;
        size_t workers;
    } wrong[] = {
        {LMN_CONVEX_LEAST_SQUARES, LMN_ERR_USAGE, "synthetic:zetta=3", NULL, "zeta", 8},
        {LMN_CONVEX_LEAST_SQUARES, LMN_ERR_USAGE, "synthetic:m=3", NULL, "'m'", 8},
        {LMN_CONVEX_LOGISTIC, LMN_ERR_USAGE, "synthetic:zeta=3", NULL, "'zeta'", 8},
        {LMN_CONVEX_LOGISTIC, LMN_ERR_USAGE, "synthetic:n=9", NULL, "for 9 workers, and 8", 8},
        {LMN_CONVEX_LOGISTIC, LMN_ERR_USAGE, "synthetic:d=2", "lasso", "'lasso'", 8},
        {LMN_CONVEX_LOGISTIC, LMN_ERR_USAGE, "synthetic:d=2", "l2:lamda=1", "lambda", 8},
        {LMN_CONVEX_LEAST_SQUARES, LMN_ERR_IO, "no-such-file", NULL, "no-such-file", 8},
        {LMN_CONVEX_LEAST_SQUARES, LMN_ERR_IO, "synthetic.h5", NULL, "synthetic.h5", 8},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const lmn_convex_problem_options options = {.loss = wrong[i].loss,
                                                    .data = wrong[i].data,
                                                    .regularizer = wrong[i].regularizer,
                                                    .workers = wrong[i].workers};
        lmn_convex_problem *problem = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_convex_problem_create(*state, &options, &problem, &err),
                         wrong[i].status);
        assert_null(problem);
        if (strstr(err.message, wrong[i].text) == NULL) {
            fail_msg("no %s in: %s", wrong[i].text, err.message);
        }
    }
}

static void run_create_what_makes_no_sense_is_refused(void **state)
{
    lmn_convex_run_options wrong[6];
    static const char *const texts[] = {"ef2",     "topk", "needs f64",
                                        "optimum", "2^32", "no-such-folder"};
    for (size_t i = 0; i < 6; i++) {
        wrong[i] = lmn_convex_run_options_default();
    }
    wrong[0].feedback = "ef2";
    wrong[1].compress = "topk:densty=1";
    wrong[2].feedback = "adef";
    wrong[2].is_f32 = true;
    wrong[3].feedback = "ec-ideal";
    wrong[4].steps = UINT64_C(1) << 32;
    wrong[5].out = "no-such-folder/run.h5";
    lmn_convex_problem *problem =
        new_problem(*state, LMN_CONVEX_LEAST_SQUARES, "synthetic:d=4", 8, NULL);
    for (size_t i = 0; i < 6; i++) {
        lmn_convex_run *made = NULL;
        lmn_error err = lmn_error_none();
        assert_int_not_equal(lmn_convex_run_create(problem, &wrong[i], &made, &err), LMN_OK);
        assert_null(made);
        if (strstr(err.message, texts[i]) == NULL) {
            fail_msg("no %s in: %s", texts[i], err.message);
        }
    }
    lmn_convex_problem_destroy(problem);
}

static void run_more_workers_than_a_compressor_adds_up_over_is_refused(void **state)
{
    lmn_convex_problem *problem =
        new_problem(*state, LMN_CONVEX_LEAST_SQUARES, "synthetic:d=4", 200, NULL);
    lmn_convex_run_options options = lmn_convex_run_options_default();
    options.compress = "int";
    lmn_convex_run *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_convex_run_create(problem, &options, &made, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "and there are 200"));
    assert_null(made);
    lmn_convex_problem_destroy(problem);
}

static void run_that_diverges_ends_everywhere_alike(void **state)
{
    lmn_convex_problem *problem =
        new_problem(*state, LMN_CONVEX_LEAST_SQUARES, "synthetic:d=6", 4, NULL);
    lmn_convex_run_options options = lmn_convex_run_options_default();
    options.lr = 1e3;
    options.compress = "topk:density=0.5";
    options.feedback = "ef21";
    lmn_convex_run *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_convex_run_create(problem, &options, &made, &err), LMN_OK);
    assert_int_equal(lmn_convex_run_all(made, &err), LMN_ERR_NONFINITE);
    assert_non_null(strstr(err.message, "diverges, at step"));
    for (size_t i = 0; i < 6; i++) {
        assert_true(isfinite(lmn_convex_run_x(made)[i]));
    }
    lmn_convex_run_destroy(made);
    lmn_convex_problem_destroy(problem);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_workers_on_ranks_have_the_bits_of_one_rank),
        cmocka_unit_test(optimum_of_synthetic_least_squares_is_the_closed_form),
        cmocka_unit_test(optimum_of_logistic_problems_has_no_gradient),
        cmocka_unit_test(optimum_that_need_not_exist_is_refused),
        cmocka_unit_test(run_econtrol_without_eta_is_ef21),
        cmocka_unit_test(run_dense_follows_the_closed_form),
        cmocka_unit_test(run_tracking_reaches_the_optimum_and_ec_does_not),
        cmocka_unit_test(create_more_ranks_than_workers_is_refused),
        cmocka_unit_test(create_what_makes_no_sense_is_refused),
        cmocka_unit_test(run_create_what_makes_no_sense_is_refused),
        cmocka_unit_test(run_more_workers_than_a_compressor_adds_up_over_is_refused),
        cmocka_unit_test(run_that_diverges_ends_everywhere_alike),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}
