/*
 * The collectives of Lamina on simulated ranks: compiled with smpicc, run by smpirun.
 *
 * Reads cases from a file, one a line, and prints the simulated seconds of each on a line of
 * standard output: from the moment at which all ranks start it until the last one has finished.
 * Results are checked: a collective that is fast and wrong ends the program. bench/simgrid/compare
 * builds and runs it; what a rank computes takes no simulated time, so only messages count.
 *
 *     allreduce default|direct|doubling|ring|halving BYTES 0 PAUSE    of the vector
 *     allgatherv - BYTES 0 PAUSE                                      of one rank's message
 *     alltoallv - BYTES 0 PAUSE             of one rank's messages together, its own included
 *     owners - BYTES BYTES PAUSE            alltoallv, then allgatherv, of these sizes
 *     step - N 0 PAUSE                      the N buckets on the next lines, each as
 *         SECONDS BYTES BYTES               when it leaves, its dense numbers, its message
 *
 * A rank looks at its messages every PAUSE seconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/collective.h"
#include "lamina/memory.h"
#include "lamina/tuning.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

/* Seconds after which ranks that leave an agreement at different times start together. */
#define GATHERING_SECONDS 0.1

typedef struct one_case {
    char kind[16], algorithm[16];
    size_t bytes, then; /* then: of the second phase, where there is one */
    double pause;       /* seconds between two looks at messages */
} one_case;

static void stop_on(lmn_status status, const lmn_error *err)
{
    if (status != LMN_OK) {
        (void)fprintf(stderr, "exchanges: %s\n", err->message);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "exchanges: %s is wrong\n", what);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static void sleep_for(double seconds)
{
    const long nanoseconds = (long)(seconds * 1e9);
    const struct timespec time = {.tv_sec = nanoseconds / 1000000000,
                                  .tv_nsec = nanoseconds % 1000000000};
    (void)nanosleep(&time, NULL);
}

/* All ranks go on at the same simulated time, which is returned. */
static double start_together(void)
{
    double now = MPI_Wtime();
    double latest = now;
    MPI_Allreduce(&now, &latest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    sleep_for(latest + GATHERING_SECONDS - MPI_Wtime());
    return MPI_Wtime();
}

/* Simulated time passes only while a rank sleeps or blocks, so between two looks it sleeps. */
static void wait_for(lmn_collective *collective, double pause)
{
    lmn_error err = lmn_error_none();
    lmn_status status = LMN_IN_PROGRESS;
    while (status == LMN_IN_PROGRESS) {
        status = lmn_collective_progress(collective, &err);
        if (status == LMN_IN_PROGRESS) {
            sleep_for(pause);
        }
    }
    stop_on(status, &err);
}

static double since_all(double begin)
{
    double own = MPI_Wtime() - begin;
    double slowest = own;
    MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return slowest;
}

static void *take(size_t bytes)
{
    lmn_error err = lmn_error_none();
    void *memory = lmn_alloc(bytes > 0 ? bytes : 1, 1, &err);
    stop_on(memory == NULL ? LMN_ERR_MEMORY : LMN_OK, &err);
    return memory;
}

/* ------------------------------------------------------------------ allreduce */

static void choose_algorithm(lmn_world *world, const char *name)
{
    lmn_allreduce_table table;
    bool is_default = true;
    for (lmn_allreduce_algorithm a = 0; a < LMN_ALLREDUCE_ALGORITHM_COUNT; a++) {
        if (strcmp(name, lmn_allreduce_algorithm_name(a)) == 0) {
            lmn_allreduce_table_fill(&table, a);
            is_default = false;
        }
    }
    lmn_error err = lmn_error_none();
    stop_on(lmn_allreduce_set_table(world, is_default ? NULL : &table, &err), &err);
}

static double time_allreduce(lmn_world *world, const one_case *c)
{
    const size_t count = c->bytes / sizeof(float);
    const int size = lmn_world_size(world);
    lmn_error err = lmn_error_none();
    lmn_collective *allreduce = NULL;
    float *send = take(c->bytes);
    float *recv = take(c->bytes);
    for (size_t i = 0; i < count; i++) {
        send[i] = (float)(lmn_world_rank(world) + 1);
    }
    choose_algorithm(world, c->algorithm);
    stop_on(lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, count, &allreduce, &err), &err);
    const double begin = start_together();
    stop_on(lmn_allreduce_start(allreduce, send, recv, count, 1.0F, &err), &err);
    wait_for(allreduce, c->pause);
    const double seconds = since_all(begin);
    for (size_t i = 0; i < count; i++) {
        require(recv[i] == 0.5F * (float)(size * (size + 1)), "a sum");
    }
    lmn_collective_destroy(allreduce);
    lmn_free(send);
    lmn_free(recv);
    return seconds;
}

/* ------------------------------------------------------------------ messages */

static unsigned char mark_of(int from)
{
    return (unsigned char)(from % 251 + 1);
}

/* This rank's message to all others. Returns where it ends. */
static void gather(lmn_world *world, lmn_collective *allgatherv, size_t bytes, unsigned char *own,
                   double pause)
{
    lmn_error err = lmn_error_none();
    memset(own, mark_of(lmn_world_rank(world)), bytes);
    stop_on(lmn_allgatherv_start(allgatherv, own, bytes, &err), &err);
    wait_for(allgatherv, pause);
}

static void check_gathered(lmn_world *world, const lmn_collective *allgatherv, size_t bytes)
{
    for (int rank = 0; rank < lmn_world_size(world); rank++) {
        size_t came = 0;
        const unsigned char *message = lmn_allgatherv_message(allgatherv, rank, &came);
        require(came == bytes && (bytes == 0 || (message[0] == mark_of(rank) &&
                                                 message[bytes - 1] == mark_of(rank))),
                "a gathered message");
    }
}

static void scatter(lmn_world *world, lmn_collective *alltoallv, size_t bytes, unsigned char *own,
                    size_t *offsets, double pause)
{
    const int size = lmn_world_size(world);
    lmn_error err = lmn_error_none();
    memset(own, mark_of(lmn_world_rank(world)), bytes);
    for (int rank = 0; rank <= size; rank++) {
        offsets[rank] = bytes * (size_t)rank / (size_t)size;
    }
    stop_on(lmn_alltoallv_start(alltoallv, own, offsets, &err), &err);
    wait_for(alltoallv, pause);
}

static void check_scattered(lmn_world *world, const lmn_collective *alltoallv, size_t bytes)
{
    const size_t size = (size_t)lmn_world_size(world);
    const size_t place = (size_t)lmn_world_rank(world);
    const size_t expected = bytes * (place + 1) / size - bytes * place / size;
    for (int rank = 0; rank < (int)size; rank++) {
        size_t came = 0;
        const unsigned char *message = lmn_alltoallv_message(alltoallv, rank, &came);
        require(came == expected && (came == 0 || message[came - 1] == mark_of(rank)),
                "a scattered message");
    }
}

/* Either phase is left out where it has no bytes. */
static double time_messages(lmn_world *world, size_t scattered, size_t gathered, double pause)
{
    const size_t size = (size_t)lmn_world_size(world);
    lmn_error err = lmn_error_none();
    lmn_collective *alltoallv = NULL;
    lmn_collective *allgatherv = NULL;
    unsigned char *own = take(scattered + gathered);
    size_t *offsets = take((size + 1) * sizeof *offsets);
    stop_on(lmn_alltoallv_create(world, scattered / size + 1, &alltoallv, &err), &err);
    stop_on(lmn_allgatherv_create(world, gathered, &allgatherv, &err), &err);
    const double begin = start_together();
    if (scattered > 0) {
        scatter(world, alltoallv, scattered, own, offsets, pause);
    }
    if (gathered > 0) {
        gather(world, allgatherv, gathered, own + scattered, pause);
    }
    const double seconds = since_all(begin);
    if (scattered > 0) {
        check_scattered(world, alltoallv, scattered);
    }
    if (gathered > 0) {
        check_gathered(world, allgatherv, gathered);
    }
    lmn_collective_destroy(alltoallv);
    lmn_collective_destroy(allgatherv);
    lmn_free(own);
    lmn_free(offsets);
    return seconds;
}

/* ------------------------------------------------------------------ steps */

/* Dense numbers and a compressed message that leave at a time of the step, one bucket after the
 * other. Either may be missing. */
typedef struct bucket {
    double leaves; /* seconds */
    size_t dense_bytes, message_bytes;
    float *send, *recv;
    unsigned char *own;
    lmn_collective *allreduce, *allgatherv;
} bucket;

static void connect_bucket(lmn_world *world, bucket *b)
{
    lmn_error err = lmn_error_none();
    b->send = take(b->dense_bytes);
    b->recv = take(b->dense_bytes);
    b->own = take(b->message_bytes);
    stop_on(lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, b->dense_bytes / sizeof(float),
                                 &b->allreduce, &err),
            &err);
    stop_on(lmn_allgatherv_create(world, b->message_bytes, &b->allgatherv, &err), &err);
}

static void start_bucket(bucket *b)
{
    lmn_error err = lmn_error_none();
    if (b->dense_bytes > 0) {
        stop_on(lmn_allreduce_start(b->allreduce, b->send, b->recv, b->dense_bytes / sizeof(float),
                                    1.0F, &err),
                &err);
    }
    if (b->message_bytes > 0) {
        stop_on(lmn_allgatherv_start(b->allgatherv, b->own, b->message_bytes, &err), &err);
    }
}

static bool is_under_way(const bucket *b)
{
    lmn_error err = lmn_error_none();
    const lmn_status sum = lmn_collective_progress(b->allreduce, &err);
    stop_on(sum == LMN_IN_PROGRESS ? LMN_OK : sum, &err);
    const lmn_status gathering = lmn_collective_progress(b->allgatherv, &err);
    stop_on(gathering == LMN_IN_PROGRESS ? LMN_OK : gathering, &err);
    return sum == LMN_IN_PROGRESS || gathering == LMN_IN_PROGRESS;
}

/* A rank computes until the last bucket leaves, and looks at its messages meanwhile. */
static double time_step(bucket *buckets, size_t n, double pause)
{
    const double begin = start_together();
    size_t n_started = 0;
    bool is_over = false;
    while (!is_over) {
        while (n_started < n && MPI_Wtime() - begin >= buckets[n_started].leaves) {
            start_bucket(&buckets[n_started++]);
        }
        is_over = n_started == n;
        for (size_t i = 0; i < n_started; i++) {
            is_over = !is_under_way(&buckets[i]) && is_over;
        }
        if (!is_over) {
            sleep_for(pause);
        }
    }
    return since_all(begin);
}

/* The buckets follow in the file, a line each. */
static double read_and_time_step(lmn_world *world, const one_case *c, FILE *cases)
{
    const size_t n = c->bytes;
    char line[128];
    bucket *buckets = take(n * sizeof *buckets);
    for (size_t i = 0; i < n; i++) {
        bucket *b = &buckets[i];
        /* NOLINTBEGIN(cert-err34-c): the numbers are those of the script */
        require(fgets(line, sizeof line, cases) != NULL &&
                    sscanf(line, "%lf %zu %zu", &b->leaves, &b->dense_bytes, &b->message_bytes) ==
                        3,
                "a bucket in the file of cases");
        /* NOLINTEND(cert-err34-c) */
    }
    choose_algorithm(world, "default");
    for (size_t i = 0; i < n; i++) {
        connect_bucket(world, &buckets[i]);
    }
    const double seconds = time_step(buckets, n, c->pause);
    for (size_t i = 0; i < n; i++) {
        lmn_collective_destroy(buckets[i].allreduce);
        lmn_collective_destroy(buckets[i].allgatherv);
        lmn_free(buckets[i].send);
        lmn_free(buckets[i].recv);
        lmn_free(buckets[i].own);
    }
    lmn_free(buckets);
    return seconds;
}

/* ------------------------------------------------------------------ cases */

static double time_case(lmn_world *world, const one_case *c, FILE *cases)
{
    if (strcmp(c->kind, "step") == 0) {
        return read_and_time_step(world, c, cases);
    }
    if (strcmp(c->kind, "allreduce") == 0) {
        return time_allreduce(world, c);
    }
    if (strcmp(c->kind, "allgatherv") == 0) {
        return time_messages(world, 0, c->bytes, c->pause);
    }
    if (strcmp(c->kind, "alltoallv") == 0) {
        return time_messages(world, c->bytes, 0, c->pause);
    }
    require(strcmp(c->kind, "owners") == 0, "the kind of a case");
    return time_messages(world, c->bytes, c->then, c->pause);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    lmn_error err = lmn_error_none();
    lmn_world *world = NULL;
    stop_on(lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err), &err);
    FILE *cases = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (cases == NULL) {
        require(false, "the file of cases");
        return 1;
    }
    char line[128];
    while (fgets(line, sizeof line, cases) != NULL) {
        one_case c;
        /* NOLINTNEXTLINE(cert-err34-c): the numbers are those of the script */
        require(sscanf(line, "%15s %15s %zu %zu %lf", c.kind, c.algorithm, &c.bytes, &c.then,
                       &c.pause) == 5,
                "a line of the file of cases");
        const double seconds = time_case(world, &c, cases);
        if (lmn_world_rank(world) == 0) {
            (void)printf("%s %s %zu %zu %.9f\n", c.kind, c.algorithm, c.bytes, c.then, seconds);
            (void)fflush(stdout);
        }
    }
    (void)fclose(cases);
    lmn_world_destroy(world);
    MPI_Finalize();
    return 0;
}
