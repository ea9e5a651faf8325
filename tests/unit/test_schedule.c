/*
 * Schedules: closed forms, boundaries, and runs of no steps or one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static lmn_schedule *new_schedule(const char *spec)
{
    lmn_schedule *schedule = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_schedule_create(spec, &schedule, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return schedule;
}

static double factor(const char *spec, uint64_t step, uint64_t total_steps)
{
    lmn_schedule *schedule = new_schedule(spec);
    const double value = lmn_schedule_factor(schedule, step, total_steps);
    lmn_schedule_destroy(schedule);
    return value;
}

static void factor_constant_is_one(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 20; step++) {
        assert_true(factor("constant", step, 10) == 1.0);
    }
}

static void factor_warmup_rises_by_equal_steps_to_one(void **state)
{
    (void)state;
    const char *const specs[] = {"constant:warmup=4", "cosine:warmup=4", "step:warmup=4,every=100"};
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t step = 0; step <= 4; step++) {
            assert_true(fabs(factor(specs[i], step, 50) - 0.2 * ((double)step + 1.0)) < 1e-15);
        }
    }
}

static void factor_cosine_equals_its_formula(void **state)
{
    (void)state;
    const double pi = acos(-1.0);
    lmn_schedule *plain = new_schedule("cosine");
    lmn_schedule *full = new_schedule("cosine:warmup=100,floor=0.05");
    for (uint64_t step = 0; step < 1000; step++) {
        const double expected = 0.5 * (1.0 + cos(pi * (double)step / 1000.0));
        assert_true(fabs(lmn_schedule_factor(plain, step, 1000) - expected) < 1e-15);
    }
    for (uint64_t step = 100; step < 1000; step++) {
        const double done = (double)(step - 100) / 900.0;
        const double expected = 0.05 + 0.95 * 0.5 * (1.0 + cos(pi * done));
        assert_true(fabs(lmn_schedule_factor(full, step, 1000) - expected) < 1e-15);
    }
    lmn_schedule_destroy(plain);
    lmn_schedule_destroy(full);
}

static void factor_cosine_boundaries(void **state)
{
    (void)state;
    assert_true(factor("cosine", 0, 100) == 1.0);
    assert_true(factor("cosine:floor=0.25", 50, 100) == 0.625);
    assert_true(factor("cosine:floor=0.25", 100, 100) == 0.25);
    assert_true(factor("cosine:floor=0.25", 1000, 100) == 0.25);
    assert_true(factor("cosine:floor=1", 77, 100) == 1.0);
    assert_true(factor("cosine:warmup=10", 10, 100) == 1.0);
    assert_true(factor("cosine:warmup=200,floor=0.5", 100, 100) == 101.0 / 201.0);
    assert_true(factor("cosine:warmup=200,floor=0.5", 200, 100) == 0.5);
}

static void factor_step_drops_at_multiples(void **state)
{
    (void)state;
    const char *spec = "step:every=10,factor=0.5";
    assert_true(factor(spec, 0, 100) == 1.0);
    assert_true(factor(spec, 9, 100) == 1.0);
    assert_true(factor(spec, 10, 100) == 0.5);
    assert_true(factor(spec, 19, 100) == 0.5);
    assert_true(factor(spec, 35, 100) == 0.125);
    assert_true(factor("step:every=10,factor=0.5,floor=0.2", 35, 100) == 0.2);
    assert_true(factor("step:every=1,factor=0", 0, 100) == 1.0);
    assert_true(factor("step:every=1,factor=0", 1, 100) == 0.0);
    assert_true(factor("step:every=1", UINT64_MAX, 100) == 0.0);
}

static void factor_step_without_every_drops_at_thirds(void **state)
{
    (void)state;
    assert_true(factor("step", 32, 99) == 1.0);
    assert_true(factor("step", 33, 99) == 0.1);
    assert_true(fabs(factor("step", 66, 99) - 0.01) < 1e-17);
    assert_true(factor("step", 33, 100) == 1.0);
    assert_true(factor("step", 34, 100) == 0.1);
}

static void factor_no_steps_or_one_is_finite(void **state)
{
    (void)state;
    const char *const specs[] = {"constant",
                                 "cosine",
                                 "step",
                                 "constant:warmup=3",
                                 "cosine:warmup=3,floor=0.1",
                                 "step:warmup=3,every=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        for (uint64_t total = 0; total < 3; total++) {
            for (uint64_t step = 0; step < 6; step++) {
                const double value = factor(specs[i], step, total);
                assert_true(value >= 0.0 && value <= 1.0);
            }
        }
    }
    assert_true(factor("cosine", 0, 1) == 1.0);
    assert_true(factor("step", 0, 1) == 1.0);
    assert_true(factor("step", 0, 0) == 1.0);
}

/* In range and not rising, over lengths at which rounding might show. */
static void factor_cosine_never_rises_or_leaves_its_range(void **state)
{
    (void)state;
    lmn_schedule *schedule = new_schedule("cosine");
    for (uint64_t total = 1; total < 400; total += 7) {
        double last = 1.0;
        for (uint64_t step = 0; step <= total; step++) {
            const double value = lmn_schedule_factor(schedule, step, total);
            assert_true(value >= 0.0 && value <= last);
            last = value;
        }
        assert_true(last == 0.0);
    }
    lmn_schedule_destroy(schedule);
}

static void create_bad_specs_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[][2] = {
        {"cosinus", "cosine"},          {"cosine:floor=2", "floor"},
        {"cosine:every=3", "every"},    {"constant:floor=0", "floor"},
        {"step:every=0", "every"},      {"step:factor=1.5", "factor"},
        {"cosine:warmup=-3", "warmup"}, {"step:warmup=1.5", "warmup"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_schedule *schedule = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_schedule_create(bad[i][0], &schedule, &err), LMN_ERR_USAGE);
        assert_null(schedule);
        assert_non_null(strstr(err.message, bad[i][1]));
    }
    lmn_schedule_destroy(NULL);
}

static void entries_of_the_registry_can_be_created_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; lmn_schedule_entry(i) != NULL; i++) {
        assert_true(strlen(lmn_schedule_entry(i)->summary) > 0);
        lmn_schedule_destroy(new_schedule(lmn_schedule_entry(i)->name));
    }
    assert_non_null(lmn_schedule_entry(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factor_constant_is_one),
        cmocka_unit_test(factor_warmup_rises_by_equal_steps_to_one),
        cmocka_unit_test(factor_cosine_equals_its_formula),
        cmocka_unit_test(factor_cosine_boundaries),
        cmocka_unit_test(factor_step_drops_at_multiples),
        cmocka_unit_test(factor_step_without_every_drops_at_thirds),
        cmocka_unit_test(factor_no_steps_or_one_is_finite),
        cmocka_unit_test(factor_cosine_never_rises_or_leaves_its_range),
        cmocka_unit_test(create_bad_specs_are_refused_by_key),
        cmocka_unit_test(entries_of_the_registry_can_be_created_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
