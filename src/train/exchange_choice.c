/*
 * Which way a compressor's messages take.
 *
 * Families whose entries each rank chooses for itself have several ways, which the caller names;
 * `auto` gathers or merges, whichever should send less for a bucket. Both give the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <string.h>

static const struct {
    const char *name;
    const lmn__exchange_kind *kind;
} sparse_ways[] = {{"auto", &lmn__exchange_sparse},
                   {"gather", &lmn__exchange_gather},
                   {"merge", &lmn__exchange_merge},
                   {"balanced", &lmn__exchange_balanced}};

static lmn_status sparse_way(const char *name, const lmn__exchange_kind **kind_out, lmn_error *err)
{
    for (size_t i = 0; i < sizeof sparse_ways / sizeof sparse_ways[0]; i++) {
        if (strcmp(name, sparse_ways[i].name) == 0) {
            *kind_out = sparse_ways[i].kind;
            return LMN_OK;
        }
    }
    return lmn_error_set(
        err, LMN_ERR_USAGE,
        "collective '%.64s' does not exist; there are auto, gather, merge and balanced", name);
}

lmn_status lmn__exchange_ways(const lmn_compressor *compressor, const char *collective,
                              const lmn__exchange_kind **ways_out, lmn_error *err)
{
    const lmn__exchange_kind *all[LMN__WAYS] = {[LMN_COMBINE_SUM] = &lmn__exchange_dense,
                                                [LMN_COMBINE_SLICED] = &lmn__exchange_sliced,
                                                [LMN_COMBINE_ROUNDS] = &lmn__exchange_rounds};
    /* A name that does not exist is told first, whatever the family. */
    const lmn_status status = sparse_way(collective, &all[LMN_COMBINE_SPARSE], err);
    if (status != LMN_OK) {
        return status;
    }
    for (size_t way = 0; way < LMN__WAYS; way++) {
        ways_out[way] = NULL;
    }
    for (size_t level = 0; level < lmn_compressor_level_count(compressor); level++) {
        const lmn_combine way = lmn_compressor_combine(compressor, level);
        ways_out[way] = all[way];
    }
    if (strcmp(collective, "auto") != 0 && ways_out[LMN_COMBINE_SPARSE] == NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "collective '%s' carries single entries, which this compressor does "
                             "not send: only auto goes with it",
                             collective);
    }
    return LMN_OK;
}

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    const uint64_t gather = lmn__exchange_gather.wire_bytes(compressor, size, shape, level);
    const uint64_t merge = lmn__exchange_merge.wire_bytes(compressor, size, shape, level);
    return gather < merge ? gather : merge;
}

/* The level that the spec names for the first family that sends entries; 0: there is none. */
static size_t named_level(const lmn_compressor *compressor)
{
    for (size_t level = 1; level < lmn_compressor_level_count(compressor); level++) {
        if (lmn_compressor_combine(compressor, level) == LMN_COMBINE_SPARSE) {
            return lmn_compressor_named_level(compressor, level);
        }
    }
    return 0;
}

/* For the level that the spec names: where levels may change, they change around it. */
static uint64_t bucket_bytes(const lmn_reducer *reducer, const lmn__bucket *bucket,
                             const lmn__exchange_kind *kind)
{
    const size_t level = named_level(reducer->compressor);
    uint64_t bytes = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const size_t index = reducer->order[bucket->first_layer + place];
        const lmn__layer *layer = &reducer->layers[index];
        const lmn_layer_shape shape = lmn__layer_shape(layer);
        if (!layer->small && level != 0) {
            bytes += kind->wire_bytes(reducer->compressor, reducer->team.size, shape, level);
        }
    }
    return bytes;
}

static const lmn__exchange_kind *choose(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    return bucket_bytes(reducer, bucket, &lmn__exchange_merge) <
                   bucket_bytes(reducer, bucket, &lmn__exchange_gather)
               ? &lmn__exchange_merge
               : &lmn__exchange_gather;
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    return choose(reducer, bucket)->create(reducer, bucket, exchange_out, err);
}

static size_t scratch_bytes(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__exchange_kind *kind = choose(reducer, &reducer->buckets[layer->bucket]);
    return kind->scratch_bytes == NULL ? 0 : kind->scratch_bytes(reducer, layer);
}

/* Only chooses: exchanges that it creates are of the kind chosen. */
const lmn__exchange_kind lmn__exchange_sparse = {.combine = LMN_COMBINE_SPARSE,
                                                 .sends_entries = true,
                                                 .wire_bytes = wire_bytes,
                                                 .scratch_bytes = scratch_bytes,
                                                 .create = create};
