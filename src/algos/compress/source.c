/*
 * A vector in memory as the source of an encoder.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/compressor.h"
#include "simd/buckets.h"

#include <string.h>

static bool form(void *user, size_t first, size_t count, float *vector)
{
    memcpy(vector, (const float *)user + first, count * sizeof *vector);
    return true;
}

static void sent(void *user, size_t first, size_t count, const float *vector, const float *sent)
{
    const lmn__bucket_kernels *kernels = lmn__bucket_kernels_variant(0);
    kernels->measure->difference(vector, sent, count, (float *)user + first);
}

static void sent_entries(void *user, size_t n, const uint32_t *indices, const float *values)
{
    float *const residual = user;
    for (size_t i = 0; i < n; i++) {
        residual[indices[i]] -= values[i];
    }
}

lmn_source lmn_source_of_vector(float *vector)
{
    return (lmn_source){.form = form,
                        .sent = sent,
                        .form_unsent = form, /* the residual of nothing sent is v as it is */
                        .sent_entries = sent_entries,
                        .user = vector};
}
