/*
 * Which entries top-k sends, and what sending more or fewer would leave out.
 *
 * The threshold of the step before is remembered. It guides the walk, a little lowered, as
 * gradients change slowly; a wrong one costs time, never the result. With `reuse` it is more than a
 * hint: all that reaches it is sent, as long as that is about k entries, and the threshold drifts
 * to where k would reach it.
 *
 * Source of reuse and of its constants: S. Li, T. Hoefler, "Near-optimal sparse allreduce for
 * distributed deep learning", PPoPP 2022, and its code.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "topk_internal.h"

#include <math.h>

/* Half as many again to twice as many entries reach this part of a threshold, for Laplacian and
   Gaussian gradients at the usual densities. */
#define HINT_FACTOR 0.9F

#define REUSE_STEPS 32.0F
#define REUSE_DRIFT 1.012F

/* Values that are rounded together. */
#define ROUND_BLOCK ((size_t)512)

/* Entries, room for the whole vector, then the workspace of a cut. */
static size_t list_bytes(size_t count)
{
    return lmn_align_up(count * sizeof(float));
}

size_t lmn__topk_scratch_bytes(size_t count)
{
    return 2 * list_bytes(count) + lmn__cut_work_bytes();
}

static lmn__entries entries_in(void *scratch, size_t count)
{
    unsigned char *const bytes = scratch;
    return (lmn__entries){.indices = scratch,
                          .values = (float *)(void *)(bytes + list_bytes(count))};
}

static void *work_in(void *scratch, size_t count)
{
    return (unsigned char *)scratch + 2 * list_bytes(count);
}

/* The remembered threshold, times a factor, as a floor; 0 when there is none. Memory may come from
   anywhere. */
static uint32_t remembered_floor(const lmn_encode_job *job, float factor)
{
    if (job->memory == NULL) {
        return 0;
    }
    const float magnitude = job->memory[LMN__TOPK_THRESHOLD] * factor;
    return magnitude > 0.0F && isfinite(magnitude) ? lmn__key(magnitude) : 0;
}

/* Pick what reaches the floor or, if that is not enough, all. Returns whether it was enough. */
static bool pick(lmn_encode_job *job, size_t enough, uint32_t floor, lmn__entries *entries)
{
    lmn__walk walk = {
        .source = job->source, .count = job->count, .floor = floor, .tell_sent = true};
    lmn__walk_pick(&walk, entries);
    job->is_finite = walk.is_finite;
    if (!job->is_finite || entries->n >= enough) {
        return true;
    }
    if (floor > LMN__FLOOR_LOWEST) {
        walk.floor = LMN__FLOOR_LOWEST;
        walk.tell_sent = false;
        lmn__walk_pick(&walk, entries);
    }
    return false;
}

/* Drop all but the k largest and note where they ended. */
static void cut_to(lmn_encode_job *job, size_t k, lmn__entries *entries)
{
    if (entries->n == 0) {
        return;
    }
    const lmn__cut cut =
        lmn__cut_after(entries->values, entries->n, entries->n < k ? entries->n : k,
                       work_in(job->scratch, job->count));
    lmn__cut_apply(&cut, entries);
    if (job->memory != NULL) {
        memcpy(&job->memory[LMN__TOPK_THRESHOLD], &cut.key, sizeof cut.key);
    }
}

static void select_anew(lmn_encode_job *job, const lmn__topk_quota *quota, lmn__entries *entries)
{
    const uint32_t floor =
        lmn__walk_floor(job->source, job->count, quota->wanted, remembered_floor(job, HINT_FACTOR),
                        entries, work_in(job->scratch, job->count));
    (void)pick(job, quota->wanted, floor, entries);
    if (job->is_finite) {
        cut_to(job, quota->wanted, entries);
    }
}

/* The threshold as it is, if it serves. */
static void select_again(lmn_encode_job *job, const lmn__topk_quota *quota, uint32_t floor,
                         lmn__entries *entries)
{
    const bool enough = pick(job, quota->fewest, floor, entries);
    if (!job->is_finite) {
        return;
    }
    if (!enough || entries->n > quota->most) {
        cut_to(job, quota->wanted, entries);
        job->memory[LMN__TOPK_AGE] = 0.0F;
        return;
    }
    job->memory[LMN__TOPK_AGE] += 1.0F;
    if (entries->n > quota->wanted) {
        job->memory[LMN__TOPK_THRESHOLD] *= REUSE_DRIFT;
    } else if (entries->n < quota->wanted) {
        job->memory[LMN__TOPK_THRESHOLD] /= REUSE_DRIFT;
    }
}

lmn__entries lmn__topk_select(lmn_encode_job *job, const lmn__topk_quota *quota)
{
    lmn__entries entries = entries_in(job->scratch, job->count);
    if (quota->reuse) {
        const uint32_t floor = remembered_floor(job, 1.0F);
        const float age = job->memory == NULL ? 0.0F : job->memory[LMN__TOPK_AGE];
        if (floor != 0 && age >= 0.0F && age < REUSE_STEPS - 1.0F) {
            select_again(job, quota, floor, &entries);
            return entries;
        }
    }
    select_anew(job, quota, &entries);
    if (quota->reuse && job->memory != NULL) {
        job->memory[LMN__TOPK_AGE] = 0.0F;
    }
    return entries;
}

/* ------------------------------------------------------------------ error curve */

/* A vector that is only looked at. */
typedef struct looked_at {
    const float *vector;
} looked_at;

static bool form_tile(void *user, size_t first, size_t count, float *vector)
{
    const looked_at *subject = user;
    memcpy(vector, subject->vector + first, count * sizeof *vector);
    return true;
}

/* What rounding the values of these entries loses. */
static double rounding_error(const lmn__entries *entries, lmn_sparse_values format)
{
    double sum = 0.0;
    for (size_t first = 0; first < entries->n && format != LMN_SPARSE_F32; first += ROUND_BLOCK) {
        const size_t rest = entries->n - first;
        const size_t count = rest < ROUND_BLOCK ? rest : ROUND_BLOCK;
        float rounded[ROUND_BLOCK];
        memcpy(rounded, entries->values + first, count * sizeof rounded[0]);
        lmn_sparse_round(rounded, count, format);
        for (size_t i = 0; i < count; i++) {
            const double off = (double)entries->values[first + i] - (double)rounded[i];
            sum += off * off;
        }
    }
    return sum;
}

/* Entries that the floor keeps out of the list are never sent; from one k to the next smaller one
   the list gets shorter and what it drops is added. No differences, so nothing cancels. */
void lmn__topk_error_curve(const float *vector, size_t count, const size_t *kept, size_t n_kept,
                           lmn_sparse_values format, double *error_out, void *scratch)
{
    looked_at subject = {.vector = vector};
    const lmn_source source = {.form = form_tile, .user = &subject};
    lmn__entries entries = entries_in(scratch, count);
    void *const work = work_in(scratch, count);
    lmn__walk walk = {.source = &source,
                      .count = count,
                      .floor = lmn__walk_floor(&source, count, kept[0], 0, &entries, work),
                      .weigh_rest = true};
    lmn__walk_pick(&walk, &entries);
    if (entries.n < kept[0] && walk.floor > LMN__FLOOR_LOWEST) {
        walk.floor = LMN__FLOOR_LOWEST;
        lmn__walk_pick(&walk, &entries);
    }
    double rest = walk.rest_energy;
    for (size_t i = 0; i < n_kept; i++) {
        if (entries.n > kept[i]) {
            const lmn__cut cut = lmn__cut_after(entries.values, entries.n, kept[i], work);
            rest += lmn__cut_energy_below(&cut, &entries);
            lmn__cut_apply(&cut, &entries);
        }
        error_out[i] = rest + rounding_error(&entries, format);
    }
}
