/*
 * EControl: EF21 with the accumulated error fed back at a controlled strength eta.
 *
 * v = g - h_i + eta e; then e += g - h_i with the new h_i. At eta = 0 it is EF21, and v is formed
 * by the same loop so that the bits agree; with h_i held at 0 and eta = 1 it would be EC. The
 * feedback makes noise average out over ranks and steps, which EF21 does not; too much of it is
 * unstable (lmn_eta_rule says where).
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
static bool form_whole(const lmn_feedback_tile *tile, float *vector)
{
    const float eta = (float)tile->eta;
    const float *gradient = tile->gradient;
    const float *error = tile->state[1];
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < tile->count; i++) {
        const float v = gradient[i] + eta * error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

static bool form(const lmn_feedback_tile *tile, float *vector)
{
    const float eta = (float)tile->eta;
    if (eta == 0.0F) {
        return lmn__feedback_form_difference(tile, vector);
    }
    if (tile->whole) {
        return form_whole(tile, vector);
    }
    const float *gradient = tile->gradient;
    const float *tracked = tile->state[0];
    const float *error = tile->state[1];
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < tile->count; i++) {
        const float v = (gradient[i] - tracked[i]) + eta * error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

/* Of a vector that travels whole, h_i counts as 0: the new one is what was sent. */
static void advance_whole(const lmn_feedback_tile *tile, const float *sent)
{
    const float *gradient = tile->gradient;
    const float *error = tile->state[1];
    float *next = tile->next[1];
#pragma omp simd
    for (size_t i = 0; i < tile->count; i++) {
        next[i] = error[i] + (gradient[i] - sent[i]);
    }
}

/* The error without what was sent: all of it where single entries are sent. */
static void advance_unsent(const lmn_feedback_tile *tile)
{
    const float *gradient = tile->gradient;
    const float *tracked = tile->state[0];
    const float *error = tile->state[1];
    float *next = tile->next[1];
#pragma omp simd
    for (size_t i = 0; i < tile->count; i++) {
        next[i] = error[i] + (gradient[i] - tracked[i]);
    }
}

static void advance_sent(const lmn_feedback_tile *tile, const float *sent)
{
    const float *gradient = tile->gradient;
    const float *tracked = tile->state[0];
    const float *error = tile->state[1];
    float *next = tile->next[1];
#pragma omp simd
    for (size_t i = 0; i < tile->count; i++) {
        next[i] = error[i] + (gradient[i] - (tracked[i] + sent[i]));
    }
}

/* The error first: where states are advanced in place, it still needs the old h_i. */
static void advance(const lmn_feedback_tile *tile, const float *vector, const float *sent)
{
    (void)vector;
    if (sent == NULL) {
        advance_unsent(tile);
    } else if (tile->whole) {
        advance_whole(tile, sent);
    } else {
        advance_sent(tile, sent);
    }
    lmn__feedback_advance_tracked(tile, sent);
}

const lmn__feedback_kind lmn__feedback_econtrol = {
    .method = {.entry = {.name = "econtrol",
                         .summary = "ef21 with the accumulated error fed back at strength eta",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(econtrol_config),
               .defaults = &defaults},
    .tracks = true,
    .rests = true,
    .n_states = 2,
    .states = {{.name = "tracked_gradient", .sent_factor = 1.0F, .rewrites = false},
               {.name = "error", .sent_factor = -1.0F, .rewrites = true}},
    .starts_dense = starts_dense,
    .eta = eta_of,
    .form = form,
    .advance = advance,
};
