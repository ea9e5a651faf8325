/*
 * The loops of error mechanisms: every instruction set and f64 against the definition, element by
 * element.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/feedback/loops.h"
#include "algos_check.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Longer than what is worked on at a time, and no multiple of any vector. */
#define COUNT ((size_t)1063)

/* gradient, vector, sent, states before, states after */
#define ARRAYS (3 + 2 * LMN_FEEDBACK_STATES_MAX)

/* Every combination of traits, and every kind of step. */
#define N_CASES ((size_t)2 * 2 * 3 * 2 * 2 * 3)

typedef struct loop_case {
    lmn__feedback_traits traits;
    bool whole;
    bool first;
    bool past_caches;
    unsigned sent; /* 0: NULL, 1: half of v, 2: v */
} loop_case;

static loop_case case_at(size_t index)
{
    loop_case c = {.traits = {.momentum = 0.25}};
    c.traits.tracks = index % 2 == 1;
    c.traits.feeds_back = index / 2 % 2 == 1;
    c.traits.n_averages = index / 4 % 3;
    c.first = index / 12 % 2 == 1;
    c.past_caches = index / 24 % 2 == 1;
    c.sent = (unsigned)(index / 48 % 3);
    c.whole = c.sent == 2;
    return c;
}

static float *array_of(float *memory, size_t index)
{
    return memory + index * lmn_align_up_f32(COUNT);
}

static float *new_arrays(void)
{
    float *memory = check_new_floats(ARRAYS * lmn_align_up_f32(COUNT));
    check_fill(memory, ARRAYS * lmn_align_up_f32(COUNT), CHECK_NORMAL, 5);
    return memory;
}

static lmn_feedback_tile tile_of(const loop_case *c, float *memory)
{
    lmn_feedback_tile tile = {.count = COUNT,
                              .eta = 0.125,
                              .first = c->first,
                              .whole = c->whole,
                              .past_caches = c->past_caches,
                              .gradient = array_of(memory, 0)};
    for (size_t i = 0; i < lmn__feedback_places_of(&c->traits).count; i++) {
        tile.state[i] = array_of(memory, 3 + i);
        tile.next[i] = array_of(memory, 3 + LMN_FEEDBACK_STATES_MAX + i);
    }
    return tile;
}

static const float *say_sent(const loop_case *c, float *memory)
{
    const float *const vector = array_of(memory, 1);
    float *const sent = array_of(memory, 2);
    for (size_t i = 0; i < COUNT; i++) {
        sent[i] = c->sent == 2 ? vector[i] : 0.5F * vector[i];
    }
    return c->sent == 0 ? NULL : sent;
}

static void run_variant(const lmn__feedback_loops *loops, const loop_case *c, float *memory)
{
    const lmn_feedback_tile tile = tile_of(c, memory);
    assert_true(loops->form(&c->traits, &tile, array_of(memory, 1)));
    loops->advance(&c->traits, &tile, array_of(memory, 1), say_sent(c, memory));
}

/* The definition for one element: v, and the states after the step. */
static void expect_element(const loop_case *c, float *memory, size_t i, double *v,
                           double next[LMN_FEEDBACK_STATES_MAX])
{
    const lmn__feedback_places places = lmn__feedback_places_of(&c->traits);
    const double b = c->first ? 1.0 : c->traits.momentum;
    double y = (double)array_of(memory, 0)[i];
    for (size_t a = 0; a < c->traits.n_averages; a++) {
        y = (1.0 - b) * (double)array_of(memory, 3 + places.averages + a)[i] + b * y;
        next[places.averages + a] = y;
    }
    const double h = c->traits.tracks ? (double)array_of(memory, 3)[i] : 0.0;
    const double e = c->traits.feeds_back ? (double)array_of(memory, 3 + places.error)[i] : 0.0;
    const double eta = c->traits.tracks ? 0.125 : 1.0;
    const double tracked = c->whole ? 0.0 : h;
    *v = y - tracked + eta * e;
    const double parts[] = {0.0, 0.5, 1.0};
    const double sent = parts[c->sent] * *v;
    const double next_tracked = c->traits.tracks ? tracked + sent : 0.0;
    if (c->traits.feeds_back) {
        next[places.error] = c->traits.tracks ? e + (y - next_tracked) : *v - sent;
    }
    if (c->traits.tracks) {
        next[places.tracked] = next_tracked;
    }
}

static void portable_loops_follow_the_definition(void **state)
{
    (void)state;
    size_t last = 0;
    while (lmn__feedback_loops_variant(last + 1) != NULL) {
        last++;
    }
    for (size_t k = 0; k < N_CASES; k++) {
        const loop_case c = case_at(k);
        float *memory = new_arrays();
        run_variant(lmn__feedback_loops_variant(last), &c, memory);
        for (size_t i = 0; i < COUNT; i++) {
            double v = 0.0;
            double next[LMN_FEEDBACK_STATES_MAX] = {0.0};
            expect_element(&c, memory, i, &v, next);
            assert_true(fabs((double)array_of(memory, 1)[i] - v) < 1e-5);
            for (size_t s = 0; s < lmn__feedback_places_of(&c.traits).count; s++) {
                const float *after = array_of(memory, 3 + LMN_FEEDBACK_STATES_MAX + s);
                assert_true(fabs((double)after[i] - next[s]) < 1e-5);
            }
        }
        lmn_free(memory);
    }
}

static void variants_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        const loop_case c = case_at(k);
        float *wanted = new_arrays();
        run_variant(lmn__feedback_loops_variant(0), &c, wanted);
        for (size_t v = 1; lmn__feedback_loops_variant(v) != NULL; v++) {
            float *have = new_arrays();
            run_variant(lmn__feedback_loops_variant(v), &c, have);
            check_same_bits(have, wanted, ARRAYS * lmn_align_up_f32(COUNT));
            lmn_free(have);
        }
        lmn_free(wanted);
    }
}

/* f32 numbers in f64: the definition to the last digits. */
static void f64_loops_follow_the_definition(void **state)
{
    (void)state;
    double arrays[3 + 2 * LMN_FEEDBACK_STATES_MAX][COUNT];
    for (size_t k = 0; k < N_CASES; k++) {
        const loop_case c = case_at(k);
        const size_t n_states = lmn__feedback_places_of(&c.traits).count;
        float *memory = new_arrays();
        for (size_t a = 0; a < ARRAYS; a++) {
            for (size_t i = 0; i < COUNT; i++) {
                arrays[a][i] = (double)array_of(memory, a)[i];
            }
        }
        lmn_feedback_tile_f64 tile = {.count = COUNT,
                                      .eta = 0.125,
                                      .first = c.first,
                                      .whole = c.whole,
                                      .past_caches = c.past_caches,
                                      .gradient = arrays[0]};
        for (size_t s = 0; s < n_states; s++) {
            tile.state[s] = arrays[3 + s];
            tile.next[s] = arrays[3 + LMN_FEEDBACK_STATES_MAX + s];
        }
        assert_true(lmn__feedback_loops_f64_portable.form(&c.traits, &tile, arrays[1]));
        for (size_t i = 0; i < COUNT; i++) {
            arrays[2][i] = c.sent == 2 ? arrays[1][i] : 0.5 * arrays[1][i];
        }
        lmn__feedback_loops_f64_portable.advance(&c.traits, &tile, arrays[1],
                                                 c.sent == 0 ? NULL : arrays[2]);
        for (size_t i = 0; i < COUNT; i++) {
            double v = 0.0;
            double next[LMN_FEEDBACK_STATES_MAX] = {0.0};
            expect_element(&c, memory, i, &v, next);
            assert_true(fabs(arrays[1][i] - v) < 1e-14);
            for (size_t s = 0; s < n_states; s++) {
                assert_true(fabs(tile.next[s][i] - next[s]) < 1e-13);
            }
        }
        lmn_free(memory);
    }
}

/* One pass or two: the same bits, in every instruction set. */
static void form_unsent_equals_form_and_advance(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        const loop_case c = case_at(k);
        for (size_t v = 0; lmn__feedback_loops_variant(v) != NULL && c.sent == 0; v++) {
            float *wanted = new_arrays();
            float *have = new_arrays();
            lmn_feedback_tile tile = tile_of(&c, have);
            lmn_feedback_tile twice = tile_of(&c, wanted);
            if (c.traits.tracks) { /* as for a family that sends entries */
                tile.next[0] = NULL;
                twice.next[0] = NULL;
            }
            const lmn__feedback_loops *loops = lmn__feedback_loops_variant(v);
            assert_true(loops->form(&c.traits, &twice, array_of(wanted, 1)));
            loops->advance(&c.traits, &twice, array_of(wanted, 1), NULL);
            assert_true(loops->form_unsent(&c.traits, &tile, array_of(have, 1)));
            check_same_bits(have, wanted, ARRAYS * lmn_align_up_f32(COUNT));
            lmn_free(wanted);
            lmn_free(have);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(portable_loops_follow_the_definition),
        cmocka_unit_test(variants_give_the_same_bits),
        cmocka_unit_test(form_unsent_equals_form_and_advance),
        cmocka_unit_test(f64_loops_follow_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
