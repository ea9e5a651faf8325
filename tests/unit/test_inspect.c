/*
 * Reading files without knowing their kind: what is listed, and that damage is found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/inspect.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    lmn_file *file;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->directory);
    dataset_write(f->directory, 20, f->path);
    assert_int_equal(lmn_file_open(f->path, &f->file, NULL), LMN_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    lmn_file_close(f->file);
    scratch_remove(f->directory);
    free(f);
    return 0;
}

static lmn_status note_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    (void)err;
    char *text = user;
    char *to = text + strlen(text);
    const size_t room = 1024 - strlen(text);
    (void)snprintf(to, room, "%s %s %zu %llu %llu '%s';", array->path, array->type, array->n_dims,
                   (unsigned long long)array->dims[0], (unsigned long long)array->bytes,
                   array->unit);
    return LMN_OK;
}

static void visit_arrays_lists_all_in_order(void **state)
{
    const fixture *f = *state;
    char text[1024] = "";
    assert_int_equal(lmn_file_visit_arrays(f->file, note_array, text, NULL), LMN_OK);
    assert_string_equal(text, "/classes text 1 4 4 '1';"
                              "/test/images u8 4 10 60 '1';/test/labels u8 1 10 10 '1';"
                              "/train/images u8 4 20 120 '1';/train/labels u8 1 20 20 '1';");
}

static lmn_status refuse_second(void *user, const lmn_file_array *array, lmn_error *err)
{
    int *calls = user;
    *calls += 1;
    return *calls < 2 ? LMN_OK : lmn_error_set(err, LMN_ERR_SHAPE, "not %s", array->path);
}

static void visit_arrays_visitors_error_ends_it(void **state)
{
    const fixture *f = *state;
    int calls = 0;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_file_visit_arrays(f->file, refuse_second, &calls, &err), LMN_ERR_SHAPE);
    assert_int_equal(calls, 2);
    assert_string_equal(err.message, "not /test/images");
}

static lmn_status note_name(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    char *text = user;
    (void)snprintf(text + strlen(text), 1024 - strlen(text), "%s;", value->name);
    return LMN_OK;
}

/* Attributes that HDF5's own conventions use (labels of dimensions) are left out. */
static void visit_attributes_lists_single_values_in_order(void **state)
{
    const fixture *f = *state;
    char text[1024] = "";
    assert_int_equal(lmn_file_visit_attributes(f->file, "/train/images", note_name, text, NULL),
                     LMN_OK);
    assert_string_equal(text, "checksum_xxh3;description;layout;offset;scale;source;units;");
    text[0] = '\0';
    assert_int_equal(lmn_file_visit_attributes(f->file, "/", note_name, text, NULL), LMN_OK);
    assert_string_equal(text, "created_by;format_version;kind;lamina_format;");
}

static void read_wrong_arrays_are_refused(void **state)
{
    const fixture *f = *state;
    double *values = NULL;
    size_t count = 0;
    char text[2];
    const lmn_file *file = f->file;
    assert_int_equal(lmn_file_read_f64(file, "/none", &values, &count, NULL), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_file_read_f64(file, "/train", &values, &count, NULL), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_file_read_f64(file, "/classes", &values, &count, NULL), LMN_ERR_ARGUMENT);
    assert_null(values);
    assert_int_equal(lmn_file_read_text(file, "/classes", 3, text, 2, NULL), LMN_OK);
    assert_string_equal(text, "3");
    assert_int_equal(lmn_file_read_text(file, "/classes", 3, text, 1, NULL), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_file_read_text(file, "/classes", 4, text, 2, NULL), LMN_ERR_ARGUMENT);
}

static void open_what_is_not_ours_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_file *file = NULL;
    lmn_error err = lmn_error_none();
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, "other.h5");
    assert_int_equal(lmn_file_open(path, &file, &err), LMN_ERR_IO);
    file_write(path, "text", 4);
    assert_int_equal(lmn_file_open(path, &file, &err), LMN_ERR_FORMAT);
    assert_int_equal(lmn_file_open(f->directory, &file, &err), LMN_ERR_IO);
    assert_null(file);
    lmn_file_close(NULL);
}

/* Any byte of an array with a checksum. */
static void verify_flipped_data_byte_names_the_array(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->path, &dataset, NULL), LMN_OK);
    const size_t offset = (size_t)dataset->splits[LMN_SPLIT_TEST].offset;
    lmn_dataset_close(dataset);
    assert_int_equal(lmn_file_verify(f->file, NULL), LMN_OK);
    for (size_t i = 0; i < 60; i++) {
        lmn_error err = lmn_error_none();
        file_flip(f->path, offset + i, 2);
        assert_int_equal(lmn_file_verify(f->file, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "'/test/images'"));
        file_flip(f->path, offset + i, 2);
    }
    assert_int_equal(lmn_file_verify(f->file, NULL), LMN_OK);
}

static lmn_status keep_checksum(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    char *text = user;
    if (strcmp(value->name, "checksum_xxh3") == 0) {
        (void)snprintf(text, 32, "%s", value->text);
    }
    return LMN_OK;
}

/* So that other tools can check it: no seed, no blocks. */
static void checksum_is_the_plain_hash_of_the_stored_bytes(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->path, &dataset, NULL), LMN_OK);
    size_t bytes = 0;
    unsigned char *data = file_read(f->path, &bytes);
    const uint64_t hash = lmn_hash64(data + dataset->splits[LMN_SPLIT_TRAIN].offset, 120, 0);
    char found[32] = "";
    char expected[32];
    (void)snprintf(expected, sizeof expected, "%016llx", (unsigned long long)hash);
    assert_int_equal(
        lmn_file_visit_attributes(f->file, "/train/images", keep_checksum, found, NULL), LMN_OK);
    assert_string_equal(found, expected);
    free(data);
    lmn_dataset_close(dataset);
}

/* Whatever is damaged, opening, listing and verifying end with a status. */
static void open_and_verify_flipped_bytes_end_in_a_status(void **state)
{
    const fixture *f = *state;
    const size_t bytes = file_bytes(f->path);
    size_t refused = 0;
    /* Prime to 8, so that all parts of words are met. */
    for (size_t i = 0; i < bytes; i += 7) {
        lmn_file *file = NULL;
        lmn_dataset *dataset = NULL;
        file_flip(f->path, i, (unsigned char)(0x81U >> (i % 3)));
        lmn_status status = lmn_file_open(f->path, &file, NULL);
        if (status == LMN_OK) {
            status = lmn_file_verify(file, NULL);
        }
        lmn_file_close(file);
        if (lmn__dataset_load(f->path, &dataset, NULL) == LMN_OK) {
            lmn_dataset_close(dataset);
        }
        refused += status != LMN_OK ? 1 : 0;
        file_flip(f->path, i, (unsigned char)(0x81U >> (i % 3)));
    }
    assert_true(refused > 0);
    assert_int_equal(lmn_file_verify(f->file, NULL), LMN_OK);
}

static void kind_names_are_those_in_the_files(void **state)
{
    (void)state;
    assert_string_equal(lmn_file_kind_name(LMN_FILE_DATASET), "dataset");
    assert_string_equal(lmn_file_kind_name(LMN_FILE_CHECKPOINT), "checkpoint");
    assert_string_equal(lmn_file_kind_name(LMN_FILE_RESULTS), "results");
    assert_string_equal(lmn_file_kind_name(LMN_FILE_SWEEP), "sweep");
    assert_string_equal(lmn_file_kind_name((lmn_file_kind)4), "unknown");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(visit_arrays_lists_all_in_order),
        CASE(visit_arrays_visitors_error_ends_it),
        CASE(visit_attributes_lists_single_values_in_order),
        CASE(read_wrong_arrays_are_refused),
        CASE(open_what_is_not_ours_is_refused),
        CASE(verify_flipped_data_byte_names_the_array),
        CASE(checksum_is_the_plain_hash_of_the_stored_bytes),
        CASE(open_and_verify_flipped_bytes_end_in_a_status),
        CASE(kind_names_are_those_in_the_files),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
