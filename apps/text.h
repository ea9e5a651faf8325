/*
 * Numbers for people: bytes, durations, factors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_TEXT_H
#define LAMINA_APPS_TEXT_H

#include <stdint.h>

/** A short text by value, so that several fit into one printf. */
typedef struct short_text {
    char data[48];
} short_text;

/** "987 B", "12.3 MB": powers of 1000, three digits. */
short_text text_bytes(uint64_t bytes);

/** "4.2 s", "1:05", "2:10:07" */
short_text text_seconds(double seconds);

/** How many times less was sent than dense: "48.1x"; "1x" when nothing was sent. */
short_text text_saving(uint64_t bytes_sent, uint64_t bytes_dense);

/** The same in a sentence: "48.1x less than dense", "as much as dense". */
short_text text_comparison(uint64_t bytes_sent, uint64_t bytes_dense);

/** A hash as inspect and scripts show it: "0x0123456789abcdef". */
short_text text_hash(uint64_t hash);

#endif
