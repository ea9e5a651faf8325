/*
 * The public face of optimisers and schedules: one object over the method that a spec names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "optim_internal.h"

#include <assert.h>

struct lmn_optimizer {
    const lmn__optimizer_kind *kind;
    void *config; /* owned */
};

struct lmn_schedule {
    const lmn__schedule_kind *kind;
    void *config; /* owned */
};

#define OPTIMIZER_POINTER(name) &lmn__optimizer_##name,
static const lmn__optimizer_kind *const optimizers[] = {LMN__OPTIMIZERS(OPTIMIZER_POINTER)};
#undef OPTIMIZER_POINTER

#define SCHEDULE_POINTER(name) &lmn__schedule_##name,
static const lmn__schedule_kind *const schedules[] = {LMN__SCHEDULES(SCHEDULE_POINTER)};
#undef SCHEDULE_POINTER

static const lmn__method *optimizer_at(size_t index)
{
    return index < sizeof optimizers / sizeof optimizers[0] ? &optimizers[index]->method : NULL;
}

static const lmn__method *schedule_at(size_t index)
{
    return index < sizeof schedules / sizeof schedules[0] ? &schedules[index]->method : NULL;
}

lmn_status lmn_optimizer_create(const char *spec, lmn_optimizer **optimizer_out, lmn_error *err)
{
    size_t index = 0;
    void *config = NULL;
    const lmn_status status =
        lmn__method_configure("optimizer", spec, optimizer_at, &index, &config, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_optimizer *optimizer = lmn_alloc(1, sizeof *optimizer, err);
    if (optimizer == NULL) {
        lmn_free(config);
        return LMN_ERR_MEMORY;
    }
    optimizer->kind = optimizers[index];
    optimizer->config = config;
    *optimizer_out = optimizer;
    return LMN_OK;
}

void lmn_optimizer_destroy(lmn_optimizer *optimizer)
{
    if (optimizer != NULL) {
        lmn_free(optimizer->config);
        lmn_free(optimizer);
    }
}

size_t lmn_optimizer_slot_count(const lmn_optimizer *optimizer)
{
    return optimizer->kind->slot_count(optimizer->config);
}

const char *lmn_optimizer_slot_name(const lmn_optimizer *optimizer, size_t index)
{
    assert(index < lmn_optimizer_slot_count(optimizer));
    return optimizer->kind->slot_names[index];
}

/* Elements of a piece that one thread updates. */
static const size_t PIECE = 16384;

/* The part of an update that begins at `first`. */
static lmn_update piece_of(const lmn_update *update, size_t first)
{
    lmn_update piece = *update;
    piece.count = update->count - first < PIECE ? update->count - first : PIECE;
    piece.param += first;
    piece.gradient += first;
    for (size_t i = 0; i < LMN_OPTIMIZER_SLOTS_MAX; i++) {
        piece.slot[i] = update->slot[i] == NULL ? NULL : update->slot[i] + first;
    }
    return piece;
}

void lmn_optimizer_update(const lmn_optimizer *optimizer, const lmn_update *update)
{
#pragma omp parallel for schedule(static) if (update->count > 4 * PIECE)
    for (size_t first = 0; first < update->count; first += PIECE) {
        const lmn_update piece = piece_of(update, first);
        optimizer->kind->update(optimizer->config, &piece);
    }
}

const lmn_spec_entry *lmn_optimizer_entry(size_t index)
{
    return lmn__method_entry(optimizer_at, index);
}

lmn_status lmn_schedule_create(const char *spec, lmn_schedule **schedule_out, lmn_error *err)
{
    size_t index = 0;
    void *config = NULL;
    const lmn_status status =
        lmn__method_configure("schedule", spec, schedule_at, &index, &config, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_schedule *schedule = lmn_alloc(1, sizeof *schedule, err);
    if (schedule == NULL) {
        lmn_free(config);
        return LMN_ERR_MEMORY;
    }
    schedule->kind = schedules[index];
    schedule->config = config;
    *schedule_out = schedule;
    return LMN_OK;
}

void lmn_schedule_destroy(lmn_schedule *schedule)
{
    if (schedule != NULL) {
        lmn_free(schedule->config);
        lmn_free(schedule);
    }
}

double lmn_schedule_factor(const lmn_schedule *schedule, uint64_t step, uint64_t total_steps)
{
    return schedule->kind->factor(schedule->config, step, total_steps);
}

const lmn_spec_entry *lmn_schedule_entry(size_t index)
{
    return lmn__method_entry(schedule_at, index);
}
