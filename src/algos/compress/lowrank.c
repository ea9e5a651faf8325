/*
 * Low rank: a matrix M is sent as P Q^T with r columns each, found by one step of power iteration
 * that starts from the Q of the step before.
 *
 * Two rounds: P = sum of M_i Q; orthonormal columns are made of it, by all ranks alike; then
 * Q = mean of M_i^T P. The average is P Q^T, and rank i sent D_i = P Q_i^T: the projection of M_i
 * to the columns of P. C is linear given P, and the mean of D_i is the average.
 * alternate=yes: one round. Even steps make the remembered P orthonormal and send Q_i = M_i^T P,
 * odd ones send P_i = M_i Q with the remembered Q made orthonormal.
 *
 * What is remembered is shared by all ranks. A column of it that is zero, because the layer was, or
 * its rank was lower, or the level changed, starts again from shared random numbers: left alone it
 * would be zero for ever. Whoever gets fewer columns than before keeps the first.
 *
 * Q's columns are only scaled to norm 1: those of P, which are made of it, are
 * made orthonormal anyway.
 *
 * Source: T. Vogels, S. P. Karimireddy, M. Jaggi, "PowerSGD: practical low-rank gradient
 * compression for distributed optimization", NeurIPS 2019, arXiv:1905.13727.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "lamina/memory.h"
#include "levels_internal.h"
#include "products_internal.h"
#include "spectrum_internal.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define RANK_MAX 256

typedef struct lowrank_config {
    uint64_t rank;
    lmn_spec_list levels;
    bool alternates;
    uint64_t wire; /* index into the choices: f32, bf16 */
    /* Derived. */
    lmn__level_list ranks;
    size_t static_level;
} lowrank_config;

static const lowrank_config defaults = {.rank = 4};

static const lmn_spec_field fields[] = {
    {.key = "rank",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lowrank_config, rank),
     .min = 1,
     .max = RANK_MAX,
     .help = "columns of P and Q (4)"},
    {.key = "levels",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(lowrank_config, levels),
     .min = 1,
     .max = RANK_MAX,
     .help = "ranks that allocation may choose, besides rank and dense (4, 2, 1/2 and 1/4 times "
             "rank)"},
    {.key = "alternate",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(lowrank_config, alternates),
     .help = "send P and Q in turns, one each step, instead of both (no)"},
    {.key = "wire",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(lowrank_config, wire),
     .choices = "f32|bf16",
     .help = "as what P and Q travel (f32)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    lowrank_config *config = config_memory;
    for (size_t i = 0; i < config->levels.count; i++) {
        const double rank = config->levels.values[i];
        if (rank != floor(rank)) {
            return lmn_error_set(err, LMN_ERR_USAGE,
                                 "compressor 'lowrank': levels holds %g, but a rank is a whole "
                                 "number",
                                 rank);
        }
        (void)lmn__level_insert(&config->ranks, rank);
    }
    static const double multiples[] = {4.0, 2.0, 0.5, 0.25};
    const size_t n_multiples = sizeof multiples / sizeof multiples[0];
    for (size_t i = 0; i < n_multiples && config->levels.count == 0; i++) {
        const double rank = floor(multiples[i] * (double)config->rank);
        if (rank >= 1.0 && rank <= RANK_MAX) {
            (void)lmn__level_insert(&config->ranks, rank);
        }
    }
    config->static_level = lmn__level_insert(&config->ranks, (double)config->rank);
    return LMN_OK;
}

static lmn__compressor_levels levels(const void *config_memory)
{
    const lowrank_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->ranks.count + 1,
                                    .static_level = config->static_level};
}

static void level_format(const void *config_memory, size_t level, char *text, size_t capacity)
{
    const lowrank_config *config = config_memory;
    (void)snprintf(text, capacity, "rank=%.0f", config->ranks.values[level - 1]);
}

/* ------------------------------------------------------------------ sizes */

/* A layer as a matrix, with so many columns of P and Q. */
typedef struct matrix {
    size_t rows, cols;
    size_t rank;     /* at the level in hand */
    size_t rank_max; /* at level 1, which has the most */
} matrix;

static matrix matrix_of(const lowrank_config *config, size_t level, lmn_layer_shape shape)
{
    matrix m = {.rows = shape.count == 0 ? 0 : shape.rows};
    m.cols = m.rows == 0 ? 0 : shape.count / m.rows;
    const size_t side = m.rows < m.cols ? m.rows : m.cols;
    const size_t rank = (size_t)config->ranks.values[level - 1];
    const size_t rank_max = (size_t)config->ranks.values[0];
    m.rank = rank < side ? rank : side;
    m.rank_max = rank_max < side ? rank_max : side;
    return m;
}

static size_t longer_side(matrix m)
{
    return m.rows > m.cols ? m.rows : m.cols;
}

static size_t payload_bytes(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, level, shape);
    const size_t length = config->alternates ? longer_side(m) : m.rows + m.cols;
    return m.rank * length * (config->wire == 0 ? sizeof(float) : sizeof(uint16_t));
}

/* A thin matrix while layers are compressed; more for an error curve. */
static size_t scratch_bytes(const void *config, lmn_layer_shape shape)
{
    const matrix m = matrix_of(config, 1, shape);
    const size_t thin = lmn_align_up(m.rank_max * longer_side(m) * sizeof(float));
    const size_t curve = m.rank_max == 0
                             ? 0
                             : lmn_align_up((m.rank_max + 1) * sizeof(double)) +
                                   lmn__spectrum_scratch_bytes(m.rows, m.cols, m.rank_max);
    return thin > curve ? thin : curve;
}

/* Q [rank_max][cols]; then, when they alternate, P [rank_max][rows]. */
static lmn_compressor_memory memory_of(const void *config_memory, lmn_layer_shape shape)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, 1, shape);
    const size_t length = config->alternates ? m.rows + m.cols : m.cols;
    return (lmn_compressor_memory){.shared = m.rank_max * length};
}

/* D_i is a projection, so nothing is made larger; but it may be one to the wrong columns. */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)level;
    (void)shape;
    return 0.0;
}

/* As measured: stable below about half the fraction of the space that is sent. */
static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    const matrix m = matrix_of(config, level, shape);
    const size_t side = m.rows < m.cols ? m.rows : m.cols;
    const double fraction = (double)m.rank / (double)side;
    return lmn__fixed_eta(0.25 * fraction, 0.5 * fraction);
}

static void error_curve(const void *config_memory, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch)
{
    const lowrank_config *config = config_memory;
    const matrix largest = matrix_of(config, 1, shape);
    double *const rest = scratch;
    if (largest.rank_max > 0) {
        const size_t used = lmn_align_up((largest.rank_max + 1) * sizeof(double));
        lmn__spectrum_rest(vector, largest.rows, largest.cols, largest.rank_max, rest,
                           (unsigned char *)scratch + used);
    }
    for (size_t level = 1; level <= config->ranks.count; level++) {
        const size_t rank = matrix_of(config, level, shape).rank;
        squared_error_out[level] = rank == 0 ? 0.0 : rest[rank];
    }
}

static double curve_work(const void *config, lmn_layer_shape shape)
{
    const matrix largest = matrix_of(config, 1, shape);
    return lmn__spectrum_work(largest.rows, largest.cols, largest.rank_max);
}

/* ------------------------------------------------------------------ rounds */

/* In a step whose one round sends Q, P comes from memory; and the other way round. */
static bool sends_p_only(const lowrank_config *config, uint64_t step)
{
    return config->alternates && step % 2 == 1;
}

static size_t round_count(const void *config_memory, size_t level)
{
    const lowrank_config *config = config_memory;
    (void)level;
    return config->alternates ? 1 : 2;
}

/* Whether a round sends columns as long as the matrix has rows: P. */
static bool round_is_p(const lowrank_config *config, size_t round, uint64_t step)
{
    return config->alternates ? sends_p_only(config, step) : round == 0;
}

static lmn_round round_of(const void *config_memory, size_t level, lmn_layer_shape shape,
                          size_t round, uint64_t step)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, level, shape);
    return (lmn_round){.reduction =
                           config->wire == 0 ? LMN_REDUCTION_SUM_F32 : LMN_REDUCTION_SUM_BF16,
                       .count = m.rank * (round_is_p(config, round, step) ? m.rows : m.cols)};
}

/* To the nearest bf16, ties to even; what would become infinite, to the largest. */
static void round_to_bf16(float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &numbers[i], sizeof bits);
        const uint32_t rounded = bits + 0x7FFFU + (bits >> 16 & 1U);
        const bool overflows = (rounded & 0x7FFFFFFFU) >= 0x7F800000U;
        bits = (overflows ? bits : rounded) & 0xFFFF0000U;
        memcpy(&numbers[i], &bits, sizeof bits);
    }
}

/* Remembered columns, refilled, in scratch. */
static float *recall(const lmn_rounds_job *job, const float *memory, size_t n, size_t length)
{
    float *const columns = job->scratch;
    if (n > 0) {
        memcpy(columns, memory, n * length * sizeof *columns);
    }
    lmn__refill(columns, n, length, &job->stream);
    return columns;
}

/* Scratch takes the thin matrix that this round multiplies with: Q of norm 1, or an orthonormal P
   or Q, which decoding takes as well. */
static const float *prepare(const lowrank_config *config, const lmn_rounds_job *job, matrix m,
                            size_t round)
{
    if (round == 1) {
        float *const p = job->scratch;
        if (m.rank > 0) {
            memcpy(p, job->numbers[0], m.rank * m.rows * sizeof *p);
        }
        lmn__orthonormalise(p, m.rank, m.rows);
        return p;
    }
    if (config->alternates && !sends_p_only(config, job->step)) {
        float *const p = recall(job, job->memory + m.rank_max * m.cols, m.rank, m.rows);
        lmn__orthonormalise(p, m.rank, m.rows);
        return p;
    }
    float *const q = recall(job, job->memory, m.rank, m.cols);
    if (config->alternates) {
        lmn__orthonormalise(q, m.rank, m.cols);
    } else {
        lmn__normalise(q, m.rank, m.cols);
    }
    return q;
}

static void encode(const void *config_memory, const lmn_rounds_job *job, size_t round)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, job->level, job->shape);
    const bool is_p = round_is_p(config, round, job->step);
    const size_t count = m.rank * (is_p ? m.rows : m.cols);
    const float *thin = prepare(config, job, m, round);
    float *const own = job->own[round];
    if (is_p) {
        lmn__multiply(job->vector, m.rows, m.cols, thin, m.rank, own);
    } else {
        lmn__multiply_transposed(job->vector, m.rows, m.cols, thin, m.rank, own);
    }
    if (config->wire != 0) {
        round_to_bf16(own, count);
    }
    if (count > 0) {
        memcpy(job->numbers[round], own, count * sizeof *own);
    }
}

/* P and Q whose product decodes to what `factors` sent in the last round. */
typedef struct factors {
    const float *p, *q;
} factors;

static factors factors_of(const lowrank_config *config, const lmn_rounds_job *job,
                          void *const rounds[2])
{
    if (sends_p_only(config, job->step)) {
        return (factors){.p = rounds[0], .q = job->scratch};
    }
    return (factors){.p = job->scratch, .q = rounds[config->alternates ? 0 : 1]};
}

static void decode_add(const void *config_memory, const lmn_rounds_job *job, float weight,
                       float *acc)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, job->level, job->shape);
    const factors f = factors_of(config, job, job->numbers);
    const float factor = (float)((double)weight / job->n_ranks);
    lmn__outer_add(f.p, m.rows, f.q, m.cols, m.rank, factor, acc);
}

static void sent_tile(const void *config_memory, const lmn_rounds_job *job, size_t first,
                      size_t count, float *sent)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, job->level, job->shape);
    const factors f = factors_of(config, job, job->own);
    lmn__outer_part(f.p, m.rows, f.q, m.cols, m.rank, first, count, sent);
}

/* Remember the mean of what the last round sent. Columns beyond the rank are forgotten. */
static void commit(const void *config_memory, const lmn_rounds_job *job)
{
    const lowrank_config *config = config_memory;
    const matrix m = matrix_of(config, job->level, job->shape);
    const bool is_p = sends_p_only(config, job->step);
    const size_t length = is_p ? m.rows : m.cols;
    const float *const sum = job->numbers[config->alternates ? 0 : 1];
    float *const memory = is_p ? job->memory + m.rank_max * m.cols : job->memory;
    const float factor = 1.0F / (float)job->n_ranks;
    for (size_t i = 0; i < m.rank * length; i++) {
        memory[i] = factor * sum[i];
    }
    for (size_t i = m.rank * length; i < m.rank_max * length; i++) {
        memory[i] = 0.0F;
    }
}

static const lmn__round_functions rounds = {.count = round_count,
                                            .round = round_of,
                                            .encode = encode,
                                            .decode_add = decode_add,
                                            .sent = sent_tile,
                                            .commit = commit};

const lmn__compressor_family lmn__compressor_lowrank = {
    .method = {.entry = {.name = "lowrank",
                         .summary = "each layer as the product of two thin matrices (PowerSGD)",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(lowrank_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_ROUNDS,
    .levels = levels,
    .level_format = level_format,
    .payload_bytes = payload_bytes,
    .scratch_bytes = scratch_bytes,
    .memory = memory_of,
    .contraction = contraction,
    .eta = eta,
    .error_curve = error_curve,
    .curve_work = curve_work,
    .rounds = &rounds,
};
