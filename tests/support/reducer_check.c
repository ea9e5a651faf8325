/*
 * Helpers of the tests of the reducer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reducer_check.h"

#include "io/state_internal.h"
#include "lamina/compressor.h"
#include "lamina/feedback.h"
#include "lamina/hash.h"
#include "lamina/random.h"
#include "train/slices_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

const lmn_reducer_layer check_layers[CHECK_LAYERS] = {
    {.name = "dense2/bias", .n_dims = 1, .dims = {10}},
    {.name = "dense2/weight", .n_dims = 2, .dims = {50, 60}},
    {.name = "dense1/weight", .n_dims = 2, .dims = {100, 50}},
    {.name = "dense1/bias", .n_dims = 1, .dims = {100}},
};
const size_t check_counts[CHECK_LAYERS] = {10, CHECK_COUNT_1, CHECK_COUNT_2, 100};

/* Families whose defaults would send these small layers dense, or that have more to try. */
static const char *const compressor_specs[] = {
    "topk:density=0.05",      "randk:density=0.05",
    "quant:bits=4,bucket=64", "quant:bits=2,bucket=32,rounding=stochastic",
    "sign:bucket=64",         "int:bits=16"};

const char *check_compressor_spec(size_t index)
{
    const size_t n_specs = sizeof compressor_specs / sizeof compressor_specs[0];
    if (index < n_specs) {
        return compressor_specs[index];
    }
    const lmn_spec_entry *entry = lmn_compressor_entry(index - n_specs);
    return entry == NULL ? NULL : entry->name;
}

static const char *const feedback_specs[] = {"ef21:init=zero", "econtrol:init=zero,eta=0.05"};

const char *check_feedback_spec(size_t index)
{
    const size_t n_specs = sizeof feedback_specs / sizeof feedback_specs[0];
    if (index < n_specs) {
        return feedback_specs[index];
    }
    const lmn_spec_entry *entry = lmn_feedback_entry(index - n_specs);
    return entry == NULL ? NULL : entry->name;
}

lmn_world *check_new_world(void)
{
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err);
    assert_int_equal(status, LMN_OK);
    return world;
}

void check_fill_gradient(int rank, size_t layer, uint64_t step, float *gradient)
{
    const lmn_stream stream = {.seed = 7,
                               .layer = (uint32_t)layer,
                               .step = (uint32_t)step,
                               .purpose = LMN_STREAM_USER,
                               .rank = (uint16_t)rank};
    lmn_stream_normal(&stream, 0, check_counts[layer], gradient);
    /* Some entries are much larger than others, as in a network. */
    for (size_t i = 0; i < check_counts[layer]; i += 7) {
        gradient[i] *= 10.0F + (float)rank;
    }
}

lmn_reducer_options check_reducer_options(const char *compress, const char *feedback,
                                          const char *allocate)
{
    lmn_reducer_options options = lmn_reducer_options_default();
    options.compress = compress;
    options.feedback = feedback;
    options.allocate = allocate;
    options.bucket_bytes = 16384;
    options.n_scalars = 2;
    return options;
}

lmn_reducer *check_new_reducer(lmn_world *world, const char *compress, const char *feedback,
                               const char *allocate)
{
    const lmn_reducer_options options = check_reducer_options(compress, feedback, allocate);
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status =
        lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err);
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

void check_hand_over(lmn_reducer *reducer, lmn_world *world, uint64_t step)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        check_fill_gradient(lmn_world_rank(world), layer, step, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
}

lmn_step_report check_run_step(lmn_reducer *reducer, lmn_world *world, uint64_t step)
{
    check_hand_over(reducer, world, step);
    lmn_reducer_set_scalar(reducer, 1, (float)(lmn_world_rank(world) + 1));
    lmn_step_report report;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_reducer_finish(reducer, &report, &err);
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return report;
}

uint64_t check_estimate_hash(const lmn_reducer *reducer)
{
    uint64_t hash = 0;
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        hash = lmn_hash64(lmn_reducer_estimate(reducer, layer), check_counts[layer] * sizeof(float),
                          hash);
    }
    return hash;
}

void check_same_everywhere(lmn_world *world, uint64_t value)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_check_same(world, "test value", value, &err), LMN_OK);
}

double *check_mean_gradient(int size, size_t layer, uint64_t step)
{
    double *mean = calloc(check_counts[layer], sizeof *mean);
    float *gradient = calloc(check_counts[layer], sizeof *gradient);
    assert_non_null(mean);
    assert_non_null(gradient);
    for (int rank = 0; rank < size; rank++) {
        check_fill_gradient(rank, layer, step, gradient);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            mean[i] += (double)gradient[i] / size;
        }
    }
    free(gradient);
    return mean;
}

static void add_slice_errors(const lmn__slice_owner *owner, const lmn__layer *layer, int rank,
                             double *to)
{
    for (size_t p = owner->slices->first_part[rank]; p < owner->slices->first_part[rank + 1]; p++) {
        const lmn__part *part = &owner->slices->parts[p];
        for (size_t i = 0; i < part->count && part->layer == layer; i++) {
            to[part->first + i] += (double)owner->error[part->offset + i];
        }
    }
}

void check_add_errors(const lmn_reducer *reducer, size_t layer, double *to)
{
    const lmn__layer *found = &reducer->layers[layer];
    for (size_t s = 0; s < lmn_feedback_state_count(found->feedback); s++) {
        const bool is_error = strcmp(lmn_feedback_state_name(found->feedback, s), "error") == 0;
        for (size_t i = 0; i < found->count && is_error; i++) {
            to[i] += (double)found->state[s][i] / reducer->size;
        }
    }
    const lmn__bucket *bucket = &reducer->buckets[found->bucket];
    for (size_t e = 0; e < bucket->n_exchanges; e++) {
        if (bucket->exchanges[e]->kind == &lmn__exchange_sliced) {
            add_slice_errors(lmn__sliced_owner(bucket->exchanges[e]), found, reducer->rank, to);
        }
    }
}

lmn_state *check_reducer_state(lmn_reducer *reducer)
{
    lmn_state *state = NULL;
    lmn_error err = lmn_error_none();
    lmn_reducer_settle(reducer);
    assert_int_equal(lmn_state_create(&state, &err), LMN_OK);
    if (lmn_reducer_add_state(reducer, state, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return state;
}

static size_t array_bytes(const lmn__state_array *array)
{
    return array->count * lmn__state_type_bytes(array->type);
}

uint64_t check_state_hash(lmn_reducer *reducer)
{
    lmn_state *state = check_reducer_state(reducer);
    uint64_t hash = 0;
    for (size_t i = 0; i < state->arrays.count; i++) {
        const lmn__state_array *array = &lmn__state_arrays(state)[i];
        hash = lmn_hash64(array->data, array_bytes(array), hash);
    }
    for (size_t i = 0; i < state->numbers.count; i++) {
        hash = lmn_hash64(lmn__state_numbers(state)[i].value, sizeof(uint64_t), hash);
    }
    lmn_state_destroy(state);
    return hash;
}

void check_copy_state(lmn_reducer *from, lmn_reducer *to)
{
    lmn_state *source = check_reducer_state(from);
    lmn_state *target = check_reducer_state(to);
    assert_int_equal(source->arrays.count, target->arrays.count);
    assert_int_equal(source->numbers.count, target->numbers.count);
    for (size_t i = 0; i < source->arrays.count; i++) {
        const lmn__state_array *array = &lmn__state_arrays(source)[i];
        assert_string_equal(array->name, lmn__state_arrays(target)[i].name);
        assert_int_equal(array->count, lmn__state_arrays(target)[i].count);
        memcpy(lmn__state_arrays(target)[i].data, array->data, array_bytes(array));
    }
    for (size_t i = 0; i < source->numbers.count; i++) {
        *lmn__state_numbers(target)[i].value = *lmn__state_numbers(source)[i].value;
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_restored(to, &err), LMN_OK);
    lmn_state_destroy(source);
    lmn_state_destroy(target);
}
