/*
 * What the tests of all importers share: a place to work in, and a look into the dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_check.h"

#include "lamina/inspect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES 64

int import_set_up(void **state)
{
    import_place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    scratch_create(place->directory);
    path_join(place->train, place->directory, "train");
    path_join(place->test, place->directory, "test");
    path_join(place->output, place->directory, "out.h5");
    *state = place;
    return 0;
}

int import_tear_down(void **state)
{
    import_place *place = *state;
    scratch_remove(place->directory);
    free(place);
    return 0;
}

void text_write(const char *path, const char *text)
{
    file_write(path, text, strlen(text));
}

static void no_part(const import_place *place)
{
    char part[TEST_PATH_BYTES];
    path_join(part, place->directory, "out.h5.part");
    assert_false(file_exists(part));
}

void import_done(const import_place *place, lmn_status status, const lmn_error *err)
{
    assert_string_equal(err->message, "");
    assert_int_equal(status, LMN_OK);
    no_part(place);
    lmn_file *file = NULL;
    assert_int_equal(lmn_file_open(place->output, &file, NULL), LMN_OK);
    assert_int_equal(lmn_file_verify(file, NULL), LMN_OK);
    lmn_file_close(file);
}

void import_refused(const import_place *place, lmn_status status, const lmn_error *err,
                    lmn_status wanted, const char *what)
{
    if (strstr(err->message, what) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err->message);
    }
    assert_int_equal(status, wanted);
    assert_int_equal(err->status, wanted);
    assert_false(file_exists(place->output));
    no_part(place);
}

static hid_t open_file(const char *file)
{
    const hid_t id = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(id >= 0);
    return id;
}

void array_read(const char *file, const char *path, hid_t type, size_t count, void *values)
{
    const hid_t id = open_file(file);
    const hid_t dataset = H5Dopen2(id, path, H5P_DEFAULT);
    assert_true(dataset >= 0);
    const hid_t space = H5Dget_space(dataset);
    assert_int_equal(H5Sget_simple_extent_npoints(space), count);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    (void)H5Sclose(space);
    (void)H5Dclose(dataset);
    (void)H5Fclose(id);
}

int array_dims(const char *file, const char *path, hsize_t *dims)
{
    const hid_t id = open_file(file);
    const hid_t dataset = H5Dopen2(id, path, H5P_DEFAULT);
    assert_true(dataset >= 0);
    const hid_t space = H5Dget_space(dataset);
    const int n_dims = H5Sget_simple_extent_dims(space, dims, NULL);
    (void)H5Sclose(space);
    (void)H5Dclose(dataset);
    (void)H5Fclose(id);
    return n_dims;
}

bool has_object(const char *file, const char *path)
{
    const hid_t id = open_file(file);
    const bool has = H5Lexists(id, path, H5P_DEFAULT) > 0;
    (void)H5Fclose(id);
    return has;
}

void texts_are(const char *file, const char *path, const char *const *names, size_t count)
{
    char *texts = calloc(count, TEXT_BYTES);
    assert_non_null(texts);
    const hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, TEXT_BYTES);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    array_read(file, path, type, count, texts);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(texts + i * TEXT_BYTES, names[i]);
    }
    (void)H5Tclose(type);
    free(texts);
}

void attribute_text_is(const char *file, const char *object, const char *name, const char *text)
{
    const hid_t id = open_file(file);
    const hid_t attribute = H5Aopen_by_name(id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    const hid_t type = H5Aget_type(attribute);
    char *value = NULL;
    assert_true(H5Aread(attribute, type, &value) >= 0);
    assert_string_equal(value, text);
    (void)H5free_memory(value);
    (void)H5Tclose(type);
    (void)H5Aclose(attribute);
    (void)H5Fclose(id);
}

double attribute_number(const char *file, const char *object, const char *name)
{
    const hid_t id = open_file(file);
    const hid_t attribute = H5Aopen_by_name(id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    double value = 0.0;
    assert_true(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    (void)H5Aclose(attribute);
    (void)H5Fclose(id);
    return value;
}
