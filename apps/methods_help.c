/*
 * The part of --help that lists methods and their keys, from the registries themselves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"

#include <stdio.h>

void train_print_methods(const char *option, spec_entry_fn entry_at)
{
    (void)printf("\n--%s SPEC is one of\n", option);
    const lmn_spec_entry *entry = entry_at(0);
    for (size_t i = 0; entry != NULL; entry = entry_at(++i)) {
        (void)printf("  %-10s %s\n", entry->name, entry->summary);
        for (size_t k = 0; k < entry->n_fields; k++) {
            (void)printf("    %-14s %s\n", entry->fields[k].key, entry->fields[k].help);
        }
    }
}
