/*
 * What the reducer remembers between steps, as a checkpoint sees it.
 *
 * Gradients, vectors and messages belong to one step and are not kept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node_internal.h"
#include "timing_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STATE_NAME_BYTES 512

static lmn_status add_array(lmn_state *state, const char *group, lmn_state_kind kind,
                            const lmn__layer *layer, size_t n_dims, const size_t *dims,
                            float *values, lmn_error *err)
{
    char name[STATE_NAME_BYTES];
    const int length = snprintf(name, sizeof name, "/%s/%s", group, layer->name);
    if (length < 0 || (size_t)length >= sizeof name) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer name '%.64s...' is too long to be saved",
                             layer->name);
    }
    return lmn_state_add_array(state, name, "1", kind, LMN_STATE_F32, n_dims, dims, values, err);
}

static lmn_status add_vector_state(lmn_state *state, const char *group, lmn_state_kind kind,
                                   const lmn__layer *layer, float *values, lmn_error *err)
{
    return add_array(state, group, kind, layer, layer->n_dims, layer->dims, values, err);
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
        lmn_state_set_elastic(state, LMN_ELASTIC_MEAN);
    }
    return LMN_OK;
}

static lmn_status add_number(const lmn__layer *layer, const char *what, uint64_t *number,
                             lmn_state *state, lmn_error *err)
{
    char name[STATE_NAME_BYTES];
    const int length = snprintf(name, sizeof name, "/compression/%s/%s", what, layer->name);
    if (length < 0 || (size_t)length >= sizeof name) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer name '%.64s...' is too long to be saved",
                             layer->name);
    }
    return lmn_state_add_array(state, name, "1", LMN_STATE_REPLICATED, LMN_STATE_U64, 0, NULL,
                               number, err);
}

static void set_elastic(lmn_state *state, lmn_status status, lmn_state_elastic elastic)
{
    if (status == LMN_OK) {
        lmn_state_set_elastic(state, elastic);
    }
}

/* Where some families of a mixture keep memory of each rank's own and others keep shared memory,
   the latter has a name of its own. */
static lmn_status add_memory(const lmn__layer *layer, lmn_state *state, lmn_error *err)
{
    const lmn_compressor_memory *memory = &layer->memory_kind;
    lmn_status status = LMN_OK;
    if (memory->own > 0) {
        status = add_array(state, "compression/memory", LMN_STATE_PER_RANK, layer, 1, &memory->own,
                           layer->memory, err);
        set_elastic(state, status, LMN_ELASTIC_FRESH);
    }
    if (status == LMN_OK && memory->shared > 0) {
        status =
            add_array(state, memory->own > 0 ? "compression/shared_memory" : "compression/memory",
                      LMN_STATE_REPLICATED, layer, 1, &memory->shared, layer->shared_memory, err);
        set_elastic(state, status, LMN_ELASTIC_IF_THERE);
    }
    return status;
}

/* Whether what is sent of a layer depends on the number of its compressed steps. */
static bool counts_steps(const lmn_reducer *reducer, const lmn__layer *layer)
{
    for (size_t way = 0; way < LMN__WAYS; way++) {
        const lmn__exchange_kind *kind = reducer->ways[way];
        if (kind != NULL && kind->counts_steps &&
            lmn__may_travel_by(reducer, layer, kind->combine)) {
            return true;
        }
    }
    return false;
}

static lmn_status check_means(const lmn_reducer *reducer, lmn_error *err)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->layers[i].mean_in_slices > 1) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "where h of layer '%s' is kept was saved as %llu, but is 0 or 1",
                                 reducer->layers[i].name,
                                 (unsigned long long)reducer->layers[i].mean_in_slices);
        }
    }
    return LMN_OK;
}

static lmn_status add_layer_state(const lmn_reducer *reducer, lmn__layer *layer, lmn_state *state,
                                  lmn_error *err)
{
    lmn_status status = add_feedback_states(reducer, layer, state, err);
    if (status == LMN_OK && layer->tracked != NULL) {
        status = add_vector_state(state, "feedback/mean_tracked_gradient", LMN_STATE_REPLICATED,
                                  layer, layer->tracked, err);
        set_elastic(state, status, LMN_ELASTIC_FRESH); /* the mean of the new h_i */
    }
    if (status == LMN_OK) {
        status = add_memory(layer, state, err);
    }
    if (status == LMN_OK && counts_steps(reducer, layer)) {
        status = add_number(layer, "steps", &layer->compressed_steps, state, err);
        set_elastic(state, status, LMN_ELASTIC_IF_THERE);
    }
    if (status == LMN_OK && lmn__layer_has_mean(reducer, layer) &&
        lmn__may_travel_by(reducer, layer, LMN_COMBINE_SLICED)) {
        status = add_number(layer, "mean_in_slices", &layer->mean_in_slices, state, err);
        set_elastic(state, status, LMN_ELASTIC_FRESH); /* h is formed anew */
    }
    if (status == LMN_OK && layer->observed != NULL) {
        status = add_vector_state(state, "allocation/observed", LMN_STATE_PER_RANK, layer,
                                  layer->observed, err);
        set_elastic(state, status, LMN_ELASTIC_MEAN);
    }
    return status;
}

static lmn_status add_exchange_states(const lmn__bucket *bucket, lmn_state *state, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t e = 0; e < bucket->n_exchanges && status == LMN_OK; e++) {
        lmn__exchange *exchange = bucket->exchanges[e];
        if (exchange->kind->add_state != NULL) {
            status = exchange->kind->add_state(exchange, state, err);
        }
    }
    return status;
}

/* Rows of states belong to those who lead: when those change, states are dealt out anew. */
static lmn_status add_hierarchy(const lmn_reducer *reducer, lmn_state *state, lmn_error *err)
{
    char levels[STATE_NAME_BYTES];
    if (lmn_feedback_state_count(reducer->feedback) == 0 &&
        lmn_compressor_level_count(reducer->compressor) == 1) {
        return LMN_OK;
    }
    lmn__node_describe(reducer, levels, sizeof levels);
    return lmn_state_set_layout(state, levels, (uint64_t)reducer->team.size, err);
}

/* What eta follows from. Zeros are a fresh start. */
static lmn_status add_observations(lmn_reducer *reducer, lmn_state *state, lmn_error *err)
{
    lmn__observations *o = &reducer->observations;
    const struct {
        const char *name;
        lmn_state_kind kind;
        lmn_state_type type;
        size_t n_dims;
        void *values;
    } arrays[] = {
        {"/feedback/observed/level", LMN_STATE_REPLICATED, LMN_STATE_U64, 1, o->level},
        {"/feedback/observed/steps", LMN_STATE_REPLICATED, LMN_STATE_U64, 1, o->steps},
        {"/feedback/observed/kept", LMN_STATE_REPLICATED, LMN_STATE_F64, 1, o->kept},
        {"/feedback/observed/density", LMN_STATE_REPLICATED, LMN_STATE_F64, 1, o->density},
        {"/feedback/observed/last", LMN_STATE_PER_RANK, LMN_STATE_F32, 2, o->seen},
    };
    const size_t dims[2] = {reducer->n_layers, LMN__SEEN_COUNT};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && reducer->is_watching; i++) {
        status = lmn_state_add_array(state, arrays[i].name, "1", arrays[i].kind, arrays[i].type,
                                     arrays[i].n_dims, dims, arrays[i].values, err);
        if (status != LMN_OK) {
            return status;
        }
        /* Other ranks take what the last step of these ranks saw for nothing seen. */
        lmn_state_set_elastic(state, arrays[i].kind == LMN_STATE_PER_RANK ? LMN_ELASTIC_FRESH
                                                                          : LMN_ELASTIC_SAME);
    }
    return status;
}

lmn_status lmn_reducer_add_state(lmn_reducer *reducer, lmn_state *state, lmn_error *err)
{
    lmn_status status = add_hierarchy(reducer, state, err);
    if (status == LMN_OK) {
        status = lmn_state_add_array(state, "/allocation/levels", "1", LMN_STATE_REPLICATED,
                                     LMN_STATE_U64, 1, &reducer->n_layers, reducer->levels, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_u64(state, "applied_steps", &reducer->applied_steps, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_u64(state, "observed_steps", &reducer->observed_steps, err);
    }
    if (status == LMN_OK) {
        status = lmn__timing_add_state(reducer, state, err);
    }
    if (status == LMN_OK && reducer->allocator_memory != NULL) {
        status = lmn_state_add_array(state, "/allocation/memory", "1", LMN_STATE_REPLICATED,
                                     LMN_STATE_F64, 1, &reducer->n_layers,
                                     reducer->allocator_memory, err);
    }
    if (status == LMN_OK) {
        status = add_observations(reducer, state, err);
    }
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        if (!reducer->layers[i].small) {
            status = add_layer_state(reducer, &reducer->layers[i], state, err);
        }
    }
    for (size_t i = 0; i < reducer->n_buckets && status == LMN_OK; i++) {
        status = add_exchange_states(&reducer->buckets[i], state, err);
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
        /* Memory was taken for the levels that a layer may have. */
        const lmn__layer *layer = &reducer->layers[i];
        const size_t level = (size_t)reducer->levels[i];
        if (layer->small ? level != 0 : !lmn__may_have_level(reducer, layer, level)) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "layer '%s' was saved at level %zu, at which it never travels",
                                 layer->name, level);
        }
    }
    return LMN_OK;
}

static lmn_status check_observations(const lmn_reducer *reducer, lmn_error *err)
{
    const lmn__observations *o = &reducer->observations;
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        const bool can_be = isfinite(o->kept[i]) && o->kept[i] <= 1.0 && o->density[i] >= 0.0 &&
                            o->density[i] <= 1.0;
        if (!can_be) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "what was observed of the compression of layer '%s' cannot be: "
                                 "%g of the energy kept, %g of the entries sent",
                                 reducer->layers[i].name, o->kept[i], o->density[i]);
        }
    }
    return LMN_OK;
}

static lmn_status check_exchanges(const lmn_reducer *reducer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        for (size_t e = 0; e < bucket->n_exchanges && status == LMN_OK; e++) {
            const lmn__exchange *exchange = bucket->exchanges[e];
            status =
                exchange->kind->restored == NULL ? LMN_OK : exchange->kind->restored(exchange, err);
        }
    }
    return status;
}

static void settle(lmn_reducer *reducer, bool copy)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer_settle(&reducer->layers[i], copy);
    }
}

void lmn_reducer_settle(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer_wake(reducer, &reducer->layers[i]);
    }
    settle(reducer, true);
    lmn__drift_ask(reducer);
}

lmn_status lmn_reducer_restored(lmn_reducer *reducer, lmn_error *err)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        layer->owes_nothing = false; /* nobody knows */
        layer->rests = false;
        layer->feedback = layer->small ? reducer->passthrough : reducer->feedback;
    }
    lmn__drift_ask(reducer);
    settle(reducer, false); /* what was loaded is in the arrays that the list names */
    if (reducer->shadow != NULL) {
        memset(reducer->shadow, 0, reducer->shadow_count * sizeof *reducer->shadow);
    }
    lmn_status status = check_levels(reducer, err);
    if (status == LMN_OK) {
        status = lmn__timing_restored(reducer, err);
    }
    if (status == LMN_OK) {
        status = check_observations(reducer, err);
    }
    if (status == LMN_OK) {
        status = check_exchanges(reducer, err);
    }
    if (status == LMN_OK) {
        status = check_means(reducer, err);
    }
    status = lmn_agree(reducer->world, status, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn_world_check_same(reducer->world, "the compression levels",
                                lmn__reducer_plan_hash(reducer), err);
}
