/*
 * How fast checkpoints are written and read: as much as asked for, replicated, and again as much
 * over all ranks together, one array each. bench/checkpoint compares with dd.
 *
 *     mpirun -np 2 bench_checkpoint DIRECTORY MIB REPEATS
 *
 * Prints bytes and the least seconds of writing, of reading and of checking alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/lamina.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

enum { ARRAYS = 8 };

typedef struct job {
    lmn_world *world;
    const char *directory;
    size_t elements; /* f32 of a replicated array */
    int repeats;
    float *replicated, *own;
    lmn_state *state;
} job;

static lmn_status make_state(job *j, lmn_error *err)
{
    const size_t ranks = (size_t)lmn_world_size(j->world);
    const size_t own_elements = j->elements / ranks;
    j->replicated = lmn_alloc(j->elements, ARRAYS * sizeof(float), err);
    j->own = lmn_alloc(own_elements, ARRAYS * sizeof(float), err);
    if (j->replicated == NULL || j->own == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < ARRAYS * j->elements; i++) {
        j->replicated[i] = (float)(i * 2654435761U % 1000003U);
    }
    memcpy(j->own, j->replicated, ARRAYS * own_elements * sizeof(float));
    lmn_status status = lmn_state_create(&j->state, err);
    for (size_t i = 0; i < ARRAYS && status == LMN_OK; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "/parameters/p%zu", i);
        status = lmn_state_add_array(j->state, name, "1", LMN_STATE_REPLICATED, LMN_STATE_F32, 1,
                                     &j->elements, j->replicated + i * j->elements, err);
        (void)snprintf(name, sizeof name, "/feedback/f%zu", i);
        if (status == LMN_OK) {
            status = lmn_state_add_array(j->state, name, "1", LMN_STATE_PER_RANK, LMN_STATE_F32, 1,
                                         &own_elements, j->own + i * own_elements, err);
        }
    }
    return status;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static lmn_status measure(job *j, lmn_error *err)
{
    char path[LMN_PATH_BYTES] = "";
    double least[3] = {1e9, 1e9, 1e9};
    lmn_status status = make_state(j, err);
    for (int i = 0; i < j->repeats && status == LMN_OK; i++) {
        uint64_t step = 0;
        const double start = MPI_Wtime();
        status = lmn_checkpoint_write(j->world, j->directory, (uint64_t)i, j->state, 1, err);
        const double written = MPI_Wtime();
        if (status == LMN_OK) {
            status = lmn_checkpoint_latest(j->world, j->directory, path, &step, err);
        }
        const double checked = MPI_Wtime();
        if (status == LMN_OK) {
            status = lmn_checkpoint_read(j->world, path, j->state, err);
        }
        least[0] = smaller(least[0], written - start);
        least[1] = smaller(least[1], MPI_Wtime() - checked);
        least[2] = smaller(least[2], checked - written);
    }
    if (status == LMN_OK && lmn_world_rank(j->world) == 0) {
        const double bytes = 2.0 * ARRAYS * (double)j->elements * sizeof(float);
        (void)printf("%.0f bytes: write %.3f s, %.0f MB/s; read %.3f s; check %.3f s\n", bytes,
                     least[0], bytes / least[0] / 1e6, least[1], least[2]);
    }
    lmn_state_destroy(j->state);
    lmn_free(j->replicated);
    lmn_free(j->own);
    return status;
}

int main(int argc, char **argv)
{
    lmn_error err = lmn_error_none();
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    if (argc != 4) {
        (void)fprintf(stderr, "bench_checkpoint DIRECTORY MIB REPEATS\n");
        (void)MPI_Abort(MPI_COMM_WORLD, 2);
    }
    job j = {.directory = argv[1],
             .elements = strtoull(argv[2], NULL, 10) * 1024 * 1024 / 2 / ARRAYS / sizeof(float),
             .repeats = (int)strtol(argv[3], NULL, 10)};
    lmn_status status = lmn_world_create(MPI_COMM_WORLD, NULL, &j.world, &err);
    if (status == LMN_OK) {
        status = measure(&j, &err);
        lmn_world_destroy(j.world);
    }
    if (status != LMN_OK) {
        (void)fprintf(stderr, "bench_checkpoint: %s\n", err.message);
    }
    MPI_Finalize();
    return status == LMN_OK ? 0 : 1;
}
