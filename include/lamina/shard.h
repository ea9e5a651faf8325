/*
 * Shards: which training samples belong to which rank.
 *
 * With `iid` there are none: every batch is drawn from all samples, and which samples it holds does
 * not depend on the number of ranks. The other splits give each rank samples of its own, so that
 * ranks see different data, as where data cannot leave the place where it came up. Shards are a
 * function of (labels of the dataset, split, seed, number of ranks): every rank works out its own
 * and asks nobody.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SHARD_H
#define LAMINA_SHARD_H

#include "lamina/dataset.h"
#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_sharding_kind {
    LMN_SHARDING_IID = 0,        /* no shards */
    LMN_SHARDING_LABEL = 1,      /* samples sorted by label, then cut */
    LMN_SHARDING_DIRICHLET = 2,  /* shares of the classes drawn at random for each rank */
    LMN_SHARDING_CONTIGUOUS = 3, /* samples in the order of the file, cut */
} lmn_sharding_kind;

/** How samples are dealt out. Plain data. */
typedef struct lmn_sharding {
    lmn_sharding_kind kind;
    double alpha; /* of dirichlet: small: few classes on each rank; large: all alike */
} lmn_sharding;

/** Parse "iid", "label", "contiguous" or "dirichlet:alpha=0.5". Errors: LMN_ERR_USAGE. */
lmn_status lmn_sharding_parse(const char *spec, lmn_sharding *sharding_out,
                              lmn_error *err) LMN_NODISCARD;

/** What may be chosen, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_sharding_entry(size_t index);

/**
 * The training samples of one rank. Sizes of the shards of all ranks differ by at most one:
 * lmn_partition(samples, size, rank) says them. Every sample is in exactly one shard.
 */
typedef struct lmn_shard {
    uint64_t rank;
    uint64_t count;    /* samples, at least 1 */
    uint64_t first;    /* contiguous: the first of them */
    uint64_t *samples; /* [count] otherwise; owned; NULL: contiguous */
    uint64_t hash;     /* of how all samples are dealt out: must be the same on all ranks */
    /* Zeros unless lmn_shard_go_on was called. */
    uint64_t first_batch; /* that is read by this number of ranks */
    uint64_t passes;      /* after which those samples that come first have caught up */
    uint64_t lead_count;
    uint64_t *lead; /* [lead_count] owned: samples that come first */
} lmn_shard;

/** Batches from first_batch on are read by so many ranks. Plain data. */
typedef struct lmn_shard_stage {
    uint64_t first_batch, ranks;
} lmn_shard_stage;

/**
 * Work out the shard of `rank` of `size`. Not for iid. Local. Memory: the shard, and a few words
 * for each class.
 * Method of dirichlet: T. Hsu, H. Qi, M. Brown, "Measuring the effects of non-identical data
 * distribution for federated visual classification", arXiv:1909.06335, 2019; how it is done here:
 * docs/algorithms.md.
 * Errors: LMN_ERR_ARGUMENT (fewer samples than ranks; label or dirichlet of data without labels);
 * LMN_ERR_MEMORY.
 */
lmn_status lmn_shard_create(const lmn_dataset *dataset, const lmn_sharding *sharding, uint64_t seed,
                            int rank, int size, lmn_shard *shard_out, lmn_error *err) LMN_NODISCARD;

/**
 * Let a shard of the last stage's ranks go on from where other numbers of ranks stopped: samples
 * that were used less often than others of this shard come first, those of the fewest uses before
 * all, so that in the shard each sample is used once before any is used again. What was used
 * follows from the stages. Local. Memory while it works: 4 bytes for each sample of the split, and
 * a shard. stages        [n_stages] first_batch ascending from 0, at least 1 global_batch  of all
 * stages Errors: as lmn_shard_create.
 */
lmn_status lmn_shard_go_on(const lmn_dataset *dataset, const lmn_sharding *sharding, uint64_t seed,
                           size_t global_batch, const lmn_shard_stage *stages, size_t n_stages,
                           lmn_shard *shard, lmn_error *err) LMN_NODISCARD;

/**
 * Sample number `position` of the sequence that the rank reads from first_batch on, and in which
 * pass over the shard that is. Local.
 */
uint64_t lmn_shard_sample(const lmn_shard *shard, uint64_t seed, uint64_t position,
                          uint64_t *pass_out);

/** Free what the shard owns. A shard of zeros is allowed. */
void lmn_shard_destroy(lmn_shard *shard);

/**
 * Samples of each class on each rank, of a dataset with labels. Not for iid. Local.
 * counts  [size][n_classes] to fill
 * Errors: as lmn_shard_create.
 */
lmn_status lmn_shard_histograms(const lmn_dataset *dataset, const lmn_sharding *sharding,
                                uint64_t seed, int size, uint64_t *counts,
                                lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
