/*
 * The order in which a rank reads its shard, also where other numbers of ranks read before it.
 *
 * A shard is read in passes, each a pseudo-random permutation. When the number of ranks changes in
 * the middle of a pass, a new shard holds samples of several old ones, of which some were read in
 * this pass and some were not. Which ones follows from the numbers of ranks and the batches at
 * which they changed, so nothing is kept: every rank plays all of it back, and those that are
 * behind come first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "lamina/random.h"
#include "lamina/shard.h"

#include <assert.h>

/* Passes over shards have rounds of the permutation that no other rank has, nor the whole split;
   what leads a stage has those of the upper half. */
#define SHARD_ROUND_BITS 40
#define LEAD_ROUND       ((uint64_t)1 << (SHARD_ROUND_BITS - 1))

static uint64_t member(const lmn_shard *shard, uint64_t place)
{
    return shard->samples == NULL ? shard->first + place : shard->samples[place];
}

uint64_t lmn_shard_sample(const lmn_shard *shard, uint64_t seed, uint64_t position,
                          uint64_t *pass_out)
{
    if (position < shard->lead_count) {
        *pass_out = shard->passes - 1;
        return shard->lead[position];
    }
    const uint64_t behind = position - shard->lead_count;
    const uint64_t pass = shard->passes + behind / shard->count;
    const uint64_t round = ((shard->rank + 1) << SHARD_ROUND_BITS) + pass;
    *pass_out = pass;
    return member(shard, lmn_permute(seed, round, behind % shard->count, shard->count));
}

/* Samples of the shard that were used `level` times or less, in a random order.
   to  [as many] of the lead */
static uint64_t put_level(const lmn_shard *shard, uint64_t seed, const uint32_t *uses,
                          uint32_t level, uint64_t *to)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < shard->count; i++) {
        count += uses[member(shard, i)] <= level ? 1 : 0;
    }
    const uint64_t round =
        ((shard->rank + 1) << SHARD_ROUND_BITS) + LEAD_ROUND + shard->first_batch + level;
    uint64_t next = 0;
    for (uint64_t i = 0; i < shard->count; i++) {
        if (uses[member(shard, i)] <= level) {
            to[lmn_permute(seed, round, next++, count)] = member(shard, i);
        }
    }
    return count;
}

/* Let those come first that are behind. uses  [samples of the split] before the stage */
static lmn_status set_lead(lmn_shard *shard, uint64_t seed, const uint32_t *uses, lmn_error *err)
{
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    for (uint64_t i = 0; i < shard->count; i++) {
        const uint32_t own = uses[member(shard, i)];
        least = own < least ? own : least;
        most = own > most ? own : most;
    }
    uint64_t total = 0;
    for (uint64_t i = 0; i < shard->count; i++) {
        total += most - uses[member(shard, i)];
    }
    lmn_free(shard->lead);
    shard->passes = most;
    shard->lead_count = total;
    shard->lead = lmn_alloc((size_t)total, sizeof *shard->lead, err);
    if (shard->lead == NULL) {
        return LMN_ERR_MEMORY;
    }
    uint64_t filled = 0;
    for (uint32_t level = least; level < most; level++) {
        filled += put_level(shard, seed, uses, level, shard->lead + filled);
    }
    assert(filled == total);
    return LMN_OK;
}

/* Count what a rank reads in a stage: `total` samples of its sequence. */
static void play(const lmn_shard *shard, uint64_t seed, uint64_t total, uint32_t *uses)
{
    const uint64_t lead = total < shard->lead_count ? total : shard->lead_count;
    for (uint64_t p = 0; p < lead; p++) {
        uses[shard->lead[p]]++;
    }
    const uint64_t whole = (total - lead) / shard->count;
    for (uint64_t i = 0; i < shard->count && whole > 0; i++) {
        uses[member(shard, i)] += (uint32_t)whole;
    }
    for (uint64_t p = lead + whole * shard->count; p < total; p++) {
        uint64_t pass = 0;
        uses[lmn_shard_sample(shard, seed, p, &pass)]++;
    }
}

/* What is dealt out, and how. */
typedef struct dealing {
    const lmn_dataset *dataset;
    const lmn_sharding *sharding;
    uint64_t seed;
    size_t global_batch;
} dealing;

/* All ranks of a stage read so many batches. */
static lmn_status play_stage(const dealing *how, const lmn_shard_stage *stage, uint64_t batches,
                             uint32_t *uses, lmn_error *err)
{
    const size_t size = (size_t)stage->ranks;
    lmn_status status = LMN_OK;
    for (size_t rank = 0; rank < size && status == LMN_OK; rank++) {
        lmn_shard shard = {.count = 0};
        status = lmn_shard_create(how->dataset, how->sharding, how->seed, (int)rank, (int)size,
                                  &shard, err);
        shard.first_batch = stage->first_batch;
        if (status == LMN_OK) {
            status = set_lead(&shard, how->seed, uses, err);
        }
        if (status == LMN_OK) {
            const lmn_range part = lmn_partition(how->global_batch, size, rank);
            play(&shard, how->seed, batches * part.count, uses);
        }
        lmn_shard_destroy(&shard);
    }
    return status;
}

lmn_status lmn_shard_go_on(const lmn_dataset *dataset, const lmn_sharding *sharding, uint64_t seed,
                           size_t global_batch, const lmn_shard_stage *stages, size_t n_stages,
                           lmn_shard *shard, lmn_error *err)
{
    const uint64_t count = lmn__dataset_count(dataset, LMN_SPLIT_TRAIN, true);
    const dealing how = {
        .dataset = dataset, .sharding = sharding, .seed = seed, .global_batch = global_batch};
    uint32_t *uses = lmn_alloc((size_t)count, sizeof *uses, err);
    lmn_status status = uses == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t i = 0; i + 1 < n_stages && status == LMN_OK && uses != NULL; i++) {
        const uint64_t batches = stages[i + 1].first_batch - stages[i].first_batch;
        status = play_stage(&how, &stages[i], batches, uses, err);
    }
    if (status == LMN_OK && uses != NULL) {
        shard->first_batch = stages[n_stages - 1].first_batch;
        status = set_lead(shard, seed, uses, err);
    }
    lmn_free(uses);
    return status;
}
