/*
 * What tests of elastic restarts share: a job whose first n ranks are a world of their own, for
 * every n, and reducers that write a checkpoint with n ranks and read it with m.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_ELASTIC_CHECK_H
#define LAMINA_TESTS_ELASTIC_CHECK_H

#include "files.h"
#include "io/state_internal.h"
#include "reducer_check.h"

#include <stdbool.h>

enum { ELASTIC_RANKS_MAX = 8 };

typedef struct elastic {
    int rank, size;
    bool takes_all;                           /* LAMINA_TEST_ALL is set: also what takes long */
    lmn_world *worlds[ELASTIC_RANKS_MAX + 1]; /* of the first n ranks; NULL on the others */
    char directory[TEST_PATH_BYTES];          /* the same on all ranks */
} elastic;

/** CMocka's set-up and tear-down of a group: *state is an elastic. Collective. */
int elastic_create(void **state);
int elastic_destroy(void **state);

/** Write and read the one checkpoint of the directory by the first n ranks; the others wait.
 * list  NULL on ranks that take no part
 */
void elastic_write(const elastic *f, int n, const lmn_state *list);
void elastic_read(const elastic *f, int n, lmn_state *list);
void elastic_path(const elastic *f, char path_out[TEST_PATH_BYTES]);

/** How a reducer of check_layers sums: compress, feedback, collective. */
typedef struct elastic_method {
    const char *compress, *feedback, *collective;
} elastic_method;

/** Collective over the first n ranks, and called by them alone, like the two that follow. */
lmn_reducer *elastic_new_reducer(const elastic *f, int n, const elastic_method *method);

/** A step in which this rank has the gradients of rank `worker` of check_fill_gradient. */
void elastic_run_step(lmn_reducer *reducer, int worker, uint64_t step);
void elastic_load(const elastic *f, int n, lmn_reducer *reducer);

/** A state of a layer, by the group of its name; NULL when the list has none. */
const lmn__state_array *elastic_find(const lmn_state *list, const char *group, size_t layer);

/** What rank j of m gets of n rows, by counting units of 1 / (n m) one by one, in double.
 * rows  [n][count]; element i */
double elastic_cut(int n, int m, int j, const float *rows, size_t count, size_t i);

#endif
