/*
 * What the ranks of a world settle together: one outcome, equal values, sums of a few numbers.
 *
 * These calls block and are meant for the edges of a step and for set-up. A sum of f64 climbs a
 * binomial tree whose every vertex adds its children's parts in the order of their ranks and hands
 * the result to its parent; rank 0 broadcasts. So the order of additions depends on the number of
 * ranks only, and one rank produces all bits. Integers need no such care.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "mpi_error_internal.h"
#include "pattern_internal.h"

#include <inttypes.h>
#include <limits.h>

/* This rank's failure as a message, also when the caller kept no err. */
static lmn_error describe_failure(lmn_status status, const lmn_error *err)
{
    if (err != NULL && err->status == status) {
        return *err;
    }
    lmn_error failure = lmn_error_none();
    if (status != LMN_OK) {
        (void)lmn_error_set(&failure, status, "%s", lmn_status_text(status));
    }
    return failure;
}

/* What goes wrong on some ranks only may be the fault of a host, and of its files. An error that
   was agreed on before says so already. */
static void add_host(lmn_error *failure, int rank, const char *host)
{
    if (failure->rank < 0) {
        lmn_error_add_context(failure, rank == 0 ? "rank 0: host %s" : "host %s", host);
    }
}

lmn_status lmn__agree_on(MPI_Comm comm, const char *host, lmn_status status, lmn_error *err)
{
    int rank = 0;
    lmn_status call = lmn__mpi_check(MPI_Comm_rank(comm, &rank), err, "ask for the rank");
    if (call != LMN_OK) {
        return call;
    }
    const bool is_well = status == LMN_OK;
    const int own[2] = {is_well ? INT_MAX : rank, is_well ? 0 : 1};
    int least[2] = {INT_MAX, 1};
    call = lmn__mpi_check(MPI_Allreduce(own, least, 2, MPI_INT, MPI_MIN, comm), err,
                          "agree on an outcome");
    const int lowest = least[0];
    if (call != LMN_OK || lowest == INT_MAX) {
        return call;
    }
    lmn_error failure = describe_failure(status, err);
    const bool some_are_well = least[1] == 0;
    if (rank == lowest && some_are_well && host != NULL) {
        add_host(&failure, rank, host);
    }
    call = lmn__mpi_check(MPI_Bcast(&failure, (int)sizeof failure, MPI_BYTE, lowest, comm), err,
                          "receive the error of rank %d", lowest);
    if (call != LMN_OK) {
        return call;
    }
    /* An error that was agreed on before already names the rank where it arose. */
    if (failure.rank < 0) {
        failure.rank = lowest;
    }
    if (err != NULL) {
        *err = failure;
    }
    return failure.status;
}

/* What a rank is at while it waits in one of these calls. */
static const lmn_activity agreeing = {.text = "an agreement on the outcome", .waits = true};
static const lmn_activity broadcasting = {.text = "a broadcast", .waits = true};
static const lmn_activity gathering = {.text = "a gathering on rank 0", .waits = true};
static const lmn_activity summing = {.text = "a sum over ranks", .waits = true};

lmn_status lmn_agree(lmn_world *world, lmn_status status, lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &agreeing);
    const lmn_placement *place = &world->placement;
    const char *host = place->node_count > 1 ? place->host : NULL;
    const lmn_status agreed = lmn__agree_on(world->comm, host, status, err);
    (void)lmn_world_note(world, before);
    return agreed;
}

/* Some rank differs from rank 0: let the lowest such rank say so. */
static lmn_status report_difference(lmn_world *world, const char *what, uint64_t value,
                                    lmn_error *err)
{
    uint64_t first = value;
    lmn_status status = lmn_world_broadcast(world, &first, sizeof first, 0, err);
    if (status == LMN_OK && value != first) {
        status =
            lmn_error_set(err, LMN_ERR_DIVERGED,
                          "ranks hold different values of %s: %" PRIu64 " on rank 0 and %" PRIu64
                          " on rank %d; all ranks must be started and led alike",
                          what, first, value, world->rank);
    }
    return lmn_agree(world, status, err);
}

lmn_status lmn_world_check_same(lmn_world *world, const char *what, uint64_t value, lmn_error *err)
{
    /* The complement turns the maximum into a minimum, so one reduction finds both. */
    uint64_t extremes[] = {value, ~value};
    const lmn_status status = lmn_world_max_u64(world, extremes, 2, err);
    if (status != LMN_OK) {
        return status;
    }
    if (extremes[0] == ~extremes[1]) {
        return LMN_OK;
    }
    return report_difference(world, what, value, err);
}

lmn_status lmn_world_broadcast(lmn_world *world, void *data, size_t bytes, int root, lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &broadcasting);
    unsigned char *next = data;
    size_t done = 0;
    do { /* once for no bytes, too: MPI checks root */
        const size_t part = lmn__part(world, bytes - done);
        const lmn_status status =
            lmn__mpi_check(MPI_Bcast(next, lmn__to_int(part), MPI_BYTE, root, world->comm), err,
                           "broadcast %zu bytes from rank %d of %d", part, root, world->size);
        if (status != LMN_OK) {
            return status;
        }
        done += part;
        if (part > 0) {
            next += part;
        }
    } while (done < bytes);
    (void)lmn_world_note(world, before);
    return LMN_OK;
}

lmn_status lmn_world_gather(lmn_world *world, const void *data, size_t bytes, void *all_out,
                            lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &gathering);
    const int count = lmn__to_int(bytes);
    const lmn_status status =
        lmn__mpi_check(MPI_Gather(data, count, MPI_BYTE, all_out, count, MPI_BYTE, 0, world->comm),
                       err, "gather %zu bytes of each rank", bytes);
    (void)lmn_world_note(world, before);
    return status;
}

/* values += the part of `child`'s subtree; values [count], count <= LMN__SUM_COUNT */
static lmn_status add_child(lmn_world *world, double *values, size_t count, int child,
                            lmn_error *err)
{
    const lmn_status status =
        lmn__mpi_check(MPI_Recv(world->term, lmn__to_int(count), MPI_DOUBLE, child, LMN__TAG_WORLD,
                                world->comm, MPI_STATUS_IGNORE),
                       err, "receive a part of a sum from rank %d", child);
    for (size_t i = 0; i < count && status == LMN_OK; ++i) {
        values[i] += world->term[i];
    }
    return status;
}

/* Climb the tree; afterwards rank 0 holds the sum. */
static lmn_status sum_to_root(lmn_world *world, double *values, size_t count, lmn_error *err)
{
    for (int i = 0; i < lmn__tree_child_count(world->rank, world->size); ++i) {
        const lmn_status status =
            add_child(world, values, count, lmn__tree_child(world->rank, i), err);
        if (status != LMN_OK) {
            return status;
        }
    }
    if (world->rank == 0) {
        return LMN_OK;
    }
    const int parent = lmn__tree_parent(world->rank);
    return lmn__mpi_check(
        MPI_Send(values, lmn__to_int(count), MPI_DOUBLE, parent, LMN__TAG_WORLD, world->comm), err,
        "send a part of a sum to rank %d", parent);
}

lmn_status lmn_world_sum_f64(lmn_world *world, double *values, size_t count, lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &summing);
    for (size_t done = 0; done < count;) {
        const size_t left = count - done;
        const size_t part = left < LMN__SUM_COUNT ? left : LMN__SUM_COUNT;
        lmn_status status = sum_to_root(world, values + done, part, err);
        if (status == LMN_OK) {
            status = lmn_world_broadcast(world, values + done, part * sizeof *values, 0, err);
        }
        if (status != LMN_OK) {
            return status;
        }
        done += part;
    }
    (void)lmn_world_note(world, before);
    return LMN_OK;
}

static lmn_status reduce_64(lmn_world *world, void *values, size_t count, MPI_Datatype type,
                            MPI_Op op, lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &summing);
    for (size_t done = 0; done < count;) {
        const size_t part = lmn__part(world, count - done);
        const lmn_status status =
            lmn__mpi_check(MPI_Allreduce(MPI_IN_PLACE, (uint64_t *)values + done, lmn__to_int(part),
                                         type, op, world->comm),
                           err, "reduce %zu integers", part);
        if (status != LMN_OK) {
            return status;
        }
        done += part;
    }
    (void)lmn_world_note(world, before);
    return LMN_OK;
}

lmn_status lmn_world_sum_u64(lmn_world *world, uint64_t *values, size_t count, lmn_error *err)
{
    return reduce_64(world, values, count, MPI_UINT64_T, MPI_SUM, err);
}

/* From the order of unsigned numbers to that of signed ones, and back. */
static void flip_sign(uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        values[i] ^= UINT64_C(1) << 63;
    }
}

/* Among signed numbers, since some MPIs compare unsigned ones as if they were signed. */
lmn_status lmn_world_max_u64(lmn_world *world, uint64_t *values, size_t count, lmn_error *err)
{
    flip_sign(values, count);
    const lmn_status status = reduce_64(world, values, count, MPI_INT64_T, MPI_MAX, err);
    flip_sign(values, count);
    return status;
}
