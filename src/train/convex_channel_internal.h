/*
 * Compressed messages of convex problems: what the ways in which families combine share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TRAIN_CONVEX_CHANNEL_INTERNAL_H
#define LAMINA_TRAIN_CONVEX_CHANNEL_INTERNAL_H

#include "convex_internal.h"

#define LMN__CHANNEL_ROUNDS_MAX 2

/** The vector of own worker `part` as f32, in rounded_of. Returns whether all of it is finite. */
bool lmn__channel_round_vector(const lmn__convex_channel *channel,
                               const lmn__convex_sending *sending, size_t part);
float *lmn__channel_rounded_of(const lmn__convex_channel *channel, size_t part);

/** What the compressor remembers of own worker `part`; NULL: nothing. */
float *lmn__channel_memory_of(const lmn__convex_channel *channel,
                              const lmn__convex_sending *sending, size_t part);

/** The compressor's random numbers; `rank` is the worker, or LMN_STREAM_ALL_RANKS. */
lmn_stream lmn__channel_stream_of(const lmn__convex_channel *channel,
                                  const lmn__convex_sending *sending, size_t rank);

/** Exchange what is in the outbox. Collective. Afterwards is_silent says whether some worker had
 *  nothing to send. */
lmn_status lmn__channel_gather(lmn__convex_channel *channel, lmn__convex_sending *sending,
                               lmn_error *err) LMN_NODISCARD;
bool lmn__channel_is_silent(const lmn__convex_channel *channel, const lmn__convex_sending *sending);

bool lmn__channel_is_own(const lmn__convex_channel *channel, size_t worker);

/** Take note of D_i of a worker, in order. sent [dimension] */
void lmn__channel_take_sent(const lmn__convex_channel *channel, lmn__convex_sending *sending,
                            size_t worker, const float *sent);

/** After all workers: sums become means. */
void lmn__channel_finish_mean(const lmn__convex_channel *channel, lmn__convex_sending *sending);

/** Bytes of one number of a reduction in memory. */
size_t lmn__channel_bytes_in_memory(lmn_reduction reduction);

/** A message of every worker, in rounds. */
lmn_status lmn__channel_send_rounds(lmn__convex_channel *channel, lmn__convex_sending *sending,
                                    lmn_error *err) LMN_NODISCARD;

#endif
