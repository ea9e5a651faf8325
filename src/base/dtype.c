/* SPDX-License-Identifier: Apache-2.0 */
#include "lamina/dtype.h"

#include <stdint.h>

size_t lmn_dtype_bytes(lmn_dtype dtype)
{
    return dtype == LMN_I32 ? sizeof(int32_t) : sizeof(float);
}

const char *lmn_dtype_name(lmn_dtype dtype)
{
    return dtype == LMN_I32 ? "i32" : "f32";
}
