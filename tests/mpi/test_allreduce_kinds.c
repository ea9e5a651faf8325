/*
 * Allreduce of every kind of number: maxima, small integers, bf16.
 *
 * Every rank can compute every other rank's input, so the expected result is formed without any
 * message and compared to the bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/arithmetic_internal.h"
#include "comm_check.h"
#include "lamina/collective.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define MAX_COUNT 30011

static const lmn_reduction all_kinds[] = {LMN_REDUCTION_SUM_F32, LMN_REDUCTION_MAX_F32,
                                          LMN_REDUCTION_SUM_I8, LMN_REDUCTION_SUM_I16,
                                          LMN_REDUCTION_SUM_BF16};
#define N_KINDS (sizeof all_kinds / sizeof all_kinds[0])

/* Small enough that 8 of them fit an int8_t, of mixed sign. */
static int integer_of(int rank, size_t i)
{
    const uint64_t mixed = (i * 131 + (uint64_t)rank * 17 + 1) * UINT64_C(0x9E3779B97F4A7C15);
    return (int)(mixed >> 59) - 16; /* -16 .. 15 */
}

/* bf16 by the definition: the nearest of the two neighbours, the even one in the middle. */
static float nearest_bf16(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t low = bits & 0xFFFF0000U;
    const uint32_t rest = bits & 0xFFFFU;
    const uint32_t up = rest > 0x8000U || (rest == 0x8000U && (low >> 16 & 1U) != 0) ? 0x10000U : 0;
    const uint32_t result = low + up;
    float nearest = 0.0F;
    memcpy(&nearest, &result, sizeof nearest);
    return nearest;
}

static void write_number(lmn_reduction kind, void *vector, size_t i, int rank)
{
    switch (kind) {
    case LMN_REDUCTION_SUM_I8:
        ((int8_t *)vector)[i] = (int8_t)integer_of(rank, i);
        break;
    case LMN_REDUCTION_SUM_I16:
        ((int16_t *)vector)[i] = (int16_t)(integer_of(rank, i) * 250);
        break;
    default:
        ((float *)vector)[i] = check_value(rank, i, 5);
        break;
    }
}

static float expected_bf16(int size, size_t i)
{
    float sum = nearest_bf16(check_value(0, i, 5));
    for (int rank = 1; rank < size; ++rank) {
        sum += nearest_bf16(check_value(rank, i, 5));
    }
    return nearest_bf16(sum * CHECK_FACTOR);
}

static void check_integer(lmn_reduction kind, const void *recv, size_t i, int size)
{
    int sum = 0;
    for (int rank = 0; rank < size; ++rank) {
        sum += integer_of(rank, i);
    }
    if (kind == LMN_REDUCTION_SUM_I8) {
        assert_int_equal(((const int8_t *)recv)[i], sum);
    } else {
        assert_int_equal(((const int16_t *)recv)[i], sum * 250);
    }
}

static void check_number(const lmn_world *world, lmn_reduction kind, const void *recv, size_t i,
                         size_t count)
{
    const int size = lmn_world_size(world);
    const float *values = recv;
    float expected = check_value(0, i, 5);
    switch (kind) {
    case LMN_REDUCTION_SUM_I8:
    case LMN_REDUCTION_SUM_I16:
        check_integer(kind, recv, i, size);
        return;
    case LMN_REDUCTION_SUM_BF16:
        expected = expected_bf16(size, i);
        break;
    case LMN_REDUCTION_MAX_F32:
        for (int rank = 1; rank < size; ++rank) {
            expected = fmaxf(expected, check_value(rank, i, 5));
        }
        break;
    default:
        expected = check_sum(world, i, 5, count) * CHECK_FACTOR;
        break;
    }
    assert_memory_equal(&values[i], &expected, sizeof expected);
}

static void check_kind(lmn_world *world, lmn_reduction kind, lmn_collective *allreduce,
                       size_t count)
{
    const lmn__arithmetic *arithmetic = lmn__arithmetic_of(kind);
    unsigned char *send = lmn_alloc(count + 1, arithmetic->bytes, NULL);
    unsigned char *recv = lmn_alloc(count + 1, arithmetic->bytes, NULL);
    assert_non_null(send);
    assert_non_null(recv);
    for (size_t i = 0; i < count; ++i) {
        write_number(kind, send, i, lmn_world_rank(world));
    }
    memset(recv + count * arithmetic->bytes, 0x5A, arithmetic->bytes);
    const float factor = arithmetic->has_factor ? CHECK_FACTOR : 1.0F;
    assert_int_equal(lmn_allreduce_start(allreduce, send, recv, count, factor, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
    for (size_t i = 0; i < count; ++i) {
        check_number(world, kind, recv, i, count);
    }
    assert_int_equal(recv[count * arithmetic->bytes], 0x5A);
    lmn_free(send);
    lmn_free(recv);
}

static void check_every_kind(lmn_world *world, lmn__limits limits, size_t max_count)
{
    const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 513, 4097, 16385, MAX_COUNT};
    world->limits = limits;
    for (size_t k = 0; k < N_KINDS; ++k) {
        lmn_collective *allreduce = NULL;
        assert_int_equal(lmn_allreduce_create(world, all_kinds[k], max_count, &allreduce, NULL),
                         LMN_OK);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0] && counts[c] <= max_count; ++c) {
            check_kind(world, all_kinds[k], allreduce, counts[c]);
        }
        lmn_collective_destroy(allreduce);
    }
    world->limits = check_usual_limits();
}

static void allreduce_every_kind_equals_the_serial_result(void **state)
{
    check_every_kind(*state, check_usual_limits(), MAX_COUNT);
}

static void allreduce_every_kind_in_parts_equals_the_serial_result(void **state)
{
    lmn__limits limits = check_usual_limits();
    limits.part = 7;
    limits.window = 1;
    limits.doubling_bytes = 4;
    limits.segment = 300;
    check_every_kind(*state, limits, 4097);
}

static void allreduce_every_kind_by_any_algorithm_equals_the_serial_result(void **state)
{
    lmn_world *world = *state;
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT; ++i) {
        lmn_allreduce_table table;
        lmn_allreduce_table_fill(&table, (lmn_allreduce_algorithm)i);
        if (i == LMN_ALLREDUCE_MPI) {
            lmn_allreduce_table_fill(&table, LMN_ALLREDUCE_DIRECT);
            for (int size = 0; size < LMN_ALLREDUCE_SIZES; ++size) {
                table.exact[size] = LMN_ALLREDUCE_MPI;
            }
        }
        assert_int_equal(lmn_allreduce_set_table(world, &table, NULL), LMN_OK);
        lmn__limits limits = check_usual_limits();
        limits.segment = 1000;
        check_every_kind(world, limits, MAX_COUNT);
    }
    assert_int_equal(lmn_allreduce_set_table(world, NULL, NULL), LMN_OK);
}

static void allreduce_maximum_nan_of_any_rank_is_seen_by_all(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    lmn_collective *allreduce = NULL;
    assert_int_equal(lmn_allreduce_create(world, LMN_REDUCTION_MAX_F32, 16, &allreduce, NULL),
                     LMN_OK);
    float send[16] = {0};
    float recv[16] = {0};
    send[lmn_world_rank(world)] = NAN; /* element r is NaN on rank r */
    assert_int_equal(lmn_allreduce_start(allreduce, send, recv, 16, 1.0F, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
    for (int i = 0; i < 16; ++i) {
        assert_true(i < size ? recv[i] != recv[i] : recv[i] == 0.0F);
    }
    lmn_collective_destroy(allreduce);
}

static void allreduce_bf16_sends_half_the_bytes(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    static float send[MAX_COUNT];
    static float recv[MAX_COUNT];
    lmn_collective *allreduce = NULL;
    assert_int_equal(
        lmn_allreduce_create(world, LMN_REDUCTION_SUM_BF16, MAX_COUNT, &allreduce, NULL), LMN_OK);
    assert_int_equal(lmn_allreduce_start(allreduce, send, recv, MAX_COUNT, 1.0F, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
    const uint64_t sent = check_sum_of_bytes(world, lmn_collective_bytes_sent(allreduce));
    assert_true(sent == (uint64_t)(size - 1) * 4 * MAX_COUNT);
    assert_true(sent == lmn_allreduce_bytes(LMN_REDUCTION_SUM_BF16, size, MAX_COUNT));
    lmn_collective_destroy(allreduce);
}

static void bf16_of_special_numbers_stays_special(void **state)
{
    (void)state;
    const float values[] = {0.0F, -0.0F,         INFINITY,       -INFINITY,
                            NAN,  3.4028235e38F, -3.4028235e38F, 1e-45F};
    float back[8] = {0};
    uint16_t wire[8] = {0};
    lmn__bf16_encode(wire, values, 8);
    lmn__bf16_decode(back, wire, 8);
    assert_true(back[0] == 0.0F && !signbit(back[0]));
    assert_true(back[1] == 0.0F && signbit(back[1]));
    assert_true(isinf(back[2]) && back[2] > 0.0F);
    assert_true(isinf(back[3]) && back[3] < 0.0F);
    assert_true(back[4] != back[4]);
    assert_true(isfinite(back[5]) && back[5] > 3.3e38F);
    assert_true(isfinite(back[6]) && back[6] < -3.3e38F);
    assert_true(back[7] == 0.0F);
}

static void allreduce_create_unknown_or_different_reductions_are_refused(void **state)
{
    lmn_world *world = *state;
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_create(world, (lmn_reduction)77, 8, &made, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "77"));
    if (lmn_world_size(world) > 1) {
        const lmn_reduction kind =
            lmn_world_rank(world) == 1 ? LMN_REDUCTION_SUM_I8 : LMN_REDUCTION_SUM_I16;
        assert_int_equal(lmn_allreduce_create(world, kind, 8, &made, &err), LMN_ERR_DIVERGED);
        assert_non_null(strstr(err.message, "reduction"));
    }
    assert_null(made);
}

static void allreduce_start_factor_of_integers_is_refused(void **state)
{
    lmn_collective *allreduce = NULL;
    assert_int_equal(lmn_allreduce_create(*state, LMN_REDUCTION_SUM_I8, 8, &allreduce, NULL),
                     LMN_OK);
    const int8_t send[8] = {0};
    int8_t recv[8] = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_start(allreduce, send, recv, 8, 0.5F, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "i8 sums"));
    lmn_collective_destroy(allreduce);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allreduce_every_kind_equals_the_serial_result),
        cmocka_unit_test(allreduce_every_kind_in_parts_equals_the_serial_result),
        cmocka_unit_test(allreduce_every_kind_by_any_algorithm_equals_the_serial_result),
        cmocka_unit_test(allreduce_maximum_nan_of_any_rank_is_seen_by_all),
        cmocka_unit_test(allreduce_bf16_sends_half_the_bytes),
        cmocka_unit_test(bf16_of_special_numbers_stays_special),
        cmocka_unit_test(allreduce_create_unknown_or_different_reductions_are_refused),
        cmocka_unit_test(allreduce_start_factor_of_integers_is_refused),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}
