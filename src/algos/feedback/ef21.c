/*
 * EF21: send the compressed change of the gradient; all ranks sum the changes up.
 *
 * v = g - h_i; h_i and its mean h grow by what was sent. What was not sent stays in the difference,
 * so nothing else has to be remembered.
 *
 * Source: P. Richtarik, I. Sokolov, I. Fatkhullin, "EF21: a new, simpler, theoretically better, and
 * practically faster error feedback", NeurIPS 2021, arXiv:2106.05203.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

typedef struct ef21_config {
    uint64_t init;
} ef21_config;

static const ef21_config defaults = {.init = LMN__INIT_GRADIENT};

static const lmn_spec_field fields[] = {
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(ef21_config, init),
     .choices = LMN__FEEDBACK_INIT_CHOICES,
     .help = LMN__FEEDBACK_INIT_HELP},
};

static bool starts_dense(const void *config_memory)
{
    const ef21_config *config = config_memory;
    return config->init == LMN__INIT_GRADIENT;
}

bool lmn__feedback_form_difference(const lmn_feedback_tile *tile, float *vector)
{
    if (tile->whole) {
        return lmn__feedback_form_gradient(tile, vector);
    }
    const float *gradient = tile->gradient;
    const float *tracked = tile->state[0];
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < tile->count; i++) {
        const float v = gradient[i] - tracked[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

void lmn__feedback_advance_tracked(const lmn_feedback_tile *tile, const float *sent)
{
    const float *tracked = tile->state[0];
    float *next = tile->next[0];
    if (next == NULL) {
        return;
    }
    if (sent == NULL || tile->whole) {
        const float *from = sent == NULL ? tracked : sent;
        memmove(next, from, tile->count * sizeof next[0]);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < tile->count; i++) {
        next[i] = tracked[i] + sent[i];
    }
}

static void advance(const lmn_feedback_tile *tile, const float *vector, const float *sent)
{
    (void)vector;
    lmn__feedback_advance_tracked(tile, sent);
}

const lmn__feedback_kind lmn__feedback_ef21 = {
    .method = {.entry = {.name = "ef21",
                         .summary = "compressed changes of the gradient, summed up by all ranks",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(ef21_config),
               .defaults = &defaults},
    .tracks = true,
    .rests = true,
    .n_states = 1,
    .states = {{.name = "tracked_gradient", .sent_factor = 1.0F, .rewrites = false}},
    .starts_dense = starts_dense,
    .form = lmn__feedback_form_difference,
    .advance = advance,
};
