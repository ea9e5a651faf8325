/*
 * The ways in which entries that every rank chooses itself become one sum.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/owners_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 8, LAYER = 1 };

static lmn_reducer *new_reducer(lmn_world *world, const char *compress, const char *feedback,
                                const char *collective)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, "uniform");
    options.collective = collective;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

static const char *const specs[] = {"topk:density=0.05", "topk:density=0.05,values=bf16",
                                    "topk:density=0.03,values=q8", "topk:density=0.15",
                                    "topk:density=0.04,reuse=yes"};
static const char *const mechanisms[] = {"none", "ec", "ef21:init=zero",
                                         "econtrol:init=zero,eta=0.05", "econtrol"};

enum { N_SPECS = sizeof specs / sizeof specs[0], N_MECHANISMS = 5 };

typedef void (*property)(lmn_world *world, const char *compress, const char *feedback);

static void for_all(property holds)
{
    lmn_world *world = check_new_world();
    for (size_t i = 0; i < N_SPECS; i++) {
        for (size_t j = 0; j < N_MECHANISMS; j++) {
            holds(world, specs[i], mechanisms[j]);
        }
    }
    lmn_world_destroy(world);
}

/* ------------------------------------------------------------------ merge */

static void merge_is_gather(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer *gather = new_reducer(world, compress, feedback, "gather");
    lmn_reducer *merge = new_reducer(world, compress, feedback, "merge");
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_true(check_run_step(gather, world, step).applied);
        assert_true(check_run_step(merge, world, step).applied);
        assert_int_equal(lmn_reducer_level(gather, LAYER), lmn_reducer_level(merge, LAYER));
        if (check_estimate_hash(gather) != check_estimate_hash(merge) ||
            check_state_hash(gather) != check_state_hash(merge)) {
            fail_msg("%s with %s differ in step %d", compress, feedback, (int)step);
        }
        check_same_everywhere(world, check_estimate_hash(merge));
    }
    lmn_reducer_destroy(gather);
    lmn_reducer_destroy(merge);
}

static void merge_gives_the_bits_of_gather(void **state)
{
    (void)state;
    for_all(merge_is_gather);
}

/* A step in which layer LAYER has what `fill` says and all else is zero. */
typedef float (*filling)(int rank, int size, size_t i);

static void run_filled(lmn_reducer *reducer, lmn_world *world, filling fill)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            gradient[i] =
                layer == LAYER ? fill(lmn_world_rank(world), lmn_world_size(world), i) : 0.0F;
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_true(report.applied);
}

/* Where every number of a step is sent, the estimate is the mean in rank order. */
static void assert_mean_in_rank_order(const lmn_reducer *reducer, int size, filling fill)
{
    const float *estimate = lmn_reducer_estimate(reducer, LAYER);
    const float weight = 1.0F / (float)size;
    for (size_t i = 0; i < check_counts[LAYER]; i++) {
        float sum = 0.0F;
        for (int rank = 0; rank < size; rank++) {
            sum += weight * fill(rank, size, i);
        }
        assert_memory_equal(&estimate[i], &sum, sizeof sum);
    }
}

static const lmn__owners *owners_of(const lmn_reducer *reducer, size_t layer)
{
    const lmn__bucket *bucket = &reducer->buckets[reducer->layers[layer].bucket];
    const lmn__exchange *exchange = bucket->exchanges[bucket->n_exchanges - 1];
    assert_true(exchange->kind->start == lmn__owners_start);
    return (const lmn__owners *)exchange;
}

/* How many owners published their region whole. */
static int whole_regions(const lmn_reducer *reducer, int size)
{
    const lmn__owners *owners = owners_of(reducer, LAYER);
    int whole = 0;
    for (int owner = 0; owner < size; owner++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_allgatherv_message(owners->gather, owner, &bytes);
        assert_true(bytes >= sizeof(lmn__owners_header) + sizeof(lmn__part_header));
        const lmn__received_part part =
            lmn__owners_part_at(&owners->layers[0], owner, message, sizeof(lmn__owners_header));
        whole += part.head.form == LMN__PART_WHOLE ? 1 : 0;
    }
    return whole;
}

static float number(int rank, size_t i)
{
    return (float)(i % 97 + 1) / 7.0F - (float)rank;
}

static float disjoint(int rank, int size, size_t i)
{
    return i % (size_t)size == (size_t)rank ? number(-1, i) : 0.0F;
}

static float common(int rank, int size, size_t i)
{
    return i % (size_t)(size + 1) == 0 ? number(rank - 20, i) : 0.0F;
}

/* Disjoint entries of all ranks fill every region; common ones leave them as sparse as one rank's
 * are. */
static void merge_publishes_whole_regions_only_where_that_is_shorter(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    char spec[64];
    (void)snprintf(spec, sizeof spec, "topk:density=%.9g", size > 1 ? 1.0 / size + 0.01 : 0.6);
    const struct {
        filling fill;
        int whole;
    } cases[] = {{disjoint, size}, {common, 0}};
    for (size_t i = size > 1 ? 0 : 1; i < 2; i++) {
        lmn_reducer *reducer = new_reducer(world, spec, "none", "merge");
        run_filled(reducer, world, cases[i].fill);
        assert_true(reducer->layers[LAYER].travel_level != 0);
        assert_int_equal(whole_regions(reducer, size), cases[i].whole);
        assert_mean_in_rank_order(reducer, size, cases[i].fill);
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static float nothing_or_nearly_all(int rank, int size, size_t i)
{
    const bool full = rank % 2 == 1 || size == 1;
    return full && i < check_counts[LAYER] * 9 / 10 ? number(rank + 100, i) : 0.0F;
}

static float nothing(int rank, int size, size_t i)
{
    (void)rank;
    (void)size;
    (void)i;
    return 0.0F;
}

static void merge_adds_up_empty_and_full_ranks(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const filling cases[] = {nothing_or_nearly_all, nothing};
    for (size_t i = 0; i < 2; i++) {
        lmn_reducer *reducer = new_reducer(world, "topk:density=0.9", "none", "merge");
        run_filled(reducer, world, cases[i]);
        assert_true(reducer->layers[LAYER].travel_level != 0);
        assert_mean_in_rank_order(reducer, lmn_world_size(world), cases[i]);
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void merge_sends_about_what_the_plan_predicts(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "none", "merge");
    uint64_t sent = check_run_step(reducer, world, 0).bytes_sent;
    uint64_t expected = 0;
    for (size_t i = 1; i <= 2; i++) {
        expected += lmn__reducer_wire_bytes(reducer, lmn__layer_shape(&reducer->layers[i]),
                                            reducer->layers[i].travel_level);
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_u64(world, &sent, 1, &err), LMN_OK);
    if (size == 1) {
        assert_true(sent == 0);
    } else {
        /* Headers, and the small layers of 114 numbers and their padding, come on top. */
        const uint64_t beside = (uint64_t)(size * (size - 1)) * 1400;
        assert_true(sent <= expected + expected / 10 + beside);
        assert_true(sent >= expected / 2);
    }
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* ------------------------------------------------------------------ balanced */

static void balanced_ranks_agree(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer *reducer = new_reducer(world, compress, feedback, "balanced");
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_true(check_run_step(reducer, world, step).applied);
        check_same_everywhere(world, check_estimate_hash(reducer));
    }
    lmn_reducer_destroy(reducer);
}

static void balanced_estimates_are_identical_on_all_ranks(void **state)
{
    (void)state;
    for_all(balanced_ranks_agree);
}

static int by_magnitude(const void *a, const void *b)
{
    const float x = fabsf(*(const float *)a);
    const float y = fabsf(*(const float *)b);
    return (x < y) - (x > y);
}

/* All but the k largest become 0; no two magnitudes are equal. */
static void keep_largest(float *values, size_t count, size_t k)
{
    float *sorted = calloc(count, sizeof *sorted);
    assert_non_null(sorted);
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_magnitude);
    const float last = fabsf(sorted[k - 1]);
    free(sorted);
    for (size_t i = 0; i < count; i++) {
        values[i] = fabsf(values[i]) >= last ? values[i] : 0.0F;
    }
}

/* The first step finds its threshold exactly: the estimate is the top k of the sum of top k. */
static void balanced_first_step_is_the_top_k_of_the_sum(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    const size_t count = check_counts[LAYER];
    const size_t k = (count * 5 + 99) / 100;
    float *sum = calloc(count, sizeof *sum);
    float *gradient = calloc(count, sizeof *gradient);
    assert_non_null(sum);
    assert_non_null(gradient);
    const float weight = 1.0F / (float)size;
    for (int rank = 0; rank < size; rank++) {
        check_fill_gradient(rank, LAYER, 0, gradient);
        keep_largest(gradient, count, k);
        for (size_t i = 0; i < count; i++) {
            sum[i] += weight * gradient[i];
        }
    }
    keep_largest(sum, count, k);
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "none", "balanced");
    (void)check_run_step(reducer, world, 0);
    assert_memory_equal(lmn_reducer_estimate(reducer, LAYER), sum, count * sizeof *sum);
    free(sum);
    free(gradient);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* The sum over ranks of a layer's error, and of the magnitudes that rounding is measured by. */
static void sum_errors(lmn_world *world, const lmn_reducer *reducer, double *errors)
{
    const lmn__layer *layer = &reducer->layers[LAYER];
    for (size_t i = 0; i < layer->count; i++) {
        errors[i] = (double)layer->state[0][i];
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(world, errors, layer->count, &err), LMN_OK);
}

/* Of a step: sum e_i (new) + n D = sum v_i, where v_i = g_i + e_i (old). */
static void balanced_errors_keep_what_did_not_survive(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    const size_t count = check_counts[LAYER];
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "ec", "balanced");
    double *before = calloc(count, sizeof *before);
    double *after = calloc(count, sizeof *after);
    assert_non_null(before);
    assert_non_null(after);
    for (uint64_t step = 0; step < 40; step++) {
        sum_errors(world, reducer, before);
        assert_true(check_run_step(reducer, world, step).applied);
        sum_errors(world, reducer, after);
        double *mean = check_mean_gradient(size, LAYER, step);
        const float *estimate = lmn_reducer_estimate(reducer, LAYER);
        for (size_t i = 0; i < count; i++) {
            const double formed = before[i] + size * mean[i];
            const double kept = after[i] + size * (double)estimate[i];
            const double scale = fabs(before[i]) + fabs(after[i]) + 100.0 * size;
            assert_true(fabs(formed - kept) <= 1e-6 * scale);
        }
        free(mean);
    }
    free(before);
    free(after);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static size_t count_nonzero(const float *values, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += values[i] != 0.0F ? 1 : 0;
    }
    return n;
}

/* Exactly k where the threshold is found anew, between k / 2 and 2 k of the others' mean. */
static void balanced_about_k_entries_survive(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const size_t count = check_counts[LAYER];
    const size_t k = (count * 5 + 99) / 100;
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "ec", "balanced");
    size_t all = 0;
    int n_exact = 0;
    for (uint64_t step = 0; step < 70; step++) {
        const bool exact = owners_of(reducer, LAYER)->layers[0].state[1] == 0;
        assert_true(check_run_step(reducer, world, step).applied);
        const size_t n = count_nonzero(lmn_reducer_estimate(reducer, LAYER), count);
        assert_true(exact || step > 0);
        assert_true(!exact || n == k);
        all += n;
        n_exact += exact ? 1 : 0;
    }
    assert_true(n_exact >= 2 && n_exact < 35);
    assert_true(all >= 70 * k / 2 && all <= 70 * 2 * k);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static float crowded(int rank, int size, size_t i)
{
    (void)size;
    return i < 200 ? number(rank - 20, i) : 1e-3F * number(0, i);
}

/* Entries crowd in the first elements: so do the regions after the first step. */
static void balanced_regions_hold_equally_many_entries(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "none", "balanced");
    run_filled(reducer, world, crowded);
    const lmn__owned_layer *owned = &owners_of(reducer, LAYER)->layers[0];
    const size_t k = (check_counts[LAYER] * 5 + 99) / 100;
    size_t *bounds = calloc((size_t)size + 1, sizeof *bounds);
    assert_non_null(bounds);
    for (int j = 0; j <= size; j++) {
        bounds[j] = owned->starts[j];
        assert_true(j == 0 || j == size || bounds[j] < 200);
    }
    /* Of the 200 crowded elements every rank chose k. */
    for (int j = 0; j < size; j++) {
        const size_t end = bounds[j + 1] < 200 ? bounds[j + 1] : 200;
        assert_true(end - bounds[j] >= 200 / (size_t)size / 2);
        assert_true(end - bounds[j] <= 200 / (size_t)size * 2);
    }
    assert_true(k < 200);
    free(bounds);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void poison(lmn_world *world, lmn_reducer *reducer, uint64_t step)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, step, gradient);
        if (i == 2 && lmn_world_rank(world) == lmn_world_size(world) - 1) {
            gradient[17] = NAN;
        }
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
}

static void balanced_resumes_to_the_bit(lmn_world *world, const char *compress,
                                        const char *feedback)
{
    lmn_reducer *first = new_reducer(world, compress, feedback, "balanced");
    lmn_reducer *second = new_reducer(world, compress, feedback, "balanced");
    for (uint64_t step = 0; step < 3; step++) {
        (void)check_run_step(first, world, step);
    }
    const uint64_t before = check_state_hash(first);
    poison(world, first, 3);
    assert_true(check_state_hash(first) == before);
    (void)check_run_step(second, world, 77); /* it has something to forget */
    check_copy_state(first, second);
    for (uint64_t step = 4; step < 8; step++) {
        (void)check_run_step(first, world, step);
        (void)check_run_step(second, world, step);
        assert_true(check_estimate_hash(first) == check_estimate_hash(second));
    }
    assert_true(check_state_hash(first) == check_state_hash(second));
    lmn_reducer_destroy(first);
    lmn_reducer_destroy(second);
}

static void balanced_restored_reducer_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    for_all(balanced_resumes_to_the_bit);
}

static void balanced_restored_regions_that_cannot_be_are_refused(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "none", "balanced");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_restored(reducer, &err), LMN_OK);
    owners_of(reducer, LAYER)->layers[0].starts[0] = 7;
    assert_int_equal(lmn_reducer_restored(reducer, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "dense2/weight"));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* ------------------------------------------------------------------ damage */

/* The owner's message of rank 0 for the bucket of LAYER, once it is there; to be damaged. */
static unsigned char *arrived_message(lmn_reducer *reducer, size_t *bytes)
{
    const lmn__owners *owners = owners_of(reducer, LAYER);
    lmn_error err = lmn_error_none();
    const void *received = NULL;
    while ((received = lmn_allgatherv_message(owners->gather, 0, bytes)) == NULL) {
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    unsigned char *message = NULL;
    memcpy(&message, &received, sizeof message); /* damage is not what const foresees */
    return message;
}

static void assert_damage_is_refused(lmn_world *world, const char *collective)
{
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "ec", collective);
    const uint64_t before = check_state_hash(reducer);
    check_hand_over(reducer, world, 0);
    size_t bytes = 0;
    unsigned char *message = arrived_message(reducer, &bytes);
    assert_true(bytes > 80);
    message[sizeof(lmn__owners_header) + sizeof(lmn__part_header) + 1] = 0x77; /* code of indices */
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "rank 0"));
    assert_non_null(strstr(err.message, "dense2/weight"));
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
}

static void finish_damaged_sum_is_refused_before_anything_changes(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    assert_damage_is_refused(world, "merge");
    assert_damage_is_refused(world, "balanced");
    lmn_world_destroy(world);
}

/* An owner that was sent damage publishes nothing, so that all ranks refuse the step. */
static void finish_damage_that_only_an_owner_sees_is_refused_by_all(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "ec", "merge");
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, 0, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
    }
    /* What rank 0 has for itself does not travel. */
    const lmn__owners *owners = owners_of(reducer, LAYER);
    if (lmn_world_rank(world) == 0) {
        owners->messages[sizeof(lmn__owners_header) + sizeof(lmn__part_header) + 1] = 0x77;
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "rank 0"));
    assert_true(lmn_world_rank(world) != 0 || strstr(err.message, "dense2/weight") != NULL);
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* What a rank sends to an owner, byte by byte: whatever is in it, nothing outside is read, and
 * headers that are not this step's are refused. */
static void check_refuses_messages_of_other_steps_and_of_other_lengths(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", "none", "merge");
    (void)check_run_step(reducer, world, 3);
    const lmn__owners *owners = owners_of(reducer, LAYER);
    const int rank = lmn_world_rank(world);
    const size_t begin = owners->offsets[rank];
    const size_t bytes = owners->offsets[rank + 1] - begin;
    unsigned char *copy = aligned_alloc(64, lmn_align_up(bytes));
    assert_non_null(copy);
    memcpy(copy, owners->messages + begin, bytes);
    lmn_error err = lmn_error_none();
    assert_int_equal(
        lmn__owners_check_message(owners, rank, rank, LMN__OWNERS_OF_A_RANK, copy, bytes, &err),
        LMN_OK);
    const size_t heads = sizeof(lmn__owners_header) - sizeof(uint64_t);
    for (size_t i = 0; i < bytes; i++) {
        copy[i] ^= 0x55;
        const lmn_status status =
            lmn__owners_check_message(owners, rank, rank, LMN__OWNERS_OF_A_RANK, copy, bytes, &err);
        assert_true(status == LMN_ERR_MESSAGE || (status == LMN_OK && i >= heads));
        copy[i] ^= 0x55;
    }
    for (size_t shorter = 0; shorter < bytes; shorter++) {
        assert_int_equal(lmn__owners_check_message(owners, rank, rank, LMN__OWNERS_OF_A_RANK, copy,
                                                   shorter, &err),
                         LMN_ERR_MESSAGE);
    }
    free(copy);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* ------------------------------------------------------------------ choice */

static void auto_takes_the_way_that_should_send_less(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    bool gathers = false;
    bool merges = false;
    const char *const densities[] = {"topk:density=0.002", "topk:density=0.3"};
    for (size_t i = 0; i < 2; i++) {
        lmn_reducer *reducer = new_reducer(world, densities[i], "none", "auto");
        const lmn__layer *layer = &reducer->layers[LAYER];
        const lmn__bucket *bucket = &reducer->buckets[layer->bucket];
        const lmn__exchange_kind *kind = bucket->exchanges[bucket->n_exchanges - 1]->kind;
        const size_t level = lmn_compressor_static_level(reducer->compressor);
        const lmn_layer_shape shape = lmn__layer_shape(layer);
        const uint64_t gather =
            lmn__exchange_gather.wire_bytes(reducer->compressor, size, shape, level);
        const uint64_t merge =
            lmn__exchange_merge.wire_bytes(reducer->compressor, size, shape, level);
        assert_true(kind == (merge < gather ? &lmn__exchange_merge : &lmn__exchange_gather));
        gathers = gathers || kind == &lmn__exchange_gather;
        merges = merges || kind == &lmn__exchange_merge;
        lmn_reducer_destroy(reducer);
    }
    /* Few entries of few ranks hardly meet; many of many do. */
    assert_true(gathers);
    assert_true(merges == (size >= 4));
    lmn_world_destroy(world);
}

static void create_refuses_collectives_that_are_none(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const cases[][3] = {{"topk", "megre", "gather"},
                                    {"sign", "merge", "auto"},
                                    {"lowrank", "gather", "auto"},
                                    {"dense", "merge", "auto"},
                                    {"dense", "megre", "gather"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lmn_reducer_options options = check_reducer_options(cases[i][0], "none", "uniform");
        options.collective = cases[i][1];
        lmn_reducer *reducer = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(
            lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err),
            LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, cases[i][1]));
        assert_non_null(strstr(err.message, cases[i][2]));
    }
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_gives_the_bits_of_gather),
        cmocka_unit_test(merge_publishes_whole_regions_only_where_that_is_shorter),
        cmocka_unit_test(merge_adds_up_empty_and_full_ranks),
        cmocka_unit_test(merge_sends_about_what_the_plan_predicts),
        cmocka_unit_test(balanced_estimates_are_identical_on_all_ranks),
        cmocka_unit_test(balanced_first_step_is_the_top_k_of_the_sum),
        cmocka_unit_test(balanced_errors_keep_what_did_not_survive),
        cmocka_unit_test(balanced_about_k_entries_survive),
        cmocka_unit_test(balanced_regions_hold_equally_many_entries),
        cmocka_unit_test(balanced_restored_reducer_goes_on_to_the_same_bits),
        cmocka_unit_test(balanced_restored_regions_that_cannot_be_are_refused),
        cmocka_unit_test(finish_damaged_sum_is_refused_before_anything_changes),
        cmocka_unit_test(finish_damage_that_only_an_owner_sees_is_refused_by_all),
        cmocka_unit_test(check_refuses_messages_of_other_steps_and_of_other_lengths),
        cmocka_unit_test(auto_takes_the_way_that_should_send_less),
        cmocka_unit_test(create_refuses_collectives_that_are_none),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
