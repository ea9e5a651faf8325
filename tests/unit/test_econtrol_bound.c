/*
 * The bound on EControl's errors: with eta = delta / (3 sqrt(1 - delta) (1 + sqrt(1 - delta))) and
 * h_i started at the first gradient,
 *
 *     sum |e_t|^2  <=  81 (1 - delta)^2 (1 + sqrt(1 - delta))^4 / (2 delta^4)  sum |g_t+1 - g_t|^2
 *
 * whatever the gradients are.
 *
 * Source: "Composite optimization with error feedback: the dual averaging approach", ICLR 2026,
 * arXiv:2510.03507.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 20, STEPS = 400, N_INPUTS = 4 };

/* Gradients that change at random, steadily, to and fro, and as the error would have it. */
static void next_gradient(size_t input, uint32_t step, const float *error, float *gradient)
{
    float noise[COUNT];
    check_fill(noise, COUNT, CHECK_NORMAL, step);
    for (size_t i = 0; i < COUNT; i++) {
        switch (input) {
        case 0:
            gradient[i] = noise[i];
            break;
        case 1:
            gradient[i] = 0.01F * (float)step * (float)(i + 1);
            break;
        case 2:
            gradient[i] = step % 2 == 0 ? (float)i : -(float)i;
            break;
        default:
            gradient[i] += error[i] >= 0.0F ? 1.0F : -1.0F;
        }
    }
}

static void assert_bounded(const char *compress, double delta, size_t input)
{
    const double root = sqrt(1.0 - delta);
    const double eta = delta / (3.0 * root * (1.0 + root));
    char feedback[64];
    (void)snprintf(feedback, sizeof feedback, "econtrol:init=grad,eta=%.9g", eta);
    check_ranks ranks = check_new_ranks(feedback, compress, 1, COUNT);
    const size_t level = ranks.level;
    float gradient[COUNT] = {0.0F};
    float before[COUNT];
    double errors = 0.0;
    double changes = 0.0;
    for (uint32_t step = 0; step < STEPS; step++) {
        const float *error = check_state(&ranks, 0, 1);
        memcpy(before, gradient, sizeof before);
        next_gradient(input, step, error, gradient);
        ranks.is_first = step == 0;
        ranks.level = ranks.is_first ? 0 : level;
        check_step(&ranks, gradient);
        errors += check_energy(check_state(&ranks, 0, 1), COUNT);
        for (size_t i = 0; i < COUNT && step > 0; i++) {
            changes += pow((double)gradient[i] - (double)before[i], 2.0);
        }
    }
    const double factor =
        81.0 * pow(1.0 - delta, 2.0) * pow(1.0 + root, 4.0) / (2.0 * pow(delta, 4.0));
    assert_true(errors > 0.0); /* else nothing would be bounded */
    if (errors > factor * changes) {
        fail_msg("%s, input %zu: errors of %g, changes of %g bear %g", compress, input, errors,
                 changes, factor * changes);
    }
    check_free_ranks(&ranks);
}

static void errors_of_econtrol_stay_below_the_changes_of_gradients(void **state)
{
    (void)state;
    for (size_t input = 0; input < N_INPUTS; input++) {
        assert_bounded("topk:density=0.1", 0.1, input);
        assert_bounded("topk:density=0.3", 0.3, input);
        assert_bounded("topk:density=0.05", 0.05, input);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_econtrol_stay_below_the_changes_of_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
