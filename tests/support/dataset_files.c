/*
 * Datasets written as a user would, array by array, with plain HDF5.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void set_text(hid_t file, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    assert_true(H5Tset_size(type, strlen(text)) >= 0);
    dataset_file_set(file, "/", name, type, text);
    H5Tclose(type);
}

hid_t dataset_file_create(const char *path, const char *kind)
{
    static const char *const groups[] = {"/train", "/test"};
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const uint64_t version = 1;
    assert_true(file >= 0);
    set_text(file, "lamina_format", "dataset");
    dataset_file_set(file, "/", "format_version", H5T_NATIVE_UINT64, &version);
    if (kind != NULL) {
        set_text(file, "kind", kind);
    }
    for (size_t i = 0; i < 2; i++) {
        H5Gclose(H5Gcreate2(file, groups[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    return file;
}

void dataset_file_put(hid_t file, const char *path, hid_t type, int n_dims, const hsize_t *dims,
                      const void *data)
{
    const hid_t parents = H5Pcreate(H5P_LINK_CREATE);
    assert_true(H5Pset_create_intermediate_group(parents, 1) >= 0);
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    H5E_BEGIN_TRY
    {
        (void)H5Ldelete(file, path, H5P_DEFAULT);
    }
    H5E_END_TRY
    const hid_t array = H5Dcreate2(file, path, type, space, parents, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(array >= 0);
    if (data != NULL) {
        assert_true(H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    }
    H5Dclose(array);
    H5Sclose(space);
    H5Pclose(parents);
}

void dataset_file_put_list(hid_t file, const char *path, hid_t type, size_t count, const void *data)
{
    const hsize_t dims[1] = {count};
    dataset_file_put(file, path, type, 1, dims, data);
}

void dataset_file_set(hid_t file, const char *object, const char *name, hid_t type,
                      const void *value)
{
    const hid_t id = H5Oopen(file, object, H5P_DEFAULT);
    const hid_t space = H5Screate(H5S_SCALAR);
    assert_true(id >= 0);
    if (H5Aexists(id, name) > 0) {
        assert_true(H5Adelete(id, name) >= 0);
    }
    const hid_t attribute = H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Oclose(id);
}

void text_dataset_write(const char *path, const unsigned char *train, size_t n_train,
                        const unsigned char *test, size_t n_test)
{
    const hid_t file = dataset_file_create(path, "text");
    const uint64_t bytes[] = {n_train, n_test};
    dataset_file_put_list(file, "/train/tokens", H5T_NATIVE_UINT8, n_train, train);
    dataset_file_put_list(file, "/test/tokens", H5T_NATIVE_UINT8, n_test, test);
    dataset_file_set(file, "/train/tokens", "bytes", H5T_NATIVE_UINT64, &bytes[0]);
    dataset_file_set(file, "/test/tokens", "bytes", H5T_NATIVE_UINT64, &bytes[1]);
    H5Fclose(file);
}
