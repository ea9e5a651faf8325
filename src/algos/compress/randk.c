/*
 * Rand-k: k entries at random places, the same places on all ranks.
 *
 * The places come from the shared random stream, so they need not travel, and the values of all
 * ranks add up: one allreduce of k numbers. C is linear, and the mean of C(v_i) is C of the mean.
 *
 * The vector, turned by a random distance, is cut into k strata whose lengths differ by at most
 * one, and each gives one entry. So places are distinct and nearly ascending, which the memory
 * likes, and four of them cost one Philox block; a Feistel permutation would take eight blocks for
 * each and scatter them. Thanks to the turn each entry is chosen with probability exactly k /
 * count, though strata differ in length: it falls into a stratum of length m with probability m /
 * count, and is then the one of m.
 *
 * Rounds: SUM_F32 of the k values, in the order of the strata.
 *
 * Source: S. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018,
 * arXiv:1809.07599; the strata are our own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "levels_internal.h"
#include "simd/buckets.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Places that are drawn together. */
#define BATCH ((size_t)256)
/* Words of a block of the stream. The first block gives the turn, the others a word to a stratum.
 */
#define BLOCK ((size_t)4)
/* Below so many entries threads cost more than they save. */
#define PARALLEL_MIN ((size_t)32768)

typedef struct randk_config {
    double density;
    lmn_spec_list levels;
    bool is_scaled;
    /* Derived. */
    lmn__level_list densities;
    size_t static_level;
} randk_config;

static const randk_config defaults = {.density = 0.01};

static const lmn_spec_field fields[] = {
    {.key = "density",
     .type = LMN_SPEC_F64,
     .offset = offsetof(randk_config, density),
     /* So that a stratum is shorter than 2^32, whatever the layer. */
     .min = 1e-9,
     .max = 1.0,
     .help = "fraction of entries that is sent (0.01)"},
    {.key = "levels",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(randk_config, levels),
     .min = 1e-9,
     .max = 1.0,
     .help = "densities that allocation may choose, besides density and dense (20, 10, 5, 2 and "
             "0.5 times density)"},
    {.key = "scaled",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(randk_config, is_scaled),
     .help = "multiply what is sent by 1 / density, so that its expectation is the vector; for "
             "training without feedback (no)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    (void)err;
    randk_config *config = config_memory;
    config->static_level =
        lmn__density_levels(config->density, &config->levels, &config->densities);
    return LMN_OK;
}

static lmn__compressor_levels levels(const void *config_memory)
{
    const randk_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->densities.count + 1,
                                    .static_level = config->static_level};
}

static void level_format(const void *config_memory, size_t level, char *text, size_t capacity)
{
    const randk_config *config = config_memory;
    (void)snprintf(text, capacity, "density=%.6g", config->densities.values[level - 1]);
}

static size_t entries_sent(const randk_config *config, size_t level, size_t count)
{
    return lmn__entries_kept(config->densities.values[level - 1], count);
}

static size_t payload_bytes(const void *config, size_t level, lmn_layer_shape shape)
{
    return sizeof(float) * entries_sent(config, level, shape.count);
}

static double density_of(const randk_config *config, size_t level, size_t count)
{
    return (double)entries_sent(config, level, count) / (double)count;
}

/* E |C(v) - v|^2 / |v|^2: an entry is lost with probability 1 - p; scaled, it is also changed by
   1 / p - 1 when it is sent. */
static double expected_loss(const randk_config *config, size_t level, size_t count)
{
    const double p = density_of(config, level, count);
    return config->is_scaled ? 1.0 / p - 1.0 : 1.0 - p;
}

static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    const double loss = expected_loss(config, level, shape.count);
    return loss < 1.0 ? 1.0 - loss : 0.0;
}

/*
 * The time tau between two sendings of an entry is geometric. Its error is multiplied by
 * 1 - eta tau when it is sent, whose mean square is below 1 for eta < 2 p / (2 - p); half of p
 * measures best. Scaled entries give back 1 / p as much.
 */
static lmn_eta_rule eta(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const randk_config *config = config_memory;
    const double p = density_of(config, level, shape.count);
    const double unit = config->is_scaled ? p : 1.0;
    return lmn__fixed_eta(0.5 * p * unit, 2.0 * p / (2.0 - p) * unit);
}

/* The squared error to be expected; which entries will be sent is not known yet. */
static void error_curve(const void *config_memory, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch)
{
    (void)scratch;
    const randk_config *config = config_memory;
    const double energy = lmn__bucket_kernels_variant(0)->measure->energy(vector, shape.count);
    for (size_t level = 1; level <= config->densities.count; level++) {
        squared_error_out[level] =
            shape.count == 0 ? 0.0 : energy * expected_loss(config, level, shape.count);
    }
}

/* ------------------------------------------------------------------ places */

/* Where the k entries of a step are. Place p of the turned vector is entry (p + turn) % count. */
typedef struct support {
    const lmn__word_kernels *kernels;
    lmn_stream stream;
    size_t count;
    size_t k;
    size_t turn;
    size_t length;   /* of a stratum, */
    size_t n_longer; /* and the first so many are longer by one */
} support;

static support support_of(const randk_config *config, const lmn_rounds_job *job)
{
    support s = {.kernels = lmn__bucket_kernels_variant(0)->word,
                 .stream = job->stream,
                 .count = job->shape.count,
                 .k = entries_sent(config, job->level, job->shape.count)};
    if (s.count == 0) {
        return s;
    }
    uint32_t words[2] = {0};
    lmn_stream_u32(&s.stream, 0, 2, words);
    const uint64_t word = (uint64_t)words[0] << 32 | words[1];
    s.turn = (size_t)(word % s.count);
    s.length = s.count / s.k;
    s.n_longer = s.count % s.k;
    return s;
}

/* The first place of a stratum. */
static size_t stratum_start(const support *s, size_t stratum)
{
    return stratum * s->length + (stratum < s->n_longer ? stratum : s->n_longer);
}

static size_t stratum_at(const support *s, size_t place)
{
    const size_t end_of_longer = s->n_longer * (s->length + 1);
    return place < end_of_longer ? place / (s->length + 1)
                                 : s->n_longer + (place - end_of_longer) / s->length;
}

/* The entries that strata first .. first + n - 1 give; n <= BATCH. */
static void draw(const support *s, size_t first, size_t n, size_t *restrict entries)
{
    /* Whole blocks, of which the first words may be those of strata before. */
    uint32_t blocks[BATCH + 2 * BLOCK];
    const size_t skipped = first % BLOCK;
    const size_t n_blocks = (skipped + n + BLOCK - 1) / BLOCK;
    s->kernels->words(&s->stream, (uint32_t)(1 + first / BLOCK), n_blocks, blocks);
    const uint32_t *const words = blocks + skipped;
    const size_t length = s->length;
    const size_t n_longer = s->n_longer;
    const size_t count = s->count;
    size_t start = stratum_start(s, first) + s->turn;
    for (size_t i = 0; i < n; i++) {
        const size_t mine = length + (first + i < n_longer);
        const size_t turned = start + (size_t)((uint64_t)words[i] * mine >> 32);
        entries[i] = turned < count ? turned : turned - count;
        start += mine;
    }
}

static size_t batch_size(size_t first, size_t end)
{
    return end - first < BATCH ? end - first : BATCH;
}

/* ------------------------------------------------------------------ rounds */

static size_t round_count(const void *config, size_t level)
{
    (void)config;
    (void)level;
    return 1;
}

static lmn_round round_of(const void *config, size_t level, lmn_layer_shape shape, size_t round,
                          uint64_t step)
{
    (void)round;
    (void)step;
    return (lmn_round){.reduction = LMN_REDUCTION_SUM_F32,
                       .count = entries_sent(config, level, shape.count)};
}

static void encode(const void *config, const lmn_rounds_job *job, size_t round)
{
    assert(round == 0);
    (void)round;
    const support s = support_of(config, job);
    const float *const vector = job->vector;
    float *restrict const own = job->own[0];
    float *restrict const numbers = job->numbers[0];
#pragma omp parallel for schedule(static) if (s.k >= PARALLEL_MIN)
    for (size_t first = 0; first < s.k; first += BATCH) {
        size_t entries[BATCH];
        const size_t n = batch_size(first, s.k);
        draw(&s, first, n, entries);
        for (size_t i = 0; i < n; i++) {
            own[first + i] = vector[entries[i]];
            numbers[first + i] = own[first + i];
        }
    }
}

/* What a value is multiplied by when it is sent. */
static double scale_of(const randk_config *config, const support *s)
{
    return config->is_scaled && s->k > 0 ? (double)s->count / (double)s->k : 1.0;
}

static void decode_add(const void *config, const lmn_rounds_job *job, float weight, float *acc)
{
    const support s = support_of(config, job);
    const float *const sums = job->numbers[0];
    const float factor = (float)((double)weight * scale_of(config, &s) / job->n_ranks);
#pragma omp parallel for schedule(static) if (s.k >= PARALLEL_MIN)
    for (size_t first = 0; first < s.k; first += BATCH) {
        size_t entries[BATCH];
        const size_t n = batch_size(first, s.k);
        draw(&s, first, n, entries);
        for (size_t i = 0; i < n; i++) {
            acc[entries[i]] += factor * sums[first + i];
        }
    }
}

/* A tile of which nothing is turned past the end of the vector: places place .. place + count - 1
   are entries entry .. */
static void sent_run(const support *s, const float *own, float scale, size_t place, size_t count,
                     float *sent)
{
    const size_t entry = place + s->turn < s->count ? place + s->turn : place + s->turn - s->count;
    const size_t end = count == 0 ? 0 : stratum_at(s, place + count - 1) + 1;
    for (size_t first = count == 0 ? 0 : stratum_at(s, place); first < end; first += BATCH) {
        size_t entries[BATCH];
        const size_t n = batch_size(first, end);
        draw(s, first, n, entries);
        for (size_t i = 0; i < n; i++) {
            /* The outer strata may give entries outside of the tile. */
            if (entries[i] >= entry && entries[i] - entry < count) {
                sent[entries[i] - entry] = scale * own[first + i];
            }
        }
    }
}

static void sent_tile(const void *config, const lmn_rounds_job *job, size_t first, size_t count,
                      float *sent)
{
    if (count == 0) {
        return;
    }
    memset(sent, 0, count * sizeof *sent);
    const support s = support_of(config, job);
    const float scale = (float)scale_of(config, &s);
    /* Entries below `turn` are the last places, those from it on the first. */
    const size_t below = first < s.turn ? s.turn - first : 0;
    const size_t n_below = below < count ? below : count;
    sent_run(&s, job->own[0], scale, first + s.count - s.turn, n_below, sent);
    sent_run(&s, job->own[0], scale, first + n_below - s.turn, count - n_below, sent + n_below);
}

static const lmn__round_functions rounds = {.count = round_count,
                                            .round = round_of,
                                            .encode = encode,
                                            .decode_add = decode_add,
                                            .sent = sent_tile};

const lmn__compressor_family lmn__compressor_randk = {
    .method = {.entry = {.name = "randk",
                         .summary = "entries at random places that all ranks share, as values",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(randk_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_ROUNDS,
    .levels = levels,
    .level_format = level_format,
    .payload_bytes = payload_bytes,
    .contraction = contraction,
    .eta = eta,
    .error_curve = error_curve,
    .rounds = &rounds,
};
