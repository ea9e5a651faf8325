/*
 * What came out of an evaluation, in words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_EVALUATION_TEXT_H
#define LAMINA_APPS_EVALUATION_TEXT_H

#include "lamina/lamina.h"

typedef struct evaluation_text {
    char data[256];
} evaluation_text;

/** "accuracy 0.9194, loss 0.2249", or the task's metrics first: "bits per byte 2.1043, ...". */
evaluation_text evaluation_text_make(const lmn_task *task, const lmn_evaluation *evaluation);

#endif
