/*
 * Ranks meet, send each other something large, and part: whether this MPI starts and ends on the
 * hosts of a lab. What is large leaves connections of several kinds, and those must be closed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include <mpi.h>

enum { LARGE_BYTES = 1 << 22 };

int main(int argc, char **argv)
{
    char *large = calloc(LARGE_BYTES, 1);
    if (large == NULL) {
        return 1;
    }
    MPI_Comm node = MPI_COMM_NULL;
    (void)MPI_Init(&argc, &argv);
    (void)MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    (void)MPI_Bcast(large, LARGE_BYTES, MPI_BYTE, 0, MPI_COMM_WORLD);
    (void)MPI_Comm_free(&node);
    free(large);
    return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
