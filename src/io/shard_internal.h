/*
 * Dealing out classes to ranks: what the files of the shards share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_SHARD_INTERNAL_H
#define LAMINA_IO_SHARD_INTERNAL_H

#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

/** The ranks taking their samples from the classes, one rank after the other. */
typedef struct lmn__dirichlet {
    double alpha;
    uint64_t seed;
    uint64_t count; /* samples in all */
    size_t size;    /* ranks */
    size_t n_classes;
    size_t next;           /* the rank that takes next */
    const uint64_t *total; /* [n_classes] borrowed: samples of each class */
    uint64_t *taken;       /* [n_classes] by ranks before the last that took; part of the memory */
    uint64_t *given;       /* [n_classes] to the last rank that took */
    double *log_weight;    /* [n_classes] of the rank that takes */
    double *weight;        /* [n_classes] the same, of the classes that are still open */
    unsigned char *memory; /* owned */
} lmn__dirichlet;

/** total is [n_classes] and must outlive it. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__dirichlet_create(lmn__dirichlet *deal, double alpha, uint64_t seed,
                                 const uint64_t *total, size_t n_classes, size_t size,
                                 lmn_error *err) LMN_NODISCARD;
void lmn__dirichlet_destroy(lmn__dirichlet *deal);

/** Let the next rank take: `given` says how many of each class, `taken` what went before it. */
void lmn__dirichlet_take(lmn__dirichlet *deal);

#endif
