/*
 * Learning-rate schedules: constant, cosine and step, each with linear warm-up.
 *
 * With S steps in all and W of warm-up, step s from 0 gets the factor ramp(s) * shape(s), where
 * ramp(s) = (s + 1) / (W + 1) below W and 1 from there on, and shape(s) is
 *
 *     constant   1
 *     cosine     floor + (1 - floor) (1 + cos(pi (s - W) / (S - W))) / 2, from W to S; then floor
 *     step       max(floor, factor^(s / every)), the quotient rounded down
 *
 * Computed with basic arithmetic only, so that ranks on different hosts get the same bits.
 *
 * Source of the cosine: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm
 * restarts", ICLR 2017, arXiv:1608.03983 (one cycle of it).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "optim_internal.h"

typedef struct schedule_config {
    uint64_t warmup;
    double floor;
    uint64_t every; /* 0: a third of the run */
    double factor;
} schedule_config;

static const schedule_config defaults = {.factor = 0.1};

/* Each schedule takes the first few. */
static const lmn_spec_field fields[] = {
    {.key = "warmup",
     .type = LMN_SPEC_U64,
     .offset = offsetof(schedule_config, warmup),
     .min = 0.0,
     .max = 1e15,
     .help = "steps over which the rate rises (0)"},
    {.key = "floor",
     .type = LMN_SPEC_F64,
     .offset = offsetof(schedule_config, floor),
     .min = 0.0,
     .max = 1.0,
     .help = "smallest factor after warm-up (0)"},
    {.key = "every",
     .type = LMN_SPEC_U64,
     .offset = offsetof(schedule_config, every),
     .min = 1.0,
     .max = 1e15,
     .help = "steps between drops (a third of the run)"},
    {.key = "factor",
     .type = LMN_SPEC_F64,
     .offset = offsetof(schedule_config, factor),
     .min = 0.0,
     .max = 1.0,
     .help = "what a drop multiplies the rate by (0.1)"},
};

double lmn__power(double base, uint64_t exponent)
{
    double power = 1.0;
    for (double square = base; exponent > 0; exponent >>= 1) {
        if ((exponent & 1U) != 0) {
            power *= square;
        }
        square *= square;
    }
    return power;
}

static double ramp(const schedule_config *config, uint64_t step)
{
    return step < config->warmup ? (double)(step + 1) / (double)(config->warmup + 1) : 1.0;
}

/* (1 + cos(pi x)) / 2 for x in [0, 1], as (1 + sin(pi (1/2 - x))) / 2 by its Taylor series. */
static double half_cosine(double x)
{
    const double y = 3.14159265358979323846 * (0.5 - x);
    double sum = 0.0;
    for (int n = 21; n >= 3; n -= 2) {
        sum = (1.0 + sum) * (-(y * y) / (double)(n * (n - 1)));
    }
    const double half = 0.5 + 0.5 * (y + y * sum);
    return half < 0.0 ? 0.0 : (half > 1.0 ? 1.0 : half);
}

static double constant_factor(const void *config, uint64_t step, uint64_t total_steps)
{
    (void)total_steps;
    return ramp(config, step);
}

static double cosine_factor(const void *config_memory, uint64_t step, uint64_t total_steps)
{
    const schedule_config *config = config_memory;
    if (step < config->warmup) {
        return ramp(config, step);
    }
    if (step >= total_steps) {
        return config->floor;
    }
    const double done = (double)(step - config->warmup) / (double)(total_steps - config->warmup);
    return config->floor + (1.0 - config->floor) * half_cosine(done);
}

static double step_factor(const void *config_memory, uint64_t step, uint64_t total_steps)
{
    const schedule_config *config = config_memory;
    const uint64_t third = total_steps / 3 + (uint64_t)(total_steps % 3 != 0);
    const uint64_t wanted = config->every > 0 ? config->every : third;
    const double power = lmn__power(config->factor, step / (wanted > 0 ? wanted : 1));
    return ramp(config, step) * (power > config->floor ? power : config->floor);
}

const lmn__schedule_kind lmn__schedule_constant = {
    .method = {.entry = {.name = "constant",
                         .summary = "the same rate throughout",
                         .fields = fields,
                         .n_fields = 1},
               .config_bytes = sizeof(schedule_config),
               .defaults = &defaults},
    .factor = constant_factor,
};

const lmn__schedule_kind lmn__schedule_cosine = {
    .method = {.entry = {.name = "cosine",
                         .summary = "half a cosine from the full rate down to the floor",
                         .fields = fields,
                         .n_fields = 2},
               .config_bytes = sizeof(schedule_config),
               .defaults = &defaults},
    .factor = cosine_factor,
};

const lmn__schedule_kind lmn__schedule_step = {
    .method = {.entry = {.name = "step",
                         .summary = "drops by a factor at regular steps",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(schedule_config),
               .defaults = &defaults},
    .factor = step_factor,
};
