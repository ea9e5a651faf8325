/*
 * Which checkpoint is meant, and what it says of its model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_CHECKPOINT_FACTS_H
#define LAMINA_APPS_CHECKPOINT_FACTS_H

#include "lamina/lamina.h"

#define FACT_BYTES 1024

typedef struct checkpoint_facts {
    char path[LMN_PATH_BYTES];
    char model[FACT_BYTES];           /* spec */
    char task[FACT_BYTES];            /* "vision", "text"; "" in old checkpoints */
    char vocabulary_hash[FACT_BYTES]; /* "" where there is none */
    uint64_t step;
} checkpoint_facts;

/**
 * Read the facts of `path`, or of the newest complete checkpoint when it is a directory.
 * Collective. Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_FORMAT (not a checkpoint, without
 * a model).
 */
lmn_status checkpoint_facts_read(lmn_world *world, const char *path, checkpoint_facts *facts_out,
                                 lmn_error *err) LMN_NODISCARD;

/** Load the checkpoint's parameters. Collective. */
lmn_status checkpoint_load_parameters(lmn_world *world, const checkpoint_facts *facts,
                                      lmn_parameters *parameters, lmn_error *err) LMN_NODISCARD;

#endif
