/*
 * Accordion's choice, for the allocators that follow it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ACCORDION_INTERNAL_H
#define LAMINA_ACCORDION_INTERNAL_H

#include "lamina/allocator.h"

typedef struct lmn__accordion_rule {
    double threshold;      /* relative change of a norm from which on a phase is critical */
    uint64_t mild, strong; /* levels below and above the static one */
} lmn__accordion_rule;

#define LMN__ACCORDION_DEFAULTS                                                                    \
    {                                                                                              \
        .threshold = 0.5, .mild = 1, .strong = 1                                                   \
    }

/** Whether all energies are finite and not negative. Errors: LMN_ERR_NONFINITE. */
lmn_status lmn__accordion_check(const lmn_cost_table *table, const char *who,
                                lmn_error *err) LMN_NODISCARD;

/** The levels for the energies of a table and those that its memory holds. levels_out [n_layers] */
void lmn__accordion_levels(const lmn__accordion_rule *rule, const lmn_cost_table *table,
                           size_t *levels_out);

/** Let the memory of a table take note of its energies. */
void lmn__accordion_remember(const lmn_cost_table *table);

#endif
