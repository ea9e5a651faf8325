/*
 * How long collectives take on the ranks and links at hand, beside what the links allow.
 *
 * Run it under mpirun or srun on any list of hosts; --help explains it. Each round begins with an
 * agreement of all ranks; a round takes as long as its slowest rank, and the median over rounds
 * counts. Every result is checked: a collective that is fast and wrong ends the program.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/collective.h"
#include "lamina/memory.h"
#include "lamina/spec.h"
#include "lamina/tuning.h"
#include "lamina/world.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <mpi.h>

enum { MAX_SIZES = 32, MAX_ROUNDS = 101, MAX_RESULTS = 512, LINK_PIECES = 128, LINK_ROUNDS = 5 };
/* Bytes of one message when the link is measured: leaves at once over TCP. */
#define LINK_PIECE_BYTES 61440

static const char usage[] =
    "usage: mpirun ... bench_collectives [options]\n"
    "\n"
    "Time the collectives of Lamina, and MPI_Allreduce beside them, on the ranks that run this.\n"
    "\n"
    "  --collectives LIST  any of allreduce,allgatherv,alltoallv [all three]\n"
    "  --algorithms LIST   of allreduce: any of direct,doubling,ring,halving,mpi (that is\n"
    "                      MPI_Iallreduce), blocking (MPI_Allreduce), tuned (what\n"
    "                      lmn_allreduce_tune chooses) [all]\n"
    "  --sizes LIST        bytes of the vector (allreduce), of one rank's message (allgatherv),\n"
    "                      of the message for each rank (alltoallv)\n"
    "                      [4KiB,64KiB,1MiB,4MiB,16MiB]\n"
    "  --rate RATE         of the link of each rank, in each direction: 1gbit, 100mbit, ...\n"
    "                      [measured: all ranks send to the next rank at the same time]\n"
    "  --rounds N          rounds for each figure, 1 to 101 [9]\n"
    "  --json FILE         write a list of {collective, algorithm, ranks, bytes,\n"
    "                      seconds_median, seconds_best, bytes_sent, floor_seconds, of_floor}\n"
    "\n"
    "bytes_sent is the payload of all ranks together for one call, as Lamina counts it; for\n"
    "MPI's own allreduce it is the least that any algorithm sends. floor_seconds is the least\n"
    "time in which a rank can send and receive its part at the link's rate: 2 (n - 1) / n of\n"
    "the vector for allreduce, n - 1 messages for the others. of_floor is floor_seconds /\n"
    "seconds_median: 1 is as fast as the link. GB/s is the payload that a rank sends by the\n"
    "floor's count, by the time. Times are worth nothing when a host runs more ranks than it\n"
    "has cores.\n";

typedef struct options {
    const char *collectives;
    const char *algorithms;
    const char *json;
    size_t sizes[MAX_SIZES];
    int n_sizes;
    int rounds;
    double rate; /* bytes per second; 0: to be measured */
} options;

typedef struct result {
    const char *collective;
    const char *algorithm;
    size_t bytes;
    double seconds; /* median */
    double best;
    uint64_t bytes_sent;
    double floor_seconds;
} result;

typedef struct bench {
    lmn_world *world;
    options options;
    int size;
    unsigned char *send; /* room for all that this rank sends or receives in one call */
    unsigned char *recv;
    size_t *offsets; /* [size + 1] */
    result results[MAX_RESULTS];
    int n_results;
} bench;

/* One thing to measure. */
typedef struct subject {
    const char *collective;
    const char *algorithm;
    lmn_collective *made; /* NULL for MPI_Allreduce */
    lmn_status (*run)(bench *b, lmn_collective *made, size_t bytes, lmn_error *err);
    uint64_t least_sent; /* bytes of all ranks together where nobody counts */
    double floor_bytes;  /* that each rank must send */
} subject;

/* ------------------------------------------------------------------ options */

/* Whether `word` is an item of the comma-separated list. */
static bool has_item(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *item = list; item != NULL; item = strchr(item, ',')) {
        item += *item == ',' ? 1 : 0;
        if (strncmp(item, word, length) == 0 && (item[length] == ',' || item[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static lmn_status parse_sizes(const char *text, options *o, lmn_error *err)
{
    char copy[1024];
    (void)snprintf(copy, sizeof copy, "%s", text);
    o->n_sizes = 0;
    char *rest = NULL;
    for (char *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        uint64_t bytes = 0;
        const lmn_status status = lmn_parse_bytes(item, &bytes, err);
        if (status != LMN_OK) {
            return status;
        }
        if (o->n_sizes == MAX_SIZES || bytes < 4 || bytes > (uint64_t)1 << 30) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "--sizes takes up to %d sizes of 4 bytes to 1 GiB", MAX_SIZES);
        }
        o->sizes[o->n_sizes++] = (size_t)bytes / 4 * 4;
    }
    return LMN_OK;
}

/* "1gbit", "100mbit", "9.4gbit" as bytes per second. */
static lmn_status parse_rate(const char *text, double *rate_out, lmn_error *err)
{
    char *unit = NULL;
    const double value = strtod(text, &unit);
    const char *const units[] = {"kbit", "mbit", "gbit"};
    const double factors[] = {1e3, 1e6, 1e9};
    double factor = 0.0;
    for (int i = 0; i < 3; i++) {
        factor = strcasecmp(unit, units[i]) == 0 ? factors[i] : factor;
    }
    if (!(value > 0.0) || factor == 0.0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' is no rate: say 1gbit or 100mbit", text);
    }
    *rate_out = value * factor / 8.0;
    return LMN_OK;
}

static lmn_status parse_option(options *o, const char *name, const char *value, lmn_error *err)
{
    if (strcmp(name, "--collectives") == 0) {
        o->collectives = value;
    } else if (strcmp(name, "--algorithms") == 0) {
        o->algorithms = value;
    } else if (strcmp(name, "--json") == 0) {
        o->json = value;
    } else if (strcmp(name, "--sizes") == 0) {
        return parse_sizes(value, o, err);
    } else if (strcmp(name, "--rate") == 0) {
        return parse_rate(value, &o->rate, err);
    } else if (strcmp(name, "--rounds") == 0) {
        char *end = NULL;
        const long rounds = strtol(value, &end, 10);
        if (*end != '\0' || rounds < 1 || rounds > MAX_ROUNDS) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT, "--rounds takes 1 to %d", MAX_ROUNDS);
        }
        o->rounds = (int)rounds;
    } else {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "unknown option '%s'; see --help", name);
    }
    return LMN_OK;
}

static lmn_status parse_options(int argc, char **argv, options *o, lmn_error *err)
{
    *o = (options){.collectives = "allreduce,allgatherv,alltoallv",
                   .algorithms = "direct,doubling,ring,halving,mpi,blocking,tuned",
                   .rounds = 9};
    lmn_status status = parse_sizes("4KiB,64KiB,1MiB,4MiB,16MiB", o, err);
    for (int i = 1; i < argc && status == LMN_OK; i += 2) {
        if (i + 1 == argc) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT, "%s needs a value; see --help", argv[i]);
        }
        status = parse_option(o, argv[i], argv[i + 1], err);
    }
    return status;
}

/* ------------------------------------------------------------------ what is measured */

static lmn_status wrong(const char *what, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_DIVERGED, "the result of an %s is wrong", what);
}

/* Every rank sends ones: whole sums that any order of additions makes. */
static lmn_status run_allreduce(bench *b, lmn_collective *made, size_t bytes, lmn_error *err)
{
    const size_t count = bytes / sizeof(float);
    float *recv = (void *)b->recv;
    recv[0] = 0.0F;
    recv[count - 1] = 0.0F;
    lmn_status status = LMN_OK;
    if (made == NULL) {
        const float *send = (const void *)b->send;
        (void)MPI_Allreduce(send, recv, (int)count, MPI_FLOAT, MPI_SUM, lmn_world_comm(b->world));
    } else {
        status = lmn_allreduce_start(made, b->send, recv, count, 1.0F, err);
        if (status == LMN_OK) {
            status = lmn_collective_wait(made, err);
        }
    }
    const float sum = (float)b->size;
    if (status == LMN_OK && (recv[0] != sum || recv[count - 1] != sum)) {
        return wrong("allreduce", err);
    }
    return status;
}

static lmn_status run_allgatherv(bench *b, lmn_collective *made, size_t bytes, lmn_error *err)
{
    lmn_status status = lmn_allgatherv_start(made, b->send, bytes, err);
    if (status == LMN_OK) {
        status = lmn_collective_wait(made, err);
    }
    for (int rank = 0; rank < b->size && status == LMN_OK; rank++) {
        size_t got = 0;
        const void *message = lmn_allgatherv_message(made, rank, &got);
        if (got != bytes || memcmp(message, b->send, 4) != 0) {
            return wrong("allgatherv", err);
        }
    }
    return status;
}

static lmn_status run_alltoallv(bench *b, lmn_collective *made, size_t bytes, lmn_error *err)
{
    for (int rank = 0; rank <= b->size; rank++) {
        b->offsets[rank] = (size_t)rank * bytes;
    }
    lmn_status status = lmn_alltoallv_start(made, b->send, b->offsets, err);
    if (status == LMN_OK) {
        status = lmn_collective_wait(made, err);
    }
    for (int rank = 0; rank < b->size && status == LMN_OK; rank++) {
        size_t got = 0;
        const void *message = lmn_alltoallv_message(made, rank, &got);
        if (got != bytes || memcmp(message, b->send, 4) != 0) {
            return wrong("alltoallv", err);
        }
    }
    return status;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median over rounds of the slowest rank, after one round that only warms up. */
static lmn_status measure(bench *b, const subject *s, size_t bytes, lmn_error *err)
{
    uint64_t nanoseconds[MAX_ROUNDS] = {0};
    const int n_rounds = b->options.rounds;
    uint64_t sent = 0;
    for (int round = -1; round < n_rounds; round++) {
        sent = s->made != NULL ? lmn_collective_bytes_sent(s->made) : 0;
        lmn_status status = lmn_agree(b->world, LMN_OK, err);
        const double start = lmn_clock_seconds();
        status = status == LMN_OK ? s->run(b, s->made, bytes, err) : status;
        if (round >= 0) {
            nanoseconds[round] = (uint64_t)((lmn_clock_seconds() - start) * 1e9);
        }
        status = lmn_agree(b->world, status, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    sent = s->made != NULL ? lmn_collective_bytes_sent(s->made) - sent : 0;
    lmn_status status = lmn_world_max_u64(b->world, nanoseconds, (size_t)n_rounds, err);
    if (status == LMN_OK) {
        status = lmn_world_sum_u64(b->world, &sent, 1, err);
    }
    qsort(nanoseconds, (size_t)n_rounds, sizeof *nanoseconds, by_value);
    const uint64_t median = nanoseconds[n_rounds / 2];
    if (status == LMN_OK && b->n_results < MAX_RESULTS) {
        b->results[b->n_results++] = (result){.collective = s->collective,
                                              .algorithm = s->algorithm,
                                              .bytes = bytes,
                                              .seconds = (double)median * 1e-9,
                                              .best = (double)nanoseconds[0] * 1e-9,
                                              .bytes_sent = s->made != NULL ? sent : s->least_sent,
                                              .floor_seconds = s->floor_bytes / b->options.rate};
    }
    return status;
}

static void print_last(const bench *b)
{
    if (lmn_world_rank(b->world) != 0) {
        return;
    }
    const result *r = &b->results[b->n_results - 1];
    const double seconds = r->seconds > 0.0 ? r->seconds : 1e-9;
    printf("%-10s %-9s %9zu %10.3f %10.3f %10.3f %8.3f %8.3f\n", r->collective, r->algorithm,
           r->bytes, r->seconds * 1e3, r->best * 1e3, r->floor_seconds * 1e3,
           r->floor_seconds * b->options.rate / seconds * 1e-9, r->floor_seconds / seconds);
    (void)fflush(stdout);
}

static lmn_status create_allreduce(bench *b, int algorithm, size_t count, lmn_collective **made,
                                   lmn_error *err)
{
    lmn_allreduce_table table;
    lmn_status status = LMN_OK;
    if (algorithm < LMN_ALLREDUCE_ALGORITHM_COUNT) {
        lmn_allreduce_table_fill(&table, (lmn_allreduce_algorithm)algorithm);
        status = lmn_allreduce_set_table(b->world, &table, err);
    } else {
        const lmn_allreduce_tuning tuning = {
            .largest_bytes = count * sizeof(float) < 1024 ? 1024 : count * sizeof(float)};
        status = lmn_allreduce_tune(b->world, &tuning, NULL, err);
    }
    if (status == LMN_OK) {
        status = lmn_allreduce_create(b->world, LMN_REDUCTION_SUM_F32, count, made, err);
    }
    return status;
}

/* Blocking MPI_Allreduce and the tuned choice follow the algorithms. */
static lmn_status measure_allreduces(bench *b, size_t largest, lmn_error *err)
{
    enum { BLOCKING = LMN_ALLREDUCE_ALGORITHM_COUNT, TUNED, END };
    lmn_status status = LMN_OK;
    for (int i = 0; i < END && status == LMN_OK; i++) {
        const char *name = i == BLOCKING ? "blocking"
                           : i == TUNED  ? "tuned"
                                         : lmn_allreduce_algorithm_name((lmn_allreduce_algorithm)i);
        if (!has_item(b->options.algorithms, name)) {
            continue;
        }
        subject s = {.collective = "allreduce", .algorithm = name, .run = run_allreduce};
        if (i != BLOCKING) {
            status = create_allreduce(b, i, largest / sizeof(float), &s.made, err);
        }
        for (int k = 0; k < b->options.n_sizes && status == LMN_OK; k++) {
            const size_t bytes = b->options.sizes[k];
            s.least_sent = 2 * (uint64_t)(b->size - 1) * bytes;
            s.floor_bytes = (double)s.least_sent / b->size;
            status = measure(b, &s, bytes, err);
            if (status == LMN_OK) {
                print_last(b);
            }
        }
        lmn_collective_destroy(s.made);
    }
    return status;
}

static lmn_status measure_exchange(bench *b, size_t largest, bool is_gather, lmn_error *err)
{
    subject s = {.collective = is_gather ? "allgatherv" : "alltoallv",
                 .algorithm = "direct",
                 .run = is_gather ? run_allgatherv : run_alltoallv};
    lmn_status status = is_gather ? lmn_allgatherv_create(b->world, largest, &s.made, err)
                                  : lmn_alltoallv_create(b->world, largest, &s.made, err);
    for (int k = 0; k < b->options.n_sizes && status == LMN_OK; k++) {
        s.floor_bytes = (double)(b->size - 1) * (double)b->options.sizes[k];
        status = measure(b, &s, b->options.sizes[k], err);
        if (status == LMN_OK) {
            print_last(b);
        }
    }
    lmn_collective_destroy(s.made);
    return status;
}

/* All ranks send to the next at once, in messages of 60 KiB. Sets the best rate, of the slowest. */
static lmn_status measure_link(bench *b, lmn_error *err)
{
    const int rank = lmn_world_rank(b->world);
    const int next = (rank + 1) % b->size;
    const int previous = (rank + b->size - 1) % b->size;
    MPI_Request requests[2 * LINK_PIECES];
    MPI_Status statuses[2 * LINK_PIECES];
    double best = 0.0;
    for (int round = 0; round < LINK_ROUNDS; round++) {
        (void)MPI_Barrier(lmn_world_comm(b->world));
        const double start = lmn_clock_seconds();
        for (int i = 0; i < LINK_PIECES; i++) {
            (void)MPI_Irecv(b->recv, LINK_PIECE_BYTES, MPI_BYTE, previous, 0, MPI_COMM_WORLD,
                            &requests[i]);
            (void)MPI_Isend(b->send, LINK_PIECE_BYTES, MPI_BYTE, next, 0, MPI_COMM_WORLD,
                            &requests[LINK_PIECES + i]);
        }
        (void)MPI_Waitall(2 * LINK_PIECES, requests, statuses);
        const double seconds = lmn_clock_seconds() - start;
        best = best == 0.0 || seconds < best ? seconds : best;
    }
    uint64_t nanoseconds = (uint64_t)(best * 1e9) + 1;
    const lmn_status status = lmn_world_max_u64(b->world, &nanoseconds, 1, err);
    b->options.rate = (double)LINK_PIECES * LINK_PIECE_BYTES * 1e9 / (double)nanoseconds;
    return status;
}

/* ------------------------------------------------------------------ the whole */

static lmn_status write_json(const bench *b, lmn_error *err)
{
    FILE *file = fopen(b->options.json, "w");
    if (file == NULL) {
        return lmn_error_set(err, LMN_ERR_IO, "cannot write %s", b->options.json);
    }
    (void)fprintf(file, "[\n");
    for (int i = 0; i < b->n_results; i++) {
        const result *r = &b->results[i];
        (void)fprintf(
            file,
            "  {\"collective\": \"%s\", \"algorithm\": \"%s\", \"ranks\": %d, "
            "\"bytes\": %zu, \"seconds_median\": %.9g, \"seconds_best\": %.9g, \"bytes_sent\": "
            "%" PRIu64 ", \"floor_seconds\": %.9g, \"of_floor\": %.4g}%s\n",
            r->collective, r->algorithm, b->size, r->bytes, r->seconds, r->best, r->bytes_sent,
            r->floor_seconds, r->seconds > 0.0 ? r->floor_seconds / r->seconds : 0.0,
            i + 1 < b->n_results ? "," : "");
    }
    (void)fprintf(file, "]\n");
    if (fclose(file) != 0) {
        return lmn_error_set(err, LMN_ERR_IO, "cannot write all of %s", b->options.json);
    }
    return LMN_OK;
}

static lmn_status take_memory(bench *b, size_t largest, lmn_error *err)
{
    const size_t room = largest > LINK_PIECE_BYTES ? largest : LINK_PIECE_BYTES;
    b->send = lmn_alloc(room, (size_t)b->size, err);
    b->recv = lmn_alloc(room, 1, err);
    b->offsets = lmn_alloc((size_t)b->size + 1, sizeof *b->offsets, err);
    if (b->send == NULL || b->recv == NULL || b->offsets == NULL) {
        return LMN_ERR_MEMORY;
    }
    float *ones = (void *)b->send;
    for (size_t i = 0; i < room * (size_t)b->size / sizeof *ones; i++) {
        ones[i] = 1.0F;
    }
    return LMN_OK;
}

static lmn_status run(bench *b, lmn_error *err)
{
    size_t largest = 0;
    for (int i = 0; i < b->options.n_sizes; i++) {
        largest = b->options.sizes[i] > largest ? b->options.sizes[i] : largest;
    }
    lmn_status status = lmn_agree(b->world, take_memory(b, largest, err), err);
    if (status == LMN_OK && b->options.rate == 0.0) {
        status = measure_link(b, err);
    }
    if (status == LMN_OK && lmn_world_rank(b->world) == 0) {
        printf("%d ranks, link %.3f Gbit/s each way\n", b->size, b->options.rate * 8e-9);
        printf("%-10s %-9s %9s %10s %10s %10s %8s %8s\n", "collective", "algorithm", "bytes",
               "median ms", "best ms", "floor ms", "GB/s", "of floor");
    }
    if (status == LMN_OK && has_item(b->options.collectives, "allreduce")) {
        status = measure_allreduces(b, largest, err);
    }
    if (status == LMN_OK && has_item(b->options.collectives, "allgatherv")) {
        status = measure_exchange(b, largest, true, err);
    }
    if (status == LMN_OK && has_item(b->options.collectives, "alltoallv")) {
        status = measure_exchange(b, largest, false, err);
    }
    if (status == LMN_OK && lmn_world_rank(b->world) == 0 && b->options.json != NULL) {
        status = write_json(b, err);
    }
    return lmn_agree(b->world, status, err);
}

int main(int argc, char **argv)
{
    static bench b;
    lmn_error err = lmn_error_none();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
    }
    (void)MPI_Init(&argc, &argv);
    lmn_status status = parse_options(argc, argv, &b.options, &err);
    if (status == LMN_OK) {
        status = lmn_world_create(MPI_COMM_WORLD, NULL, &b.world, &err);
    }
    int rank = 0;
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (status == LMN_OK) {
        b.size = lmn_world_size(b.world);
        status = run(&b, &err);
    }
    if (status != LMN_OK && rank == 0) {
        (void)fprintf(stderr, "bench_collectives: %s\n", err.message);
    }
    lmn_world_destroy(b.world);
    lmn_free(b.send);
    lmn_free(b.recv);
    lmn_free(b.offsets);
    (void)MPI_Finalize();
    return status == LMN_OK ? 0 : 1;
}
