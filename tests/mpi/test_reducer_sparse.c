/*
 * Gathering and merging: the ways in which entries that ranks choose themselves become one sum.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "sparse_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 8 };

/* ------------------------------------------------------------------ merge */

static void merge_is_gather(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer *gather = check_new_sparse_reducer(world, compress, feedback, "gather");
    lmn_reducer *merge = check_new_sparse_reducer(world, compress, feedback, "merge");
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_true(check_run_step(gather, world, step).applied);
        assert_true(check_run_step(merge, world, step).applied);
        assert_int_equal(lmn_reducer_level(gather, CHECK_SPARSE_LAYER),
                         lmn_reducer_level(merge, CHECK_SPARSE_LAYER));
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
    check_for_all_sparse(merge_is_gather);
}

/* Where every number of a step is sent, the estimate is the mean in rank order. */
static void assert_mean_in_rank_order(const lmn_reducer *reducer, int size, check_filling fill)
{
    const float *estimate = lmn_reducer_estimate(reducer, CHECK_SPARSE_LAYER);
    const float weight = 1.0F / (float)size;
    for (size_t i = 0; i < check_counts[CHECK_SPARSE_LAYER]; i++) {
        float sum = 0.0F;
        for (int rank = 0; rank < size; rank++) {
            sum += weight * fill(rank, size, i);
        }
        assert_memory_equal(&estimate[i], &sum, sizeof sum);
    }
}

/* How many owners published their region whole. */
static int whole_regions(const lmn_reducer *reducer, int size)
{
    const lmn__owners *owners = check_owners_of(reducer);
    int whole = 0;
    for (int owner = 0; owner < size; owner++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_allgatherv_message(owners->gather, owner, &bytes);
        assert_true(bytes >= sizeof(lmn__owned_header) + sizeof(lmn__part_header));
        const lmn__received_part part =
            lmn__owners_part_at(&owners->layers[0], owner, message, sizeof(lmn__owned_header));
        whole += part.head.form == LMN__PART_WHOLE ? 1 : 0;
    }
    return whole;
}

static float disjoint(int rank, int size, size_t i)
{
    return i % (size_t)size == (size_t)rank ? check_number(-1, i) : 0.0F;
}

static float common(int rank, int size, size_t i)
{
    return i % (size_t)(size + 1) == 0 ? check_number(rank - 20, i) : 0.0F;
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
        check_filling fill;
        int whole;
    } cases[] = {{disjoint, size}, {common, 0}};
    for (size_t i = size > 1 ? 0 : 1; i < 2; i++) {
        lmn_reducer *reducer = check_new_sparse_reducer(world, spec, "none", "merge");
        check_run_filled(reducer, world, cases[i].fill);
        assert_true(reducer->layers[CHECK_SPARSE_LAYER].travel_level != 0);
        assert_int_equal(whole_regions(reducer, size), cases[i].whole);
        assert_mean_in_rank_order(reducer, size, cases[i].fill);
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static float nothing_or_nearly_all(int rank, int size, size_t i)
{
    const bool full = rank % 2 == 1 || size == 1;
    return full && i < check_counts[CHECK_SPARSE_LAYER] * 9 / 10 ? check_number(rank + 100, i)
                                                                 : 0.0F;
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
    const check_filling cases[] = {nothing_or_nearly_all, nothing};
    for (size_t i = 0; i < 2; i++) {
        lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.9", "none", "merge");
        check_run_filled(reducer, world, cases[i]);
        assert_true(reducer->layers[CHECK_SPARSE_LAYER].travel_level != 0);
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
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "none", "merge");
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

/* ------------------------------------------------------------------ damage */

static void finish_damaged_sum_is_refused_before_anything_changes(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    check_damage_is_refused(world, "merge");
    lmn_world_destroy(world);
}

/* An owner that was sent damage publishes nothing, so that all ranks refuse the step. */
static void finish_damage_that_only_an_owner_sees_is_refused_by_all(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "ec", "merge");
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, 0, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
    }
    /* What rank 0 has for itself does not travel. */
    const lmn__owners *owners = check_owners_of(reducer);
    if (lmn_world_rank(world) == 0) {
        owners->messages[sizeof(lmn__owned_header) + sizeof(lmn__part_header) + 1] = 0x77;
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
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "none", "merge");
    (void)check_run_step(reducer, world, 3);
    const lmn__owners *owners = check_owners_of(reducer);
    const int rank = lmn_world_rank(world);
    const size_t begin = owners->offsets[rank];
    const size_t bytes = owners->offsets[rank + 1] - begin;
    unsigned char *copy = aligned_alloc(64, lmn_align_up(bytes));
    assert_non_null(copy);
    memcpy(copy, owners->messages + begin, bytes);
    lmn_error err = lmn_error_none();
    assert_int_equal(
        lmn__owners_check_message(owners, rank, rank, LMN__CONTENT_OF_A_RANK, copy, bytes, &err),
        LMN_OK);
    const size_t heads = sizeof(lmn__owned_header) - sizeof(uint64_t);
    for (size_t i = 0; i < bytes; i++) {
        copy[i] ^= 0x55;
        const lmn_status status = lmn__owners_check_message(
            owners, rank, rank, LMN__CONTENT_OF_A_RANK, copy, bytes, &err);
        assert_true(status == LMN_ERR_MESSAGE || (status == LMN_OK && i >= heads));
        copy[i] ^= 0x55;
    }
    for (size_t shorter = 0; shorter < bytes; shorter++) {
        assert_int_equal(lmn__owners_check_message(owners, rank, rank, LMN__CONTENT_OF_A_RANK, copy,
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
        lmn_reducer *reducer = check_new_sparse_reducer(world, densities[i], "none", "auto");
        const lmn__layer *layer = &reducer->layers[CHECK_SPARSE_LAYER];
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
