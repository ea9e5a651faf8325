/*
 * Tensors seen from outside: name, shape, type, and the start values of parameters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"
#include "lamina/random.h"

#include <string.h>

const char *lmn_tensor_name(const lmn_tensor *tensor)
{
    return tensor->name != NULL ? tensor->name : tensor->op->name;
}

const lmn_shape *lmn_tensor_shape(const lmn_tensor *tensor)
{
    return &tensor->shape;
}

lmn_dtype lmn_tensor_dtype(const lmn_tensor *tensor)
{
    return tensor->dtype;
}

void lmn_parameter_init(const lmn_tensor *parameter, uint64_t seed, float *values_out)
{
    const lmn_init init = parameter->attributes.init;
    const size_t count = lmn_shape_count(&parameter->shape);
    if (parameter->statistic != NULL) {
        memcpy(values_out, parameter->statistic->start, count * sizeof *values_out);
        return;
    }
    if (init.kind == LMN_INIT_CONSTANT) {
        for (size_t i = 0; i < count; i++) {
            values_out[i] = init.value;
        }
        return;
    }
    const lmn_stream stream = {
        .seed = seed,
        .layer = (uint32_t)parameter->attributes.parameter_index,
        .purpose = LMN_STREAM_INIT,
        .rank = LMN_STREAM_ALL_RANKS,
    };
    lmn_stream_normal(&stream, 0, count, values_out);
    for (size_t i = 0; i < count; i++) {
        values_out[i] *= init.value;
    }
}
