/*
 * What a collective takes of a link.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LINK_INTERNAL_H
#define LAMINA_LINK_INTERNAL_H

#include "lamina/link.h"
#include "lamina/tuning.h"

/** What the slowest rank of a collective does one after the other. */
typedef struct lmn__route {
    double hops;     /* messages that have to wait for another */
    double messages; /* that it sends */
    double bytes;    /* that it sends */
} lmn__route;

/** An allreduce of a vector of `bytes` bytes; size >= 2. */
lmn__route lmn__sum_route(lmn_allreduce_algorithm algorithm, int size, double bytes);

/** A gathering of messages of `bytes` bytes; size >= 2. */
lmn__route lmn__gather_route(int size, double bytes);

/** Its seconds. */
double lmn__route_seconds(const lmn_line *line, double gap, lmn__route route);

#endif
