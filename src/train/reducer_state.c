/*
 * What the reducer remembers between steps, as a checkpoint sees it.
 *
 * Gradients, vectors and messages belong to one step and are not kept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reducer_internal.h"

#include <stdio.h>

#define STATE_NAME_BYTES 512

static lmn_status add_vector_state(lmn_state *state, const char *group, lmn_state_kind kind,
                                   const lmn__layer *layer, float *values, lmn_error *err)
{
    char name[STATE_NAME_BYTES];
    const int length = snprintf(name, sizeof name, "/%s/%s", group, layer->name);
    if (length < 0 || (size_t)length >= sizeof name) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer name '%.64s...' is too long to be saved",
                             layer->name);
    }
    return lmn_state_add_array(state, name, "1", kind, LMN_STATE_F32, layer->n_dims, layer->dims,
                               values, err);
}

static lmn_status add_feedback_states(const lmn_reducer *reducer, const lmn__layer *layer,
                                      lmn_state *state, lmn_error *err)
{
    const size_t n_states = lmn_feedback_state_count(reducer->feedback);
    for (size_t i = 0; i < n_states; i++) {
        char group[STATE_NAME_BYTES / 2];
        (void)snprintf(group, sizeof group, "feedback/%s",
                       lmn_feedback_state_name(reducer->feedback, i));
        const lmn_status status =
            add_vector_state(state, group, LMN_STATE_PER_RANK, layer, layer->state[i], err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

static lmn_status add_layer_state(const lmn_reducer *reducer, const lmn__layer *layer,
                                  lmn_state *state, lmn_error *err)
{
    lmn_status status = add_feedback_states(reducer, layer, state, err);
    if (status == LMN_OK && layer->tracked != NULL) {
        status = add_vector_state(state, "feedback/mean_tracked_gradient", LMN_STATE_REPLICATED,
                                  layer, layer->tracked, err);
    }
    if (status == LMN_OK && layer->observed != NULL) {
        status = add_vector_state(state, "allocation/observed", LMN_STATE_PER_RANK, layer,
                                  layer->observed, err);
    }
    return status;
}

lmn_status lmn_reducer_add_state(lmn_reducer *reducer, lmn_state *state, lmn_error *err)
{
    lmn_status status =
        lmn_state_add_array(state, "/allocation/levels", "1", LMN_STATE_REPLICATED, LMN_STATE_U64,
                            1, &reducer->n_layers, reducer->levels, err);
    if (status == LMN_OK) {
        status = lmn_state_add_u64(state, "applied_steps", &reducer->applied_steps, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_u64(state, "observed_steps", &reducer->observed_steps, err);
    }
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        if (!reducer->layers[i].small) {
            status = add_layer_state(reducer, &reducer->layers[i], state, err);
        }
    }
    return status;
}

static lmn_status check_levels(const lmn_reducer *reducer, lmn_error *err)
{
    const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->levels[i] >= n_levels) {
            return lmn_error_set(
                err, LMN_ERR_FORMAT,
                "layer '%s' was saved at level %llu, but the compressor has levels 0 to %zu",
                reducer->layers[i].name, (unsigned long long)reducer->levels[i], n_levels - 1);
        }
    }
    return LMN_OK;
}

lmn_status lmn_reducer_restored(lmn_reducer *reducer, lmn_error *err)
{
    const lmn_status status = lmn_agree(reducer->world, check_levels(reducer, err), err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn_world_check_same(reducer->world, "the compression levels",
                                lmn__reducer_plan_hash(reducer), err);
}
