/*
 * Which samples each rank trains on: worked out by every rank, compared, and written down.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/partition.h"
#include "trainer_internal.h"

#include <inttypes.h>

/* Of more classes than that no histogram is kept: ranks times classes numbers may not fit. */
#define HISTOGRAM_CLASSES_MAX 4096

const lmn_shard *lmn__shard_of(const lmn_trainer *trainer)
{
    return trainer->sharding.kind == LMN_SHARDING_IID ? NULL : &trainer->shard;
}

lmn_status lmn__shards_create(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const lmn_status status = lmn_sharding_parse(options->split, &trainer->sharding, err);
    if (status != LMN_OK || trainer->sharding.kind == LMN_SHARDING_IID) {
        return status;
    }
    return lmn_shard_create(trainer->dataset, &trainer->sharding, options->seed,
                            lmn_world_rank(trainer->world), lmn_world_size(trainer->world),
                            &trainer->shard, err);
}

/* The numbers of ranks so far, from which follows what is read already. */
lmn_status lmn__shards_add_state(lmn_trainer *trainer, lmn_error *err)
{
    if (trainer->sharding.kind == LMN_SHARDING_IID) {
        return LMN_OK;
    }
    const size_t dims[2] = {LMN__STAGES_MAX, 2};
    trainer->stages[0] = (lmn_shard_stage){.ranks = (uint64_t)lmn_world_size(trainer->world)};
    return lmn_state_add_array(trainer->state, "/progress/stages", "1", LMN_STATE_REPLICATED,
                               LMN_STATE_U64, 2, dims, trainer->stages, err);
}

/* A stage of these ranks from batch `step` on, unless they are those of the last. Stages without a
   batch are forgotten. */
static size_t add_stage(lmn_trainer *trainer, uint64_t step)
{
    const uint64_t size = (uint64_t)lmn_world_size(trainer->world);
    size_t n = 0;
    while (n < LMN__STAGES_MAX && trainer->stages[n].ranks != 0) {
        n++;
    }
    if (n > 0 && trainer->stages[n - 1].ranks != size &&
        trainer->stages[n - 1].first_batch == step) {
        n--;
    }
    if (n < LMN__STAGES_MAX && (n == 0 || trainer->stages[n - 1].ranks != size)) {
        trainer->stages[n++] = (lmn_shard_stage){.first_batch = step, .ranks = size};
    }
    return n;
}

lmn_status lmn__shards_go_on(lmn_trainer *trainer, uint64_t step, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    if (trainer->sharding.kind == LMN_SHARDING_IID) {
        return LMN_OK;
    }
    const size_t n = add_stage(trainer, step);
    if (trainer->stages[n - 1].ranks != (uint64_t)lmn_world_size(trainer->world)) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "the number of ranks was changed %zu times, which is as often as shards "
            "allow: go on with %" PRIu64 " ranks, or begin a new run with the "
            "parameters of this one",
            n - 1, trainer->stages[n - 1].ranks);
    }
    return lmn_shard_go_on(trainer->dataset, &trainer->sharding, options->seed,
                           options->global_batch, trainer->stages, n, &trainer->shard, err);
}

/* Logarithms may differ in the last bit between processors, and then samples would be left out or
   used twice. */
lmn_status lmn__shards_agree(const lmn_trainer *trainer, lmn_error *err)
{
    if (trainer->sharding.kind == LMN_SHARDING_IID) {
        return LMN_OK;
    }
    return lmn_world_check_same(trainer->world, "the shards of the ranks", trainer->shard.hash,
                                err);
}

/* counts  [ranks][n_classes], or NULL */
static lmn_status append_rows(const lmn_trainer *trainer, lmn_table *table, const uint64_t *counts,
                              size_t n_classes, lmn_cell *cells, lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(trainer->world);
    lmn_status status = LMN_OK;
    for (size_t rank = 0; rank < size && status == LMN_OK; rank++) {
        cells[0].u64 = rank;
        cells[1].u64 = lmn_partition((size_t)trainer->sample_count, size, rank).count;
        for (size_t c = 0; c < n_classes && counts != NULL; c++) {
            cells[2 + c].u64 = counts[rank * n_classes + c];
        }
        status = lmn_table_append(table, cells, err);
    }
    return status;
}

static lmn_status fill_table(const lmn_trainer *trainer, size_t n_classes, lmn_table *table,
                             lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(trainer->world);
    lmn_cell *cells = lmn_alloc(2 + n_classes, sizeof *cells, err);
    uint64_t *counts = lmn_alloc(size, n_classes * sizeof *counts, err);
    lmn_status status = cells == NULL || counts == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK && n_classes > 0) {
        status = lmn_shard_histograms(trainer->dataset, &trainer->sharding,
                                      trainer->settings.options.seed, (int)size, counts, err);
    }
    if (status == LMN_OK) {
        status = append_rows(trainer, table, counts, n_classes, cells, err);
    }
    lmn_free(counts);
    lmn_free(cells);
    return status;
}

/* A resumed run may have another number of ranks, so its rows take the place of those before. */
lmn_status lmn__shards_record(const lmn_trainer *trainer, lmn_error *err)
{
    if (trainer->sharding.kind == LMN_SHARDING_IID) {
        return LMN_OK;
    }
    const lmn_dataset_info *info = lmn_dataset_get_info(trainer->dataset);
    const bool has_histogram =
        lmn_dataset_info_field(info, "labels") != NULL && info->n_classes <= HISTOGRAM_CLASSES_MAX;
    const size_t n_classes = has_histogram ? info->n_classes : 0;
    const lmn_column columns[] = {
        {"rank", "1", "rank that trains on the shard", LMN_COLUMN_U64, 1},
        {"samples", "1", "training samples of the shard", LMN_COLUMN_U64, 1},
        {"labels", "1", "samples of each class in the shard", LMN_COLUMN_U64, n_classes},
    };
    lmn_table *table = NULL;
    lmn_status status =
        lmn_results_add_table(trainer->records->results, "/shards", columns, has_histogram ? 3 : 2,
                              (size_t)lmn_world_size(trainer->world), &table, err);
    if (status == LMN_OK) {
        status = lmn_table_truncate(table, 0, err);
    }
    return status == LMN_OK ? fill_table(trainer, n_classes, table, err) : status;
}
