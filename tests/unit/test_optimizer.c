/*
 * Optimisers: equal to loops in double written from the formulas, and the same for every slicing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/memory.h"
#include "lamina/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 133

/* An optimiser with parameters, a gradient and slots for them. */
typedef struct fixture {
    lmn_optimizer *optimizer;
    float param[COUNT];
    float gradient[COUNT];
    float slot[LMN_OPTIMIZER_SLOTS_MAX][COUNT];
} fixture;

static lmn_optimizer *new_optimizer(const char *spec)
{
    lmn_optimizer *optimizer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_optimizer_create(spec, &optimizer, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return optimizer;
}

static fixture *new_fixture(const char *spec)
{
    fixture *f = check_new_bytes(sizeof *f);
    f->optimizer = new_optimizer(spec);
    check_fill(f->param, COUNT, CHECK_NORMAL, 1);
    return f;
}

static void free_fixture(fixture *f)
{
    lmn_optimizer_destroy(f->optimizer);
    lmn_free(f);
}

/* Update elements first .. first + count - 1. */
static void update_slice(fixture *f, size_t first, size_t count, double lr, uint64_t update,
                         bool decay)
{
    lmn_update u = {.count = count,
                    .param = f->param + first,
                    .gradient = f->gradient + first,
                    .lr = lr,
                    .update = update,
                    .decay = decay};
    for (size_t i = 0; i < LMN_OPTIMIZER_SLOTS_MAX; i++) {
        u.slot[i] = f->slot[i] + first;
    }
    lmn_optimizer_update(f->optimizer, &u);
}

static const char *const all_specs[] = {
    "sgd",
    "sgd:momentum=0.9",
    "sgd:momentum=0.9,nesterov=1,weight_decay=0.01",
    "adamw",
    "adamw:beta1=0.8,beta2=0.95,epsilon=1e-4,weight_decay=0.1",
};

#define N_SPECS (sizeof all_specs / sizeof all_specs[0])

/* The formulas, one parameter in double. */
typedef struct reference {
    double momentum;
    double nesterov;
    double weight_decay;
    double w;
    double m;
    double v;
} reference;

static void reference_sgd(reference *r, double g, double lr)
{
    r->m = r->momentum * r->m + g;
    const double direction = r->nesterov != 0.0 ? g + r->momentum * r->m : r->m;
    r->w = r->w - lr * r->weight_decay * r->w - lr * direction;
}

static void assert_sgd_is(const char *spec, reference start)
{
    fixture *f = new_fixture(spec);
    reference r[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        r[i] = start;
        r[i].w = (double)f->param[i];
    }
    for (uint32_t step = 0; step < 200; step++) {
        const double lr = 0.05 / (1.0 + 0.1 * step);
        check_fill(f->gradient, COUNT, CHECK_NORMAL, 100 + step);
        update_slice(f, 0, COUNT, lr, step, true);
        for (size_t i = 0; i < COUNT; i++) {
            reference_sgd(&r[i], (double)f->gradient[i], lr);
            assert_true(fabs((double)f->param[i] - r[i].w) < 2e-5);
        }
    }
    free_fixture(f);
}

static void update_sgd_equals_its_formula(void **state)
{
    (void)state;
    assert_sgd_is("sgd", (reference){0});
    assert_sgd_is("sgd:momentum=0.9", (reference){.momentum = 0.9});
    assert_sgd_is("sgd:momentum=0.7,nesterov=1", (reference){.momentum = 0.7, .nesterov = 1.0});
    assert_sgd_is("sgd:weight_decay=0.3", (reference){.weight_decay = 0.3});
    assert_sgd_is("sgd:momentum=0.9,nesterov=on,weight_decay=0.1",
                  (reference){.momentum = 0.9, .nesterov = 1.0, .weight_decay = 0.1});
}

static void reference_adamw(reference *r, double g, double lr, double t)
{
    r->m = 0.9 * r->m + 0.1 * g;
    r->v = 0.999 * r->v + 0.001 * g * g;
    const double mean = r->m / (1.0 - pow(0.9, t));
    const double square = r->v / (1.0 - pow(0.999, t));
    r->w = r->w - lr * r->weight_decay * r->w - lr * mean / (sqrt(square) + 1e-8);
}

static void update_adamw_equals_its_formula(void **state)
{
    (void)state;
    fixture *f = new_fixture("adamw:weight_decay=0.2");
    reference r[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        r[i] = (reference){.w = (double)f->param[i], .weight_decay = 0.2};
    }
    for (uint32_t step = 0; step < 300; step++) {
        check_fill(f->gradient, COUNT, CHECK_NORMAL, 100 + step);
        update_slice(f, 0, COUNT, 0.01, step, true);
        for (size_t i = 0; i < COUNT; i++) {
            reference_adamw(&r[i], (double)f->gradient[i], 0.01, step + 1.0);
            assert_true(fabs((double)f->param[i] - r[i].w) < 2e-5);
        }
    }
    free_fixture(f);
}

/* Without bias correction the first step would be lr * 0.1 / sqrt(0.001). */
static void update_adamw_first_step_is_the_learning_rate(void **state)
{
    (void)state;
    fixture *f = new_fixture("adamw:weight_decay=0");
    check_fill(f->gradient, COUNT, CHECK_NORMAL, 5);
    float before[COUNT];
    memcpy(before, f->param, sizeof before);
    update_slice(f, 0, COUNT, 0.125, 0, true);
    for (size_t i = 0; i < COUNT; i++) {
        const float step = copysignf(0.125F, f->gradient[i]);
        assert_true(fabsf(before[i] - f->param[i] - step) < 1e-5F);
    }
    free_fixture(f);
}

static void update_adamw_zero_gradient_does_not_move(void **state)
{
    (void)state;
    fixture *f = new_fixture("adamw:weight_decay=0");
    float before[COUNT];
    memcpy(before, f->param, sizeof before);
    for (uint64_t step = 0; step < 5; step++) {
        update_slice(f, 0, COUNT, 0.1, step, true);
    }
    check_same_bits(before, f->param, COUNT);
    free_fixture(f);
}

static void update_adamw_very_late_is_still_finite(void **state)
{
    (void)state;
    fixture *f = new_fixture("adamw:beta2=0.999999");
    check_fill(f->gradient, COUNT, CHECK_NORMAL, 5);
    update_slice(f, 0, COUNT, 0.1, UINT64_MAX - 1, true);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(isfinite(f->param[i]));
    }
    free_fixture(f);
}

static void update_in_slices_gives_the_same_bits(void **state)
{
    (void)state;
    const size_t cuts[] = {0, 1, 4, 5, 21, 64, 100, COUNT};
    for (size_t s = 0; s < N_SPECS; s++) {
        fixture *whole = new_fixture(all_specs[s]);
        fixture *sliced = new_fixture(all_specs[s]);
        for (uint32_t step = 0; step < 10; step++) {
            check_fill(whole->gradient, COUNT, CHECK_NORMAL, step);
            check_fill(sliced->gradient, COUNT, CHECK_NORMAL, step);
            update_slice(whole, 0, COUNT, 0.1, step, true);
            for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
                update_slice(sliced, cuts[i], cuts[i + 1] - cuts[i], 0.1, step, true);
            }
            check_same_bits(whole->param, sliced->param, COUNT);
            check_same_bits(whole->slot[0], sliced->slot[0],
                            (size_t)LMN_OPTIMIZER_SLOTS_MAX * COUNT);
        }
        free_fixture(whole);
        free_fixture(sliced);
    }
}

static void update_decays_only_where_asked(void **state)
{
    (void)state;
    const char *const specs[] = {"sgd:weight_decay=0.5", "sgd:momentum=0.9,weight_decay=0.5",
                                 "adamw:weight_decay=0.5"};
    for (size_t s = 0; s < 3; s++) {
        fixture *f = new_fixture(specs[s]);
        float before[COUNT];
        memcpy(before, f->param, sizeof before);
        update_slice(f, 0, COUNT, 0.5, 0, false);
        check_same_bits(before, f->param, COUNT);
        update_slice(f, 0, COUNT, 0.5, 1, true);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(f->param[i] == before[i] - 0.25F * before[i]);
        }
        free_fixture(f);
    }
}

static void update_leaves_unused_slots_and_the_gradient(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SPECS; s++) {
        fixture *f = new_fixture(all_specs[s]);
        const size_t n_slots = lmn_optimizer_slot_count(f->optimizer);
        float gradient[COUNT];
        float zeros[COUNT] = {0.0F};
        check_fill(f->gradient, COUNT, CHECK_NORMAL, 8);
        memcpy(gradient, f->gradient, sizeof gradient);
        update_slice(f, 0, COUNT, 0.1, 0, true);
        check_same_bits(gradient, f->gradient, COUNT);
        for (size_t i = n_slots; i < LMN_OPTIMIZER_SLOTS_MAX; i++) {
            check_same_bits(f->slot[i], zeros, COUNT);
        }
        for (size_t i = 0; i < n_slots; i++) {
            assert_true(strlen(lmn_optimizer_slot_name(f->optimizer, i)) > 0);
            assert_true(f->slot[i][0] != 0.0F);
        }
        free_fixture(f);
    }
}

static void slots_are_those_of_the_method(void **state)
{
    (void)state;
    const size_t expected[N_SPECS] = {0, 1, 1, 2, 2};
    for (size_t s = 0; s < N_SPECS; s++) {
        lmn_optimizer *optimizer = new_optimizer(all_specs[s]);
        assert_int_equal(lmn_optimizer_slot_count(optimizer), expected[s]);
        if (expected[s] == 1) {
            assert_string_equal(lmn_optimizer_slot_name(optimizer, 0), "momentum");
        }
        lmn_optimizer_destroy(optimizer);
    }
    lmn_optimizer_destroy(NULL);
}

static void update_empty_slice_works(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SPECS; s++) {
        fixture *f = new_fixture(all_specs[s]);
        update_slice(f, 0, 0, 0.1, 0, true);
        free_fixture(f);
    }
}

static void create_bad_specs_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[][2] = {
        {"adam", "adamw"},
        {"sgd:momentum=1", "momentum"},
        {"sgd:momentum=-0.1", "momentum"},
        {"sgd:nesterov=1", "nesterov needs momentum"},
        {"sgd:nesterov=perhaps", "nesterov"},
        {"sgd:beta1=0.9", "beta1"},
        {"adamw:beta1=1", "beta1"},
        {"adamw:beta2=1.5", "beta2"},
        {"adamw:epsilon=0", "epsilon"},
        {"adamw:weight_decay=-1", "weight_decay"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_optimizer *optimizer = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_optimizer_create(bad[i][0], &optimizer, &err), LMN_ERR_USAGE);
        assert_null(optimizer);
        assert_non_null(strstr(err.message, bad[i][1]));
    }
}

static void entries_of_the_registry_can_be_created_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; lmn_optimizer_entry(i) != NULL; i++) {
        assert_true(strlen(lmn_optimizer_entry(i)->summary) > 0);
        lmn_optimizer_destroy(new_optimizer(lmn_optimizer_entry(i)->name));
    }
    assert_non_null(lmn_optimizer_entry(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_sgd_equals_its_formula),
        cmocka_unit_test(update_adamw_equals_its_formula),
        cmocka_unit_test(update_adamw_first_step_is_the_learning_rate),
        cmocka_unit_test(update_adamw_zero_gradient_does_not_move),
        cmocka_unit_test(update_adamw_very_late_is_still_finite),
        cmocka_unit_test(update_in_slices_gives_the_same_bits),
        cmocka_unit_test(update_decays_only_where_asked),
        cmocka_unit_test(update_leaves_unused_slots_and_the_gradient),
        cmocka_unit_test(slots_are_those_of_the_method),
        cmocka_unit_test(update_empty_slice_works),
        cmocka_unit_test(create_bad_specs_are_refused_by_key),
        cmocka_unit_test(entries_of_the_registry_can_be_created_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
