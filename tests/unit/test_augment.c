/*
 * Augmentation: every result is a shift and a mirror of its image, and all of them occur.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/augment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { HEIGHT = 5, WIDTH = 7, CHANNELS = 2, COUNT = HEIGHT * WIDTH * CHANNELS };

static const size_t dims[3] = {HEIGHT, WIDTH, CHANNELS};

/* All values different, none of them 0. */
static void fill(float *image)
{
    for (size_t i = 0; i < COUNT; i++) {
        image[i] = (float)(i + 1);
    }
}

static lmn_augment parse(const char *spec)
{
    lmn_augment augment;
    lmn_error err = lmn_error_none();
    if (lmn_augment_parse(spec, &augment, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return augment;
}

/* What a shift and a mirror make of the image, pixel by pixel. */
static void move_plainly(const float *from, int down, int right, bool flip, float *to)
{
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            const int y_from = y - down;
            const int x_moved = x - right;
            const int x_from = flip ? WIDTH - 1 - x_moved : x_moved;
            const bool is_inside =
                y_from >= 0 && y_from < HEIGHT && x_moved >= 0 && x_moved < WIDTH;
            for (int c = 0; c < CHANNELS; c++) {
                to[(y * WIDTH + x) * CHANNELS + c] =
                    is_inside ? from[(y_from * WIDTH + x_from) * CHANNELS + c] : 0.0F;
            }
        }
    }
}

static bool is_same(const float *a, const float *b)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

/* The number of the move that makes `image` of `from`, or -1. */
static int find_move(const float *from, const float *image, int pad)
{
    const int side = 2 * pad + 1;
    for (int move = 0; move < 2 * side * side; move++) {
        float expected[COUNT];
        move_plainly(from, move / 2 % side - pad, move / 2 / side - pad, move % 2 == 1, expected);
        if (is_same(expected, image)) {
            return move;
        }
    }
    return -1;
}

static void apply_shifts_and_mirrors_with_equal_frequency(void **state)
{
    (void)state;
    enum { PAD = 2, MOVES = 2 * 5 * 5, SAMPLES = 5000 };
    const lmn_augment augment = parse("crop:pad=2");
    size_t counts[MOVES] = {0};
    float from[COUNT];
    float to[COUNT];
    fill(from);
    for (uint64_t sample = 0; sample < SAMPLES; sample++) {
        memset(to, 0xFF, sizeof to);
        lmn_augment_apply(&augment, 1, sample % 3, sample, dims, from, to);
        const int move = find_move(from, to, PAD);
        assert_true(move >= 0);
        counts[move]++;
    }
    /* 100 expected of each, deviation 10. */
    for (size_t i = 0; i < MOVES; i++) {
        assert_in_range(counts[i], 50, 150);
    }
}

static void apply_depends_on_seed_epoch_and_sample_only(void **state)
{
    (void)state;
    const lmn_augment augment = parse("crop:pad=2,cutout=0.5");
    float from[COUNT];
    float first[COUNT];
    float again[COUNT];
    fill(from);
    size_t n_same[3] = {0};
    for (uint64_t sample = 0; sample < 100; sample++) {
        lmn_augment_apply(&augment, 1, 2, sample, dims, from, first);
        lmn_augment_apply(&augment, 1, 2, sample, dims, from, again);
        assert_memory_equal(first, again, sizeof first);
        const uint64_t other[3][3] = {{2, 2, sample}, {1, 3, sample}, {1, 2, sample + 1}};
        for (size_t i = 0; i < 3; i++) {
            lmn_augment_apply(&augment, other[i][0], other[i][1], other[i][2], dims, from, again);
            n_same[i] += is_same(first, again) ? 1 : 0;
        }
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(n_same[i] < 10);
    }
}

static void apply_without_changes_copies(void **state)
{
    (void)state;
    const lmn_augment augment = parse("crop:pad=0,flip=0");
    assert_false(lmn_augment_is_active(&augment));
    float from[COUNT];
    float to[COUNT];
    fill(from);
    lmn_augment_apply(&augment, 1, 0, 0, dims, from, to);
    assert_memory_equal(from, to, sizeof from);
}

static void apply_flip_of_one_always_mirrors(void **state)
{
    (void)state;
    const lmn_augment augment = parse("crop:pad=0,flip=1");
    float from[COUNT];
    float to[COUNT];
    fill(from);
    for (uint64_t sample = 0; sample < 20; sample++) {
        lmn_augment_apply(&augment, 1, 0, sample, dims, from, to);
        assert_int_equal(find_move(from, to, 0), 1);
    }
}

/* A shift beyond the image leaves nothing of it. */
static void apply_pad_larger_than_image_stays_inside(void **state)
{
    (void)state;
    const lmn_augment augment = parse("crop:pad=100,flip=0");
    float from[COUNT];
    float to[COUNT];
    fill(from);
    size_t n_empty = 0;
    for (uint64_t sample = 0; sample < 200; sample++) {
        lmn_augment_apply(&augment, 1, 0, sample, dims, from, to);
        size_t n_filled = 0;
        for (size_t i = 0; i < COUNT; i++) {
            n_filled += to[i] != 0.0F ? 1 : 0;
        }
        n_empty += n_filled == 0 ? 1 : 0;
    }
    assert_true(n_empty > 150);
}

static void apply_cutout_clears_a_clipped_square(void **state)
{
    (void)state;
    const lmn_augment augment = parse("crop:pad=0,flip=0,cutout=0.6");
    float from[COUNT];
    float to[COUNT];
    fill(from);
    for (uint64_t sample = 0; sample < 300; sample++) {
        lmn_augment_apply(&augment, 1, 0, sample, dims, from, to);
        size_t first = COUNT;
        size_t last = 0;
        size_t n = 0;
        for (size_t i = 0; i < COUNT; i++) {
            if (to[i] == 0.0F) {
                first = i < first ? i : first;
                last = i;
                n++;
            } else {
                assert_true(to[i] == from[i]);
            }
        }
        assert_in_range(n, 1, 3 * 3 * CHANNELS);
        const size_t height = last / CHANNELS / WIDTH - first / CHANNELS / WIDTH + 1;
        const size_t width = last / CHANNELS % WIDTH - first / CHANNELS % WIDTH + 1;
        assert_int_equal(n, height * width * CHANNELS);
    }
}

static void parse_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    static const char *const specs[] = {"",         "crops",       "crop:pad=-1",  "crop:flip=1.5",
                                        "none:a=1", "crop:side=3", "crop:cutout=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_augment augment;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_augment_parse(specs[i], &augment, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "augmentation"));
    }
    const lmn_augment none = parse("none");
    assert_false(lmn_augment_is_active(&none));
    const lmn_augment usual = parse("crop");
    assert_int_equal(usual.pad, 4);
    assert_true(usual.flip == 0.5 && usual.cutout == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_shifts_and_mirrors_with_equal_frequency),
        cmocka_unit_test(apply_depends_on_seed_epoch_and_sample_only),
        cmocka_unit_test(apply_without_changes_copies),
        cmocka_unit_test(apply_flip_of_one_always_mirrors),
        cmocka_unit_test(apply_pad_larger_than_image_stays_inside),
        cmocka_unit_test(apply_cutout_clears_a_clipped_square),
        cmocka_unit_test(parse_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
