/*
 * The largest of a list of entries, by histograms of the bits of their magnitudes.
 *
 * The bits of an f32 without its sign, read as an integer, order magnitudes. Three histograms, of
 * the upper 11, the next 10 and the last 10 bits, find the k-th largest exactly.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "largest_internal.h"

#include <math.h>
#include <string.h>

#define BINS_MAX 2048

static uint32_t key_of(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7FFFFFFFU;
}

typedef struct digit {
    unsigned shift, bits;
} digit;

/* The k-th largest key, k <= n; *above_out is the number of larger ones. */
static uint32_t kth_key(const float *values, size_t n, size_t k, size_t *above_out)
{
    static const digit digits[] = {{.shift = 20, .bits = 11}, {.shift = 10, .bits = 10}, {0, 10}};
    uint32_t prefix = 0;
    size_t above = 0;
    for (size_t d = 0; d < sizeof digits / sizeof digits[0]; d++) {
        const uint32_t n_bins = 1U << digits[d].bits;
        const unsigned known = digits[d].shift + digits[d].bits;
        size_t counts[BINS_MAX] = {0};
        for (size_t i = 0; i < n; i++) {
            const uint32_t key = key_of(values[i]);
            if (key >> known == prefix) {
                counts[key >> digits[d].shift & (n_bins - 1)]++;
            }
        }
        uint32_t bin = n_bins - 1;
        while (above + counts[bin] < k) {
            above += counts[bin--];
        }
        prefix = prefix << digits[d].bits | bin;
    }
    *above_out = above;
    return prefix;
}

size_t lmn__keep_largest(uint32_t *indices, float *values, size_t n, size_t k)
{
    if (n <= k) {
        return n;
    }
    size_t above = 0;
    const uint32_t last = kth_key(values, n, k, &above);
    size_t equal = k - above; /* so many of the k-th magnitude */
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = key_of(values[i]);
        const size_t take = key > last || (key == last && equal > 0) ? 1 : 0;
        equal -= key == last ? take : 0;
        indices[kept] = indices[i];
        values[kept] = values[i];
        kept += take;
    }
    return kept;
}

size_t lmn__keep_above(uint32_t *indices, float *values, size_t n, float threshold)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        indices[kept] = indices[i];
        values[kept] = values[i];
        kept += fabsf(values[kept]) >= threshold ? 1 : 0;
    }
    return kept;
}
