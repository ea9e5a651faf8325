/*
 * Ranks meet and part: whether this MPI starts and ends on the hosts of a lab.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <mpi.h>

int main(int argc, char **argv)
{
    (void)MPI_Init(&argc, &argv);
    (void)MPI_Barrier(MPI_COMM_WORLD);
    return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
