/*
 * EControl: EF21 with the accumulated error fed back at a controlled strength eta.
 *
 * v = g - h_i + eta e; then e += g - h_i with the new h_i. At eta = 0 it is EF21, and v is formed
 * by the same loop so that the bits agree; with h_i held at 0 and eta = 1 it would be EC. The
 * feedback makes noise average out over ranks and steps, which EF21 does not; too much of it is
 * unstable (lmn_eta_rule says where). With momentum below 1 a running average of the gradients,
 * m = (1 - b) m + b g, takes the place of g throughout, as in EF21-SGDM; that is no part of the
 * source.
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
    double momentum;
    uint64_t init;
} econtrol_config;

static const econtrol_config defaults = {
    .eta = (double)NAN, .momentum = 1.0, .init = LMN__INIT_GRADIENT};

static const lmn_spec_field fields[] = {
    {.key = "eta",
     .type = LMN_SPEC_F64,
     .offset = offsetof(econtrol_config, eta),
     .min = 0.0,
     .max = 2.0,
     .choices = "auto",
     .help = "strength of the feedback; auto: what suits the layer's level, for topk the fraction "
             "sent (auto)"},
    {.key = "momentum",
     .type = LMN_SPEC_F64,
     .offset = offsetof(econtrol_config, momentum),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true,
     .help =
         "weight of the newest gradient in a running average that takes its place; 1: none (1)"},
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(econtrol_config, init),
     .choices = LMN__FEEDBACK_INIT_CHOICES,
     .help = LMN__FEEDBACK_INIT_HELP},
};

static lmn__feedback_traits traits_of(const void *config_memory)
{
    const econtrol_config *config = config_memory;
    return (lmn__feedback_traits){.tracks = true,
                                  .feeds_back = true,
                                  .n_averages = config->momentum < 1.0 ? 1 : 0,
                                  .momentum = config->momentum,
                                  .eta = config->eta,
                                  .starts_dense = config->init == LMN__INIT_GRADIENT};
}

const lmn__feedback_kind lmn__feedback_econtrol = {
    .method = {.entry = {.name = "econtrol",
                         .summary = "ef21 with the accumulated error fed back at strength eta",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(econtrol_config),
               .defaults = &defaults},
    .traits = traits_of,
};
