/*
 * Shares of classes drawn from a Dirichlet distribution, and whole samples for them.
 *
 * Rank after rank draws weights for the classes, Dirichlet(alpha C f_c) with f_c the share of class
 * c in the dataset and C the number of classes, and takes as many samples as its shard has, from
 * what the ranks before it left: a class that runs out gives all it has, and the others make up for
 * it in proportion to their weights. So shards are equal in size and every sample is used, at the
 * price that the last ranks take what is left.
 *
 * Weights are kept as logarithms, because with a small alpha all but the largest are far below
 * what a double can hold. Numbers come from Philox blocks of (seed, class, rank, attempt).
 *
 * Methods: gamma variates by G. Marsaglia, W. Tsang, "A simple method for generating gamma
 * variables", ACM TOMS 26 (2000), doi:10.1145/358407.358414; whole numbers by systematic sampling,
 * W. Madow, "On the theory of systematic sampling, II", Ann. Math. Stat. 20 (1949).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "lamina/random.h"
#include "shard_internal.h"

#include <math.h>
#include <string.h>

/* One of them is refused with a probability below 0.05, so nobody sees the last. */
#define ATTEMPTS 64
/* In place of a class: where the rank's offset of the systematic sampling comes from. */
#define OFFSET_LAYER UINT32_MAX

static const double PI = 3.14159265358979323846;

lmn_status lmn__dirichlet_create(lmn__dirichlet *deal, double alpha, uint64_t seed,
                                 const uint64_t *total, size_t n_classes, size_t size,
                                 lmn_error *err)
{
    *deal = (lmn__dirichlet){
        .alpha = alpha, .seed = seed, .size = size, .n_classes = n_classes, .total = total};
    deal->memory = lmn_alloc(n_classes, 2 * sizeof(uint64_t) + 2 * sizeof(double), err);
    if (deal->memory == NULL) {
        return LMN_ERR_MEMORY;
    }
    deal->taken = (uint64_t *)(void *)deal->memory;
    deal->given = deal->taken + n_classes;
    deal->log_weight = (double *)(void *)(deal->given + n_classes);
    deal->weight = deal->log_weight + n_classes;
    for (size_t c = 0; c < n_classes; c++) {
        deal->count += total[c];
    }
    return LMN_OK;
}

void lmn__dirichlet_destroy(lmn__dirichlet *deal)
{
    lmn_free(deal->memory);
    deal->memory = NULL;
}

/* In (0, 1]. */
static double unit(uint32_t word)
{
    return ((double)word + 1.0) * 0x1p-32;
}

/* The logarithm of a gamma variate of that shape; one of shape + 1, scaled down, below 1. */
static double log_gamma_variate(const lmn_stream *stream, double shape)
{
    uint32_t words[4];
    lmn_stream_u32(stream, 0, 4, words);
    const double smaller = shape < 1.0 ? log(unit(words[3])) / shape : 0.0;
    const double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    for (uint64_t attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const double x = sqrt(-2.0 * log(unit(words[0]))) * cos(2.0 * PI * unit(words[1]));
        const double root = 1.0 + c * x;
        const double v = root * root * root;
        if (v > 0.0 && log(unit(words[2])) < 0.5 * x * x + d - d * v + d * log(v)) {
            return log(d) + log(v) + smaller;
        }
        lmn_stream_u32(stream, 4 * attempt, 4, words);
    }
    return log(d) + smaller;
}

static void draw_weights(lmn__dirichlet *deal)
{
    lmn_stream stream = {.seed = deal->seed,
                         .step = (uint32_t)deal->next,
                         .purpose = LMN_STREAM_SHARD,
                         .rank = LMN_STREAM_ALL_RANKS};
    for (size_t c = 0; c < deal->n_classes; c++) {
        const double share = (double)deal->total[c] / (double)deal->count;
        stream.layer = (uint32_t)c;
        deal->log_weight[c] =
            share > 0.0 ? log_gamma_variate(&stream, deal->alpha * (double)deal->n_classes * share)
                        : 0.0;
    }
}

static uint64_t left(const lmn__dirichlet *deal, size_t c)
{
    return deal->total[c] - deal->taken[c] - deal->given[c];
}

/* Weights of the classes that have samples left, the largest 1; returns their sum. */
static double open_weights(lmn__dirichlet *deal)
{
    double largest = -(double)INFINITY;
    for (size_t c = 0; c < deal->n_classes; c++) {
        if (left(deal, c) > 0 && deal->log_weight[c] > largest) {
            largest = deal->log_weight[c];
        }
    }
    double sum = 0.0;
    for (size_t c = 0; c < deal->n_classes; c++) {
        deal->weight[c] = left(deal, c) > 0 ? exp(deal->log_weight[c] - largest) : 0.0;
        sum += deal->weight[c];
    }
    return sum;
}

/* Give all of the classes whose part of `wanted` is at least what they have; returns how many
   samples that were. */
static uint64_t exhaust(lmn__dirichlet *deal, uint64_t wanted, double sum)
{
    uint64_t gave = 0;
    for (size_t c = 0; c < deal->n_classes; c++) {
        const uint64_t rest = left(deal, c);
        if (rest > 0 && (double)wanted * (deal->weight[c] / sum) >= (double)rest) {
            const uint64_t more = rest < wanted - gave ? rest : wanted - gave;
            deal->given[c] += more;
            gave += more;
        }
    }
    return gave;
}

/* Whole numbers next to each class's part of `wanted`, right in the mean; returns their sum. */
static uint64_t round_parts(lmn__dirichlet *deal, uint64_t wanted, double sum)
{
    const lmn_stream stream = {.seed = deal->seed,
                               .layer = OFFSET_LAYER,
                               .step = (uint32_t)deal->next,
                               .purpose = LMN_STREAM_SHARD,
                               .rank = LMN_STREAM_ALL_RANKS};
    uint32_t word = 0;
    lmn_stream_u32(&stream, 0, 1, &word);
    double place = (double)word * 0x1p-32;
    uint64_t gave = 0;
    for (size_t c = 0; c < deal->n_classes && gave < wanted; c++) {
        const double end = place + (double)wanted * (deal->weight[c] / sum);
        const uint64_t part = (uint64_t)(floor(end) - floor(place));
        const uint64_t most = left(deal, c) < wanted - gave ? left(deal, c) : wanted - gave;
        deal->given[c] += part < most ? part : most;
        gave += part < most ? part : most;
        place = end;
    }
    return gave;
}

/* What rounding of doubles may leave over comes from the first classes that have some. */
static void top_up(lmn__dirichlet *deal, uint64_t wanted)
{
    for (size_t c = 0; c < deal->n_classes && wanted > 0; c++) {
        const uint64_t more = left(deal, c) < wanted ? left(deal, c) : wanted;
        deal->given[c] += more;
        wanted -= more;
    }
}

void lmn__dirichlet_take(lmn__dirichlet *deal)
{
    for (size_t c = 0; c < deal->n_classes; c++) {
        deal->taken[c] += deal->given[c];
    }
    memset(deal->given, 0, deal->n_classes * sizeof *deal->given);
    draw_weights(deal);
    uint64_t wanted = lmn_partition((size_t)deal->count, deal->size, deal->next).count;
    double sum = open_weights(deal);
    uint64_t gave = exhaust(deal, wanted, sum);
    while (gave > 0 && gave < wanted) {
        wanted -= gave;
        sum = open_weights(deal);
        gave = exhaust(deal, wanted, sum);
    }
    wanted -= gave;
    if (wanted > 0) {
        wanted -= round_parts(deal, wanted, sum);
        top_up(deal, wanted);
    }
    deal->next++;
}
