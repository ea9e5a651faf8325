/*
 * Links: what a message costs between ranks, stated or measured.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LINK_H
#define LAMINA_LINK_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Time of messages: latency for each, and a time for each byte that a rank sends. */
typedef struct lmn_line {
    double latency;  /* seconds */
    double per_byte; /* seconds */
} lmn_line;

/** A link as its users see it; plain data. Zeros stand for one that takes no time. */
typedef struct lmn_link {
    lmn_line sum;    /* of allreduces, additions included */
    lmn_line gather; /* of messages that are handed on whole */
} lmn_link;

/**
 * Read "10gbit,20us": a rate with kbit, mbit or gbit (per second, each direction) and the latency
 * of a message with us, ms or s. Errors: LMN_ERR_USAGE.
 */
lmn_status lmn_link_parse(const char *text, lmn_link *link_out, lmn_error *err) LMN_NODISCARD;

/** Messages that one rank sends one after the other for an allreduce, and for a gathering, over
 *  `size` ranks; 0 for one rank. */
double lmn_link_sum_messages(int size);
double lmn_link_gather_messages(int size);

/**
 * Measure the link between the ranks of a world with its own collectives: allreduces of 2^10 to
 * 2^20 bytes and gatherings of 2^8 to 2^18, without pauses, of which the slowest rank's medians
 * count. The two longest give the rate, the shortest the latency. With more than two ranks
 * lmn_allreduce_tune runs first, and the world keeps the table that it sets. Takes about a second
 * where a link needs a tenth for 1 MB. A world is measured once and told the same again. One rank
 * has a link of zeros. Collective; no other collective of the world may be in flight. Errors, the
 * same on all ranks: LMN_ERR_MEMORY, LMN_ERR_UNSUPPORTED (MPI has no more tags), LMN_ERR_COMM.
 * Method: R. W. Hockney, Parallel Computing 20 (1994) 389-398.
 */
lmn_status lmn_link_measure(lmn_world *world, lmn_link *link_out, lmn_error *err) LMN_NODISCARD;

/** One time of a line: `messages` * latency + `bytes` * per_byte took `seconds`. */
typedef struct lmn_line_sample {
    double messages, bytes, seconds;
} lmn_line_sample;

/** The line through samples [n] with the least sum of squared relative errors and no negative
 *  number in it. Samples of no time are left out. */
lmn_line lmn_line_fit(const lmn_line_sample *samples, size_t n);

#ifdef __cplusplus
}
#endif

#endif
