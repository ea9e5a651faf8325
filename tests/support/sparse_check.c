/*
 * Helpers of the tests of sums of entries.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sparse_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

lmn_reducer *check_new_sparse_reducer(lmn_world *world, const char *compress, const char *feedback,
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

void check_for_all_sparse(check_sparse_property holds)
{
    lmn_world *world = check_new_world();
    for (size_t i = 0; i < N_SPECS; i++) {
        for (size_t j = 0; j < N_MECHANISMS; j++) {
            holds(world, specs[i], mechanisms[j]);
        }
    }
    lmn_world_destroy(world);
}

void check_run_filled(lmn_reducer *reducer, lmn_world *world, check_filling fill)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            gradient[i] = layer == CHECK_SPARSE_LAYER
                              ? fill(lmn_world_rank(world), lmn_world_size(world), i)
                              : 0.0F;
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_true(report.applied);
}

float check_number(int rank, size_t i)
{
    return (float)(i % 97 + 1) / 7.0F - (float)rank;
}

const lmn__owners *check_owners_of(const lmn_reducer *reducer)
{
    const lmn__bucket *bucket = &reducer->buckets[reducer->layers[CHECK_SPARSE_LAYER].bucket];
    const lmn__exchange *exchange = bucket->exchanges[bucket->n_exchanges - 1];
    assert_true(exchange->kind->start == lmn__owners_start);
    return (const lmn__owners *)exchange;
}

/* The owner's message of rank 0 for the bucket of CHECK_SPARSE_LAYER, once it is there; to be
 * damaged. */
static unsigned char *arrived_message(lmn_reducer *reducer, size_t *bytes)
{
    const lmn__owners *owners = check_owners_of(reducer);
    lmn_error err = lmn_error_none();
    const void *received = NULL;
    while ((received = lmn_allgatherv_message(owners->gather, 0, bytes)) == NULL) {
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    unsigned char *message = NULL;
    memcpy(&message, &received, sizeof message); /* damage is not what const foresees */
    return message;
}

void check_damage_is_refused(lmn_world *world, const char *collective)
{
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "ec", collective);
    const uint64_t before = check_state_hash(reducer);
    check_hand_over(reducer, world, 0);
    size_t bytes = 0;
    unsigned char *message = arrived_message(reducer, &bytes);
    assert_true(bytes > 80);
    message[sizeof(lmn__owned_header) + sizeof(lmn__part_header) + 1] = 0x77; /* code of indices */
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "rank 0"));
    assert_non_null(strstr(err.message, "dense2/weight"));
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
}
