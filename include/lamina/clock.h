/*
 * Time that never runs backwards, for measuring.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CLOCK_H
#define LAMINA_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Seconds since an arbitrary point in the past; monotonic. */
double lmn_clock_seconds(void);

/** Whole nanoseconds, rounded down, as ranks exchange times; 0 for what is not above 0. */
uint64_t lmn_clock_nanoseconds(double seconds);

#ifdef __cplusplus
}
#endif

#endif
