/*
 * The version text agrees with the macros, and the build says what it was made of.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void version_text_agrees_with_the_macros(void **state)
{
    (void)state;
    char text[32];
    (void)snprintf(text, sizeof text, "%d.%d.%d", LMN_VERSION_MAJOR, LMN_VERSION_MINOR,
                   LMN_VERSION_PATCH);
    assert_string_equal(lmn_version(), text);
}

static void build_description_names_every_library_with_a_version(void **state)
{
    (void)state;
    const char *const libraries[] = {"MPI", "HDF5 ", "OpenBLAS "};
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        assert_non_null(strstr(lmn_build_description(), libraries[i]));
    }
    assert_null(strchr(lmn_build_description(), '\n'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_text_agrees_with_the_macros),
        cmocka_unit_test(build_description_names_every_library_with_a_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
