/*
 * How often to write checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

#include <math.h>

/* For writes longer than two mean times between failures the expansion is not valid, nor is
   anything much use. */
double lmn__checkpoint_interval(double write_seconds, double failure_seconds)
{
    const double half = write_seconds / (2.0 * failure_seconds);
    if (half >= 1.0) {
        return failure_seconds;
    }
    return sqrt(2.0 * write_seconds * failure_seconds) * (1.0 + sqrt(half) / 3.0 + half / 9.0) -
           write_seconds;
}
