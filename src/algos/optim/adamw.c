/*
 * AdamW: steps scaled by running moments of the gradient, with decoupled weight decay.
 *
 * With slots m and v, and t = 1, 2, ... counting updates, per parameter w:
 *
 *     m <- beta1 m + (1 - beta1) g;   v <- beta2 v + (1 - beta2) g^2
 *     w <- (w - lr wd w) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
 *
 * What is the same for all parameters is computed once in double; the rest is f32 in a fixed order.
 *
 * Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019,
 * arXiv:1711.05101; D. Kingma, J. Ba, "Adam", ICLR 2015, arXiv:1412.6980.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "optim_internal.h"

#include <math.h>

typedef struct adamw_config {
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay;
} adamw_config;

static const adamw_config defaults = {
    .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01};

static const lmn_spec_field fields[] = {
    {.key = "beta1",
     .type = LMN_SPEC_F64,
     .offset = offsetof(adamw_config, beta1),
     .min = 0.0,
     .max = 0.999999,
     .help = "share of the running mean that is kept (0.9)"},
    {.key = "beta2",
     .type = LMN_SPEC_F64,
     .offset = offsetof(adamw_config, beta2),
     .min = 0.0,
     .max = 0.999999,
     .help = "share of the running mean square that is kept (0.999)"},
    {.key = "epsilon",
     .type = LMN_SPEC_F64,
     .offset = offsetof(adamw_config, epsilon),
     .min = 1e-30,
     .max = 1.0,
     .help = "added to the root, so that nothing is divided by zero (1e-8)"},
    {.key = "weight_decay",
     .type = LMN_SPEC_F64,
     .offset = offsetof(adamw_config, weight_decay),
     .min = 0.0,
     .max = 1.0,
     .help = "w shrinks by learning rate times this in every step (0.01)"},
};

static size_t slot_count(const void *config)
{
    (void)config;
    return 2;
}

static void update_slice(const void *config_memory, const lmn_update *update)
{
    const adamw_config *config = config_memory;
    const uint64_t t = update->update + 1;
    const float keep1 = (float)config->beta1;
    const float keep2 = (float)config->beta2;
    const float take1 = (float)(1.0 - config->beta1);
    const float take2 = (float)(1.0 - config->beta2);
    const float lr = (float)(update->lr / (1.0 - lmn__power(config->beta1, t)));
    const float root_scale = (float)(1.0 / sqrt(1.0 - lmn__power(config->beta2, t)));
    const float epsilon = (float)config->epsilon;
    const float shrink = update->decay ? (float)(update->lr * config->weight_decay) : 0.0F;
    const float *gradient = update->gradient;
    float *mean = update->slot[0];
    float *square = update->slot[1];
    float *param = update->param;
#pragma omp simd
    for (size_t i = 0; i < update->count; i++) {
        const float g = gradient[i];
        const float m = keep1 * mean[i] + take1 * g;
        const float v = keep2 * square[i] + take2 * (g * g);
        const float w = param[i] - shrink * param[i];
        mean[i] = m;
        square[i] = v;
        param[i] = w - lr * (m / (sqrtf(v) * root_scale + epsilon));
    }
}

const lmn__optimizer_kind lmn__optimizer_adamw = {
    .method = {.entry = {.name = "adamw",
                         .summary = "steps scaled by running moments, decoupled weight decay",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(adamw_config),
               .defaults = &defaults},
    .slot_names = {"mean", "mean_square"},
    .slot_count = slot_count,
    .update = update_slice,
};
