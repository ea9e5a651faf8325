/*
 * Compressors: operators that turn a vector into a short message, and what the message left out.
 *
 * A compressor is chosen by a spec such as `topk:density=0.01`. It is immutable and shared by all
 * layers and threads; what it needs while it works is handed in. Its strength comes in levels:
 * level 0 always sends the vector whole (dense f32), higher levels send less. A layer's level may
 * change from step to step; the static level is the one that the spec names.
 *
 * Several families joined by '+', as in `topk:density=0.01+quant:bits=4+lowrank`, are a mixture:
 * its levels are those of all of them, so that an allocator may choose for each layer the family,
 * too. The static level is that of the first.
 *
 * How the messages of the ranks become one average depends on the family (lmn_combine), and each
 * way has its own few functions here. Level 0 never reaches any of them: such layers travel by a
 * dense allreduce. Mathematics: docs/algorithms.md; bytes: docs/compression.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPRESSOR_H
#define LAMINA_COMPRESSOR_H

#include "lamina/random.h"
#include "lamina/reduction.h"
#include "lamina/sparse.h"
#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_compressor lmn_compressor;

/**
 * spec  a family, or several of them joined by '+'
 * Errors: LMN_ERR_USAGE (unknown family or key, value out of range; of a mixture also a family that
 * is there twice, `dense`, which is level 0 of all, and more families than can be mixed),
 * LMN_ERR_MEMORY.
 */
lmn_status lmn_compressor_create(const char *spec, lmn_compressor **compressor_out,
                                 lmn_error *err) LMN_NODISCARD;
void lmn_compressor_destroy(lmn_compressor *compressor);

/** Families in it: 1 unless it is a mixture. */
size_t lmn_compressor_family_count(const lmn_compressor *compressor);

/** Number of levels, at least 1. */
size_t lmn_compressor_level_count(const lmn_compressor *compressor);

/** The level that the spec names, of a mixture the first family's: 0 for `dense`. */
size_t lmn_compressor_static_level(const lmn_compressor *compressor);

/** The level that the spec names for the family that `level` belongs to; 0 for level 0. */
size_t lmn_compressor_named_level(const lmn_compressor *compressor, size_t level);

/** A level in words, such as "density=0.01" or "dense"; of a mixture with the family,
 *  "topk:density=0.01". */
void lmn_compressor_level_format(const lmn_compressor *compressor, size_t level, char *text,
                                 size_t capacity);

/** How the messages of the ranks become one. */
typedef enum lmn_combine {
    LMN_COMBINE_SUM,    /* the vector itself, added up by an allreduce: level 0 of every family */
    LMN_COMBINE_SPARSE, /* entries of each rank's own choice: gathered, or merged by ranks that each
                           own a range of indices (lamina/sparse.h) */
    LMN_COMBINE_SLICED, /* buckets of elements that are encoded one by one: each rank averages a
                           slice of all messages and encodes it again */
    LMN_COMBINE_ROUNDS  /* numbers that are reduced by one or more allreduces */
} lmn_combine;

lmn_combine lmn_compressor_combine(const lmn_compressor *compressor, size_t level);

/** A layer as compressors see it: row-major, its first dimensions as rows. */
typedef struct lmn_layer_shape {
    size_t count; /* elements */
    size_t rows;  /* divides count; 1 for a layer without a matrix in it */
} lmn_layer_shape;

/** The shape of a vector of `count` elements. */
lmn_layer_shape lmn_layer_flat(size_t count);

/**
 * Largest payload of one rank's message, bytes: for LMN_COMBINE_ROUNDS what all rounds together put
 * into an allreduce; for level 0 4 * count.
 */
size_t lmn_compressor_payload_bytes(const lmn_compressor *compressor, size_t level,
                                    lmn_layer_shape shape);

/** Bytes of scratch memory, to be 64-byte aligned, that any function here needs for a layer. */
size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, lmn_layer_shape shape);

/** What is remembered of a layer from step to step, beside the feedback's states: f32, whatever the
 *  level; 0 when nothing is. */
typedef struct lmn_compressor_memory {
    size_t own;    /* each rank its own: of families that encode messages */
    size_t shared; /* the same on all ranks: of families that reduce in rounds */
} lmn_compressor_memory;

/** Zeroed memory is a fresh start. It belongs to a checkpoint. In a mixture each family has a part
 *  of its own, which stays as it is while another family is at work. */
lmn_compressor_memory lmn_compressor_memory_of(const lmn_compressor *compressor,
                                               lmn_layer_shape shape);

/**
 * The guaranteed contraction delta in [0, 1]: |C(v) - v|^2 <= (1 - delta) |v|^2 for every v of that
 * shape (in expectation where the family draws random numbers; 0 where nothing is guaranteed).
 * k / count for top-k; 1 for level 0.
 */
double lmn_compressor_contraction(const lmn_compressor *compressor, size_t level,
                                  lmn_layer_shape shape);

/** How strongly EControl may feed errors back at a level. */
typedef struct lmn_eta_rule {
    double suggested; /* what eta=auto takes before anything was observed; k / count for top-k, 1
                         for level 0 */
    double limit;     /* above it training is known to become unstable; 2 k / count for top-k */
    double lowest, highest; /* what eta=auto stays between, whatever is observed */
} lmn_eta_rule;

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level,
                                lmn_layer_shape shape);

/** What a level was seen to do to a layer: means over steps and ranks. */
typedef struct lmn_observed {
    double kept;    /* 1 - |v - C(v)|^2 / |v|^2; below 0 where C makes errors larger */
    double density; /* of LMN_COMBINE_SPARSE: entries that counted as sent / elements; else 0 */
} lmn_observed;

/**
 * What eta=auto would take after that, before it is held between rule.lowest and rule.highest: half
 * of what is kept for the families that encode every element, the density for top-k, and
 * rule.suggested for the others.
 * rule  of that level and layer
 */
double lmn_compressor_eta_observed(const lmn_compressor *compressor, size_t level,
                                   const lmn_eta_rule *rule, const lmn_observed *observed);

/** |v|^2 and |v - C(v)|^2 of a tile. */
typedef struct lmn_energies {
    double vector, lost;
} lmn_energies;

/**
 * Measure a tile: the same bits for every instruction set.
 * vector, sent  [count] v and C(v); sent NULL: C(v) is 0
 */
lmn_energies lmn_energies_of(const float *vector, const float *sent, size_t count);

/**
 * The squared error |C(v) - v|^2 at every level: what the allocator weighs against bytes.
 * vector  [count] unchanged;  squared_error_out [level_count], entry 0 is 0
 */
void lmn_compressor_error_curve(const lmn_compressor *compressor, const float *vector,
                                lmn_layer_shape shape, double *squared_error_out, void *scratch);

/** How much work an error curve is, in any unit: for dealing layers out to ranks. */
double lmn_compressor_curve_work(const lmn_compressor *compressor, lmn_layer_shape shape);

/* ------------------------------------------------------------------ v, tile by tile */

/* Encoders take v in tiles of at least so many elements, but for the last of a part. */
#define LMN_SOURCE_TILE ((size_t)512)

/**
 * Where the vector v of a layer comes from and what becomes of it. An encoder walks v in tiles that
 * fit the nearest cache, so that forming v, encoding it and noting what was sent are one pass over
 * memory. Functions may be called from several threads for tiles that do not overlap; `user` is
 * theirs.
 */
typedef struct lmn_source {
    /** vector[0 .. count-1] = v[first ..]. Possibly more than once for a place, always the same.
     *  Returns false when v holds NaN or infinity there. */
    bool (*form)(void *user, size_t first, size_t count, float *vector);
    /** Once for each place, after its form, unless that returned false: vector is v, and `sent` is
     *  C(v) there. */
    void (*sent)(void *user, size_t first, size_t count, const float *vector, const float *sent);
    /** Of a family that sends entries, in place of `form` and `sent`, once for each place: as
     *  `form`, and nothing is sent there, but for the entries told later. */
    bool (*form_unsent)(void *user, size_t first, size_t count, float *vector);
    /** Of a family that sends entries, once for each of them, after all else: C(v)[indices[i]] =
     *  values[i]. */
    void (*sent_entries)(void *user, size_t n, const uint32_t *indices, const float *values);
    void *user;
} lmn_source;

/** A finite vector in memory: [count] in: v, out: the residual v - C(v). Borrowed. */
lmn_source lmn_source_of_vector(float *vector);

/* ------------------------------------------------------------------ sparse and sliced messages */

/** A vector, or for LMN_COMBINE_SLICED a part of one, to encode. Memory is borrowed for the call.
 */
typedef struct lmn_encode_job {
    size_t level;          /* at least 1 */
    lmn_layer_shape shape; /* of the layer */
    size_t first, count;   /* the part: first is a multiple of the grain. Sparse: 0, all */
    lmn_stream stream;     /* random numbers: purpose LMN_STREAM_COMPRESS, of this rank */
    const lmn_source *source;
    float *memory;          /* [lmn_compressor_memory.own] read and written; NULL: none kept */
    unsigned char *payload; /* [payload_capacity] the message, 4-byte aligned */
    size_t payload_capacity;
    size_t payload_bytes; /* out: bytes written */
    bool is_finite;       /* out: false when v held NaN or infinity; the message is then void */
    void *scratch;        /* [lmn_compressor_scratch_bytes], 64-byte aligned */
} lmn_encode_job;

/**
 * Compress, for SPARSE and SLICED. A pure function of the job: same bits for every thread count and
 * instruction set.
 * Errors, before anything is touched: LMN_ERR_ARGUMENT (level without messages, payload too small).
 */
lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err) LMN_NODISCARD;

/** One message to decode. All memory is borrowed for the call. */
typedef struct lmn_decode_job {
    size_t level; /* at least 1 */
    lmn_layer_shape shape;
    size_t first, count;          /* the part, as it was encoded */
    const unsigned char *payload; /* [payload_bytes], 4-byte aligned, of any origin */
    size_t payload_bytes;
} lmn_decode_job;

/**
 * Whether a message is whole, so that a step can be refused before anything is added. Never reads
 * outside the payload, whatever its bytes.
 * Errors: LMN_ERR_MESSAGE, saying what is wrong with it; LMN_ERR_ARGUMENT (level without messages).
 */
lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err) LMN_NODISCARD;

/** acc += weight * C(v), from a message that passed lmn_compressor_check. acc [job->count] */
void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc);

/** SLICED: elements that are encoded independently of all others, at every such level; parts begin
 *  at multiples. */
size_t lmn_compressor_grain(const lmn_compressor *compressor);

/** SLICED: exact bytes of a part of `count` elements. Parts that follow each other in the vector
 *  follow each other in the message. */
size_t lmn_compressor_part_bytes(const lmn_compressor *compressor, size_t level, size_t count);

/** SPARSE: what a message for a layer holds. */
typedef struct lmn_compressor_entries {
    size_t wanted, most;      /* entries that it aims at, and that it may hold */
    lmn_sparse_values values; /* how it writes them */
} lmn_compressor_entries;

/** SPARSE: messages are those of lamina/sparse.h, about all elements of the layer. level at least 1
 */
lmn_compressor_entries lmn_compressor_entries_of(const lmn_compressor *compressor, size_t level,
                                                 lmn_layer_shape shape);

/* ------------------------------------------------------------------ rounds */

/** One round; the same on all ranks. */
typedef struct lmn_round {
    lmn_reduction reduction;
    size_t count; /* numbers */
} lmn_round;

/**
 * Most ranks that can be reduced over, at any level; INT_MAX where there is no limit, and for
 * families that do not reduce numbers. Who knows the number of ranks refuses more.
 */
int lmn_compressor_ranks_max(const lmn_compressor *compressor);

/** Rounds of a level, 1 or 2: each needs the outcome of the one before. Of `step` only its being
 * odd or even counts, so that who reserves memory need not ask about all steps. */
size_t lmn_compressor_round_count(const lmn_compressor *compressor, size_t level);
lmn_round lmn_compressor_round(const lmn_compressor *compressor, size_t level,
                               lmn_layer_shape shape, size_t round, uint64_t step);

/** A layer on its way through the rounds. All memory is borrowed until the last call. */
typedef struct lmn_rounds_job {
    size_t level;
    lmn_layer_shape shape;
    int n_ranks;         /* that are reduced over */
    uint64_t step;       /* counts steps at which this layer was compressed */
    lmn_stream stream;   /* shared: rank LMN_STREAM_ALL_RANKS */
    const float *vector; /* [count] v, finite; unchanged until the last call */
    float *memory;    /* [lmn_compressor_memory.shared] changed by lmn_compressor_rounds_commit only
                       */
    void *numbers[2]; /* [round's count], 64-byte aligned: of each round; after its allreduce the
                         outcome. f32, but int8_t and int16_t in rounds that add such */
    void *own[2];     /* [round's count] what this rank put into each round */
    void *scratch;    /* [lmn_compressor_scratch_bytes] of the layer's own, kept between calls */
} lmn_rounds_job;

/** Write own[round] and the same numbers[round], from v and the outcomes of earlier rounds. */
void lmn_compressor_round_encode(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                 size_t round);

/** After the last round: acc += weight * (mean over ranks of C(v)). acc [count] */
void lmn_compressor_rounds_decode_add(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                      float weight, float *acc);

/** After the last round: what this rank sent, D_i, for a tile. sent [count] */
void lmn_compressor_rounds_sent(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                size_t first, size_t count, float *sent);

/** Let `memory` take note of the step. */
void lmn_compressor_rounds_commit(const lmn_compressor *compressor, const lmn_rounds_job *job);

/** Families that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_compressor_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif
