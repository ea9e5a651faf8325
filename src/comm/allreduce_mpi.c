/*
 * Allreduce by MPI itself, for sums whose order of additions does not matter.
 *
 * It runs on a communicator of its own, so that the order in which an application mixes starts and
 * blocking calls is its own affair. What MPI sends is unknown; the least that any algorithm sends
 * is counted: 2 (size - 1) / size of the vector for each rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/partition.h"
#include "mpi_error_internal.h"

lmn_status lmn__mpi_sum_init(lmn__mpi_sum *sum, lmn_collective *owner, const lmn__job *job,
                             lmn_error *err)
{
    sum->owner = owner;
    sum->job = job;
    sum->request = MPI_REQUEST_NULL;
    sum->comm = MPI_COMM_NULL;
    const lmn_status status = lmn__mpi_check(MPI_Comm_dup(owner->world->comm, &sum->comm), err,
                                             "duplicate the communicator for an allreduce by MPI");
    sum->is_made = status == LMN_OK;
    return status;
}

void lmn__mpi_sum_start(lmn__mpi_sum *sum)
{
    sum->is_called = false;
}

static MPI_Datatype type_of(const lmn__arithmetic *arithmetic)
{
    if (!arithmetic->is_exact) {
        return MPI_FLOAT;
    }
    return arithmetic->bytes == 1 ? MPI_INT8_T : MPI_INT16_T;
}

static lmn_status call(lmn__mpi_sum *sum, lmn_error *err)
{
    const lmn__job *job = sum->job;
    const lmn_world *world = sum->owner->world;
    const size_t size = (size_t)world->size;
    const lmn_status status =
        lmn__mpi_check(MPI_Iallreduce(job->send, job->recv, lmn__to_int(job->count),
                                      type_of(job->arithmetic), MPI_SUM, sum->comm, &sum->request),
                       err, "start an allreduce of %zu numbers by MPI", job->count);
    if (status == LMN_OK) {
        const size_t own = lmn_partition(job->count, size, (size_t)world->rank).count;
        const size_t sent = job->count - own + (size - 1) * own;
        sum->owner->bytes_sent += (uint64_t)sent * job->arithmetic->bytes;
        sum->is_called = true;
    }
    return status;
}

/* The analyzer looks for MPI_Wait; a collective here is finished by MPI_Test, call by call. */
/* NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker) */
lmn_status lmn__mpi_sum_progress(lmn__mpi_sum *sum, lmn_error *err)
{
    const lmn__job *job = sum->job;
    int is_done = 0;
    lmn_status status = sum->is_called ? LMN_OK : call(sum, err);
    if (status == LMN_OK) {
        status = lmn__mpi_check(MPI_Test(&sum->request, &is_done, MPI_STATUS_IGNORE), err,
                                "advance an allreduce by MPI");
    }
    if (status != LMN_OK) {
        return status;
    }
    if (is_done == 0) {
        return LMN_IN_PROGRESS;
    }
    lmn__arithmetic_scale(job->arithmetic, job->recv, job->count, job->factor);
    return LMN_OK;
}
/* NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker) */

void lmn__mpi_sum_free(lmn__mpi_sum *sum)
{
    /* MPI has no way to give up a collective under way; its communicator is left to it. */
    if (sum->is_made && sum->request == MPI_REQUEST_NULL) {
        (void)MPI_Comm_free(&sum->comm);
    }
    sum->is_made = false;
}
