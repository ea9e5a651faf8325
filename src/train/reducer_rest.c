/*
 * Layers at rest: dense, with nothing owed, so that error feedback has nothing to do.
 *
 * A layer that travels whole and has no error left is what the plain gradient is; its h_i and h
 * matter to the first compressed step after it only. Where an allocator decides by time, which may
 * leave layers dense for a whole run, such layers cost what they would cost without feedback: their
 * states are not kept up, and are made from the last gradient when the layer wakes, for a
 * compressed step or a checkpoint.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <string.h>

static bool can_rest(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return reducer->timing != NULL && !layer->small && layer->owes_nothing &&
           layer->travel_level == 0 && lmn_feedback_rests(reducer->feedback);
}

/* h_i and h as the last dense step leaves them; if that was skipped, as a run begins. */
static void refresh(lmn_reducer *reducer, lmn__layer *layer)
{
    if (!layer->leads) {
        return;
    }
    if (reducer->last_applied) {
        lmn__layer_advance(layer, 0, layer->count, layer->vector, layer->vector);
    } else if (lmn_feedback_tracks(reducer->feedback)) {
        memset(layer->state[0], 0, layer->count * sizeof(float));
    }
    if (layer->tracked != NULL && reducer->last_applied) {
        memcpy(layer->tracked, layer->average, layer->count * sizeof(float));
    } else if (layer->tracked != NULL) {
        memset(layer->tracked, 0, layer->count * sizeof(float));
    }
}

void lmn__layer_wake(lmn_reducer *reducer, lmn__layer *layer)
{
    if (layer->rests) {
        layer->rests = false;
        layer->feedback = reducer->feedback;
        refresh(reducer, layer);
    }
}

void lmn__reducer_lay_to_rest(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (!layer->rests && can_rest(reducer, layer)) {
            layer->rests = true;
            layer->feedback = reducer->passthrough;
        }
    }
}

/* A whole vector leaves no error, unless eta holds a part of it back. */
void lmn__reducer_note_debts(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (layer->travel_level != 0) {
            layer->owes_nothing = false;
        } else if (layer->eta == 0.0 || layer->eta == 1.0) {
            layer->owes_nothing = true;
        }
    }
}
