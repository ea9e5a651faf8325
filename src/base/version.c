/*
 * The version of the library, and what it was built with as the build says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/version.h"

#define AS_TEXT(number)      #number
#define VALUE_AS_TEXT(macro) AS_TEXT(macro)

#ifndef LAMINA_BUILD_DESCRIPTION
#define LAMINA_BUILD_DESCRIPTION "built without CMake"
#endif

const char *lmn_version(void)
{
    return VALUE_AS_TEXT(LMN_VERSION_MAJOR) "." VALUE_AS_TEXT(LMN_VERSION_MINOR) "." VALUE_AS_TEXT(
        LMN_VERSION_PATCH);
}

const char *lmn_build_description(void)
{
    return LAMINA_BUILD_DESCRIPTION;
}
