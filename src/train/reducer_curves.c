/*
 * Error curves of what the ranks observed: which rank evaluates which layer, and the table that all
 * ranks end up with.
 *
 * With curves=dealt each layer is evaluated by one rank of the team, on its own vector, and only
 * the relative error counts: all ranks measure the energy of all their vectors, which is one pass
 * over memory, and the relative error times the mean energy stands for the mean error. Layers are
 * dealt out by the work that their curves take, the largest first, each to the rank with the least
 * so far; at every decision the hands move on to other ranks, so no rank's data speaks for a layer
 * for ever. With curves=all every rank evaluates all layers, and errors are averaged.
 *
 * Sums over ranks are formed in a fixed order, so all ranks get the same bits.
 *
 * Method of dealing: R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Applied
 * Mathematics 17 (1969).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "reducer_internal.h"

#include <string.h>

/* ------------------------------------------------------------------ dealing */

static double work_of(const lmn_reducer *reducer, size_t layer)
{
    const lmn__layer *l = &reducer->layers[layer];
    return l->small ? 0.0 : lmn_compressor_curve_work(reducer->compressor, lmn__layer_shape(l));
}

static size_t least_loaded(const double *loads, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = loads[i] < loads[best] ? i : best;
    }
    return best;
}

/* The layer of most work that has no hand yet, the first of equal ones; n_layers: none. */
static size_t next_to_deal(const lmn_reducer *reducer)
{
    size_t best = reducer->n_layers;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const bool is_free = reducer->layers[i].hand == LMN__NO_HAND;
        if (is_free &&
            (best == reducer->n_layers || work_of(reducer, i) > work_of(reducer, best))) {
            best = i;
        }
    }
    return best;
}

lmn_status lmn__reducer_deal_curves(lmn_reducer *reducer, lmn_error *err)
{
    const size_t n_hands = (size_t)reducer->team.size;
    double *loads = lmn_alloc(n_hands, sizeof *loads, err);
    if (loads == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->layers[i].hand = LMN__NO_HAND;
    }
    for (size_t i = next_to_deal(reducer); i < reducer->n_layers; i = next_to_deal(reducer)) {
        const size_t hand = least_loaded(loads, n_hands);
        reducer->layers[i].hand = hand;
        loads[hand] += work_of(reducer, i);
    }
    lmn_free(loads);
    return LMN_OK;
}

/* A hash, since the steps of decisions may all be multiples of the number of ranks. */
static bool is_mine(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const size_t n_hands = (size_t)reducer->team.size;
    const size_t turn = (size_t)(lmn_hash64(&reducer->step, sizeof reducer->step, 0) % n_hands);
    return (layer->hand + turn) % n_hands == (size_t)reducer->team.rank;
}

/* ------------------------------------------------------------------ measuring */

/* The squared norm, in 16 partial sums whatever the width of the registers. */
static double energy_of(const float *vector, size_t count)
{
    enum { LANES = 16 };
    double sums[LANES] = {0.0};
    const size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const double x = (double)vector[i + lane];
            sums[lane] += x * x;
        }
    }
    for (size_t i = whole; i < count; i++) {
        sums[i - whole] += (double)vector[i] * (double)vector[i];
    }
    double sum = 0.0;
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}

/* Errors relative to the energy; of a vector that says nothing, all of it is lost. */
static void make_relative(double *curve, size_t n_levels, double energy)
{
    for (size_t level = 1; level < n_levels; level++) {
        curve[level] = energy > 0.0 ? curve[level] / energy : 1.0;
    }
}

static void measure_layer(lmn_reducer *reducer, const lmn__layer *layer, size_t n_levels)
{
    const bool deals = lmn_allocator_deals_curves(reducer->allocator);
    double *const curve = reducer->curves + layer->index * n_levels;
    double *const energy = &reducer->energies[layer->index];
    *energy = energy_of(layer->observed, layer->count);
    if (deals && !is_mine(reducer, layer)) {
        return;
    }
    lmn_compressor_error_curve(reducer->compressor, layer->observed, lmn__layer_shape(layer), curve,
                               reducer->scratch);
    if (deals) {
        make_relative(curve, n_levels, *energy);
    }
}

/* Vectors are sums over observed_steps steps of the team: the mean, for comparable reports. */
static void scale(lmn_reducer *reducer, size_t n_levels)
{
    const bool deals = lmn_allocator_deals_curves(reducer->allocator);
    const double steps = (double)reducer->observed_steps;
    const double factor = 1.0 / (steps * steps * (double)reducer->team.size);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->energies[i] *= factor;
        for (size_t entry = i * n_levels; entry < (i + 1) * n_levels; entry++) {
            reducer->curves[entry] *= deals ? reducer->energies[i] : factor;
        }
    }
}

lmn_status lmn__reducer_take_curves(lmn_reducer *reducer, size_t n_levels, lmn_error *err)
{
    const size_t entries = reducer->n_layers * n_levels;
    memset(reducer->curves, 0, (entries + reducer->n_layers) * sizeof *reducer->curves);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (!layer->small && layer->leads) {
            measure_layer(reducer, layer, n_levels);
        }
    }
    const lmn_status status =
        lmn_world_sum_f64(reducer->world, reducer->curves, entries + reducer->n_layers, err);
    if (status == LMN_OK) {
        scale(reducer, n_levels);
    }
    return status;
}
