/*
 * Who waited for whom, and what the link delivered, in words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_WAITING_TEXT_H
#define LAMINA_APPS_WAITING_TEXT_H

#include "lamina/lamina.h"

/** A line each; empty where there is nothing to say. */
typedef struct waiting_text {
    char ranks[320]; /* "waiting: rank 2 on b was the last in 81 % of steps, ..." */
    char link[256];  /* "link: a rank sent 108 MB/s while gradients were under way, ..." */
} waiting_text;

waiting_text waiting_text_make(const lmn_waiting *waiting);

#endif
