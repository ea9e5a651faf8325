/*
 * Values of options: words to members of a struct, and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_OPTION_VALUE_H
#define LAMINA_APPS_OPTION_VALUE_H

#include "options.h"

/** A row with the struct whose member it fills. */
typedef struct bound_option {
    const option_row *row;
    void *values;
} bound_option;

/**
 * Give an option the value that `text` stands for; NULL is a flag on the command line.
 * Errors: LMN_ERR_USAGE, without the option's name.
 */
lmn_status option_assign(const bound_option *option, const char *text,
                         lmn_error *err) LMN_NODISCARD;

/** Give it its default. */
lmn_status option_assign_initial(const bound_option *option, lmn_error *err) LMN_NODISCARD;

/** " --name value", nothing for what was not given. Returns the length as snprintf does. */
int option_format(const bound_option *option, char *text, size_t capacity);

#endif
