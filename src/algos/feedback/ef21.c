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

static lmn__feedback_traits traits_of(const void *config_memory)
{
    const ef21_config *config = config_memory;
    return (lmn__feedback_traits){.tracks = true,
                                  .starts_dense = config->init == LMN__INIT_GRADIENT};
}

const lmn__feedback_kind lmn__feedback_ef21 = {
    .method = {.entry = {.name = "ef21",
                         .summary = "compressed changes of the gradient, summed up by all ranks",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(ef21_config),
               .defaults = &defaults},
    .traits = traits_of,
};
