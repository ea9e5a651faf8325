/*
 * What every error mechanism must fulfil, run over the registry.
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
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT ((size_t)67)

/* Run a check for every mechanism under its bare name. */
static void for_all(void (*holds)(const char *spec))
{
    for (size_t i = 0; lmn_feedback_entry(i) != NULL; i++) {
        holds(lmn_feedback_entry(i)->name);
    }
}

/* A tile whose states hold numbers; states after a step go elsewhere. */
typedef struct fixture {
    lmn_feedback *feedback;
    lmn_feedback_tile tile;
    float *memory; /* gradient, states before, states after, vector: [COUNT] each */
    float *state;  /* [LMN_FEEDBACK_STATES_MAX][COUNT] */
    float *next;   /* [LMN_FEEDBACK_STATES_MAX][COUNT] */
    float *vector; /* [COUNT] */
} fixture;

static fixture new_fixture(const char *spec, uint32_t seed)
{
    fixture f = {.feedback = check_new_feedback(spec),
                 .memory = check_new_floats((2 + 2 * LMN_FEEDBACK_STATES_MAX) * COUNT)};
    check_fill(f.memory, (2 + 2 * LMN_FEEDBACK_STATES_MAX) * COUNT, CHECK_NORMAL, seed);
    f.state = f.memory + COUNT;
    f.next = f.state + LMN_FEEDBACK_STATES_MAX * COUNT;
    f.vector = f.next + LMN_FEEDBACK_STATES_MAX * COUNT;
    f.tile = (lmn_feedback_tile){
        .count = COUNT, .eta = lmn_feedback_eta(f.feedback, 0.125), .gradient = f.memory};
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        f.tile.state[i] = f.state + i * COUNT;
        f.tile.next[i] = f.next + i * COUNT;
    }
    return f;
}

static void free_fixture(fixture *f)
{
    lmn_feedback_destroy(f->feedback);
    lmn_free(f->memory);
}

/* Every third element is sent, to half. */
static void send_some(const fixture *f, float *sent)
{
    for (size_t i = 0; i < COUNT; i++) {
        sent[i] = i % 3 == 0 ? 0.5F * f->vector[i] : 0.0F;
    }
}

static void description_holds(const char *spec)
{
    lmn_feedback *feedback = check_new_feedback(spec);
    const size_t n_states = lmn_feedback_state_count(feedback);
    assert_true(n_states <= LMN_FEEDBACK_STATES_MAX);
    for (size_t i = 0; i < n_states; i++) {
        assert_true(strlen(lmn_feedback_state_name(feedback, i)) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(lmn_feedback_state_name(feedback, i),
                                    lmn_feedback_state_name(feedback, j));
        }
    }
    if (lmn_feedback_tracks(feedback)) {
        assert_string_equal(lmn_feedback_state_name(feedback, 0), "tracked_gradient");
    } else {
        assert_false(lmn_feedback_starts_dense(feedback));
    }
    assert_true(lmn_feedback_eta(feedback, 0.5) >= 0.0);
    lmn_feedback_destroy(feedback);
}

static void every_mechanism_describes_its_states(void **state)
{
    (void)state;
    for_all(description_holds);
}

static void first_vector_is_the_gradient(const char *spec)
{
    fixture f = new_fixture(spec, 1);
    memset(f.state, 0, LMN_FEEDBACK_STATES_MAX * COUNT * sizeof(float));
    f.tile.first = true; /* averages begin here */
    assert_true(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(f.vector[i] == f.tile.gradient[i]);
    }
    free_fixture(&f);
}

static void form_from_zero_states_gives_the_gradient(void **state)
{
    (void)state;
    for_all(first_vector_is_the_gradient);
}

static void form_changes_only_the_vector(const char *spec)
{
    fixture f = new_fixture(spec, 2);
    fixture before = new_fixture(spec, 2);
    assert_true(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    check_same_bits(f.tile.gradient, before.tile.gradient, COUNT);
    check_same_bits(f.state, before.state, LMN_FEEDBACK_STATES_MAX * COUNT);
    free_fixture(&f);
    free_fixture(&before);
}

static void form_of_a_dropped_step_leaves_the_states(void **state)
{
    (void)state;
    for_all(form_changes_only_the_vector);
}

/* The states before the step stay, and so does memory that no state of the mechanism has. */
static void undeclared_memory_stays(const char *spec)
{
    fixture f = new_fixture(spec, 3);
    fixture before = new_fixture(spec, 3);
    float sent[COUNT];
    assert_true(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    send_some(&f, sent);
    lmn_feedback_advance(f.feedback, &f.tile, f.vector, sent);
    check_same_bits(f.tile.gradient, before.tile.gradient, COUNT);
    check_same_bits(f.state, before.state, LMN_FEEDBACK_STATES_MAX * COUNT);
    for (size_t i = lmn_feedback_state_count(f.feedback); i < LMN_FEEDBACK_STATES_MAX; i++) {
        check_same_bits(f.tile.next[i], before.tile.next[i], COUNT);
    }
    free_fixture(&f);
    free_fixture(&before);
}

static void advance_writes_the_declared_next_states_only(void **state)
{
    (void)state;
    for_all(undeclared_memory_stays);
}

static void in_place_is_the_same(const char *spec)
{
    fixture f = new_fixture(spec, 8);
    for (int whole = 0; whole < 2; whole++) {
        float sent[COUNT];
        float in_place[LMN_FEEDBACK_STATES_MAX * COUNT];
        lmn_feedback_tile tile = f.tile;
        tile.whole = whole != 0;
        assert_true(lmn_feedback_form(f.feedback, &tile, f.vector));
        send_some(&f, sent);
        const float *const said = whole != 0 ? f.vector : sent;
        lmn_feedback_advance(f.feedback, &tile, f.vector, said);
        memcpy(in_place, f.state, sizeof in_place);
        for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
            tile.next[i] = in_place + i * COUNT;
            tile.state[i] = in_place + i * COUNT;
        }
        lmn_feedback_advance(f.feedback, &tile, f.vector, said);
        check_same_bits(in_place, f.next, lmn_feedback_state_count(f.feedback) * COUNT);
    }
    free_fixture(&f);
}

static void advance_in_place_gives_the_same_bits(void **state)
{
    (void)state;
    for_all(in_place_is_the_same);
}

/* Told at once, or as entries afterwards: the same up to rounding, and a state that does not
 * rewrite needs no next array for the second way. */
static void entries_are_the_same_as_tiles(const char *spec)
{
    fixture f = new_fixture(spec, 9);
    float sent[COUNT];
    float later[LMN_FEEDBACK_STATES_MAX * COUNT];
    assert_true(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    send_some(&f, sent);
    lmn_feedback_advance(f.feedback, &f.tile, f.vector, sent);
    memcpy(later, f.state, sizeof later);
    lmn_feedback_tile tile = f.tile;
    const size_t n_states = lmn_feedback_state_count(f.feedback);
    for (size_t s = 0; s < n_states; s++) {
        tile.next[s] = lmn_feedback_rewrites(f.feedback, s) ? later + s * COUNT : NULL;
    }
    lmn_feedback_advance(f.feedback, &tile, f.vector, NULL);
    for (size_t s = 0; s < n_states; s++) {
        for (size_t i = 0; i < COUNT; i++) {
            const float corrected =
                later[s * COUNT + i] + lmn_feedback_sent_factor(f.feedback, s) * sent[i];
            assert_true(fabsf(corrected - f.tile.next[s][i]) < 1e-5F);
        }
    }
    free_fixture(&f);
}

static void advance_by_entries_equals_advance_by_tiles(void **state)
{
    (void)state;
    for_all(entries_are_the_same_as_tiles);
}

/* Cut anywhere, a layer gives the same bits. */
static void tiles_do_not_show(const char *spec)
{
    fixture whole = new_fixture(spec, 10);
    fixture cut = new_fixture(spec, 10);
    assert_true(lmn_feedback_form(whole.feedback, &whole.tile, whole.vector));
    lmn_feedback_advance(whole.feedback, &whole.tile, whole.vector, whole.vector);
    for (size_t first = 0; first < COUNT; first += 13) {
        lmn_feedback_tile tile = cut.tile;
        tile.count = COUNT - first < 13 ? COUNT - first : 13;
        tile.gradient += first;
        for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
            tile.state[i] += first;
            tile.next[i] += first;
        }
        float *const vector = cut.vector + first;
        assert_true(lmn_feedback_form(cut.feedback, &tile, vector));
        lmn_feedback_advance(cut.feedback, &tile, vector, vector);
    }
    check_same_bits(cut.memory, whole.memory, (2 + 2 * LMN_FEEDBACK_STATES_MAX) * COUNT);
    free_fixture(&whole);
    free_fixture(&cut);
}

static void form_and_advance_in_tiles_give_the_same_bits(void **state)
{
    (void)state;
    for_all(tiles_do_not_show);
}

/* At every place, since vector loops end in scalar ones. */
static void bad_numbers_are_seen(const char *spec)
{
    const float bad[] = {(float)NAN, -(float)NAN, (float)INFINITY, -(float)INFINITY};
    for (size_t place = 0; place < COUNT; place++) {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            fixture f = new_fixture(spec, 4);
            f.memory[place] = bad[i];
            assert_false(lmn_feedback_form(f.feedback, &f.tile, f.vector));
            free_fixture(&f);
        }
    }
}

static void form_nan_or_infinity_anywhere_is_seen(void **state)
{
    (void)state;
    for_all(bad_numbers_are_seen);
}

static void overflow_is_seen(const char *spec)
{
    fixture f = new_fixture(spec, 5);
    if (lmn_feedback_state_count(f.feedback) > 0) {
        const bool tracks = lmn_feedback_tracks(f.feedback);
        f.memory[9] = 3e38F;
        f.state[9] = tracks ? -3e38F : 3e38F;
        f.tile.first = true; /* an average would make the gradient smaller */
        assert_false(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    }
    free_fixture(&f);
}

static void form_sum_that_overflows_is_seen(void **state)
{
    (void)state;
    for_all(overflow_is_seen);
}

static void largest_numbers_pass(const char *spec)
{
    fixture f = new_fixture(spec, 6);
    memset(f.state, 0, LMN_FEEDBACK_STATES_MAX * COUNT * sizeof(float));
    f.memory[9] = 3.4028234e38F;
    f.memory[10] = -3.4028234e38F;
    f.memory[11] = 1e-45F;
    assert_true(lmn_feedback_form(f.feedback, &f.tile, f.vector));
    free_fixture(&f);
}

static void form_largest_finite_numbers_pass(void **state)
{
    (void)state;
    for_all(largest_numbers_pass);
}

static void empty_layer_works(const char *spec)
{
    lmn_feedback *feedback = check_new_feedback(spec);
    const lmn_feedback_tile tile = {.count = 0, .eta = 1.0};
    assert_true(lmn_feedback_form(feedback, &tile, NULL));
    lmn_feedback_advance(feedback, &tile, NULL, NULL);
    lmn_feedback_destroy(feedback);
}

static void form_and_advance_empty_layer_work(void **state)
{
    (void)state;
    for_all(empty_layer_works);
}

static bool averages(const char *spec)
{
    lmn_feedback *feedback = check_new_feedback(spec);
    bool found = false;
    for (size_t i = 0; i < lmn_feedback_state_count(feedback); i++) {
        found = found || lmn_feedback_sent_factor(feedback, i) == 0.0F;
    }
    lmn_feedback_destroy(feedback);
    return found;
}

/* Sent whole, the estimate is the mean gradient up to rounding, whatever came before, unless
 * running averages are sent. */
static void dense_steps_give_the_mean(const char *spec)
{
    const size_t n_ranks = 3;
    char plain[64];
    (void)snprintf(plain, sizeof plain, "%s%s", spec, averages(spec) ? ":momentum=1" : "");
    check_ranks ranks = check_new_ranks(plain, "dense", n_ranks, COUNT);
    float *gradients = check_new_floats(n_ranks * COUNT);
    for (uint32_t step = 0; step < 50; step++) {
        check_fill(gradients, n_ranks * COUNT, CHECK_NORMAL, step);
        check_step(&ranks, gradients);
        for (size_t i = 0; i < COUNT; i++) {
            const float mean =
                (gradients[i] + gradients[COUNT + i] + gradients[2 * COUNT + i]) / 3.0F;
            assert_true(fabsf(ranks.estimate[i] - mean) < 3e-5F);
        }
    }
    lmn_free(gradients);
    check_free_ranks(&ranks);
}

static void step_sent_whole_gives_the_mean_gradient(void **state)
{
    (void)state;
    for_all(dense_steps_give_the_mean);
}

/* Multiplying all gradients by a power of two multiplies everything by it, exactly. */
static void scaling_is_exact(const char *spec)
{
    const size_t n_ranks = 2;
    check_ranks ranks = check_new_ranks(spec, "topk:density=0.1", n_ranks, COUNT);
    check_ranks scaled = check_new_ranks(spec, "topk:density=0.1", n_ranks, COUNT);
    float *gradients = check_new_floats(n_ranks * COUNT);
    for (uint32_t step = 0; step < 40; step++) {
        check_fill(gradients, n_ranks * COUNT, CHECK_NORMAL, step);
        check_step(&ranks, gradients);
        for (size_t i = 0; i < n_ranks * COUNT; i++) {
            gradients[i] *= 0x1p20F;
        }
        check_step(&scaled, gradients);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(scaled.estimate[i] == 0x1p20F * ranks.estimate[i]);
        }
    }
    for (size_t i = 0; i < n_ranks * LMN_FEEDBACK_STATES_MAX * COUNT; i++) {
        assert_true(scaled.state[i] == 0x1p20F * ranks.state[i]);
    }
    lmn_free(gradients);
    check_free_ranks(&ranks);
    check_free_ranks(&scaled);
}

static void step_scaled_by_a_power_of_two_scales_everything(void **state)
{
    (void)state;
    for_all(scaling_is_exact);
}

/* n ranks with the same gradients are one rank; n a power of two makes the mean exact. */
static void identical_ranks_are_one(const char *spec)
{
    check_ranks one = check_new_ranks(spec, "topk:density=0.1", 1, COUNT);
    check_ranks four = check_new_ranks(spec, "topk:density=0.1", 4, COUNT);
    float *gradients = check_new_floats(4 * COUNT);
    for (uint32_t step = 0; step < 40; step++) {
        for (size_t rank = 0; rank < 4; rank++) {
            check_fill(gradients + rank * COUNT, COUNT, CHECK_NORMAL, step);
        }
        check_step(&one, gradients);
        check_step(&four, gradients);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(fabsf(four.estimate[i] - one.estimate[i]) <=
                        1e-6F * fabsf(one.estimate[i]) + 1e-6F);
        }
    }
    for (size_t rank = 0; rank < 4; rank++) {
        check_same_bits(check_state(&four, rank, 0), check_state(&one, 0, 0),
                        lmn_feedback_state_count(one.feedback) * COUNT);
    }
    lmn_free(gradients);
    check_free_ranks(&one);
    check_free_ranks(&four);
}

static void step_with_identical_ranks_equals_one_rank(void **state)
{
    (void)state;
    for_all(identical_ranks_are_one);
}

static void create_unknown_name_or_key_is_refused_by_name(void **state)
{
    (void)state;
    lmn_feedback *feedback = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_feedback_create("econtroll", &feedback, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "econtrol"));
    for (size_t i = 0; lmn_feedback_entry(i) != NULL; i++) {
        char spec[LMN_SPEC_NAME_BYTES + 16] = "";
        (void)snprintf(spec, sizeof spec, "%s:nokey=1", lmn_feedback_entry(i)->name);
        err = lmn_error_none();
        assert_int_equal(lmn_feedback_create(spec, &feedback, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "nokey"));
        assert_non_null(lmn_feedback_entry(i)->summary);
    }
    assert_null(feedback);
    lmn_feedback_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mechanism_describes_its_states),
        cmocka_unit_test(form_from_zero_states_gives_the_gradient),
        cmocka_unit_test(form_of_a_dropped_step_leaves_the_states),
        cmocka_unit_test(advance_writes_the_declared_next_states_only),
        cmocka_unit_test(advance_in_place_gives_the_same_bits),
        cmocka_unit_test(advance_by_entries_equals_advance_by_tiles),
        cmocka_unit_test(form_and_advance_in_tiles_give_the_same_bits),
        cmocka_unit_test(form_nan_or_infinity_anywhere_is_seen),
        cmocka_unit_test(form_sum_that_overflows_is_seen),
        cmocka_unit_test(form_largest_finite_numbers_pass),
        cmocka_unit_test(form_and_advance_empty_layer_work),
        cmocka_unit_test(step_sent_whole_gives_the_mean_gradient),
        cmocka_unit_test(step_scaled_by_a_power_of_two_scales_everything),
        cmocka_unit_test(step_with_identical_ranks_equals_one_rank),
        cmocka_unit_test(create_unknown_name_or_key_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
