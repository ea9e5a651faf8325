/*
 * Time that never runs backwards: CLOCK_MONOTONIC as a double.
 *
 * A double holds nanoseconds exactly enough for 100 days of uptime, which is finer than any step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"

#include <time.h>

double lmn_clock_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint64_t lmn_clock_nanoseconds(double seconds)
{
    return seconds > 0.0 ? (uint64_t)(seconds * 1e9) : 0;
}
