/*
 * Augmentation of images: what may be asked for, and that what comes out is the image shifted,
 * mirrored and cut as the numbers say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/dataset_internal.h"
#include "lamina/augment.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define H     5
#define W     7
#define C     2
#define COUNT ((size_t)H * W * C)

static const size_t dims[3] = {H, W, C};

/* Every value differs, and none is 0. */
static void numbered(float image[COUNT])
{
    for (size_t i = 0; i < COUNT; i++) {
        image[i] = (float)(i + 1);
    }
}

static bool is_same(const float *a, const float *b)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (a[i] < b[i] || a[i] > b[i]) {
            return false;
        }
    }
    return true;
}

/* Whether `image` is the numbered one with each pixel from `down` and `right` of its place. */
static bool is_shifted(const float *image, int down, int right, bool is_mirrored)
{
    float wanted[COUNT];
    for (int i = 0; i < (int)COUNT; i++) {
        const int x = i / C % W;
        const int from_y = i / C / W + down;
        const int from_x = (is_mirrored ? W - 1 - x : x) + right;
        const bool is_inside = from_y >= 0 && from_y < H && from_x >= 0 && from_x < W;
        wanted[i] = is_inside ? (float)((from_y * W + from_x) * C + i % C + 1) : 0.0F;
    }
    return is_same(image, wanted);
}

static lmn_augment parsed(const char *spec)
{
    lmn_augment augment = {.pad = 99};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_augment_parse(spec, &augment, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    return augment;
}

static void parse_fails(const char *spec, const char *what)
{
    lmn_augment augment = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_augment_parse(spec, &augment, &err), LMN_ERR_USAGE);
    if (strstr(err.message, what) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err.message);
    }
}

static void parse_fills_what_is_not_given(void **state)
{
    (void)state;
    lmn_augment augment = parsed("none");
    assert_true(augment.pad == 0 && augment.flip <= 0.0 && augment.cutout <= 0.0);
    augment = parsed("crop");
    assert_int_equal(augment.pad, 4);
    assert_float_equal(augment.flip, 0.5, 0);
    assert_float_equal(augment.cutout, 0, 0);
    augment = parsed("crop:pad=2,flip=0,cutout=0.25");
    assert_int_equal(augment.pad, 2);
    assert_float_equal(augment.flip, 0, 0);
    assert_float_equal(augment.cutout, 0.25, 0);
    assert_string_equal(lmn_augment_entry(0)->name, "none");
    assert_string_equal(lmn_augment_entry(1)->name, "crop");
    assert_null(lmn_augment_entry(2));
}

static void parse_what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    parse_fails("corp", "crop");
    parse_fails("", "name");
    parse_fails("none:pad=1", "pad");
    parse_fails("crop:flip=1.5", "flip");
    parse_fails("crop:cutout=-1", "cutout");
    parse_fails("crop:pad=-1", "pad");
    parse_fails("crop:turn=3", "turn");
}

static void apply_each_image_is_one_shift_and_all_occur(void **state)
{
    (void)state;
    const lmn_augment augment = parsed("crop:pad=2,flip=0.5");
    float image[COUNT];
    numbered(image);
    unsigned seen[2][5][5] = {{{0}}};
    for (uint64_t sample = 0; sample < 2000; sample++) {
        float changed[COUNT];
        lmn_augment_apply(&augment, 7, 3, sample, dims, image, changed);
        unsigned n_found = 0;
        for (int k = 0; k < 50; k++) {
            if (is_shifted(changed, k / 5 % 5 - 2, k % 5 - 2, k >= 25)) {
                seen[k / 25][k / 5 % 5][k % 5]++;
                n_found++;
            }
        }
        assert_int_equal(n_found, 1);
    }
    /* 40 each are expected; 5 deviations of a binomial count are 32. */
    for (int k = 0; k < 50; k++) {
        assert_in_range(seen[k / 25][k / 5 % 5][k % 5], 8, 72);
    }
}

static void apply_certain_flip_mirrors_and_none_keeps(void **state)
{
    (void)state;
    float image[COUNT];
    float changed[COUNT];
    numbered(image);
    for (uint64_t sample = 0; sample < 20; sample++) {
        const lmn_augment flip = parsed("crop:pad=0,flip=1");
        lmn_augment_apply(&flip, 1, 0, sample, dims, image, changed);
        assert_true(is_shifted(changed, 0, 0, true));
        const lmn_augment none = parsed("none");
        lmn_augment_apply(&none, 1, 0, sample, dims, image, changed);
        assert_memory_equal(changed, image, sizeof image);
    }
}

static void apply_padding_beyond_the_image_leaves_zeros(void **state)
{
    (void)state;
    const lmn_augment augment = parsed("crop:pad=4096,flip=0.5");
    float image[COUNT];
    numbered(image);
    unsigned n_empty = 0;
    for (uint64_t sample = 0; sample < 50; sample++) {
        float changed[COUNT];
        float sum = 0.0F;
        memset(changed, 0xFF, sizeof changed);
        lmn_augment_apply(&augment, 1, 0, sample, dims, image, changed);
        for (size_t i = 0; i < COUNT; i++) {
            sum += changed[i];
        }
        n_empty += sum > 0.0F ? 0 : 1;
    }
    assert_true(n_empty >= 45);
}

/* A square of 3 x 3, of which the image's edge may take away a part. */
static void apply_cutout_empties_one_square(void **state)
{
    (void)state;
    const lmn_augment augment = parsed("crop:pad=0,flip=0,cutout=0.6");
    float image[COUNT];
    numbered(image);
    bool is_whole = false;
    for (uint64_t sample = 0; sample < 300; sample++) {
        float changed[COUNT];
        lmn_augment_apply(&augment, 1, 0, sample, dims, image, changed);
        size_t top = H;
        size_t bottom = 0;
        size_t left = W;
        size_t right = 0;
        size_t n_cut = 0;
        for (size_t i = 0; i < COUNT; i++) {
            const size_t y = i / C / W;
            const size_t x = i / C % W;
            if (changed[i] > 0.0F) {
                assert_float_equal(changed[i], image[i], 0);
                continue;
            }
            n_cut++;
            top = y < top ? y : top;
            bottom = y + 1 > bottom ? y + 1 : bottom;
            left = x < left ? x : left;
            right = x + 1 > right ? x + 1 : right;
        }
        assert_int_equal(n_cut, (bottom - top) * (right - left) * C);
        assert_in_range(bottom - top, 2, 3);
        assert_in_range(right - left, 2, 3);
        is_whole = is_whole || n_cut == (size_t)9 * C;
    }
    assert_true(is_whole);
}

static void apply_depends_on_seed_epoch_and_sample_alone(void **state)
{
    (void)state;
    const lmn_augment augment = parsed("crop:pad=2,flip=0.5,cutout=0.4");
    float image[COUNT];
    float first[COUNT];
    float other[COUNT];
    unsigned n_same[3] = {0};
    numbered(image);
    for (uint64_t i = 0; i < 200; i++) {
        lmn_augment_apply(&augment, 1, 0, i, dims, image, first);
        lmn_augment_apply(&augment, 1, 0, i, dims, image, other);
        assert_memory_equal(first, other, sizeof first);
        lmn_augment_apply(&augment, 2, 0, i, dims, image, other);
        n_same[0] += is_same(first, other) ? 1 : 0;
        lmn_augment_apply(&augment, 1, 1, i, dims, image, other);
        n_same[1] += is_same(first, other) ? 1 : 0;
        lmn_augment_apply(&augment, 1, 0, i + (UINT64_C(1) << 31), dims, image, other);
        n_same[2] += is_same(first, other) ? 1 : 0;
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(n_same[i] < 10);
    }
}

/* ---- in the reader ---- */

static void reader_augments_as_apply_does_on_any_rank(void **state)
{
    (void)state;
    enum { N = 10, BATCH = 7, PIXELS = 6 };
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    lmn_dataset *dataset = NULL;
    scratch_create(directory);
    dataset_write(directory, N, path);
    assert_int_equal(lmn__dataset_load(path, &dataset, NULL), LMN_OK);
    const lmn_augment augment = parsed("crop:pad=1,flip=0.5");
    for (int rank = 0; rank < 3; rank++) {
        const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                            .shuffle = true,
                                            .seed = 9,
                                            .global_batch = BATCH,
                                            .rank = rank,
                                            .size = 3,
                                            .read_ahead = 2,
                                            .augment = "crop:pad=1,flip=0.5"};
        lmn_reader_options plain_options = options;
        plain_options.augment = "none";
        lmn_reader *reader = NULL;
        lmn_reader *plain = NULL;
        assert_int_equal(lmn_reader_create(dataset, &options, &reader, NULL), LMN_OK);
        assert_int_equal(lmn_reader_create(dataset, &plain_options, &plain, NULL), LMN_OK);
        for (uint64_t number = 0; number < 6; number++) {
            lmn_batch changed;
            lmn_batch original;
            assert_int_equal(lmn_reader_next(reader, &changed, NULL), LMN_OK);
            assert_int_equal(lmn_reader_next(plain, &original, NULL), LMN_OK);
            for (size_t i = 0; i < changed.valid; i++) {
                const uint64_t position = number * BATCH + changed.first_row + i;
                const uint64_t sample = lmn_permute(9, position / N, position % N, N);
                const float *from = (const float *)original.fields[0] + i * PIXELS;
                float wanted[PIXELS];
                lmn_augment_apply(&augment, 9, position / N, sample,
                                  lmn_dataset_get_info(dataset)->fields[0].dims, from, wanted);
                assert_memory_equal((const float *)changed.fields[0] + i * PIXELS, wanted,
                                    sizeof wanted);
            }
            assert_memory_equal(changed.fields[1], original.fields[1],
                                changed.rows * sizeof(int32_t));
        }
        lmn_reader_destroy(plain);
        lmn_reader_destroy(reader);
    }
    lmn_dataset_close(dataset);
    scratch_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_fills_what_is_not_given),
        cmocka_unit_test(parse_what_makes_no_sense_is_refused),
        cmocka_unit_test(apply_each_image_is_one_shift_and_all_occur),
        cmocka_unit_test(apply_certain_flip_mirrors_and_none_keeps),
        cmocka_unit_test(apply_padding_beyond_the_image_leaves_zeros),
        cmocka_unit_test(apply_cutout_empties_one_square),
        cmocka_unit_test(apply_depends_on_seed_epoch_and_sample_alone),
        cmocka_unit_test(reader_augments_as_apply_does_on_any_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
