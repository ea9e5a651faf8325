/*
 * Error mechanisms: values computed by hand, and the identities that each of them obeys, on
 * simulated ranks with top-k.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/feedback.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* One rank, gradient (3, 2) in every step, top-1 of two. */
static check_ranks golden_ranks(const char *spec)
{
    return check_new_ranks(spec, "topk:density=0.5", 1, 2);
}

static void assert_pair(const float *pair, float first, float second)
{
    assert_true(pair[0] == first);
    assert_true(pair[1] == second);
}

static const float golden_gradient[] = {3.0F, 2.0F};

static void step_ec_golden_outputs(void **state)
{
    (void)state;
    const float expected[][2] = {{3, 0}, {0, 4}, {6, 0}, {0, 4}};
    check_ranks ranks = golden_ranks("ec");
    for (size_t t = 0; t < 4; t++) {
        check_step(&ranks, golden_gradient);
        assert_pair(ranks.estimate, expected[t][0], expected[t][1]);
    }
    check_free_ranks(&ranks);
}

static void step_ef21_golden_tracked_gradients(void **state)
{
    (void)state;
    const float expected[][2] = {{3, 0}, {3, 2}, {3, 2}};
    check_ranks ranks = golden_ranks("ef21");
    for (size_t t = 0; t < 3; t++) {
        check_step(&ranks, golden_gradient);
        assert_pair(ranks.estimate, expected[t][0], expected[t][1]);
        assert_pair(check_state(&ranks, 0, 0), expected[t][0], expected[t][1]);
    }
    check_free_ranks(&ranks);
}

static void step_econtrol_golden_states(void **state)
{
    (void)state;
    const float tracked[][2] = {{3, 0}, {3, 3}, {3, 2.5F}, {3, 2.25F}};
    const float error[][2] = {{0, 2}, {0, 1}, {0, 0.5F}, {0, 0.25F}};
    check_ranks ranks = golden_ranks("econtrol:eta=0.5");
    for (size_t t = 0; t < 4; t++) {
        check_step(&ranks, golden_gradient);
        assert_pair(ranks.estimate, tracked[t][0], tracked[t][1]);
        assert_pair(check_state(&ranks, 0, 0), tracked[t][0], tracked[t][1]);
        assert_pair(check_state(&ranks, 0, 1), error[t][0], error[t][1]);
    }
    check_free_ranks(&ranks);
}

static void step_none_sends_the_largest_entry_for_ever(void **state)
{
    (void)state;
    check_ranks ranks = golden_ranks("none");
    for (size_t t = 0; t < 3; t++) {
        check_step(&ranks, golden_gradient);
        assert_pair(ranks.estimate, 3.0F, 0.0F);
    }
    check_free_ranks(&ranks);
}

/* Gradients of ranks that see different data: a part of their own and noise. */
static void fill_gradients(float *gradients, size_t n_ranks, size_t count, uint32_t step)
{
    float *own = check_new_floats(n_ranks * count);
    check_fill(own, n_ranks * count, CHECK_NORMAL, 1000000);
    check_fill(gradients, n_ranks * count, CHECK_NORMAL, step);
    for (size_t i = 0; i < n_ranks * count; i++) {
        gradients[i] += 3.0F * own[i];
    }
    lmn_free(own);
}

/*
 * Over any number of steps, the estimates add up to the mean gradients but for the mean error: with
 * a constant rate the iterate minus rate times error moves as if nothing had been compressed.
 */
static void assert_nothing_is_lost(const char *spec, size_t error_state)
{
    enum { RANKS = 4, COUNT = 50, STEPS = 1000 };
    check_ranks ranks = check_new_ranks(spec, "topk:density=0.1", RANKS, COUNT);
    float *gradients = check_new_floats((size_t)RANKS * COUNT);
    double wanted[COUNT] = {0.0};
    double sent[COUNT] = {0.0};
    for (uint32_t step = 0; step < STEPS; step++) {
        fill_gradients(gradients, RANKS, COUNT, step);
        check_step(&ranks, gradients);
        for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
            wanted[i % COUNT] += (double)gradients[i] / RANKS;
        }
        for (size_t i = 0; i < COUNT; i++) {
            sent[i] += (double)ranks.estimate[i];
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        double error = 0.0;
        for (size_t rank = 0; rank < RANKS; rank++) {
            error += (double)check_state(&ranks, rank, error_state)[i] / RANKS;
        }
        assert_true(fabs(sent[i] + error - wanted[i]) < 1e-4 * STEPS);
        assert_true(fabs(error) < 0.1 * STEPS); /* the identity says something */
    }
    lmn_free(gradients);
    check_free_ranks(&ranks);
}

static void steps_of_ec_and_econtrol_lose_nothing_but_the_error(void **state)
{
    (void)state;
    assert_nothing_is_lost("ec", 0);
    assert_nothing_is_lost("econtrol:eta=0.1", 1);
    assert_nothing_is_lost("econtrol:eta=auto", 1);
}

/* All ranks add the same messages: h stays the mean of the h_i, up to rounding. */
static void steps_of_tracking_keep_the_mean(void **state)
{
    (void)state;
    enum { RANKS = 3, COUNT = 60 };
    const char *const specs[] = {"ef21", "econtrol"};
    for (size_t i = 0; i < 2; i++) {
        check_ranks ranks = check_new_ranks(specs[i], "topk:density=0.05", RANKS, COUNT);
        float *gradients = check_new_floats((size_t)RANKS * COUNT);
        for (uint32_t step = 0; step < 300; step++) {
            fill_gradients(gradients, RANKS, COUNT, step);
            check_step(&ranks, gradients);
        }
        for (size_t j = 0; j < COUNT; j++) {
            const float mean = (check_state(&ranks, 0, 0)[j] + check_state(&ranks, 1, 0)[j] +
                                check_state(&ranks, 2, 0)[j]) /
                               3.0F;
            assert_true(fabsf(ranks.estimate[j] - mean) < 1e-4F);
        }
        lmn_free(gradients);
        check_free_ranks(&ranks);
    }
}

static void step_econtrol_without_eta_equals_ef21_to_the_bit(void **state)
{
    (void)state;
    enum { RANKS = 3, COUNT = 97 };
    check_ranks ef21 = check_new_ranks("ef21:init=zero", "topk:density=0.05", RANKS, COUNT);
    check_ranks other =
        check_new_ranks("econtrol:eta=0,init=zero", "topk:density=0.05", RANKS, COUNT);
    float *gradients = check_new_floats((size_t)RANKS * COUNT);
    assert_true(other.eta == 0.0);
    for (uint32_t step = 0; step < 300; step++) {
        fill_gradients(gradients, RANKS, COUNT, step);
        check_step(&ef21, gradients);
        check_step(&other, gradients);
        check_same_bits(ef21.estimate, other.estimate, COUNT);
        check_same_bits(ef21.vector, other.vector, (size_t)RANKS * COUNT);
    }
    for (size_t rank = 0; rank < RANKS; rank++) {
        check_same_bits(check_state(&ef21, rank, 0), check_state(&other, rank, 0), COUNT);
    }
    lmn_free(gradients);
    check_free_ranks(&ef21);
    check_free_ranks(&other);
}

/* Multiplied by 0 and added, the error would turn -0 into 0 and infinity into NaN. */
static void form_econtrol_without_eta_does_not_touch_the_error(void **state)
{
    (void)state;
    lmn_feedback *feedback = check_new_feedback("econtrol:eta=0");
    const float gradient[] = {-0.0F, 1.0F};
    float vector[2] = {7.0F, 7.0F};
    float tracked[2] = {0.0F, 0.5F};
    float error[2] = {1.0F, (float)INFINITY};
    const lmn_feedback_tile tile = {.count = 2, .gradient = gradient, .state = {tracked, error}};
    const float expected[] = {-0.0F, 0.5F};
    assert_true(lmn_feedback_form(feedback, &tile, vector));
    check_same_bits(vector, expected, 2);
    lmn_feedback_destroy(feedback);
}

/* Integers and dyadic factors make every sum exact, so the order of ranks cannot show. */
static void step_with_permuted_ranks_permutes_states_only(void **state)
{
    (void)state;
    enum { RANKS = 4, COUNT = 40 };
    const char *const specs[] = {"none", "ec", "ef21", "econtrol:eta=0.5"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        check_ranks ranks = check_new_ranks(specs[i], "topk:density=0.2", RANKS, COUNT);
        check_ranks turned = check_new_ranks(specs[i], "topk:density=0.2", RANKS, COUNT);
        float gradients[2 * RANKS * COUNT]; /* twice, to be read from any rank on */
        for (uint32_t step = 0; step < 6; step++) {
            check_fill(gradients, (size_t)RANKS * COUNT, CHECK_NORMAL, step);
            for (size_t j = 0; j < (size_t)RANKS * COUNT; j++) {
                gradients[j] = rintf(8.0F * gradients[j]);
                gradients[(size_t)RANKS * COUNT + j] = gradients[j];
            }
            check_step(&ranks, gradients);
            check_step(&turned, gradients + COUNT);
            for (size_t j = 0; j < COUNT; j++) {
                assert_true(turned.estimate[j] == ranks.estimate[j]);
            }
        }
        for (size_t rank = 0; rank < RANKS; rank++) {
            check_same_bits(check_state(&turned, rank, 0),
                            check_state(&ranks, (rank + 1) % RANKS, 0),
                            (size_t)COUNT * LMN_FEEDBACK_STATES_MAX);
        }
        check_free_ranks(&ranks);
        check_free_ranks(&turned);
    }
}

/* Train on noise, then on nothing for `quiet` steps; k / count is 1 / 10. */
static check_ranks quiet_down(const char *spec, size_t count, uint32_t quiet)
{
    check_ranks ranks = check_new_ranks(spec, "topk:density=0.1", 2, count);
    float *gradients = check_new_floats(2 * count);
    for (uint32_t step = 0; step < 50; step++) {
        fill_gradients(gradients, 2, count, step);
        check_step(&ranks, gradients);
    }
    memset(gradients, 0, 2 * count * sizeof gradients[0]);
    for (uint32_t step = 0; step < quiet; step++) {
        check_step(&ranks, gradients);
    }
    lmn_free(gradients);
    return ranks;
}

static double states_energy(const check_ranks *ranks)
{
    return check_energy(ranks->state, ranks->n_ranks * LMN_FEEDBACK_STATES_MAX * ranks->count);
}

static void step_zero_gradients_flush_ec_and_ef21_at_once(void **state)
{
    (void)state;
    check_ranks ec = quiet_down("ec", 100, 10);
    assert_true(states_energy(&ec) == 0.0);
    check_free_ranks(&ec);
    check_ranks ef21 = quiet_down("ef21", 100, 10);
    assert_true(states_energy(&ef21) == 0.0);
    assert_true(check_energy(ef21.estimate, 100) < 1e-8);
    check_free_ranks(&ef21);
}

static void step_zero_gradients_let_econtrol_fade(void **state)
{
    (void)state;
    check_ranks before = quiet_down("econtrol:eta=0.1", 100, 0);
    check_ranks after = quiet_down("econtrol:eta=0.1", 100, 300);
    assert_true(states_energy(&before) > 1.0);
    assert_true(states_energy(&after) < 1e-6 * states_energy(&before));
    check_free_ranks(&before);
    check_free_ranks(&after);
}

/* A dense step leaves ranks with h_i = g and no error, as the start by init=grad wants it. */
static void step_dense_from_zero_starts_tracking_at_the_gradient(void **state)
{
    (void)state;
    enum { RANKS = 2, COUNT = 30 };
    const char *const specs[] = {"ef21", "econtrol"};
    for (size_t i = 0; i < 2; i++) {
        check_ranks ranks = check_new_ranks(specs[i], "topk:density=0.1", RANKS, COUNT);
        const size_t level = ranks.level;
        float *gradients = check_new_floats((size_t)RANKS * COUNT);
        assert_true(lmn_feedback_starts_dense(ranks.feedback));
        fill_gradients(gradients, RANKS, COUNT, 0);
        ranks.level = 0;
        check_step(&ranks, gradients);
        for (size_t rank = 0; rank < RANKS; rank++) {
            check_same_bits(check_state(&ranks, rank, 0), gradients + rank * COUNT, COUNT);
        }
        ranks.level = level;
        check_step(&ranks, gradients);
        assert_true(check_energy(ranks.vector, (size_t)RANKS * COUNT) == 0.0);
        lmn_free(gradients);
        check_free_ranks(&ranks);
    }
}

/*
 * Heterogeneous quadratics f_i(x) = |x - b_i|^2 / 2: the optimum is the mean of the b_i, but no
 * rank has a zero gradient there. Returns the squared distance from it after descending.
 */
static double distance_after_descent(const char *spec)
{
    enum { RANKS = 4, COUNT = 20, STEPS = 3000 };
    check_ranks ranks = check_new_ranks(spec, "topk:density=0.1", RANKS, COUNT);
    float *centres = check_new_floats((size_t)RANKS * COUNT);
    float *gradients = check_new_floats((size_t)RANKS * COUNT);
    float x[COUNT] = {0.0F};
    check_fill(centres, (size_t)RANKS * COUNT, CHECK_NORMAL, 77);
    for (uint32_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
            gradients[i] = x[i % COUNT] - centres[i];
        }
        check_step(&ranks, gradients);
        for (size_t i = 0; i < COUNT; i++) {
            x[i] -= 0.02F * ranks.estimate[i];
        }
    }
    double distance = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        const double mean =
            ((double)centres[i] + (double)centres[COUNT + i] +
             (double)centres[(size_t)2 * COUNT + i] + (double)centres[(size_t)3 * COUNT + i]) /
            4.0;
        distance += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    lmn_free(centres);
    lmn_free(gradients);
    check_free_ranks(&ranks);
    return distance;
}

static void descent_on_different_data_ends_where_theory_says(void **state)
{
    (void)state;
    const double none = distance_after_descent("none");
    const double ec = distance_after_descent("ec");
    assert_true(none > 1e-1);
    assert_true(ec < 0.2 * none);
    assert_true(distance_after_descent("ef21") < 1e-8);
    assert_true(distance_after_descent("econtrol") < 1e-8);
    assert_true(ec > 1e-6);
}

/* A constant gradient is its own average, so averaging mechanisms act as those without. */
static void step_averages_of_a_constant_gradient_change_nothing(void **state)
{
    (void)state;
    const char *const pairs[][2] = {{"ef21_sgdm:momentum=0.25", "ef21"},
                                    {"ef21_sgdm:momentum=0.25,double=yes", "ef21"},
                                    {"econtrol:momentum=0.25", "econtrol"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        check_ranks averaging = golden_ranks(pairs[i][0]);
        check_ranks plain = golden_ranks(pairs[i][1]);
        const size_t level = plain.level;
        for (size_t t = 0; t < 6; t++) {
            averaging.level = plain.level =
                t == 0 ? 0 : level; /* dense first, as init=grad has it */
            averaging.is_first = t == 0;
            check_step(&averaging, golden_gradient);
            check_step(&plain, golden_gradient);
            assert_pair(averaging.estimate, plain.estimate[0], plain.estimate[1]);
        }
        check_free_ranks(&averaging);
        check_free_ranks(&plain);
    }
}

/* By hand: gradient (3, 2), b = 1/2, all states 0: m = (1.5, 1), (2.25, 1.5), (2.625, 1.75). */
static void step_ef21_sgdm_golden_tracked_averages(void **state)
{
    (void)state;
    const float tracked[][2] = {{1.5F, 0}, {1.5F, 1.5F}, {2.625F, 1.5F}};
    const float average[][2] = {{1.5F, 1}, {2.25F, 1.5F}, {2.625F, 1.75F}};
    check_ranks ranks = golden_ranks("ef21_sgdm:momentum=0.5,init=zero");
    for (size_t t = 0; t < 3; t++) {
        check_step(&ranks, golden_gradient);
        assert_pair(ranks.estimate, tracked[t][0], tracked[t][1]);
        assert_pair(check_state(&ranks, 0, 1), average[t][0], average[t][1]);
    }
    check_free_ranks(&ranks);
}

static void eta_is_the_value_or_the_suggestion(void **state)
{
    (void)state;
    lmn_feedback *automatic = check_new_feedback("econtrol");
    lmn_feedback *fixed = check_new_feedback("econtrol:eta=0.25");
    lmn_feedback *without = check_new_feedback("ef21");
    assert_true(lmn_feedback_eta(automatic, 0.01) == 0.01);
    assert_true(lmn_feedback_eta(fixed, 0.01) == 0.25);
    assert_true(lmn_feedback_eta(without, 0.01) == 0.0);
    lmn_feedback_destroy(automatic);
    lmn_feedback_destroy(fixed);
    lmn_feedback_destroy(without);
}

static void create_bad_values_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[][2] = {{"econtrol:eta=-0.1", "eta"},
                                  {"econtrol:eta=3", "eta"},
                                  {"econtrol:eta=big", "eta"},
                                  {"econtrol:init=one", "init"},
                                  {"ef21:init=", "init"},
                                  {"ec:eta=0.1", "no keys"},
                                  {"ef21_sgdm:momentum=0", "momentum"},
                                  {"econtrol:momentum=1.5", "momentum"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_feedback *feedback = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_feedback_create(bad[i][0], &feedback, &err), LMN_ERR_USAGE);
        assert_null(feedback);
        assert_non_null(strstr(err.message, bad[i][1]));
    }
}

static void create_init_decides_on_the_dense_start(void **state)
{
    (void)state;
    const char *const specs[] = {"ef21:init=zero", "ef21:init=grad", "econtrol:init=zero",
                                 "econtrol:init=grad"};
    for (size_t i = 0; i < 4; i++) {
        lmn_feedback *feedback = check_new_feedback(specs[i]);
        assert_int_equal(lmn_feedback_starts_dense(feedback), i % 2 == 1);
        lmn_feedback_destroy(feedback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_ec_golden_outputs),
        cmocka_unit_test(step_ef21_golden_tracked_gradients),
        cmocka_unit_test(step_econtrol_golden_states),
        cmocka_unit_test(step_none_sends_the_largest_entry_for_ever),
        cmocka_unit_test(steps_of_ec_and_econtrol_lose_nothing_but_the_error),
        cmocka_unit_test(steps_of_tracking_keep_the_mean),
        cmocka_unit_test(step_econtrol_without_eta_equals_ef21_to_the_bit),
        cmocka_unit_test(form_econtrol_without_eta_does_not_touch_the_error),
        cmocka_unit_test(step_with_permuted_ranks_permutes_states_only),
        cmocka_unit_test(step_zero_gradients_flush_ec_and_ef21_at_once),
        cmocka_unit_test(step_zero_gradients_let_econtrol_fade),
        cmocka_unit_test(step_dense_from_zero_starts_tracking_at_the_gradient),
        cmocka_unit_test(descent_on_different_data_ends_where_theory_says),
        cmocka_unit_test(step_averages_of_a_constant_gradient_change_nothing),
        cmocka_unit_test(step_ef21_sgdm_golden_tracked_averages),
        cmocka_unit_test(eta_is_the_value_or_the_suggestion),
        cmocka_unit_test(create_bad_values_are_refused_by_key),
        cmocka_unit_test(create_init_decides_on_the_dense_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
