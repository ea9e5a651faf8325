/*
 * Bytes that the reducer says it sent, beside bytes that left the host's interface.
 *
 * One rank on each host of a lab, or several with --hierarchy: of two levels, what all ranks of a
 * host count is what its interface sees, up to a few bytes of the last bucket that stay on the
 * host; of one level it is more, and nothing is compared. For every family that is registered, with
 * its default settings, and a mixture of three, or every SPEC, 100 steps (25 with several ranks on
 * a host) between two readings of the kernel's counters of eth0. The readings stand between
 * barriers inside one process, so starting MPI is not in them.
 *
 * The interface counts frames. Each has 66 bytes before TCP's payload: Ethernet 14, IPv4 20, TCP 32
 * with the timestamps that Linux sends. How many frames there are depends on whether TCP is cut
 * into segments of MTU 1500 before or after the counter, so the headers are not estimated but taken
 * off frame by frame; acknowledgements, which are headers alone, so vanish, too. What is left is
 * payload of TCP: Lamina's bytes and Open MPI's own envelopes.
 *
 *     wire_bytes [--hierarchy flat|node] [SPEC...]
 *
 * The exit code is 1 when a family is off by more than 5 %.
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

enum { STEPS = 100, STEPS_OF_SEVERAL = 25, FRAME_HEADER_BYTES = 66, SEGMENT_BYTES = 1448 };

#define TOLERANCE 0.05

/* A network's mixture: matrices, a kernel of four dimensions, and layers that travel dense. */
static const lmn_reducer_layer layers[] = {
    {.name = "wide/weight", .n_dims = 2, .dims = {500, 600}}, /* with several ranks on a host */
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

/* Of the first layer alone, the largest, there is none with one rank on a host. */
static size_t first_layer(const lmn_world *world)
{
    return lmn_world_placement(world)->node_size > 1 ? 0 : 1;
}

static uint64_t run_step(lmn_reducer *reducer, size_t first, int rank, uint64_t step)
{
    lmn_error err = lmn_error_none();
    need(lmn_reducer_begin(reducer, step, &err), "begin", &err);
    for (size_t i = first; i < N_LAYERS; i++) {
        const lmn_stream stream = {.seed = 1,
                                   .layer = (uint32_t)i,
                                   .step = (uint32_t)step,
                                   .purpose = LMN_STREAM_USER,
                                   .rank = (uint16_t)rank};
        float *gradient = lmn_reducer_gradient(reducer, i - first);
        lmn_stream_normal(&stream, 0, count_of(&layers[i]), gradient);
        need(lmn_reducer_ready(reducer, i - first, gradient, &err), "ready", &err);
    }
    lmn_step_report report;
    need(lmn_reducer_finish(reducer, &report, &err), "finish", &err);
    if (!report.applied) {
        quit("a step was skipped", report.reason);
    }
    return report.bytes_sent;
}

/* What all ranks of this host counted. */
static uint64_t sum_over_host(const lmn_world *world, uint64_t counted)
{
    MPI_Allreduce(MPI_IN_PLACE, &counted, 1, MPI_UINT64_T, MPI_SUM, lmn_world_node_comm(world));
    return counted;
}

/* Prints for the host; whether the numbers agree. */
static bool report(const lmn_world *world, const char *family, uint64_t counted, counters left)
{
    const double said = (double)counted;
    const double frames = (double)left.frames;
    const double seen = (double)left.bytes - frames * FRAME_HEADER_BYTES;
    const double difference = said > 0.0 ? seen / said - 1.0 : HUGE_VAL;
    if (lmn_world_placement(world)->node_rank == 0) {
        (void)printf("%-10s %s: counted %.0f, left as TCP payload %.0f (%+.2f %%) in %.0f frames; "
                     "with headers at MTU 1500 %.0f\n",
                     family, lmn_world_placement(world)->host, said, seen, 100.0 * difference,
                     frames, seen * (1.0 + (double)FRAME_HEADER_BYTES / SEGMENT_BYTES));
    }
    return fabs(difference) <= TOLERANCE;
}

static bool family_agrees(lmn_world *world, const char *hierarchy, const char *family)
{
    const size_t first = first_layer(world);
    lmn_error err = lmn_error_none();
    lmn_reducer_options options = lmn_reducer_options_default();
    options.compress = family;
    options.hierarchy = hierarchy;
    options.feedback = "econtrol:init=zero";
    options.bucket_bytes = (size_t)1 << 18;
    if (strchr(family, '+') != NULL) {
        options.allocate = "lgreco:alpha=0.3,warmup=2,window=2,every=20"; /* several at work */
    }
    lmn_reducer *reducer = NULL;
    need(lmn_reducer_create(world, layers + first, N_LAYERS - first, &options, &reducer, &err),
         family, &err);
    const counters before = read_counters();
    uint64_t counted = 0;
    const uint64_t n_steps = first == 0 ? STEPS_OF_SEVERAL : STEPS;
    for (uint64_t step = 0; step < n_steps; step++) {
        counted += run_step(reducer, first, lmn_world_rank(world), step);
    }
    const counters after = read_counters();
    lmn_reducer_destroy(reducer);
    const counters left = {.bytes = after.bytes - before.bytes,
                           .frames = after.frames - before.frames};
    const bool agrees = report(world, family, sum_over_host(world, counted), left);
    return agrees || (first == 0 && strcmp(hierarchy, "flat") == 0);
}

/* Every family in the registry, so that a new one is covered when it is registered. */
static uint64_t count_failures(lmn_world *world, const char *hierarchy, int n_names, char **names)
{
    uint64_t failures = 0;
    for (int i = 0; i < n_names; i++) {
        failures += family_agrees(world, hierarchy, names[i]) ? 0 : 1;
    }
    for (size_t i = 0; n_names == 0 && lmn_compressor_entry(i) != NULL; i++) {
        failures += family_agrees(world, hierarchy, lmn_compressor_entry(i)->name) ? 0 : 1;
    }
    if (n_names == 0) {
        failures += family_agrees(world, hierarchy, "topk+quant+lowrank:rank=4") ? 0 : 1;
    }
    return failures;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    need(lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err), "create a world", &err);
    const bool has_option = argc > 2 && strcmp(argv[1], "--hierarchy") == 0;
    const lmn_placement *place = lmn_world_placement(world);
    if (place->node_count < 2 || (place->node_size > 1 && !has_option)) {
        quit("wrong usage", "two or more hosts, with one rank each unless --hierarchy is given");
    }
    const int n_used = has_option ? 3 : 1;
    uint64_t failures =
        count_failures(world, has_option ? argv[2] : "auto", argc - n_used, argv + n_used);
    need(lmn_world_sum_u64(world, &failures, 1, &err), "sum", &err);
    lmn_world_destroy(world);
    MPI_Finalize();
    return failures == 0 ? 0 : 1;
}
