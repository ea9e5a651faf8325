/*
 * Which samples each rank trains on: worked out by every rank, compared, and written down.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/partition.h"
#include "trainer_internal.h"

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
