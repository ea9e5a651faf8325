/*
 * What every compressor family that reduces numbers in rounds must fulfil, run over the registry.
 *
 * tests/support/rounds_check.c adds: all ranks decode the same bits, and shared memory stays equal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/plan.h"
#include "rounds_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Specs beyond the bare names, which are taken from the registry. */
static const char *const more_specs[] = {
    "randk:density=1",
    "randk:density=0.0001",
    "randk:density=0.3,levels=0.03/0.7/0.3",
    "randk:density=0.2,scaled=yes",
    "int:bits=16",
    "lowrank:rank=1",
    "lowrank:rank=7,levels=3/11",
    "lowrank:alternate=yes",
    "lowrank:wire=bf16",
    "lowrank:rank=3,alternate=yes,wire=bf16",
    "lowrank:rank=2,levels=5+topk+randk:density=0.2+int:bits=16",
};

#define N_MORE_SPECS (sizeof more_specs / sizeof more_specs[0])

static const lmn_layer_shape shapes[] = {{.count = 0, .rows = 1},
                                         {.count = 0, .rows = 3},
                                         {.count = 1, .rows = 1},
                                         {.count = 2, .rows = 2},
                                         {.count = 3, .rows = 1},
                                         {.count = 17, .rows = 17},
                                         {.count = 64, .rows = 8},
                                         {.count = 323, .rows = 17},
                                         {.count = 1000, .rows = 1},
                                         {.count = 1200, .rows = 4},
                                         {.count = (size_t)33 * 65, .rows = 65}};

#define N_SHAPES (sizeof shapes / sizeof shapes[0])

/* Spec `index` to test, NULL past the last. */
static const char *spec_at(size_t index)
{
    if (index < N_MORE_SPECS) {
        return more_specs[index];
    }
    const lmn_spec_entry *entry = lmn_compressor_entry(index - N_MORE_SPECS);
    return entry == NULL ? NULL : entry->name;
}

static bool is_in_rounds(const lmn_compressor *compressor, size_t level)
{
    return lmn_compressor_combine(compressor, level) == LMN_COMBINE_ROUNDS;
}

/* Steps that are taken before a property is looked at: with one that alternates, both kinds. */
#define N_STEPS 2

/* Ranks with their vectors, after some steps. */
typedef struct subject {
    const lmn_compressor *compressor;
    check_rounds *ranks;
    const float *vectors; /* [n_ranks][count] */
    size_t n_ranks;
    size_t count;
} subject;

typedef void (*property)(const subject *s);

static void take_steps(check_rounds *ranks, const float *vectors)
{
    for (size_t step = 0; step < N_STEPS; step++) {
        check_rounds_step(ranks, vectors);
    }
}

static void for_each_kind(const lmn_compressor *compressor, size_t level, lmn_layer_shape shape,
                          property holds)
{
    for (size_t n_ranks = 1; n_ranks <= 3; n_ranks += 2) {
        float *vectors = check_new_floats(n_ranks * shape.count);
        for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
            check_fill(vectors, n_ranks * shape.count, kind, 7);
            check_rounds ranks = check_new_rounds(compressor, shape, n_ranks);
            ranks.level = level;
            take_steps(&ranks, vectors);
            const subject s = {.compressor = compressor,
                               .ranks = &ranks,
                               .vectors = vectors,
                               .n_ranks = n_ranks,
                               .count = shape.count};
            holds(&s);
            check_free_rounds(&ranks);
        }
        lmn_free(vectors);
    }
}

/* Every spec, level, shape, kind of vector, and 1 and 3 ranks. */
static void for_all(property holds)
{
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        for (size_t level = 1; level < lmn_compressor_level_count(compressor); level++) {
            for (size_t j = 0; j < N_SHAPES && is_in_rounds(compressor, level); j++) {
                for_each_kind(compressor, level, shapes[j], holds);
            }
        }
        lmn_compressor_destroy(compressor);
    }
}

static double largest_of(const float *vector, size_t count)
{
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)vector[i]));
    }
    return largest;
}

/* How far rounding in the reduction may take the average from the mean of D_i. */
static double tolerance(const subject *s)
{
    const lmn_round round = lmn_compressor_round(s->compressor, s->ranks->level, s->ranks->shape, 0,
                                                 s->ranks->step - 1);
    const double sizes = largest_of(s->vectors, s->n_ranks * s->count) +
                         largest_of(s->ranks->sent, s->n_ranks * s->count);
    const double rounding = round.reduction == LMN_REDUCTION_SUM_BF16 ? 0.02 : 1e-6;
    return rounding * sizes * (1.0 + sqrt((double)s->count) / 16.0) + 1e-37;
}

static void mean_agrees(const subject *s)
{
    const double allowed = tolerance(s);
    for (size_t i = 0; i < s->count; i++) {
        double mean = 0.0;
        for (size_t rank = 0; rank < s->n_ranks; rank++) {
            mean += (double)check_sent(s->ranks, rank)[i] / (double)s->n_ranks;
        }
        assert_true(fabs(mean - (double)s->ranks->mean[i]) <= allowed);
    }
}

static void average_is_the_mean_of_what_ranks_sent(void **state)
{
    (void)state;
    for_all(mean_agrees);
}

static void one_rank_agrees(const subject *s)
{
    for (size_t i = 0; i < s->count && s->n_ranks == 1; i++) {
        assert_true(s->ranks->sent[i] == s->ranks->mean[i]);
    }
}

static void average_of_one_rank_is_what_it_sent(void **state)
{
    (void)state;
    for_all(one_rank_agrees);
}

static void tiles_agree(const subject *s)
{
    float *whole = check_new_floats(s->count);
    for (size_t rank = 0; rank < s->n_ranks; rank++) {
        lmn_compressor_rounds_sent(s->compressor, &s->ranks->jobs[rank], 0, s->count, whole);
        check_same_bits(whole, check_sent(s->ranks, rank), s->count);
    }
    lmn_free(whole);
}

static void sent_in_tiles_is_what_was_sent(void **state)
{
    (void)state;
    for_all(tiles_agree);
}

static void weight_is_applied(const subject *s)
{
    float *weighted = check_new_floats(s->count);
    for (size_t i = 0; i < s->count; i++) {
        weighted[i] = 4.0F;
    }
    lmn_compressor_rounds_decode_add(s->compressor, &s->ranks->jobs[0], 0.25F, weighted);
    for (size_t i = 0; i < s->count; i++) {
        const double expected = 4.0 + 0.25 * (double)s->ranks->mean[i];
        assert_true(fabs((double)weighted[i] - expected) <= 1e-6 * (4.0 + fabs(expected)));
    }
    lmn_free(weighted);
}

static void decode_add_with_weight_adds_to_what_is_there(void **state)
{
    (void)state;
    for_all(weight_is_applied);
}

static void dirty_all(const subject *s, check_rounds *again)
{
    const size_t bytes = lmn_compressor_scratch_bytes(s->compressor, again->shape);
    for (size_t rank = 0; rank < s->n_ranks; rank++) {
        memset(again->jobs[rank].scratch, 0x3C, bytes);
    }
}

static void repeats(const subject *s)
{
    check_rounds again = check_new_rounds(s->compressor, s->ranks->shape, s->n_ranks);
    again.level = s->ranks->level;
    for (size_t step = 0; step < N_STEPS; step++) {
        dirty_all(s, &again);
        check_rounds_step(&again, s->vectors);
    }
    check_same_bits(again.mean, s->ranks->mean, s->count);
    check_same_bits(again.sent, s->ranks->sent, s->n_ranks * s->count);
    check_free_rounds(&again);
}

static void steps_again_with_dirty_memory_give_the_same_bits(void **state)
{
    (void)state;
    for_all(repeats);
}

static void skip_leaves_memory(const subject *s)
{
    const size_t count = lmn_compressor_memory_of(s->compressor, s->ranks->shape).shared;
    float *before = check_new_floats(count);
    float *mean = check_new_floats(s->count);
    for (size_t i = 0; i < count; i++) {
        before[i] = s->ranks->jobs[0].memory[i];
    }
    check_rounds_try(s->ranks, s->vectors);
    for (size_t i = 0; i < s->count; i++) {
        mean[i] = s->ranks->mean[i];
    }
    check_same_bits(s->ranks->jobs[0].memory, before, count);
    check_rounds_try(s->ranks, s->vectors);
    check_same_bits(s->ranks->mean, mean, s->count);
    lmn_free(before);
    lmn_free(mean);
}

static void skipped_step_changes_nothing(void **state)
{
    (void)state;
    for_all(skip_leaves_memory);
}

static void zeros_stay_zeros(const subject *s)
{
    if (largest_of(s->vectors, s->n_ranks * s->count) == 0.0) {
        assert_true(largest_of(s->ranks->mean, s->count) == 0.0);
        assert_true(largest_of(s->ranks->sent, s->n_ranks * s->count) == 0.0);
    }
}

static void zeros_average_to_zeros(void **state)
{
    (void)state;
    for_all(zeros_stay_zeros);
}

static void curve_is_plausible(const subject *s)
{
    double curve[256] = {-1.0};
    const size_t n_levels = lmn_compressor_level_count(s->compressor);
    const double energy = check_energy(s->vectors, s->count);
    assert_true(n_levels <= 256);
    lmn_compressor_error_curve(s->compressor, s->vectors, s->ranks->shape, curve,
                               s->ranks->jobs[0].scratch);
    assert_true(curve[0] == 0.0);
    for (size_t level = 1; level < n_levels; level++) {
        const double delta = lmn_compressor_contraction(s->compressor, level, s->ranks->shape);
        assert_true(isfinite(curve[level]));
        assert_true(curve[level] >= curve[level - 1] ||
                    lmn_compressor_named_level(s->compressor, level) !=
                        lmn_compressor_named_level(s->compressor, level - 1));
        assert_true(delta >= 0.0 && delta <= 1.0);
        if (delta > 0.0) {
            assert_true(curve[level] <= (1.0 - delta) * energy * (1.0 + 1e-6));
        }
    }
}

static void error_curve_grows_with_the_level_and_keeps_the_contraction(void **state)
{
    (void)state;
    for_all(curve_is_plausible);
}

static size_t wire_bytes(lmn_round round)
{
    static const size_t bytes[] = {[LMN_REDUCTION_SUM_F32] = 4,
                                   [LMN_REDUCTION_MAX_F32] = 4,
                                   [LMN_REDUCTION_SUM_I8] = 1,
                                   [LMN_REDUCTION_SUM_I16] = 2,
                                   [LMN_REDUCTION_SUM_BF16] = 2};
    return round.count * bytes[round.reduction];
}

static void payload_is_what_rounds_carry(const subject *s)
{
    const size_t level = s->ranks->level;
    size_t most = 0;
    for (uint64_t step = 0; step < 2; step++) {
        size_t bytes = 0;
        for (size_t r = 0; r < lmn_compressor_round_count(s->compressor, level); r++) {
            bytes +=
                wire_bytes(lmn_compressor_round(s->compressor, level, s->ranks->shape, r, step));
        }
        most = bytes > most ? bytes : most;
    }
    assert_int_equal(lmn_compressor_payload_bytes(s->compressor, level, s->ranks->shape), most);
}

static void payload_bytes_is_what_the_rounds_carry(void **state)
{
    (void)state;
    for_all(payload_is_what_rounds_carry);
}

/* One step of a layer that is worth several threads. */
static float *mean_with_threads(const lmn_compressor *compressor, int threads, const float *vectors,
                                lmn_layer_shape shape)
{
    float *mean = check_new_floats(2 * shape.count);
    lmn_compute_set_threads(threads);
    check_rounds ranks = check_new_rounds(compressor, shape, 2);
    check_rounds_step(&ranks, vectors);
    check_rounds_step(&ranks, vectors);
    memcpy(mean, ranks.mean, shape.count * sizeof *mean);
    memcpy(mean + shape.count, ranks.sent, shape.count * sizeof *mean);
    check_free_rounds(&ranks);
    return mean;
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    const lmn_layer_shape shape = {.count = (size_t)101 * 2111, .rows = 101};
    float *vectors = check_new_floats(2 * shape.count);
    check_fill(vectors, 2 * shape.count, CHECK_NORMAL, 3);
    for (size_t i = 0; spec_at(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(spec_at(i));
        if (is_in_rounds(compressor, lmn_compressor_static_level(compressor))) {
            float *one = mean_with_threads(compressor, 1, vectors, shape);
            for (int threads = 2; threads <= 4; threads++) {
                float *many = mean_with_threads(compressor, threads, vectors, shape);
                check_same_bits(many, one, 2 * shape.count);
                lmn_free(many);
            }
            lmn_free(one);
        }
        lmn_compressor_destroy(compressor);
    }
    lmn_compute_set_threads(1);
    lmn_free(vectors);
}

/*
 * Error feedback (ec) on f_i(x) = a_i |x - b_i|^2 / 2, ranks with their own a_i and b_i: as C is
 * linear and shared, it acts on the mean gradient as on one machine, and there is no floor.
 */
static double distance_after_training(const char *spec, size_t n_steps)
{
    enum { RANKS = 4, ROWS = 12, COUNT = ROWS * 20 };
    lmn_compressor *compressor = check_new_compressor(spec);
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    check_rounds ranks = check_new_rounds(compressor, shape, RANKS);
    float *centres = check_new_floats((size_t)RANKS * COUNT);
    float *vectors = check_new_floats((size_t)RANKS * COUNT); /* v_i = gradient + error */
    float *errors = check_new_floats((size_t)RANKS * COUNT);
    float *x = check_new_floats(COUNT);
    const float rate = 0.02F;
    check_fill(centres, (size_t)RANKS * COUNT, CHECK_NORMAL, 21);
    for (size_t step = 0; step < n_steps; step++) {
        for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
            const size_t rank = i / COUNT;
            const float curvature = 0.5F * (float)(rank + 1);
            vectors[i] = curvature * (x[i % COUNT] - centres[i]) + errors[i];
        }
        check_rounds_step(&ranks, vectors);
        for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
            errors[i] = vectors[i] - ranks.sent[i];
        }
        for (size_t i = 0; i < COUNT; i++) {
            x[i] -= rate * ranks.mean[i];
        }
    }
    double distance = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        double best = 0.0;
        for (size_t rank = 0; rank < RANKS; rank++) {
            best += 0.1 * (double)(rank + 1) * (double)centres[rank * COUNT + i];
        }
        distance += ((double)x[i] - best) * ((double)x[i] - best);
    }
    lmn_free(centres);
    lmn_free(vectors);
    lmn_free(errors);
    lmn_free(x);
    check_free_rounds(&ranks);
    lmn_compressor_destroy(compressor);
    return sqrt(distance / COUNT);
}

static void error_feedback_with_shared_linear_compression_has_no_floor(void **state)
{
    (void)state;
    const char *specs[] = {"randk:density=0.2", "lowrank:rank=2", "lowrank:rank=2,alternate=yes"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        assert_true(distance_after_training(specs[i], 2000) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(average_is_the_mean_of_what_ranks_sent),
        cmocka_unit_test(average_of_one_rank_is_what_it_sent),
        cmocka_unit_test(sent_in_tiles_is_what_was_sent),
        cmocka_unit_test(decode_add_with_weight_adds_to_what_is_there),
        cmocka_unit_test(steps_again_with_dirty_memory_give_the_same_bits),
        cmocka_unit_test(skipped_step_changes_nothing),
        cmocka_unit_test(zeros_average_to_zeros),
        cmocka_unit_test(error_curve_grows_with_the_level_and_keeps_the_contraction),
        cmocka_unit_test(payload_bytes_is_what_the_rounds_carry),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(error_feedback_with_shared_linear_compression_has_no_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
