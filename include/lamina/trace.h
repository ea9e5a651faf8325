/*
 * Traces: what each rank did when, for the eye.
 *
 * A trace is a list of spans with names, kept in memory that is taken at creation, and written once
 * by all ranks together as one file that trace viewers open (the JSON form of Chrome's
 * chrome://tracing, which ui.perfetto.dev reads as well). Ranks have clocks of their own; before
 * writing, each measures how far its clock is from that of rank 0, so that spans of different hosts
 * stand on one time line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TRACE_H
#define LAMINA_TRACE_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_trace lmn_trace;

/** Room for `capacity` spans. Local. Errors: LMN_ERR_MEMORY. */
lmn_status lmn_trace_create(size_t capacity, lmn_trace **trace_out, lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. */
void lmn_trace_destroy(lmn_trace *trace);

/* Lane 0 is the rank's own work. Exchanges, which overlap with it and with each other, have lanes
   of their own: 1 + bucket. */
#define LMN_TRACE_LANE_WORK 0

/**
 * Note that `name` (copied, cut after 31 bytes) of training step `step` took from `start` to `end`,
 * times of lmn_clock_seconds. A NULL trace notes nothing; spans beyond the capacity are dropped and
 * counted. Local; no heap allocation.
 */
void lmn_trace_add(lmn_trace *trace, const char *name, int lane, uint64_t step, double start,
                   double end);

/** Spans noted so far, and spans that found no room. */
size_t lmn_trace_count(const lmn_trace *trace);
size_t lmn_trace_dropped(const lmn_trace *trace);

/**
 * Write the spans of all ranks to `path`, on rank 0: ranks as processes, lanes as threads, times in
 * microseconds from the earliest span on.
 * Collective over world. Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_MEMORY, LMN_ERR_COMM.
 */
lmn_status lmn_trace_write(lmn_world *world, const lmn_trace *trace, const char *path,
                           lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
