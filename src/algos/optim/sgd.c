/*
 * Stochastic gradient descent, with momentum, Nesterov's form of it, and decoupled weight decay.
 *
 * With momentum mu, slot m, weight decay wd and learning rate lr, per parameter w:
 *
 *     m <- mu m + g;   d = m, or g + mu m (nesterov), or g (mu = 0, no slot)
 *     w <- (w - lr wd w) - lr d
 *
 * Source: I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and
 * momentum in deep learning", ICML 2013; decoupled decay: I. Loshchilov, F. Hutter, ICLR 2019,
 * arXiv:1711.05101.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "optim_internal.h"

typedef struct sgd_config {
    double momentum;
    double weight_decay;
    bool nesterov;
} sgd_config;

static const sgd_config defaults = {0};

static const lmn_spec_field fields[] = {
    {.key = "momentum",
     .type = LMN_SPEC_F64,
     .offset = offsetof(sgd_config, momentum),
     .min = 0.0,
     .max = 0.999999,
     .help = "share of the last direction that is kept (0)"},
    {.key = "nesterov",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(sgd_config, nesterov),
     .help = "look ahead along the momentum (0)"},
    {.key = "weight_decay",
     .type = LMN_SPEC_F64,
     .offset = offsetof(sgd_config, weight_decay),
     .min = 0.0,
     .max = 1.0,
     .help = "w shrinks by learning rate times this in every step (0)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    const sgd_config *config = config_memory;
    if (config->nesterov && config->momentum == 0.0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "optimizer 'sgd': nesterov needs momentum; write "
                             "sgd:momentum=0.9,nesterov=1");
    }
    return LMN_OK;
}

static size_t slot_count(const void *config_memory)
{
    const sgd_config *config = config_memory;
    return config->momentum > 0.0 ? 1 : 0;
}

static void descend(const lmn_update *update, float lr, float shrink)
{
    const float *gradient = update->gradient;
    float *param = update->param;
#pragma omp simd
    for (size_t i = 0; i < update->count; i++) {
        const float w = param[i] - shrink * param[i];
        param[i] = w - lr * gradient[i];
    }
}

static void descend_with_momentum(const lmn_update *update, float lr, float shrink, float momentum)
{
    const float *gradient = update->gradient;
    float *direction = update->slot[0];
    float *param = update->param;
#pragma omp simd
    for (size_t i = 0; i < update->count; i++) {
        const float m = momentum * direction[i] + gradient[i];
        const float w = param[i] - shrink * param[i];
        direction[i] = m;
        param[i] = w - lr * m;
    }
}

static void descend_ahead(const lmn_update *update, float lr, float shrink, float momentum)
{
    const float *gradient = update->gradient;
    float *direction = update->slot[0];
    float *param = update->param;
#pragma omp simd
    for (size_t i = 0; i < update->count; i++) {
        const float m = momentum * direction[i] + gradient[i];
        const float w = param[i] - shrink * param[i];
        direction[i] = m;
        param[i] = w - lr * (gradient[i] + momentum * m);
    }
}

static void update_slice(const void *config_memory, const lmn_update *update)
{
    const sgd_config *config = config_memory;
    const float lr = (float)update->lr;
    const float shrink = update->decay ? (float)(update->lr * config->weight_decay) : 0.0F;
    if (config->momentum == 0.0) {
        descend(update, lr, shrink);
    } else if (config->nesterov) {
        descend_ahead(update, lr, shrink, (float)config->momentum);
    } else {
        descend_with_momentum(update, lr, shrink, (float)config->momentum);
    }
}

const lmn__optimizer_kind lmn__optimizer_sgd = {
    .method = {.entry = {.name = "sgd",
                         .summary = "stochastic gradient descent, with momentum if wanted",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(sgd_config),
               .defaults = &defaults,
               .complete = complete},
    .slot_names = {"momentum"},
    .slot_count = slot_count,
    .update = update_slice,
};
