/*
 * Time that never runs backwards, for measuring.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CLOCK_H
#define LAMINA_CLOCK_H

#ifdef __cplusplus
extern "C" {
#endif

/** Seconds since an arbitrary point in the past; monotonic. */
double lmn_clock_seconds(void);

#ifdef __cplusplus
}
#endif

#endif
