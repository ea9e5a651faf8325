/*
 * What compression was seen to do, and the eta that follows from it.
 *
 * With `eta=auto` every rank notes of each compressed layer |v|^2 and |v - C(v)|^2, while the tiles
 * of v are in the nearest cache, and how many entries counted as sent. Shares are formed of these
 * and travel with the verdict of the next step, so they cost a few bytes and no message. Sums over
 * ranks are the same everywhere; so are the running means of them, and the eta of each layer.
 *
 * The first observations at a level are all taken, later ones every few steps: what is observed
 * changes slowly. A change of level forgets what was observed at the one before. A step that is
 * skipped leaves no trace here either.
 *
 * Tiles are added up in their order, whatever thread saw them, and each by loops that give the same
 * bits for every instruction set.
 *
 * Rule: lmn_compressor_eta_observed in lamina/compressor.h and docs/algorithms.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <math.h>
#include <string.h>

/* Elements whose energies are noted together: two tiles of a walk never meet in one place. */
#define WATCH_TILE LMN_SOURCE_TILE

/* Observations that are taken step by step, and the steps between later ones. */
#define WATCH_CLOSELY ((uint64_t)32)
#define WATCH_EVERY   ((uint64_t)8)

/* Observations that a mean is about, and those after which it is worth a word to the user. */
#define WATCH_MEMORY  16.0
#define WATCH_SETTLED ((uint64_t)16)

/* More than this is no longer told apart, so that no sum overflows. */
#define LOST_MAX 1e6

bool lmn__watch_is_wanted(const lmn_reducer *reducer)
{
    /* Two answers to two suggestions: eta is not given by value. */
    return lmn__compresses(reducer) &&
           lmn_feedback_eta(reducer->feedback, 0.25) != lmn_feedback_eta(reducer->feedback, 0.5);
}

lmn_status lmn__watch_create(lmn_reducer *reducer, lmn_error *err)
{
    lmn__observations *o = &reducer->observations;
    if (!reducer->is_watching) {
        return LMN_OK;
    }
    const size_t n = reducer->n_layers;
    o->seen = lmn_alloc(n * LMN__SEEN_COUNT, sizeof *o->seen, err);
    o->sums = lmn_alloc(n * LMN__SEEN_COUNT, sizeof *o->sums, err);
    o->level = lmn_alloc(n, sizeof *o->level, err);
    o->steps = lmn_alloc(n, sizeof *o->steps, err);
    o->kept = lmn_alloc(n, sizeof *o->kept, err);
    o->density = lmn_alloc(n, sizeof *o->density, err);
    return o->seen == NULL || o->sums == NULL || o->level == NULL || o->steps == NULL ||
                   o->kept == NULL || o->density == NULL
               ? LMN_ERR_MEMORY
               : LMN_OK;
}

void lmn__watch_destroy(lmn_reducer *reducer)
{
    lmn__observations *o = &reducer->observations;
    lmn_free(o->seen);
    lmn_free(o->sums);
    lmn_free(o->level);
    lmn_free(o->steps);
    lmn_free(o->kept);
    lmn_free(o->density);
}

size_t lmn__watch_tile_count(const lmn__layer *layer)
{
    return layer->count / WATCH_TILE + 1;
}

/* ------------------------------------------------------------------ while encoding */

/* Tiles of a slice come one by one or in different places; slices come one after the other. */
void lmn__watch_tile(const lmn__layer *layer, size_t first, size_t count, const float *vector,
                     const float *sent)
{
    if (!layer->watch.is_open || count == 0) {
        return;
    }
    const lmn_energies energies = lmn_energies_of(vector, sent, count);
    lmn_energies *const tile = &layer->watch.tiles[first / WATCH_TILE];
    tile->vector += energies.vector;
    tile->lost += energies.lost;
}

void lmn__watch_entries(lmn__layer *layer, size_t n, const float *values)
{
    if (layer->watch.is_open) {
        layer->watch.sent_energy = lmn_energies_of(values, NULL, n).vector;
        layer->watch.sent_entries = n;
    }
}

/* ------------------------------------------------------------------ eta */

static void forget(lmn_reducer *reducer, size_t layer, size_t level)
{
    lmn__observations *o = &reducer->observations;
    o->level[layer] = level;
    o->steps[layer] = 0;
    o->kept[layer] = 0.0;
    o->density[layer] = 0.0;
    memset(o->seen + layer * LMN__SEEN_COUNT, 0, LMN__SEEN_COUNT * sizeof *o->seen);
    reducer->layers[layer].watch.is_held = false;
}

static void say_held(const lmn_reducer *reducer, lmn__layer *layer, double wanted, double kept)
{
    if (reducer->rank == 0 && !layer->watch.is_held &&
        reducer->observations.steps[layer->index] >= WATCH_SETTLED) {
        lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_INFO,
                      "eta of layer '%s' is held at %.3g: %.3g would follow from the %.3g of the "
                      "energy that compression was seen to keep",
                      layer->name,
                      wanted < layer->watch.rule.lowest ? layer->watch.rule.lowest
                                                        : layer->watch.rule.highest,
                      wanted, kept);
        layer->watch.is_held = true;
    }
}

/* Observations of the level at which the layer travels; what was seen at another one counts no
 * more, and is forgotten when a step at the new level counts. */
static uint64_t steps_seen(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__observations *o = &reducer->observations;
    return o->level[layer->index] == layer->travel_level ? o->steps[layer->index] : 0;
}

static double eta_of(const lmn_reducer *reducer, lmn__layer *layer)
{
    const lmn__observations *o = &reducer->observations;
    const lmn_eta_rule *rule = &layer->watch.rule;
    if (steps_seen(reducer, layer) == 0) {
        return lmn_feedback_eta(reducer->feedback, rule->suggested);
    }
    const lmn_observed observed = {.kept = o->kept[layer->index],
                                   .density = o->density[layer->index]};
    double eta =
        lmn_compressor_eta_observed(reducer->compressor, layer->travel_level, rule, &observed);
    if (eta < rule->lowest || eta > rule->highest) {
        say_held(reducer, layer, eta, observed.kept);
        eta = eta < rule->lowest ? rule->lowest : rule->highest;
    }
    return lmn_feedback_eta(reducer->feedback, eta);
}

static void open_watch(const lmn_reducer *reducer, lmn__layer *layer)
{
    lmn__watch *watch = &layer->watch;
    watch->is_open =
        watch->tiles != NULL && layer->travel_level != 0 &&
        (steps_seen(reducer, layer) < WATCH_CLOSELY || reducer->applied_steps % WATCH_EVERY == 0);
    if (watch->is_open) {
        memset(watch->tiles, 0, lmn__watch_tile_count(layer) * sizeof *watch->tiles);
        watch->sent_energy = 0.0;
        watch->sent_entries = 0;
    }
}

void lmn__watch_begin(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (layer->small) {
            continue;
        }
        layer->eta = eta_of(reducer, layer);
        open_watch(reducer, layer);
    }
}

/* ------------------------------------------------------------------ agreement */

size_t lmn__watch_extra(const lmn_reducer *reducer)
{
    size_t n_large = 0;
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        n_large += reducer->layers[i].small ? 0 : 1;
    }
    return n_large * LMN__SEEN_COUNT;
}

void lmn__watch_write(const lmn_reducer *reducer, float *numbers)
{
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        if (!reducer->layers[i].small) {
            memcpy(numbers, reducer->observations.seen + i * LMN__SEEN_COUNT,
                   LMN__SEEN_COUNT * sizeof *numbers);
            numbers += LMN__SEEN_COUNT;
        }
    }
}

void lmn__watch_read(lmn_reducer *reducer, const float *numbers)
{
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        if (!reducer->layers[i].small) {
            memcpy(reducer->observations.sums + i * LMN__SEEN_COUNT, numbers,
                   LMN__SEEN_COUNT * sizeof *numbers);
            numbers += LMN__SEEN_COUNT;
        }
    }
}

lmn_layer_feedback lmn_reducer_feedback(const lmn_reducer *reducer, size_t layer)
{
    const lmn__observations *o = &reducer->observations;
    const lmn__layer *found = &reducer->layers[layer];
    const bool is_seen = reducer->is_watching && !found->small && steps_seen(reducer, found) > 0;
    return (lmn_layer_feedback){.eta = found->small ? 0.0 : found->eta,
                                .kept = is_seen ? o->kept[layer] : (double)NAN};
}

static void take_in(lmn_reducer *reducer, const lmn__layer *layer)
{
    lmn__observations *o = &reducer->observations;
    const size_t i = layer->index;
    const float *sums = o->sums + i * LMN__SEEN_COUNT;
    const double ranks = (double)sums[LMN__SEEN_RANKS];
    if (!(ranks > 0.0)) {
        return;
    }
    o->steps[i]++;
    const double steps = (double)o->steps[i];
    const double weight = 1.0 / (steps < WATCH_MEMORY ? steps : WATCH_MEMORY);
    const double kept = 1.0 - (double)sums[LMN__SEEN_LOST] / ranks;
    const double density = (double)sums[LMN__SEEN_ENTRIES] / (ranks * (double)layer->count);
    o->kept[i] += weight * (kept - o->kept[i]);
    o->density[i] += weight * (density - o->density[i]);
}

/* What this rank saw in the step that has just come to count. */
static void take_down(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__watch *watch = &layer->watch;
    float *const seen = reducer->observations.seen + layer->index * LMN__SEEN_COUNT;
    memset(seen, 0, LMN__SEEN_COUNT * sizeof *seen);
    if (!watch->is_open) {
        return;
    }
    double energy = 0.0;
    double lost = -watch->sent_energy;
    for (size_t tile = 0; tile < lmn__watch_tile_count(layer); tile++) {
        energy += watch->tiles[tile].vector;
        lost += watch->tiles[tile].lost;
    }
    if (!(energy > 0.0)) {
        return;
    }
    const double share = lost > 0.0 ? lost / energy : 0.0;
    seen[LMN__SEEN_LOST] = (float)(share < LOST_MAX ? share : LOST_MAX);
    seen[LMN__SEEN_RANKS] = 1.0F;
    seen[LMN__SEEN_ENTRIES] = (float)watch->sent_entries;
}

void lmn__watch_commit(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers && reducer->is_watching; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (layer->small) {
            continue;
        }
        if (layer->travel_level != 0 && reducer->observations.level[i] != layer->travel_level) {
            forget(reducer, i, layer->travel_level);
        } else {
            take_in(reducer, layer);
        }
        take_down(reducer, layer);
    }
}
