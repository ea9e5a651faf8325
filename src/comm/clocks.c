/*
 * How the clocks of the ranks stand to each other.
 *
 * Ranks learn their distance from rank 0 along a binomial tree, the farthest branches first: a rank
 * asks one that knows its own distance already, so the number of rounds is log2 of that of ranks,
 * and errors add up along as many edges at most. Of several round trips the fastest counts, as half
 * of it is then the least that a message takes (D. L. Mills, RFC 5905; for trees S. Hunold and
 * A. Carpen-Amarie, "Hierarchical clock synchronization in MPI", CLUSTER 2018).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "lamina/clock.h"
#include "mpi_error_internal.h"

#include <math.h>

/* Round trips of one edge: so many, unless they take long; then only the fewest. */
enum { TRIPS_MAX = 16, TRIPS_MIN = 4, ANSWER_COUNT = 4 };
static const double EDGE_SECONDS = 0.005;

/* What a rank says of itself when it is asked. */
enum { ANSWER_CLOCK, ANSWER_OFFSET, ANSWER_ERROR, ANSWER_NODE };

/* Questions are one number: whether an answer is wanted, or this was the last one. */
static const double ASK = 1.0;
static const double DONE = 0.0;

static lmn_status send(lmn_world *world, const double *numbers, int count, int rank, lmn_error *err)
{
    return lmn__mpi_check(MPI_Send(numbers, count, MPI_DOUBLE, rank, LMN__TAG_WORLD, world->comm),
                          err, "compare clocks with rank %d", rank);
}

static lmn_status receive(lmn_world *world, double *numbers, int count, int rank, lmn_error *err)
{
    return lmn__mpi_check(
        MPI_Recv(numbers, count, MPI_DOUBLE, rank, LMN__TAG_WORLD, world->comm, MPI_STATUS_IGNORE),
        err, "compare clocks with rank %d", rank);
}

static lmn_status answer(lmn_world *world, int rank, const lmn_clock_offset *own, lmn_error *err)
{
    double numbers[ANSWER_COUNT] = {0.0, own->seconds, own->error, world->placement.node};
    double question = ASK;
    lmn_status status = receive(world, &question, 1, rank, err);
    while (status == LMN_OK && question > DONE) {
        numbers[ANSWER_CLOCK] = lmn_clock_seconds();
        status = send(world, numbers, ANSWER_COUNT, rank, err);
        if (status == LMN_OK) {
            status = receive(world, &question, 1, rank, err);
        }
    }
    return status;
}

/* The other rank's numbers of the fastest trip, whose clock becomes its distance from ours. */
static lmn_status ask(lmn_world *world, int rank, double fastest[ANSWER_COUNT], double *half_out,
                      lmn_error *err)
{
    const double begin = lmn_clock_seconds();
    double back = begin;
    double trip = (double)INFINITY;
    lmn_status status = LMN_OK;
    for (int i = 0; i < TRIPS_MAX && (i < TRIPS_MIN || back - begin < EDGE_SECONDS); i++) {
        double numbers[ANSWER_COUNT] = {0.0};
        const double sent = lmn_clock_seconds();
        status = send(world, &ASK, 1, rank, err);
        if (status == LMN_OK) {
            status = receive(world, numbers, ANSWER_COUNT, rank, err);
        }
        if (status != LMN_OK) {
            return status;
        }
        back = lmn_clock_seconds();
        if (back - sent < trip) {
            trip = back - sent;
            numbers[ANSWER_CLOCK] -= sent + trip / 2.0;
            for (int n = 0; n < ANSWER_COUNT; n++) {
                fastest[n] = numbers[n];
            }
        }
    }
    *half_out = trip / 2.0;
    return send(world, &DONE, 1, rank, err);
}

/* Where the measurement allows that two ranks of a node have one clock, they do: it is the
 * system's. */
static lmn_status find_own(lmn_world *world, int rank, lmn_clock_offset *own, lmn_error *err)
{
    double other[ANSWER_COUNT] = {0.0};
    double half = 0.0;
    const lmn_status status = ask(world, rank, other, &half, err);
    const bool is_near = (int)other[ANSWER_NODE] == world->placement.node;
    const bool is_same = is_near && fabs(other[ANSWER_CLOCK]) <= half;
    own->seconds = other[ANSWER_OFFSET] + (is_same ? 0.0 : other[ANSWER_CLOCK]);
    own->error = other[ANSWER_ERROR] + (is_same ? 0.0 : half);
    return status;
}

static const lmn_activity comparing = {.text = "a comparison of clocks", .waits = true};

lmn_status lmn_world_compare_clocks(lmn_world *world, lmn_clock_offset *offset_out, lmn_error *err)
{
    const lmn_activity *before = lmn_world_note(world, &comparing);
    lmn_clock_offset own = {0};
    lmn_status status = LMN_OK;
    int distance = 1;
    while (distance < world->size / 2 + world->size % 2) {
        distance *= 2;
    }
    for (; distance > 0 && status == LMN_OK; distance /= 2) {
        const int place = world->rank % (2 * distance);
        if (place == distance) {
            status = find_own(world, world->rank - distance, &own, err);
        } else if (place == 0 && world->rank + distance < world->size) {
            status = answer(world, world->rank + distance, &own, err);
        }
    }
    *offset_out = own;
    (void)lmn_world_note(world, before);
    return status;
}
