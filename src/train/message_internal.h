/*
 * What the messages of exchanges have in common: padding, the header of those that pass by an
 * owner, and how damage is told.
 *
 * Where ranks each own a part of the layers, messages go twice: from every rank to the owner, and
 * from the owner, which has put them together, to all. Both begin with the same header, which
 * repeats what every rank knows from the common plan, so that a message of another step or plan is
 * refused instead of being added.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MESSAGE_INTERNAL_H
#define LAMINA_MESSAGE_INTERNAL_H

#include "reducer_internal.h"

/** `bytes`, rounded up to a multiple of 8. */
size_t lmn__pad8(size_t bytes);

/** LMN_ERR_MESSAGE: the message of a rank of the team is damaged, in the way that `what` says. */
lmn_status lmn__damaged(const lmn_reducer *reducer, int rank, const char *what, lmn_error *err);

/** Add to an error which message it is about: that of a rank of the team, and the layer in it. */
void lmn__name_message(const lmn_reducer *reducer, int rank, const lmn__layer *layer,
                       lmn_error *err);

/* Which exchange a message belongs to. */
#define LMN__MAGIC_SLICES 0x534E4D4Cu /* "LMNS" */
#define LMN__MAGIC_OWNERS 0x4F4E4D4Cu /* "LMNO" */

/** What a message of owned parts is. */
typedef enum lmn__content {
    LMN__CONTENT_OF_A_RANK, /* what one rank sends to an owner */
    LMN__CONTENT_TOGETHER,  /* what the owner made of all of them, to all */
    LMN__CONTENT_NOT_FINITE /* what it sends when that overflows: nothing behind the header */
} lmn__content;

typedef struct lmn__owned_header {
    uint32_t magic; /* LMN__MAGIC_... */
    uint16_t version;
    uint16_t content; /* lmn__content */
    uint32_t step;    /* low 32 bits */
    uint32_t rank;    /* of the sender in the team */
    uint64_t plan;    /* lmn_reducer.travel_hash */
    uint64_t layer;   /* which is not finite */
} lmn__owned_header;

lmn__owned_header lmn__owned_header_of(const lmn_reducer *reducer, uint32_t magic,
                                       lmn__content content, int rank);

/**
 * Read the header of a message [bytes] of `rank`, which must be of that exchange, of this step and
 * plan, and `content`.
 * Errors: LMN_ERR_MESSAGE; LMN_ERR_NONFINITE, naming the layer, when an owner says so.
 */
lmn_status lmn__owned_header_check(const lmn_reducer *reducer, uint32_t magic, lmn__content content,
                                   int rank, const unsigned char *message, size_t bytes,
                                   lmn_error *err) LMN_NODISCARD;

#endif
