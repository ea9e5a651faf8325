/*
 * What tests of collectives do all the time: a world, collectives that must come into being, and
 * vectors whose sum over ranks each rank can compute alone, to the bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_COMM_CHECK_H
#define LAMINA_TESTS_COMM_CHECK_H

#include "comm/comm_internal.h"
#include "lamina/collective.h"

#include <stddef.h>
#include <stdint.h>

/* Ranks that these checks can deal with. */
#define CHECK_SIZE_MAX 8
/* What vectors are multiplied with. */
#define CHECK_FACTOR 0.3F

/** CMocka's set-up and tear-down of a group: *state is a world over MPI_COMM_WORLD. */
int check_world_create(void **state);
int check_world_destroy(void **state);

/** The limits that a new world has. */
lmn__limits check_usual_limits(void);

lmn_collective *check_new_allreduce(lmn_world *world, size_t capacity);
lmn_collective *check_new_allgatherv(lmn_world *world, size_t capacity);
lmn_collective *check_new_alltoallv(lmn_world *world, size_t capacity);

/** `bytes` summed over ranks. Collective. */
uint64_t check_sum_of_bytes(lmn_world *world, uint64_t bytes);

/** How the world's table or limits make an allreduce of `count` f32 go. */
lmn_allreduce_algorithm check_algorithm(const lmn_world *world, size_t count);

/** Element i of the vector of `rank`: of mixed sign and size, so that the order of sums shows. */
float check_value(int rank, size_t i, unsigned seed);

/** The sum of check_value over ranks as an allreduce of `count` f32 adds them; MPI's own way, which
 *  nobody knows, excepted. */
float check_sum(const lmn_world *world, size_t i, unsigned seed, size_t count);

/** Send and receive vectors of one allreduce. */
typedef struct check_vectors {
    float *send; /* [count] owned */
    float *recv; /* [count + 1] owned; the last guards the end */
    size_t count;
    unsigned seed;
} check_vectors;

/** This rank's vectors, a function of its rank and the seed. */
check_vectors check_new_vectors(const lmn_world *world, size_t count, unsigned seed);

/** Start with CHECK_FACTOR; fails the test when refused. */
void check_start(lmn_collective *allreduce, const check_vectors *vectors);

/** recv is the sum times CHECK_FACTOR to the bit, and nothing else has changed; free both. */
void check_vectors_summed(const lmn_world *world, check_vectors *vectors);

/** The message has what this MPI says of a class of errors, such as MPI_ERR_ROOT, in one line. */
void check_tells_of(const lmn_error *err, int error_class);

#endif
