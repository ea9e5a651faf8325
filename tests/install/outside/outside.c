/*
 * An outside program: makes a world, agrees on a sum, and asks for a file that is not there.
 *
 * It calls into the rooms that bring MPI, hwloc, HDF5 and xxhash with them, so that a forgotten
 * library of the installed package fails here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/lamina.h"

#include <stdio.h>

#include <mpi.h>

static lmn_status check_world(lmn_error *err)
{
    lmn_world *world = NULL;
    lmn_status status = lmn_world_create(MPI_COMM_WORLD, NULL, &world, err);
    if (status != LMN_OK) {
        return status;
    }
    double sum = 1.0;
    status = lmn_world_sum_f64(world, &sum, 1, err);
    if (status == LMN_OK && sum != (double)lmn_world_size(world)) {
        status = lmn_error_set(err, LMN_ERR_DIVERGED, "the sum of ones is %g", sum);
    }
    lmn_world_destroy(world);
    return status;
}

static lmn_status check_missing_file(lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_error expected = lmn_error_none();
    if (lmn_file_open("no-such-file.h5", &file, &expected) != LMN_ERR_IO) {
        lmn_file_close(file);
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "a missing file was not refused as such");
    }
    return LMN_OK;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    lmn_error err = lmn_error_none();
    lmn_status status = check_world(&err);
    if (status == LMN_OK) {
        status = check_missing_file(&err);
    }
    if (status == LMN_OK) {
        printf("lamina %s, %016llx\n", lmn_version(), (unsigned long long)lmn_hash64("a", 1, 0));
    } else {
        fprintf(stderr, "%s: %s\n", lmn_status_text(status), err.message);
    }
    MPI_Finalize();
    return status == LMN_OK ? 0 : 1;
}
