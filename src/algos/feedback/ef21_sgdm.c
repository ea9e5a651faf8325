/*
 * EF21-SGDM: EF21 on a running average of the gradients, which averages their noise out.
 *
 * m = (1 - b) m + b g on each rank, then EF21 with m in place of g; with `double` the average of
 * the averages, z = (1 - b) z + b m. A start by init=grad sets them to the first gradient, one by
 * init=zero to 0. The optimiser needs no momentum of its own beside it.
 *
 * Source: I. Fatkhullin, A. Tyurin, P. Richtarik, "Momentum provably improves error feedback!",
 * NeurIPS 2023, arXiv:2305.15155.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

typedef struct ef21_sgdm_config {
    double momentum;
    bool twice;
    uint64_t init;
} ef21_sgdm_config;

static const ef21_sgdm_config defaults = {.momentum = 0.1, .init = LMN__INIT_GRADIENT};

static const lmn_spec_field fields[] = {
    {.key = "momentum",
     .type = LMN_SPEC_F64,
     .offset = offsetof(ef21_sgdm_config, momentum),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true,
     .help = "weight of the newest gradient in the average (0.1)"},
    {.key = "double",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(ef21_sgdm_config, twice),
     .help = "average the averages (no)"},
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(ef21_sgdm_config, init),
     .choices = LMN__FEEDBACK_INIT_CHOICES,
     .help = LMN__FEEDBACK_INIT_HELP},
};

static lmn__feedback_traits traits_of(const void *config_memory)
{
    const ef21_sgdm_config *config = config_memory;
    return (lmn__feedback_traits){.tracks = true,
                                  .n_averages = config->twice ? 2 : 1,
                                  .momentum = config->momentum,
                                  .starts_dense = config->init == LMN__INIT_GRADIENT};
}

const lmn__feedback_kind lmn__feedback_ef21_sgdm = {
    .method = {.entry = {.name = "ef21_sgdm",
                         .summary = "ef21 on a running average of each rank's gradients",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(ef21_sgdm_config),
               .defaults = &defaults},
    .traits = traits_of,
};
