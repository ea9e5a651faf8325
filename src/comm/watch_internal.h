/*
 * What the files of the watch share: its letters, and the connections that carry them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_WATCH_INTERNAL_H
#define LAMINA_WATCH_INTERNAL_H

#include "comm_internal.h"
#include "lamina/watch.h"

#include <stdint.h>

#define LMN__WATCH_TEXT_BYTES 768

typedef enum lmn__letter_kind {
    LMN__LETTER_HELLO, /* a rank and the token of the run; answered by rank 0 with the same */
    LMN__LETTER_BEAT,  /* where a rank stands; answered by rank 0 with its own */
    LMN__LETTER_BYE,   /* the sender leaves in order */
    LMN__LETTER_STALL  /* the run is over; text says why */
} lmn__letter_kind;

/** Everything that is said, in the sender's byte order: the ranks run one program. */
typedef struct lmn__letter {
    uint64_t token; /* of the run */
    uint64_t ticks; /* notes of the sender so far */
    uint64_t step;
    uint32_t kind;
    int32_t rank;   /* of the sender */
    uint32_t waits; /* for other ranks */
    uint32_t reserved;
    char text[LMN__WATCH_TEXT_BYTES]; /* what the sender is at, or why the run is over */
} lmn__letter;

/** A connection to another rank, and the letter that is arriving on it. */
typedef struct lmn__line {
    int fd; /* -1: none any more */
    size_t n_read;
    lmn__letter incoming;
} lmn__line;

/** Send without blocking; what cannot leave at once closes the line. */
void lmn__line_send(lmn__line *line, const lmn__letter *letter);

/** Whether a whole letter has come, now in line->incoming. Does not block; an end closes the line.
 */
bool lmn__line_receive(lmn__line *line);

void lmn__line_close(lmn__line *line);

/**
 * Connect every rank to rank 0. Collective.
 * lines   [size] on rank 0, its own unused; one elsewhere
 * token   agreed on by this
 * Errors, the same on all ranks: LMN_ERR_COMM.
 */
lmn_status lmn__lines_connect(lmn_world *world, lmn__line *lines, uint64_t *token_out,
                              lmn_error *err) LMN_NODISCARD;

#endif
