/*
 * Aligned memory and arenas: alignment, zeroes, overflow, exhaustion.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_aligned(const void *memory)
{
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % LMN_ALIGNMENT, 0);
}

static void assert_zero(const void *memory, size_t bytes)
{
    const unsigned char *byte = memory;
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(byte[i], 0);
    }
}

static void alloc_any_count_is_aligned_and_zero(void **state)
{
    (void)state;
    for (size_t count = 0; count < 70; count++) {
        float *memory = lmn_alloc(count, sizeof *memory, NULL);
        assert_aligned(memory);
        assert_zero(memory, count * sizeof *memory);
        memset(memory, 0xff, count * sizeof *memory);
        lmn_free(memory);
    }
}

static void alloc_overflowing_product_is_refused(void **state)
{
    (void)state;
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 8 + 1, SIZE_MAX / 8};
    for (size_t i = 0; i < 3; i++) {
        lmn_error err = lmn_error_none();
        assert_null(lmn_alloc(counts[i], 8, &err));
        assert_int_equal(err.status, LMN_ERR_MEMORY);
        assert_non_null(strstr(err.message, "elements of 8 bytes"));
    }
}

static void alloc_more_than_the_address_space_is_refused(void **state)
{
    (void)state;
    assert_null(lmn_alloc(SIZE_MAX / 2, 1, NULL));
}

static void free_nothing_is_allowed(void **state)
{
    (void)state;
    lmn_free(NULL);
    lmn_arena_destroy(NULL);
}

static void align_up_edges_are_exact(void **state)
{
    (void)state;
    assert_int_equal(lmn_align_up(0), 0);
    assert_int_equal(lmn_align_up(1), 64);
    assert_int_equal(lmn_align_up(64), 64);
    assert_int_equal(lmn_align_up(65), 128);
    assert_int_equal(lmn_align_up_f32(0), 0);
    assert_int_equal(lmn_align_up_f32(1), 16);
    assert_int_equal(lmn_align_up_f32(16), 16);
    assert_int_equal(lmn_align_up_f32(17), 32);
    /* The largest sizes must not wrap around to small ones. */
    assert_true(lmn_align_up(SIZE_MAX) > SIZE_MAX - LMN_ALIGNMENT);
    assert_true(lmn_align_up_f32(SIZE_MAX) > SIZE_MAX - LMN_ALIGNMENT);
}

static void arena_take_pieces_are_aligned_zero_and_apart(void **state)
{
    (void)state;
    lmn_arena *arena = NULL;
    assert_int_equal(lmn_arena_create(1000, &arena, NULL), LMN_OK);
    unsigned char *first = lmn_arena_take(arena, 3, 1);
    unsigned char *second = lmn_arena_take(arena, 65, 1);
    unsigned char *third = lmn_arena_take(arena, 1, 8);
    assert_aligned(first);
    assert_ptr_equal(second, first + 64);
    assert_ptr_equal(third, second + 128);
    assert_int_equal(lmn_arena_used(arena), 256);
    memset(first, 0xff, 3);
    memset(second, 0xff, 65);
    assert_zero(third, 8);
    lmn_arena_destroy(arena);
}

static void arena_take_until_exhausted_gives_null_and_keeps_the_rest(void **state)
{
    (void)state;
    lmn_arena *arena = NULL;
    assert_int_equal(lmn_arena_create(128, &arena, NULL), LMN_OK);
    assert_non_null(lmn_arena_take(arena, 64, 1));
    assert_null(lmn_arena_take(arena, 65, 1));
    assert_null(lmn_arena_take(arena, SIZE_MAX, 8));
    assert_null(lmn_arena_take(arena, SIZE_MAX, 1));
    assert_int_equal(lmn_arena_used(arena), 64);
    assert_non_null(lmn_arena_take(arena, 16, sizeof(float)));
    assert_null(lmn_arena_take(arena, 1, 1));
    assert_non_null(lmn_arena_take(arena, 0, 8));
    lmn_arena_destroy(arena);
}

static void arena_create_odd_size_holds_what_was_asked(void **state)
{
    (void)state;
    lmn_arena *arena = NULL;
    assert_int_equal(lmn_arena_create(100, &arena, NULL), LMN_OK);
    assert_non_null(lmn_arena_take(arena, 100, 1));
    lmn_arena_destroy(arena);
}

static void arena_create_impossible_size_is_refused(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_arena *arena = NULL;
    assert_int_equal(lmn_arena_create(SIZE_MAX, &arena, &err), LMN_ERR_MEMORY);
    assert_null(arena);
    assert_int_equal(err.status, LMN_ERR_MEMORY);
}

static void copy_past_caches_any_length_and_place_copies_just_that(void **state)
{
    (void)state;
    enum { LENGTH = 100 };
    float *from = lmn_alloc(LENGTH, sizeof *from, NULL);
    float *to = lmn_alloc(LENGTH, sizeof *to, NULL);
    assert_non_null(from);
    assert_non_null(to);
    for (size_t i = 0; i < LENGTH; i++) {
        from[i] = (float)(i + 1);
    }
    for (size_t first = 0; first < 20; first++) {
        for (size_t count = 0; first + count <= LENGTH - 1; count++) {
            memset(to, 0, LENGTH * sizeof *to);
            lmn_copy_past_caches(to + first, from + 1, count);
            assert_memory_equal(to + first, from + 1, count * sizeof *to);
            assert_true(first == 0 || to[first - 1] == 0.0F);
            assert_true(to[first + count] == 0.0F);
        }
    }
    lmn_free(from);
    lmn_free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc_any_count_is_aligned_and_zero),
        cmocka_unit_test(alloc_overflowing_product_is_refused),
        cmocka_unit_test(alloc_more_than_the_address_space_is_refused),
        cmocka_unit_test(free_nothing_is_allowed),
        cmocka_unit_test(align_up_edges_are_exact),
        cmocka_unit_test(copy_past_caches_any_length_and_place_copies_just_that),
        cmocka_unit_test(arena_take_pieces_are_aligned_zero_and_apart),
        cmocka_unit_test(arena_take_until_exhausted_gives_null_and_keeps_the_rest),
        cmocka_unit_test(arena_create_odd_size_holds_what_was_asked),
        cmocka_unit_test(arena_create_impossible_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
