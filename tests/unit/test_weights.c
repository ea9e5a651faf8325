/*
 * Weights in files of other frameworks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/npy_internal.h"
#include "lamina/memory.h"
#include "lamina/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const float numbers[24] = {0.0F,  -0.0F, 1.0F,  -1.5F, 3.25F,  1e-30F, -1e30F, 7.0F,
                                  8.0F,  9.0F,  10.0F, 11.0F, 12.0F,  13.0F,  14.0F,  15.0F,
                                  16.0F, 17.0F, 18.0F, 19.0F, -20.0F, 21.0F,  22.0F,  23.0F};

static const lmn_weight weights[] = {
    {.name = "stem/conv.weight", .n_dims = 4, .dims = {2, 3, 1, 4}, .values = numbers},
    {.name = "quote\" \\ and \t", .n_dims = 1, .dims = {7}, .values = numbers + 3},
    {.name = "single", .n_dims = 0, .values = numbers + 5},
    {.name = "empty", .n_dims = 2, .dims = {0, 3}, .values = numbers},
};

#define N_WEIGHTS (sizeof weights / sizeof weights[0])

static uint64_t count_of(const lmn_weight *weight)
{
    uint64_t count = 1;
    for (size_t i = 0; i < weight->n_dims; i++) {
        count *= weight->dims[i];
    }
    return count;
}

/* A file of a header and `data_bytes` bytes of `data`. */
static void write_raw(const char *path, const char *header, const void *data, size_t data_bytes)
{
    unsigned char whole[4096] = {0};
    const size_t bytes = strlen(header);
    assert_true(8 + bytes + data_bytes <= sizeof whole);
    whole[0] = (unsigned char)(bytes & 0xff);
    whole[1] = (unsigned char)(bytes >> 8);
    for (size_t i = 0; i < bytes; i++) {
        whole[8 + i] = (unsigned char)header[i];
    }
    memcpy(whole + 8 + bytes, data, data_bytes);
    file_write(path, whole, 8 + bytes + data_bytes);
}

static void safetensors_come_back_with_names_shapes_and_bits(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    const lmn_weight_note notes[] = {{"format", "pt"}, {"odd", "a \"b\" {c}"}};
    assert_int_equal(
        lmn_safetensors_write("weights.safetensors", weights, N_WEIGHTS, notes, 2, &err), LMN_OK);
    assert_false(file_exists("weights.safetensors.part"));
    lmn_safetensors *file = NULL;
    assert_int_equal(lmn_safetensors_open("weights.safetensors", &file, &err), LMN_OK);
    assert_int_equal(lmn_safetensors_count(file), N_WEIGHTS);
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        const lmn_weight found = lmn_safetensors_describe(file, i);
        float values[24] = {99.0F};
        assert_string_equal(found.name, weights[i].name);
        assert_int_equal(found.n_dims, weights[i].n_dims);
        assert_memory_equal(found.dims, weights[i].dims, sizeof found.dims);
        assert_int_equal(lmn_safetensors_read(file, i, values, &err), LMN_OK);
        assert_memory_equal(values, weights[i].values, count_of(&weights[i]) * sizeof(float));
    }
    lmn_safetensors_close(file);
}

static void archives_are_read_by_our_own_reader_of_numpy_files(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_npz_write("weights.npz", weights, 2, &err), LMN_OK);
    for (size_t i = 0; i < 2; i++) {
        lmn__npy npy;
        float values[24];
        const size_t count = (size_t)count_of(&weights[i]);
        assert_int_equal(lmn__npy_open(&npy, "weights.npz", weights[i].name, &err), LMN_OK);
        assert_int_equal(npy.type, LMN__NPY_F32);
        assert_int_equal(npy.n_dims, weights[i].n_dims);
        assert_memory_equal(npy.dims, weights[i].dims, weights[i].n_dims * sizeof npy.dims[0]);
        assert_int_equal(lmn__npy_read_f32(&npy, 0, values, count, &err), LMN_OK);
        assert_memory_equal(values, weights[i].values, count * sizeof(float));
        assert_int_equal(lmn__npy_finish(&npy, &err), LMN_OK); /* the CRC, too */
        lmn__npy_close(&npy);
    }
}

static void narrow_and_wide_types_become_f32(void **state)
{
    (void)state;
    /* f16: 1.5, -2, the smallest subnormal, 65504; bf16: 1, -0.5; f64: 0.1 */
    static const unsigned char data[] = {0x00, 0x3e, 0x00, 0xc0, 0x01, 0x00, 0xff,
                                         0x7b, 0x80, 0x3f, 0x00, 0xbf, 0x9a, 0x99,
                                         0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f};
    write_raw("types.safetensors",
              "{ \"h\" : {\"data_offsets\":[0,8],\"shape\":[4],\"dtype\":\"F16\"},\n"
              "\"b\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[8,12]},"
              "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[12,20]}}   ",
              data, sizeof data);
    static const float wanted[3][4] = {{1.5F, -2.0F, 0x1p-24F, 65504.0F}, {1.0F, -0.5F}, {0.1F}};
    lmn_error err = lmn_error_none();
    lmn_safetensors *file = NULL;
    assert_int_equal(lmn_safetensors_open("types.safetensors", &file, &err), LMN_OK);
    assert_string_equal(lmn_safetensors_describe(file, 1).name, "b\xc3\xa9");
    for (size_t i = 0; i < 3; i++) {
        float values[4] = {0.0F};
        assert_int_equal(lmn_safetensors_read(file, i, values, &err), LMN_OK);
        assert_memory_equal(values, wanted[i], sizeof values);
    }
    lmn_safetensors_close(file);
}

static void damaged_files_are_refused_whatever_is_wrong(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "",
        "[]",
        "{\"a\"}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[281474976710656,9],\"data_offsets\":[0,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
        "{\"a\\x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"__metadata__\":{\"a\":1}}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        lmn_error err = lmn_error_none();
        lmn_safetensors *file = NULL;
        write_raw("bad.safetensors", headers[i], "01234567", 8);
        assert_int_equal(lmn_safetensors_open("bad.safetensors", &file, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "bad.safetensors"));
    }
    lmn_error err = lmn_error_none();
    lmn_safetensors *file = NULL;
    file_write("bad.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
    assert_int_equal(lmn_safetensors_open("bad.safetensors", &file, &err), LMN_ERR_FORMAT);
}

static void numbers_that_are_no_weights_are_refused_when_read(void **state)
{
    (void)state;
    static const unsigned char data[] = {0, 0, 0xc0, 0x7f, 1, 0, 0, 0};
    write_raw("other.safetensors",
              "{\"nan\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
              "\"whole\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
              data, sizeof data);
    lmn_error err = lmn_error_none();
    lmn_safetensors *file = NULL;
    float value = 0.0F;
    assert_int_equal(lmn_safetensors_open("other.safetensors", &file, &err), LMN_OK);
    assert_int_equal(lmn_safetensors_read(file, 0, &value, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "NaN"));
    assert_int_equal(lmn_safetensors_read(file, 1, &value, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "I32"));
    lmn_safetensors_close(file);
}

static void a_name_twice_and_a_missing_folder_are_errors(void **state)
{
    (void)state;
    const lmn_weight twice[] = {weights[0], weights[2], weights[0]};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_npz_write("twice.npz", twice, 3, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "stem/conv.weight"));
    assert_int_equal(lmn_safetensors_write("no/such/folder.safetensors", weights, 1, NULL, 0, &err),
                     LMN_ERR_IO);
    assert_non_null(strstr(err.message, "no/such/folder.safetensors"));
}

static int enter_scratch(void **state)
{
    char *scratch = calloc(1, TEST_PATH_BYTES);
    assert_non_null(scratch);
    scratch_create(scratch);
    *state = scratch;
    return chdir(scratch);
}

static int leave_scratch(void **state)
{
    scratch_remove(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_come_back_with_names_shapes_and_bits),
        cmocka_unit_test(archives_are_read_by_our_own_reader_of_numpy_files),
        cmocka_unit_test(narrow_and_wide_types_become_f32),
        cmocka_unit_test(damaged_files_are_refused_whatever_is_wrong),
        cmocka_unit_test(numbers_that_are_no_weights_are_refused_when_read),
        cmocka_unit_test(a_name_twice_and_a_missing_folder_are_errors),
    };
    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
