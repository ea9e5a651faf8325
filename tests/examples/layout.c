/*
 * Where the fields of the structures lie that other languages declare again: one line each, with
 * offset and bytes. compare_layout.sh holds what Fortran and Python print beside it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"

#include <stddef.h>
#include <stdio.h>

typedef struct place {
    const char *name;
    size_t offset;
    size_t bytes;
} place;

#define FIELD(type, field)                                                                         \
    {                                                                                              \
#type "." #field, offsetof(type, field), sizeof(((type *)NULL)->field)                     \
    }

static const place places[] = {
    FIELD(lmn_error, status),
    FIELD(lmn_error, rank),
    FIELD(lmn_error, message),
    {"lmn_error", 0, sizeof(lmn_error)},
    FIELD(lmn_reducer_layer, name),
    FIELD(lmn_reducer_layer, n_dims),
    FIELD(lmn_reducer_layer, dims),
    FIELD(lmn_reducer_layer, dense),
    {"lmn_reducer_layer", 0, sizeof(lmn_reducer_layer)},
    FIELD(lmn_reducer_options, compress),
    FIELD(lmn_reducer_options, feedback),
    FIELD(lmn_reducer_options, allocate),
    FIELD(lmn_reducer_options, collective),
    FIELD(lmn_reducer_options, bucket_bytes),
    FIELD(lmn_reducer_options, dense_below),
    FIELD(lmn_reducer_options, n_scalars),
    {"lmn_reducer_options", 0, sizeof(lmn_reducer_options)},
    FIELD(lmn_step_report, applied),
    FIELD(lmn_step_report, reason),
    FIELD(lmn_step_report, scalars),
    FIELD(lmn_step_report, bytes_sent),
    FIELD(lmn_step_report, bytes_dense),
    FIELD(lmn_step_report, seconds_encode),
    FIELD(lmn_step_report, seconds_wait),
    FIELD(lmn_step_report, seconds_decode),
    {"lmn_step_report", 0, sizeof(lmn_step_report)},
};

int main(void)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        (void)printf("%s %zu %zu\n", places[i].name, places[i].offset, places[i].bytes);
    }
    return 0;
}
