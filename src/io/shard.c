/*
 * Shards of the training split: contiguous, by label, or by random shares of the classes.
 *
 * All of them cut at the places of lmn_partition. A rank keeps the numbers of its own samples only;
 * which sample comes where is worked out in one pass over the labels, which the dataset holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/shard.h"

#include "dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "lamina/random.h"
#include "shard_internal.h"

#include <inttypes.h>
#include <string.h>

/* Rounds of lmn_permute that no epoch has, for the order in which a class is dealt out. */
#define CLASS_ROUND (UINT64_C(1) << 63)

/* ---- choosing ---- */

#define ALPHA_USUAL 0.5
#define ALPHA_MIN   1e-3
#define ALPHA_MAX   1e6

static const lmn_spec_field dirichlet_fields[] = {
    {.key = "alpha",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lmn_sharding, alpha),
     .min = ALPHA_MIN,
     .max = ALPHA_MAX,
     .help = "small: few classes on each rank; large: all ranks alike (default 0.5)"},
};

static const lmn_spec_entry entries[] = {
    [LMN_SHARDING_IID] = {.name = "iid",
                          .summary = "no shards: every batch is drawn from all samples"},
    [LMN_SHARDING_LABEL] = {.name = "label", .summary = "samples sorted by label, then cut"},
    [LMN_SHARDING_DIRICHLET] = {.name = "dirichlet",
                                .summary = "random shares of the classes for each rank",
                                .fields = dirichlet_fields,
                                .n_fields = 1},
    [LMN_SHARDING_CONTIGUOUS] = {.name = "contiguous",
                                 .summary = "samples in the order of the file, cut"},
};
enum { N_ENTRIES = sizeof entries / sizeof entries[0] };

const lmn_spec_entry *lmn_sharding_entry(size_t index)
{
    return index < N_ENTRIES ? &entries[index] : NULL;
}

lmn_status lmn_sharding_parse(const char *spec, lmn_sharding *sharding_out, lmn_error *err)
{
    const char *names[N_ENTRIES];
    char name[LMN_SPEC_NAME_BYTES];
    const lmn_status status = lmn_spec_name(spec, name, err);
    if (status != LMN_OK) {
        return status;
    }
    for (size_t i = 0; i < N_ENTRIES; i++) {
        names[i] = entries[i].name;
        if (strcmp(name, names[i]) == 0) {
            *sharding_out = (lmn_sharding){.kind = (lmn_sharding_kind)i, .alpha = ALPHA_USUAL};
            return lmn_spec_parse("split", spec, entries[i].fields, entries[i].n_fields,
                                  sharding_out, err);
        }
    }
    return lmn_spec_unknown("split", name, names, N_ENTRIES, err);
}

/* ---- what is dealt out ---- */

/* The training split, seen by its labels. */
typedef struct stock {
    const lmn_sharding *sharding;
    uint64_t seed;
    size_t size;           /* ranks */
    uint64_t count;        /* samples */
    const int32_t *labels; /* [count] of the dataset; NULL: none */
    size_t n_classes;
    uint64_t *total; /* [n_classes] owned: samples of each class; 0 without labels */
} stock;

static lmn_status check_labels(const lmn_dataset *dataset, const stock *s, lmn_error *err)
{
    const bool wants_labels = s->sharding->kind != LMN_SHARDING_CONTIGUOUS;
    if (!wants_labels || s->labels != NULL) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "split '%s' deals out samples by their labels, and '%s' holds %s: use "
                         "contiguous or iid",
                         entries[s->sharding->kind].name, dataset->path,
                         dataset->info.kind == LMN_DATASET_TEXT ? "text, which has none"
                                                                : "numbers as answers");
}

/* Destroy it also after an error. */
static lmn_status stock_create(stock *s, const lmn_dataset *dataset, const lmn_sharding *sharding,
                               uint64_t seed, int size, lmn_error *err)
{
    *s = (stock){.sharding = sharding,
                 .seed = seed,
                 .size = (size_t)size,
                 .count = lmn__dataset_count(dataset, LMN_SPLIT_TRAIN, true),
                 .labels = dataset->splits[LMN_SPLIT_TRAIN].labels,
                 .n_classes = dataset->info.n_classes};
    if (sharding->kind == LMN_SHARDING_IID) {
        (void)lmn_error_set(err, LMN_ERR_ARGUMENT, "split 'iid' has no shards");
        return LMN_ERR_ARGUMENT;
    }
    if (s->count < s->size) {
        (void)lmn_error_set(err, LMN_ERR_ARGUMENT,
                            "the training split of '%s' has %" PRIu64 " samples, too few to give "
                            "each of %zu ranks a shard: use fewer ranks, or split iid",
                            dataset->path, s->count, s->size);
        return LMN_ERR_ARGUMENT;
    }
    const lmn_status status = check_labels(dataset, s, err);
    s->total = lmn_alloc(s->n_classes, sizeof *s->total, err);
    if (status != LMN_OK || s->total == NULL) {
        return status == LMN_OK ? LMN_ERR_MEMORY : status;
    }
    for (uint64_t i = 0; i < s->count && s->labels != NULL; i++) {
        s->total[s->labels[i]]++;
    }
    return LMN_OK;
}

/* Where the samples of `rank` are among all that are dealt out. */
static lmn_range part_of(const stock *s, size_t rank)
{
    return lmn_partition((size_t)s->count, s->size, rank);
}

/* ---- one shard ---- */

/* Samples of each class that come before the shard in the order of its class, and in it. */
typedef struct portion {
    uint64_t *before; /* [n_classes] */
    uint64_t *given;  /* [n_classes] */
} portion;

/* Classes one after the other, cut. */
static void portion_by_label(const stock *s, size_t rank, const portion *p)
{
    const lmn_range part = part_of(s, rank);
    uint64_t start = 0;
    for (size_t c = 0; c < s->n_classes; c++) {
        const uint64_t end = start + s->total[c];
        const uint64_t from = part.first > start ? part.first : start;
        const uint64_t part_end = part.first + part.count;
        const uint64_t to = part_end < end ? part_end : end;
        p->before[c] = from < end ? from - start : s->total[c];
        p->given[c] = from < to ? to - from : 0;
        start = end;
    }
}

/* All ranks take, so that the hash speaks for all of them. */
static lmn_status portion_by_dirichlet(const stock *s, size_t rank, const portion *p,
                                       uint64_t *hash, lmn_error *err)
{
    lmn__dirichlet deal = {0};
    const lmn_status status = lmn__dirichlet_create(&deal, s->sharding->alpha, s->seed, s->total,
                                                    s->n_classes, s->size, err);
    const size_t bytes = s->n_classes * sizeof *deal.given;
    for (size_t i = 0; i < s->size && status == LMN_OK; i++) {
        lmn__dirichlet_take(&deal);
        *hash = lmn_hash64(deal.given, bytes, *hash);
        if (i == rank) {
            memcpy(p->before, deal.taken, bytes);
            memcpy(p->given, deal.given, bytes);
        }
    }
    lmn__dirichlet_destroy(&deal);
    return status;
}

/* The samples of the portion, in the order of the file. Classes are dealt out in a random order by
   dirichlet, so that nothing but the label tells the ranks apart.
   seen  [n_classes] of 0 */
static void collect(const stock *s, const portion *p, uint64_t *seen, lmn_shard *shard)
{
    const bool is_random = s->sharding->kind == LMN_SHARDING_DIRICHLET;
    uint64_t filled = 0;
    for (uint64_t i = 0; i < s->count && filled < shard->count; i++) {
        const size_t c = (size_t)s->labels[i];
        const uint64_t number = seen[c]++;
        if (p->given[c] == 0) {
            continue;
        }
        const uint64_t place =
            is_random ? lmn_permute(s->seed, CLASS_ROUND | c, number, s->total[c]) : number;
        if (place >= p->before[c] && place - p->before[c] < p->given[c]) {
            shard->samples[filled++] = i;
        }
    }
}

static lmn_status fill_by_label(const stock *s, lmn_shard *shard, lmn_error *err)
{
    uint64_t *memory = lmn_alloc(s->n_classes, 3 * sizeof *memory, err);
    shard->samples = lmn_alloc((size_t)shard->count, sizeof *shard->samples, err);
    if (memory == NULL || shard->samples == NULL) {
        lmn_free(memory);
        return LMN_ERR_MEMORY;
    }
    const portion p = {.before = memory, .given = memory + s->n_classes};
    lmn_status status = LMN_OK;
    if (s->sharding->kind == LMN_SHARDING_DIRICHLET) {
        status = portion_by_dirichlet(s, (size_t)shard->rank, &p, &shard->hash, err);
    } else {
        portion_by_label(s, (size_t)shard->rank, &p);
    }
    if (status == LMN_OK) {
        collect(s, &p, memory + 2 * s->n_classes, shard);
    }
    lmn_free(memory);
    return status;
}

lmn_status lmn_shard_create(const lmn_dataset *dataset, const lmn_sharding *sharding, uint64_t seed,
                            int rank, int size, lmn_shard *shard_out, lmn_error *err)
{
    stock s;
    lmn_shard shard = {.rank = (uint64_t)rank};
    lmn_status status = stock_create(&s, dataset, sharding, seed, size, err);
    if (status == LMN_OK) {
        const lmn_range part = part_of(&s, (size_t)rank);
        shard.first = part.first;
        shard.count = part.count;
        if (sharding->kind != LMN_SHARDING_CONTIGUOUS) {
            status = fill_by_label(&s, &shard, err);
        }
    }
    lmn_free(s.total);
    if (status != LMN_OK) {
        lmn_shard_destroy(&shard);
        return status;
    }
    *shard_out = shard;
    return LMN_OK;
}

void lmn_shard_destroy(lmn_shard *shard)
{
    lmn_free(shard->samples);
    lmn_free(shard->lead);
    *shard = (lmn_shard){0};
}

/* ---- all shards by their labels ---- */

static void count_contiguous(const stock *s, uint64_t *counts)
{
    for (size_t rank = 0; rank < s->size; rank++) {
        const lmn_range part = part_of(s, rank);
        for (size_t i = part.first; i < part.first + part.count; i++) {
            counts[rank * s->n_classes + (size_t)s->labels[i]]++;
        }
    }
}

static lmn_status count_by_label(const stock *s, uint64_t *counts, lmn_error *err)
{
    uint64_t *memory = lmn_alloc(s->n_classes, 2 * sizeof *memory, err);
    if (memory == NULL) {
        return LMN_ERR_MEMORY;
    }
    const portion p = {.before = memory, .given = memory + s->n_classes};
    for (size_t rank = 0; rank < s->size; rank++) {
        portion_by_label(s, rank, &p);
        memcpy(counts + rank * s->n_classes, p.given, s->n_classes * sizeof *counts);
    }
    lmn_free(memory);
    return LMN_OK;
}

static lmn_status count_dirichlet(const stock *s, uint64_t *counts, lmn_error *err)
{
    lmn__dirichlet deal = {0};
    const lmn_status status = lmn__dirichlet_create(&deal, s->sharding->alpha, s->seed, s->total,
                                                    s->n_classes, s->size, err);
    for (size_t rank = 0; rank < s->size && status == LMN_OK; rank++) {
        lmn__dirichlet_take(&deal);
        memcpy(counts + rank * s->n_classes, deal.given, s->n_classes * sizeof *counts);
    }
    lmn__dirichlet_destroy(&deal);
    return status;
}

lmn_status lmn_shard_histograms(const lmn_dataset *dataset, const lmn_sharding *sharding,
                                uint64_t seed, int size, uint64_t *counts, lmn_error *err)
{
    stock s;
    lmn_status status = stock_create(&s, dataset, sharding, seed, size, err);
    if (status == LMN_OK && s.labels == NULL) {
        status =
            lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has no labels to be counted", dataset->path);
    }
    if (status == LMN_OK) {
        memset(counts, 0, s.size * s.n_classes * sizeof *counts);
        if (sharding->kind == LMN_SHARDING_CONTIGUOUS) {
            count_contiguous(&s, counts);
        } else if (sharding->kind == LMN_SHARDING_LABEL) {
            status = count_by_label(&s, counts, err);
        } else {
            status = count_dirichlet(&s, counts, err);
        }
    }
    lmn_free(s.total);
    return status;
}
