/*
 * Which algorithm an allreduce uses, as a function of what all ranks have agreed on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/hash.h"

#include <string.h>

#define SMALLEST_LOG2 10

const char *lmn_allreduce_algorithm_name(lmn_allreduce_algorithm algorithm)
{
    static const char *const names[LMN_ALLREDUCE_ALGORITHM_COUNT] = {"direct", "doubling", "ring",
                                                                     "halving", "mpi"};
    return (size_t)algorithm < LMN_ALLREDUCE_ALGORITHM_COUNT ? names[algorithm] : "unknown";
}

size_t lmn_allreduce_table_bytes(int index)
{
    return (size_t)1 << (SMALLEST_LOG2 + index);
}

void lmn_allreduce_table_fill(lmn_allreduce_table *table, lmn_allreduce_algorithm algorithm)
{
    *table = (lmn_allreduce_table){0};
    for (int i = 0; i < LMN_ALLREDUCE_SIZES; ++i) {
        table->sums[i] = algorithm;
        table->exact[i] = algorithm;
    }
}

static lmn_status check_table(const lmn_allreduce_table *table, lmn_error *err)
{
    for (int i = 0; table != NULL && i < LMN_ALLREDUCE_SIZES; ++i) {
        if ((size_t)table->sums[i] >= LMN_ALLREDUCE_ALGORITHM_COUNT ||
            (size_t)table->exact[i] >= LMN_ALLREDUCE_ALGORITHM_COUNT) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "cannot use this allreduce table: entry %d is no algorithm", i);
        }
    }
    return LMN_OK;
}

lmn_status lmn_allreduce_set_table(lmn_world *world, const lmn_allreduce_table *table,
                                   lmn_error *err)
{
    lmn_status status = lmn_agree(world, check_table(table, err), err);
    if (status == LMN_OK) {
        uint64_t hash = 0;
        if (table != NULL) {
            hash = lmn_hash64(table->sums, sizeof table->sums, 1);
            hash = lmn_hash64(table->exact, sizeof table->exact, hash);
        }
        status = lmn_world_check_same(world, "the allreduce table", hash, err);
    }
    if (status == LMN_OK) {
        world->has_table = table != NULL;
        if (table != NULL) {
            world->table = *table;
        }
    }
    return status;
}

lmn__choices lmn__choices_of(const lmn_world *world, const lmn__arithmetic *arithmetic)
{
    lmn__choices choices = {.arithmetic = arithmetic,
                            .has_row = world->has_table,
                            .doubling_bytes = world->limits.doubling_bytes,
                            .part = world->limits.part};
    memcpy(choices.row, arithmetic->is_exact ? world->table.exact : world->table.sums,
           sizeof choices.row);
    return choices;
}

static int entry_of(size_t bytes)
{
    int index = 0;
    while (index + 1 < LMN_ALLREDUCE_SIZES && bytes > lmn_allreduce_table_bytes(index)) {
        ++index;
    }
    return index;
}

static lmn_allreduce_algorithm by_table(const lmn__choices *choices, size_t bytes)
{
    const lmn_allreduce_algorithm algorithm = choices->row[entry_of(bytes)];
    const bool is_one_call = algorithm == LMN_ALLREDUCE_MPI || algorithm == LMN_ALLREDUCE_DOUBLING;
    if (is_one_call && bytes > choices->part) {
        return LMN_ALLREDUCE_DIRECT;
    }
    if (algorithm == LMN_ALLREDUCE_MPI && !choices->arithmetic->has_mpi_sum) {
        return LMN_ALLREDUCE_DIRECT;
    }
    return algorithm;
}

lmn_allreduce_algorithm lmn__choice(const lmn__choices *choices, size_t count)
{
    const size_t limit = SIZE_MAX / choices->arithmetic->bytes;
    const size_t bytes = choices->arithmetic->bytes * (count < limit ? count : limit);
    /* Sums that are rounded on the wire are rounded once there and once back: directly. */
    if (lmn__arithmetic_is_rounded(choices->arithmetic)) {
        return LMN_ALLREDUCE_DIRECT;
    }
    if (choices->has_row) {
        return by_table(choices, bytes);
    }
    return bytes <= choices->doubling_bytes ? LMN_ALLREDUCE_DOUBLING : LMN_ALLREDUCE_DIRECT;
}

static void note_need(const lmn__choices *choices, size_t count,
                      size_t needs[LMN_ALLREDUCE_ALGORITHM_COUNT])
{
    size_t *need = &needs[lmn__choice(choices, count)];
    *need = *need < count ? count : *need;
}

void lmn__choice_needs(const lmn__choices *choices, size_t capacity,
                       size_t needs[LMN_ALLREDUCE_ALGORITHM_COUNT])
{
    const size_t bytes = choices->arithmetic->bytes;
    memset(needs, 0, LMN_ALLREDUCE_ALGORITHM_COUNT * sizeof *needs);
    note_need(choices, capacity, needs);
    /* The choice changes behind these counts only. */
    const size_t borders[] = {choices->doubling_bytes / bytes, choices->part / bytes};
    for (size_t i = 0; i < sizeof borders / sizeof borders[0]; ++i) {
        note_need(choices, borders[i] < capacity ? borders[i] : capacity, needs);
    }
    for (int i = 0; i + 1 < LMN_ALLREDUCE_SIZES; ++i) {
        const size_t border = lmn_allreduce_table_bytes(i) / bytes;
        note_need(choices, border < capacity ? border : capacity, needs);
    }
}

uint64_t lmn__choice_bytes(lmn_allreduce_algorithm algorithm, const lmn__arithmetic *arithmetic,
                           int size, size_t count)
{
    switch (algorithm) {
    case LMN_ALLREDUCE_DOUBLING:
        return lmn__doubler_bytes(arithmetic, size, count);
    case LMN_ALLREDUCE_RING:
    case LMN_ALLREDUCE_HALVING:
        return lmn__relay_bytes(arithmetic, size, count, algorithm == LMN_ALLREDUCE_RING);
    default:
        return lmn__direct_bytes(arithmetic, size, count);
    }
}
