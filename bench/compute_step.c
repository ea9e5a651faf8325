/*
 * One training step of a model in this process: how long it takes and how much memory it needs.
 *
 *     bench_compute_step MODEL BATCH STEPS [--profile]
 *
 * Model, loss, gradients and the optimiser are those of `lamina train`; data are random, in memory.
 * Prints one line of JSON, and with --profile the time of every node to stderr. bench/compute runs
 * it in turn with the peer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/memory.h"
#include "lamina/optimizer.h"
#include "trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { WARM_UP = 4 };

static void update(const trial *t, lmn_optimizer *optimizer, float *const *slots, uint64_t step)
{
    for (size_t i = 0; i < t->n_parameters; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        const size_t count = lmn_shape_count(lmn_tensor_shape(parameter));
        const float *value = lmn_plan_value(t->plan, t->outputs[i + 1]);
        if (lmn_parameter_is_statistic(parameter)) {
            const float momentum = lmn_statistic_momentum(parameter);
            for (size_t k = 0; k < count; k++) {
                t->parameters[i][k] += momentum * (value[k] - t->parameters[i][k]);
            }
            continue;
        }
        lmn_update slice = {.count = count,
                            .param = t->parameters[i],
                            .gradient = value,
                            .lr = 0.01,
                            .update = step};
        slice.slot[0] = slots[i];
        lmn_optimizer_update(optimizer, &slice);
    }
}

static int compare(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;
    return *left < *right ? -1 : (int)(*left > *right);
}

/* The share of each kind of op, largest first, to stderr. */
static void print_profile(const trial *t, const double *node_seconds, double n_runs)
{
    const lmn_plan_stats stats = lmn_plan_get_stats(t->plan);
    for (size_t i = 0; i < stats.n_nodes; i++) {
        const lmn_plan_node node = lmn_plan_get_node(t->plan, i);
        char shape[128];
        lmn_shape_format(lmn_tensor_shape(node.tensor), shape, sizeof shape);
        const double ms = 1e3 * node_seconds[i] / n_runs;
        (void)fprintf(stderr, "%8.3f ms %7.1f GFLOP/s %6.1f GB/s %-22s %-10s %-14s %s\n", ms,
                      node.flops / ms * 1e-6, (double)node.bytes / ms * 1e-6, node.op, node.kernel,
                      node.fused, shape);
    }
}

/* Momentum of each parameter; NULL without memory. */
static float **create_slots(const trial *t, lmn_error *err)
{
    float **slots = (float **)lmn_alloc(t->n_parameters, sizeof(float *), err);
    for (size_t i = 0; i < t->n_parameters && slots != NULL; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        slots[i] = lmn_alloc(lmn_shape_count(lmn_tensor_shape(parameter)), sizeof(float), err);
        if (slots[i] == NULL) {
            return NULL;
        }
    }
    return slots;
}

static lmn_status measure(const trial *t, const char *model, size_t steps, bool profile,
                          lmn_error *err)
{
    const lmn_plan_stats stats = lmn_plan_get_stats(t->plan);
    double *times = calloc(steps, sizeof *times);
    double *node_seconds = calloc(stats.n_nodes, sizeof *node_seconds);
    float **slots = create_slots(t, err);
    lmn_optimizer *optimizer = NULL;
    lmn_status status =
        slots == NULL ? LMN_ERR_MEMORY : lmn_optimizer_create("sgd:momentum=0.9", &optimizer, err);
    for (size_t i = 0; i < WARM_UP + steps && status == LMN_OK; i++) {
        const lmn_run run = {.training = true,
                             .step = i,
                             .node_seconds = profile && i >= WARM_UP ? node_seconds : NULL};
        const double start = lmn_clock_seconds();
        status = lmn_plan_run(t->plan, &run, err);
        update(t, optimizer, slots, i);
        if (i >= WARM_UP) {
            times[i - WARM_UP] = lmn_clock_seconds() - start;
        }
    }
    qsort(times, steps, sizeof *times, compare);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    if (status == LMN_OK) {
        const float *loss = lmn_plan_value(t->plan, t->outputs[0]);
        (void)printf("{\"model\": \"%s\", \"batch\": %zu, \"ms\": %.3f, \"peak_mib\": %.1f, "
                     "\"arena_mib\": %.1f, \"gflop\": %.3f, \"loss\": %.6f}\n",
                     model, t->batch, 1e3 * times[steps / 2], (double)usage.ru_maxrss / 1024.0,
                     (double)stats.arena_bytes / 1048576.0, stats.flops * 1e-9, (double)*loss);
    }
    if (profile) {
        print_profile(t, node_seconds, (double)steps);
    }
    free(times);
    free(node_seconds);
    return status;
}

int main(int argc, char **argv)
{
    const bool profile = argc == 5 && strcmp(argv[4], "--profile") == 0;
    trial t;
    const size_t batch = argc >= 4 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t steps = argc >= 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (batch == 0 || steps == 0 || (argc == 5 && !profile) || argc > 5) {
        (void)fprintf(stderr, "usage: bench_compute_step MODEL BATCH STEPS [--profile]\n");
        return 2;
    }
    lmn_compute_set_threads(1);
    lmn_error err = lmn_error_none();
    lmn_status status = trial_prepare(&t, argv[1], batch, &err);
    if (status == LMN_OK) {
        status = measure(&t, argv[1], steps, profile, &err);
    }
    if (status != LMN_OK) {
        (void)fprintf(stderr, "bench_compute_step: %s\n", err.message);
        return 1;
    }
    return 0; /* the system takes the memory back */
}
