/*
 * EControl: EF21 with the accumulated error fed back at a controlled strength eta.
 *
 * v = g - h_i + eta e; after the exchange e += g - h_i with the new h_i. At eta = 0 it is EF21, and
 * is computed by the same loop so that the bits agree; with h_i held at 0 and eta = 1 it would be
 * EC. The feedback makes noise average out over ranks and steps, which EF21 does not; too much of
 * it is unstable (lmn_eta_rule says where).
 *
 * Source: Y. Gao, R. Islamov, S. Stich, "EControl: fast distributed optimization with compression
 * and error control", ICLR 2024, arXiv:2311.05645.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

#include <math.h>

typedef struct econtrol_config {
    double eta; /* NaN: auto */
    uint64_t init;
} econtrol_config;

static const econtrol_config defaults = {.eta = (double)NAN, .init = LMN__INIT_GRADIENT};

static const lmn_spec_field fields[] = {
    {.key = "eta",
     .type = LMN_SPEC_F64,
     .offset = offsetof(econtrol_config, eta),
     .min = 0.0,
     .max = 2.0,
     .choices = "auto",
     .help = "strength of the feedback; auto: what suits the layer's level, for topk the fraction "
             "sent (auto)"},
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(econtrol_config, init),
     .choices = LMN__FEEDBACK_INIT_CHOICES,
     .help = LMN__FEEDBACK_INIT_HELP},
};

static bool starts_dense(const void *config_memory)
{
    const econtrol_config *config = config_memory;
    return config->init == LMN__INIT_GRADIENT;
}

static double eta_of(const void *config_memory, double suggested)
{
    const econtrol_config *config = config_memory;
    return isnan(config->eta) ? suggested : config->eta;
}

/* h_i counts as 0 here: the whole of g + eta e becomes the new h_i. */
static bool form_whole(const lmn_feedback_layer *layer)
{
    const float eta = (float)layer->eta;
    const float *gradient = layer->gradient;
    const float *error = layer->state[1];
    float *vector = layer->vector;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < layer->count; i++) {
        const float v = gradient[i] + eta * error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

static bool form(const lmn_feedback_layer *layer)
{
    const float eta = (float)layer->eta;
    if (eta == 0.0F) {
        return lmn__feedback_form_difference(layer);
    }
    if (layer->whole) {
        return form_whole(layer);
    }
    const float *gradient = layer->gradient;
    const float *tracked = layer->state[0];
    const float *error = layer->state[1];
    float *vector = layer->vector;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < layer->count; i++) {
        const float v = (gradient[i] - tracked[i]) + eta * error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

static void commit(const lmn_feedback_layer *layer)
{
    const float *gradient = layer->gradient;
    const float *tracked = layer->state[0];
    float *error = layer->state[1];
#pragma omp simd
    for (size_t i = 0; i < layer->count; i++) {
        error[i] += gradient[i] - tracked[i];
    }
}

const lmn__feedback_kind lmn__feedback_econtrol = {
    .method = {.entry = {.name = "econtrol",
                         .summary = "ef21 with the accumulated error fed back at strength eta",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(econtrol_config),
               .defaults = &defaults},
    .tracks = true,
    .n_states = 2,
    .state_names = {"tracked_gradient", "error"},
    .starts_dense = starts_dense,
    .eta = eta_of,
    .form = form,
    .commit = commit,
};
