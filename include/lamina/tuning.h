/*
 * Which algorithm an allreduce uses for which size, and finding out by measuring.
 *
 * Without a table, small vectors go by recursive doubling and large ones by direct exchange. What
 * is fastest depends on the number of ranks and on the links, so a world can measure each algorithm
 * at each size. The ranks agree on the outcome, so all of them choose alike. Every algorithm gives
 * the same bits on all ranks and from run to run, but each adds in an order of its own: two runs
 * that shall agree to the bit use the same table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TUNING_H
#define LAMINA_TUNING_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_allreduce_algorithm {
    LMN_ALLREDUCE_DIRECT,   /* each slice to its owner and back; in rank order */
    LMN_ALLREDUCE_DOUBLING, /* recursive doubling; neighbouring groups, lower ranks first */
    LMN_ALLREDUCE_RING,     /* slice j from rank j + 1 round to rank j, in this order */
    LMN_ALLREDUCE_HALVING,  /* recursive halving and doubling; as LMN_ALLREDUCE_DOUBLING */
    LMN_ALLREDUCE_MPI,      /* MPI_Iallreduce; MPI's own order, which it need not keep */
    LMN_ALLREDUCE_ALGORITHM_COUNT
} lmn_allreduce_algorithm;

/** "direct", "doubling", "ring", "halving" or "mpi". */
const char *lmn_allreduce_algorithm_name(lmn_allreduce_algorithm algorithm);

/* Sizes of a table: entry i stands for vectors of more than 2^(9 + i) and up to 2^(10 + i) bytes,
 * the first one for all that are smaller and the last one for all that are larger, too. */
#define LMN_ALLREDUCE_SIZES 15

/** Plain data. */
typedef struct lmn_allreduce_table {
    lmn_allreduce_algorithm sums[LMN_ALLREDUCE_SIZES];  /* of f32 sums and maxima */
    lmn_allreduce_algorithm exact[LMN_ALLREDUCE_SIZES]; /* of integer sums */
    /* The slowest rank's median over rounds; 0 where it was not measured. */
    double seconds[LMN_ALLREDUCE_SIZES][LMN_ALLREDUCE_ALGORITHM_COUNT];
} lmn_allreduce_table;

/** Bytes of the vectors that entry `index` was measured with: 2^(10 + index). */
size_t lmn_allreduce_table_bytes(int index);

/** Set the table with `algorithm` at every size, and no times. Local. */
void lmn_allreduce_table_fill(lmn_allreduce_table *table, lmn_allreduce_algorithm algorithm);

/**
 * Have allreduces that are created in this world from now on choose by `table`, or by default when
 * it is NULL. Collective; the choices must agree. bf16 sums are always direct; maxima are where the
 * table says MPI, and so is what is too long for one MPI call.
 * Errors, the same on all ranks: LMN_ERR_ARGUMENT (no such algorithm), LMN_ERR_DIVERGED.
 */
lmn_status lmn_allreduce_set_table(lmn_world *world, const lmn_allreduce_table *table,
                                   lmn_error *err) LMN_NODISCARD;

/** What tuning may do. */
typedef struct lmn_allreduce_tuning {
    size_t largest_bytes; /* vectors to measure with; larger ones go as the largest measured */
    bool allow_mpi;       /* for f32 sums, too, whose order of additions is then MPI's own */
} lmn_allreduce_tuning;

/**
 * Time each algorithm at sizes 2^10 .. 2^24 bytes, choose the fastest for each, and set the table.
 * An algorithm that was much slower than the best at one size is not tried at larger ones. Direct
 * exchange, or the default where it is another, stays unless another is 5 % faster. Blocking;
 * takes up to about a second where the link needs a tenth for the largest vector. MPI_Iallreduce is
 * a candidate for integer sums, where any order of additions gives the same bits.
 * Collective; tuning must agree. No other collective of the world may be in flight.
 * table_out  what was measured and chosen; may be NULL
 * Errors, the same on all ranks: LMN_ERR_ARGUMENT (largest_bytes below 1024), LMN_ERR_DIVERGED,
 * LMN_ERR_MEMORY, LMN_ERR_UNSUPPORTED (MPI has no more tags), LMN_ERR_COMM.
 */
lmn_status lmn_allreduce_tune(lmn_world *world, const lmn_allreduce_tuning *tuning,
                              lmn_allreduce_table *table_out, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
