/*
 * Drift between h and the mean of the h_i, and the end of it.
 *
 * All ranks add D to h while each adds its own D_i to h_i, so rounding lets h and the mean of the
 * h_i part. Every DRIFT_EVERY steps that count, and after the first step after a checkpoint was
 * written or read, the mean is formed by an allreduce, and where
 *
 *     |h - mean of h_i| / |h|  >  DRIFT_LIMIT
 *
 * for a layer, h is set to it. An allreduce has the same bits on all ranks, and so has the ratio:
 * what owners know of their slices is added up. A layer that travels whole sets h anew in every
 * step; there is nothing to look at.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/world.h"
#include "slices_internal.h"

#include <math.h>
#include <string.h>

#define DRIFT_EVERY ((uint64_t)1000)
#define DRIFT_LIMIT 1e-4

/* Elements of a mean that is formed at a time. */
#define CHUNK ((size_t)1 << 16)

bool lmn__drift_is_wanted(const lmn_reducer *reducer)
{
    return lmn__compresses(reducer) && lmn_feedback_tracks(reducer->feedback);
}

size_t lmn__drift_mean_count(void)
{
    return CHUNK;
}

lmn_status lmn__drift_connect(lmn_reducer *reducer, lmn_error *err)
{
    if (!lmn__drift_is_wanted(reducer) || reducer->team.world == NULL) {
        return LMN_OK;
    }
    return lmn_allreduce_create(reducer->team.world, LMN_REDUCTION_SUM_F32, CHUNK,
                                &reducer->drift.mean_of, err);
}

void lmn__drift_destroy(lmn_reducer *reducer)
{
    lmn_collective_destroy(reducer->drift.mean_of);
}

static bool can_drift(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return !layer->small && layer->leads && layer->travel_level != 0 &&
           lmn__may_be_compressed(reducer, layer);
}

static const float *tracked_of_rank(const lmn__layer *layer)
{
    const size_t n_states = lmn_feedback_state_count(layer->feedback);
    for (size_t i = 0; i < n_states; i++) {
        if (strcmp(lmn_feedback_state_name(layer->feedback, i), "tracked_gradient") == 0) {
            return layer->state[i];
        }
    }
    return NULL;
}

static lmn__exchange *sliced_of(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__bucket *bucket = &reducer->buckets[layer->bucket];
    for (size_t e = 0; e < bucket->n_exchanges; e++) {
        if (bucket->exchanges[e]->kind == &lmn__exchange_sliced) {
            return bucket->exchanges[e];
        }
    }
    return NULL;
}

/* What is done with the means of elements [first .. first + count - 1] and h there. */
typedef struct comparison {
    bool sets;           /* h = mean; else the sums grow */
    double apart, whole; /* |h - mean|^2, |h|^2 of what this rank answers for */
} comparison;

static void compare(comparison *c, float *h, const float *mean, size_t count)
{
    if (c->sets) {
        memcpy(h, mean, count * sizeof *h);
        return;
    }
    const lmn_energies energies = lmn_energies_of(h, mean, count);
    c->whole += energies.vector;
    c->apart += energies.lost;
}

/* The parts of this rank's slice that lie in a chunk. */
static void compare_slice(comparison *c, const lmn__exchange *exchange, const lmn__layer *layer,
                          const float *mean, size_t first, size_t count)
{
    const lmn__slice_owner *owner = lmn__sliced_owner(exchange);
    const int rank = exchange->reducer->team.rank;
    for (size_t p = owner->slices->first_part[rank]; p < owner->slices->first_part[rank + 1]; p++) {
        const lmn__part *part = &owner->slices->parts[p];
        const size_t begin = part->first > first ? part->first : first;
        const size_t part_end = part->first + part->count;
        const size_t end = part_end < first + count ? part_end : first + count;
        if (part->layer == layer && begin < end) {
            compare(c, owner->tracked + part->offset + (begin - part->first),
                    mean + (begin - first), end - begin);
        }
    }
}

static void compare_chunk(comparison *c, const lmn_reducer *reducer, const lmn__layer *layer,
                          size_t first, size_t count)
{
    const float *mean = reducer->drift.mean;
    if (layer->way == LMN_COMBINE_SLICED) {
        const lmn__exchange *exchange = sliced_of(reducer, layer);
        compare_slice(c, exchange, layer, mean, first, count);
    } else if (c->sets || reducer->team.rank == 0) {
        compare(c, layer->tracked + first, mean, count);
    }
}

/* Collective over the team. */
static lmn_status compare_layer(const lmn_reducer *reducer, const lmn__layer *layer, comparison *c,
                                lmn_error *err)
{
    const float *own = tracked_of_rank(layer);
    for (size_t first = 0; first < layer->count; first += CHUNK) {
        const size_t rest = layer->count - first;
        const size_t count = rest < CHUNK ? rest : CHUNK;
        lmn_status status =
            lmn_allreduce_start(reducer->drift.mean_of, own + first, reducer->drift.mean, count,
                                1.0F / (float)reducer->team.size, err);
        if (status == LMN_OK) {
            status = lmn_collective_wait(reducer->drift.mean_of, err);
        }
        if (status != LMN_OK) {
            return status;
        }
        compare_chunk(c, reducer, layer, first, count);
    }
    return LMN_OK;
}

static void say_reset(const lmn_reducer *reducer, const lmn__layer *layer, double drift)
{
    if (reducer->team.rank == 0) {
        lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_INFO,
                      "step %llu: the mean tracked gradient of layer '%s' had drifted by %.2g and "
                      "was set anew",
                      (unsigned long long)reducer->step, layer->name, drift);
    }
}

static lmn_status settle_layer(lmn_reducer *reducer, const lmn__layer *layer,
                               lmn_step_report *report, lmn_error *err)
{
    comparison c = {.sets = false};
    lmn_status status = compare_layer(reducer, layer, &c, err);
    double sums[2] = {c.apart, c.whole};
    if (status == LMN_OK) {
        status = lmn_world_sum_f64(reducer->team.world, sums, 2, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const double drift = sqrt(sums[0]) / (sqrt(sums[1]) + 1e-30);
    report->drift = drift > report->drift ? drift : report->drift;
    if (!(drift > DRIFT_LIMIT)) {
        return LMN_OK;
    }
    say_reset(reducer, layer, drift);
    report->drift_resets++;
    c.sets = true;
    return compare_layer(reducer, layer, &c, err);
}

void lmn__drift_ask(lmn_reducer *reducer)
{
    reducer->drift.is_due = true;
}

lmn_status lmn__drift_settle(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    const bool is_due = reducer->drift.is_due || reducer->applied_steps % DRIFT_EVERY == 0;
    if (!is_due || !lmn__drift_is_wanted(reducer)) {
        return LMN_OK;
    }
    reducer->drift.is_due = false;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        const lmn__layer *layer = &reducer->layers[reducer->order[i]];
        if (can_drift(reducer, layer)) {
            report->drift_checked = true;
            status = settle_layer(reducer, layer, report, err);
        }
    }
    return status;
}
