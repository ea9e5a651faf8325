/*
 * Loss and gradients of a model for weights and a batch that come in an HDF5 file.
 *
 *     bench_gradients MODEL BATCH IN.h5 OUT.h5
 *
 * IN holds /parameters/<name> for every trained parameter, /values (f32 images NHWC or i32 tokens)
 * and /labels; OUT gets /loss and /gradients/<name>. bench/agreement compares them with PyTorch's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trial.h"

#include <stdio.h>
#include <stdlib.h>

#include <hdf5.h>

enum { NAME_BYTES = 256 };

static bool read_array(hid_t file, const char *name, hid_t type, void *values)
{
    const hid_t dataset = H5Dopen(file, name, H5P_DEFAULT);
    const bool is_read =
        dataset >= 0 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    (void)H5Dclose(dataset);
    return is_read;
}

static bool write_array(hid_t file, const char *name, size_t count, const float *values)
{
    const hsize_t dims[] = {count};
    const hid_t space = H5Screate_simple(1, dims, NULL);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    const hid_t dataset =
        H5Dcreate(file, name, H5T_NATIVE_FLOAT, space, links, H5P_DEFAULT, H5P_DEFAULT);
    const bool is_written =
        H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    (void)H5Dclose(dataset);
    (void)H5Pclose(links);
    (void)H5Sclose(space);
    return is_written;
}

static bool read_inputs(const trial *t, const char *path)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t type = t->context > 0 ? H5T_NATIVE_INT32 : H5T_NATIVE_FLOAT;
    bool is_read = file >= 0 && read_array(file, "/values", type, t->values_memory) &&
                   read_array(file, "/labels", H5T_NATIVE_INT32, t->labels_memory);
    for (size_t i = 0; i < t->n_parameters && is_read; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "/parameters/%s", lmn_tensor_name(parameter));
        is_read = lmn_parameter_is_statistic(parameter) ||
                  read_array(file, name, H5T_NATIVE_FLOAT, t->parameters[i]);
    }
    (void)H5Fclose(file);
    return is_read;
}

static bool write_outputs(const trial *t, const char *path)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    bool is_written =
        file >= 0 && write_array(file, "/loss", 1, lmn_plan_value(t->plan, t->outputs[0]));
    for (size_t i = 0; i < t->n_parameters && is_written; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "/gradients/%s", lmn_tensor_name(parameter));
        is_written = lmn_parameter_is_statistic(parameter) ||
                     write_array(file, name, lmn_shape_count(lmn_tensor_shape(parameter)),
                                 lmn_plan_value(t->plan, t->outputs[i + 1]));
    }
    return H5Fclose(file) >= 0 && is_written;
}

int main(int argc, char **argv)
{
    const size_t batch = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
    if (batch == 0) {
        (void)fprintf(stderr, "usage: bench_gradients MODEL BATCH IN.h5 OUT.h5\n");
        return 2;
    }
    trial t;
    lmn_error err = lmn_error_none();
    const lmn_run run = {.training = true};
    lmn_status status = trial_prepare(&t, argv[1], batch, &err);
    if (status == LMN_OK && !read_inputs(&t, argv[3])) {
        status =
            lmn_error_set(&err, LMN_ERR_FORMAT, "'%s' does not hold the model's arrays", argv[3]);
    }
    if (status == LMN_OK) {
        status = lmn_plan_run(t.plan, &run, &err);
    }
    if (status == LMN_OK && !write_outputs(&t, argv[4])) {
        status = lmn_error_set(&err, LMN_ERR_IO, "cannot write '%s'", argv[4]);
    }
    if (status != LMN_OK) {
        (void)fprintf(stderr, "bench_gradients: %s\n", err.message);
        return 1;
    }
    return 0;
}
