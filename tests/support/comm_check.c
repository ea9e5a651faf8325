/*
 * What tests of collectives do all the time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_check.h"

#include "comm/allreduce_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

int check_world_create(void **state)
{
    lmn_world *world = NULL;
    if (lmn_world_create(MPI_COMM_WORLD, NULL, &world, NULL) != LMN_OK ||
        lmn_world_size(world) > CHECK_SIZE_MAX) {
        return -1;
    }
    *state = world;
    return 0;
}

int check_world_destroy(void **state)
{
    lmn_world_destroy(*state);
    return 0;
}

lmn__limits check_usual_limits(void)
{
    return (lmn__limits){.part = LMN__PART_LIMIT,
                         .doubling_bytes = LMN__DOUBLING_BYTES,
                         .segment = LMN__SEGMENT_BYTES,
                         .window = LMN__WINDOW};
}

lmn_collective *check_new_allreduce(lmn_world *world, size_t capacity)
{
    lmn_collective *allreduce = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, capacity, &allreduce, &err),
                     LMN_OK);
    return allreduce;
}

lmn_collective *check_new_allgatherv(lmn_world *world, size_t capacity)
{
    lmn_collective *allgatherv = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allgatherv_create(world, capacity, &allgatherv, &err), LMN_OK);
    return allgatherv;
}

lmn_collective *check_new_alltoallv(lmn_world *world, size_t capacity)
{
    lmn_collective *alltoallv = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_alltoallv_create(world, capacity, &alltoallv, &err), LMN_OK);
    return alltoallv;
}

uint64_t check_sum_of_bytes(lmn_world *world, uint64_t bytes)
{
    assert_int_equal(lmn_world_sum_u64(world, &bytes, 1, NULL), LMN_OK);
    return bytes;
}

float check_value(int rank, size_t i, unsigned seed)
{
    const uint64_t mixed =
        (i * 131 + (uint64_t)rank * 17 + seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
    const float unit = (float)(mixed >> 40) / 16777216.0F - 0.5F;
    return (mixed & 3) == 0 ? unit * 1000.0F : unit;
}

/* Ranks one after the other. */
static float sum_in_rank_order(int size, size_t i, unsigned seed)
{
    float sum = check_value(0, i, seed);
    for (int rank = 1; rank < size; ++rank) {
        sum += check_value(rank, i, seed);
    }
    return sum;
}

/* Pairs of neighbours until their number is a power of two, then halves. */
static float sum_by_halves(int size, size_t i, unsigned seed)
{
    float sums[CHECK_SIZE_MAX];
    int power = 1;
    while (2 * power <= size) {
        power *= 2;
    }
    int next = 0;
    for (int k = 0; k < power; ++k) {
        sums[k] = check_value(next++, i, seed);
        if (k < size - power) {
            sums[k] += check_value(next++, i, seed);
        }
    }
    for (; power > 1; power /= 2) {
        for (int k = 0; k < power; k += 2) {
            sums[k / 2] = sums[k] + sums[k + 1];
        }
    }
    return sums[0];
}

/* From the rank after the owner of the slice round to the owner. */
static float sum_round_the_ring(int size, size_t i, unsigned seed, size_t count)
{
    int owner = 0;
    while (i >= lmn_partition(count, (size_t)size, (size_t)owner).first +
                    lmn_partition(count, (size_t)size, (size_t)owner).count) {
        ++owner;
    }
    float sum = check_value((owner + 1) % size, i, seed);
    for (int step = 2; step <= size; ++step) {
        sum += check_value((owner + step) % size, i, seed);
    }
    return sum;
}

lmn_allreduce_algorithm check_algorithm(const lmn_world *world, size_t count)
{
    const lmn__choices choices = lmn__choices_of(world, lmn__arithmetic_of(LMN_REDUCTION_SUM_F32));
    return lmn__choice(&choices, count);
}

float check_sum(const lmn_world *world, size_t i, unsigned seed, size_t count)
{
    const int size = lmn_world_size(world);
    switch (check_algorithm(world, count)) {
    case LMN_ALLREDUCE_DOUBLING:
    case LMN_ALLREDUCE_HALVING:
        return sum_by_halves(size, i, seed);
    case LMN_ALLREDUCE_RING:
        return sum_round_the_ring(size, i, seed, count);
    default:
        return sum_in_rank_order(size, i, seed);
    }
}

check_vectors check_new_vectors(const lmn_world *world, size_t count, unsigned seed)
{
    check_vectors made = {.count = count, .seed = seed};
    made.send = lmn_alloc(count, sizeof(float), NULL);
    made.recv = lmn_alloc(count + 1, sizeof(float), NULL);
    assert_non_null(made.send);
    assert_non_null(made.recv);
    for (size_t i = 0; i < count; ++i) {
        made.send[i] = check_value(lmn_world_rank(world), i, seed);
    }
    made.recv[count] = -77.0F;
    return made;
}

void check_vectors_summed(const lmn_world *world, check_vectors *vectors)
{
    for (size_t i = 0; i < vectors->count; ++i) {
        const float sum = check_sum(world, i, vectors->seed, vectors->count);
        const float expected = sum * CHECK_FACTOR;
        const float sent = check_value(lmn_world_rank(world), i, vectors->seed);
        assert_memory_equal(&vectors->recv[i], &expected, sizeof expected);
        assert_memory_equal(&vectors->send[i], &sent, sizeof sent);
    }
    assert_true(vectors->recv[vectors->count] == -77.0F);
    lmn_free(vectors->send);
    lmn_free(vectors->recv);
}

void check_start(lmn_collective *allreduce, const check_vectors *vectors)
{
    assert_int_equal(lmn_allreduce_start(allreduce, vectors->send, vectors->recv, vectors->count,
                                         CHECK_FACTOR, NULL),
                     LMN_OK);
}

void check_tells_of(const lmn_error *err, int error_class)
{
    char said[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    assert_int_equal(MPI_Error_string(error_class, said, &length), MPI_SUCCESS);
    assert_non_null(strstr(err->message, said));
    assert_null(strchr(err->message, '\n'));
}
