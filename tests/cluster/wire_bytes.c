/*
 * Bytes that the reducer says it sent, beside bytes that left the host's interface.
 *
 * One rank on each host of a lab. For every family that is registered, with its default settings,
 * 100 steps between two readings of the kernel's counters of eth0. The readings stand between
 * barriers inside one process, so starting MPI is not in them.
 *
 * The interface counts frames. Each has 66 bytes before TCP's payload: Ethernet 14, IPv4 20, TCP 32
 * with the timestamps that Linux sends. How many frames there are depends on whether TCP is cut
 * into segments of MTU 1500 before or after the counter, so the headers are not estimated but taken
 * off frame by frame; acknowledgements, which are headers alone, so vanish, too. What is left is
 * payload of TCP: Lamina's bytes and Open MPI's own envelopes.
 *
 *     wire_bytes [FAMILY...]   exit code 1 when a family is off by more than 5 %
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/compressor.h"
#include "lamina/random.h"
#include "lamina/reducer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

enum { STEPS = 100, FRAME_HEADER_BYTES = 66, SEGMENT_BYTES = 1448 };

#define TOLERANCE 0.05

/* A network's mixture: matrices, a kernel of four dimensions, and layers that travel dense. */
static const lmn_reducer_layer layers[] = {
    {.name = "out/weight", .n_dims = 2, .dims = {10, 300}},
    {.name = "out/bias", .n_dims = 1, .dims = {10}},
    {.name = "conv/kernel", .n_dims = 4, .dims = {3, 3, 32, 64}},
    {.name = "conv/bias", .n_dims = 1, .dims = {64}},
    {.name = "in/weight", .n_dims = 2, .dims = {300, 500}},
};
enum { N_LAYERS = sizeof layers / sizeof layers[0] };

typedef struct counters {
    unsigned long long bytes;
    unsigned long long frames;
} counters;

static size_t count_of(const lmn_reducer_layer *layer)
{
    size_t count = 1;
    for (size_t i = 0; i < layer->n_dims; i++) {
        count *= layer->dims[i];
    }
    return count;
}

static void quit(const char *what, const char *why)
{
    (void)fprintf(stderr, "wire_bytes: %s: %s\n", what, why);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void need(lmn_status status, const char *what, const lmn_error *err)
{
    if (status != LMN_OK) {
        quit(what, err->message);
    }
}

static unsigned long long read_counter(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/class/net/eth0/statistics/%s", name);
    FILE *file = fopen(path, "r");
    char text[32] = "";
    if (file == NULL || fgets(text, sizeof text, file) == NULL) {
        quit(path, "cannot be read; this program runs on a host of tests/cluster/lab");
    } else {
        (void)fclose(file);
    }
    return strtoull(text, NULL, 10);
}

/* Messages on a connection arrive in order: after the barrier, all that was sent has left. */
static counters read_counters(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    const counters now = {.bytes = read_counter("tx_bytes"), .frames = read_counter("tx_packets")};
    MPI_Barrier(MPI_COMM_WORLD);
    return now;
}

static uint64_t run_step(lmn_reducer *reducer, int rank, uint64_t step)
{
    lmn_error err = lmn_error_none();
    need(lmn_reducer_begin(reducer, step, &err), "begin", &err);
    for (size_t i = 0; i < N_LAYERS; i++) {
        const lmn_stream stream = {.seed = 1,
                                   .layer = (uint32_t)i,
                                   .step = (uint32_t)step,
                                   .purpose = LMN_STREAM_USER,
                                   .rank = (uint16_t)rank};
        float *gradient = lmn_reducer_gradient(reducer, i);
        lmn_stream_normal(&stream, 0, count_of(&layers[i]), gradient);
        need(lmn_reducer_ready(reducer, i, gradient, &err), "ready", &err);
    }
    lmn_step_report report;
    need(lmn_reducer_finish(reducer, &report, &err), "finish", &err);
    if (!report.applied) {
        quit("a step was skipped", report.reason);
    }
    return report.bytes_sent;
}

static bool family_agrees(lmn_world *world, const char *family)
{
    lmn_error err = lmn_error_none();
    lmn_reducer_options options = lmn_reducer_options_default();
    options.compress = family;
    options.feedback = "econtrol:init=zero";
    options.bucket_bytes = (size_t)1 << 18;
    lmn_reducer *reducer = NULL;
    need(lmn_reducer_create(world, layers, N_LAYERS, &options, &reducer, &err), family, &err);
    const counters before = read_counters();
    uint64_t counted = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        counted += run_step(reducer, lmn_world_rank(world), step);
    }
    const counters after = read_counters();
    lmn_reducer_destroy(reducer);
    const double said = (double)counted;
    const double frames = (double)(after.frames - before.frames);
    const double seen = (double)(after.bytes - before.bytes) - frames * FRAME_HEADER_BYTES;
    const double difference = said > 0.0 ? seen / said - 1.0 : HUGE_VAL;
    (void)printf("%-10s %s: counted %.0f, left as TCP payload %.0f (%+.2f %%) in %.0f frames; "
                 "with headers at MTU 1500 %.0f\n",
                 family, lmn_world_placement(world)->host, said, seen, 100.0 * difference, frames,
                 seen * (1.0 + (double)FRAME_HEADER_BYTES / SEGMENT_BYTES));
    return fabs(difference) <= TOLERANCE;
}

/* Every family in the registry, so that a new one is covered when it is registered. */
static uint64_t count_failures(lmn_world *world, int n_names, char **names)
{
    uint64_t failures = 0;
    for (int i = 0; i < n_names; i++) {
        failures += family_agrees(world, names[i]) ? 0 : 1;
    }
    for (size_t i = 0; n_names == 0 && lmn_compressor_entry(i) != NULL; i++) {
        failures += family_agrees(world, lmn_compressor_entry(i)->name) ? 0 : 1;
    }
    return failures;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    need(lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err), "create a world", &err);
    if (lmn_world_placement(world)->node_count < 2 || lmn_world_placement(world)->node_size > 1) {
        quit("wrong usage", "one rank on each of two or more hosts");
    }
    uint64_t failures = count_failures(world, argc - 1, argv + 1);
    need(lmn_world_sum_u64(world, &failures, 1, &err), "sum", &err);
    lmn_world_destroy(world);
    MPI_Finalize();
    return failures == 0 ? 0 : 1;
}
