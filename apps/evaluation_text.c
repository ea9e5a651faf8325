/*
 * What came out of an evaluation, in words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "evaluation_text.h"

#include <stdio.h>

/* Append "name value, "; underscores of the name become blanks. */
static size_t append(char *text, size_t capacity, const char *name, double value)
{
    const int length = snprintf(text, capacity, "%s %.4f, ", name, value);
    const size_t used = length < 0 || (size_t)length >= capacity ? 0 : (size_t)length;
    for (size_t i = 0; i < used; i++) {
        if (text[i] == '_') {
            text[i] = ' ';
        }
    }
    return used;
}

evaluation_text evaluation_text_make(const lmn_task *task, const lmn_evaluation *evaluation)
{
    evaluation_text text;
    size_t used = 0;
    for (size_t i = 0; i < task->n_metrics; i++) {
        used += append(text.data + used, sizeof text.data - used, task->metrics[i].name,
                       evaluation->metrics[i]);
    }
    (void)snprintf(text.data + used, sizeof text.data - used, "accuracy %.4f, loss %.4f",
                   evaluation->accuracy, evaluation->loss);
    return text;
}
