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
    double latency;  /* seconds, in which a rank may send other messages */
    double per_byte; /* seconds */
} lmn_line;

/** A link as its users see it; plain data. Zeros stand for one that takes no time. */
typedef struct lmn_link {
    lmn_line sum;    /* of allreduces, additions included */
    lmn_line gather; /* of messages that are handed on whole */
    double gap;      /* seconds from one message of a rank to its next, however short they are */
} lmn_link;

/** The gap of a link that is stated without one: what a message costs a processor and an adapter,
 *  between half a microsecond (InfiniBand) and some (TCP). */
#define LMN_LINK_GAP 1e-6

/**
 * Read "10gbit,20us" or "10gbit,20us,1us": a rate with kbit, mbit or gbit (per second, each
 * direction), the latency of a message and the gap between messages with us, ms or s. Errors:
 * LMN_ERR_USAGE.
 */
lmn_status lmn_link_parse(const char *text, lmn_link *link_out, lmn_error *err) LMN_NODISCARD;

/**
 * Seconds of an allreduce of a vector of `bytes` bytes, by the algorithm that is the default for
 * them, and of gathering a message of `bytes` bytes from every rank, among `size` ranks that begin
 * together; 0 for one rank. Messages that do not wait for each other share one latency, and while
 * the link is busy with one, the next is made ready: gaps count where they are longer than bytes.
 * Model: A. Alexandrov, M. Ionescu, K. Schauser, C. Scheiman, "LogGP: incorporating long messages
 * into the LogP model", SPAA 1995.
 */
double lmn_link_sum_seconds(const lmn_link *link, int size, double bytes);
double lmn_link_gather_seconds(const lmn_link *link, int size, double bytes);

/** What does not depend on the bytes of them, where there are many: latencies with a gap each. */
double lmn_link_sum_latency(const lmn_link *link, int size);
double lmn_link_gather_latency(const lmn_link *link, int size);

/** And the other gaps, which are the least that bytes can take. */
double lmn_link_sum_gaps(const lmn_link *link, int size);
double lmn_link_gather_gaps(const lmn_link *link, int size);

/**
 * Measure the link between the ranks of a world with its own collectives: allreduces of 2^10
 * and 2^20 bytes and gatherings of 2^8 and 2^18, without pauses, of which the slowest rank's
 * medians count. The longest give the rate, the shortest the latency; bursts of short messages to
 * the next rank give the gap. With more than two ranks lmn_allreduce_tune runs first, and the world
 * keeps the table that it sets. Takes about a second where a link needs a tenth for 1 MB. A world
 * is measured once and told the same again. One rank has a link of zeros. Collective; no other
 * collective of the world may be in flight. Errors, the same on all ranks: LMN_ERR_MEMORY,
 * LMN_ERR_UNSUPPORTED (MPI has no more tags), LMN_ERR_COMM. Method: R. W. Hockney, Parallel
 * Computing 20 (1994) 389-398.
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
