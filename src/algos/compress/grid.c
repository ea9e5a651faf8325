/*
 * Buckets whose numbers go to a grid of a few values: a scale and codes of some bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <assert.h>
#include <math.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>

/* Below, 1 / step could overflow: the bucket counts as zero. */
#define SCALE_MIN 0x1p-100F
/* Above, limit * step might round to infinity. */
#define SCALE_MAX 0x1.fffffp127F

static const double PI = 3.14159265358979323846;

float lmn__grid_scale(double scale)
{
    if (scale < (double)SCALE_MIN) {
        return 0.0F;
    }
    return scale > (double)SCALE_MAX ? SCALE_MAX : (float)scale;
}

lmn__grid lmn__grid_to(float scale, unsigned bits)
{
    assert(bits >= 2 && bits <= 8);
    const float limit = (float)((1U << (bits - 1)) - 1);
    return (lmn__grid){
        .inverse = scale > 0.0F ? limit / scale : 0.0F, .step = scale / limit, .limit = limit};
}

static size_t n_groups(size_t count)
{
    return (count + 7) / 8;
}

size_t lmn__code_bytes(size_t count, unsigned bits)
{
    return lmn__whole_words(n_groups(count) * bits);
}

void lmn__grid_codes(const lmn__grid *grid, const lmn__bucket *bucket, uint8_t *codes)
{
    const lmn__code_kernels *code = bucket->kernels->code;
    if (bucket->words == NULL) {
        code->to_grid(bucket->vector, bucket->count, grid, codes, bucket->sent);
    } else {
        code->to_grid_randomly(bucket->vector, bucket->count, grid, bucket->words, codes,
                               bucket->sent);
    }
}

void lmn__grid_encode(float scale, unsigned bits, const lmn__bucket *bucket)
{
    const lmn__grid grid = lmn__grid_to(scale, bits);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX];
    lmn__grid_codes(&grid, bucket, codes);
    const size_t groups = n_groups(bucket->count);
    memset(codes + bucket->count, 0, 8 * groups - bucket->count);
    unsigned char *bytes = bucket->bytes;
    memcpy(bytes, &scale, sizeof scale);
    bytes += sizeof scale;
    bucket->kernels->code->pack(codes, groups, bits, bytes);
    memset(bytes + bits * groups, 0, lmn__code_bytes(bucket->count, bits) - bits * groups);
}

bool lmn__grid_scale_is_lawful(float scale)
{
    return scale >= 0.0F && scale <= SCALE_MAX;
}

const char *lmn__grid_check(unsigned bits, const lmn__bucket_message *message)
{
    const float scale = lmn__float_at(message->bytes);
    if (!lmn__grid_scale_is_lawful(scale)) {
        return "has a scale that is negative, NaN or too large";
    }
    alignas(64) uint8_t codes[LMN__BUCKET_MAX];
    message->kernels->code->unpack(message->bytes + sizeof scale, n_groups(message->count), bits,
                                   codes);
    const unsigned code_max = (1U << bits) - 2;
    return message->kernels->code->largest(codes, message->count) > code_max
               ? "has a code that stands for nothing"
               : NULL;
}

void lmn__grid_decode_add(unsigned bits, const lmn__bucket_message *message, float weight,
                          float *acc)
{
    const float scale = lmn__float_at(message->bytes);
    const lmn__grid grid = lmn__grid_to(scale, bits);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX];
    message->kernels->code->unpack(message->bytes + sizeof scale, n_groups(message->count), bits,
                                   codes);
    message->kernels->code->add_grid(codes, message->count, &grid, weight, acc);
}

double lmn__grid_mean_error(float scale, unsigned bits, const lmn__bucket *bucket)
{
    const double limit = (double)lmn__grid_to(scale, bits).limit;
    const double step = (double)scale / limit;
    double sum = 0.0;
    for (size_t i = 0; i < bucket->count; i++) {
        const double magnitude = fabs((double)bucket->vector[i]);
        if (magnitude >= (double)scale) {
            sum += (magnitude - (double)scale) * (magnitude - (double)scale);
            continue;
        }
        const double low = step * floor(magnitude / step);
        sum += (magnitude - low) * (low + step - magnitude);
    }
    return sum;
}

/* Moments 0, 1 and 2 of a normal number's magnitude between two bounds. */
typedef struct moments {
    double mass, mean, square;
} moments;

/* Twice the density. */
static double density(double x)
{
    return sqrt(2.0 / PI) * exp(-0.5 * x * x);
}

static moments moments_between(double low, double high)
{
    const double mass = erfc(low / sqrt(2.0)) - erfc(high / sqrt(2.0));
    return (moments){.mass = mass,
                     .mean = density(low) - density(high),
                     .square = mass + low * density(low) - high * density(high)};
}

/* The part of the error of normal numbers that go to `value`. */
static double error_to(double value, double low, double high)
{
    const moments m = moments_between(low, high);
    return m.square - 2.0 * value * m.mean + value * value * m.mass;
}

/* |C(x) - x|^2 / |x|^2. */
static double normal_error(double scale, unsigned bits, uint64_t rounding)
{
    const size_t limit = (size_t)(1U << (bits - 1)) - 1;
    const double step = scale / (double)limit;
    const double far = scale + 40.0; /* where nothing is left */
    if (rounding == LMN__ROUND_NEAREST) {
        double sum = error_to(0.0, 0.0, 0.5 * step);
        for (size_t i = 1; i <= limit; i++) {
            const double value = (double)i * step;
            sum += error_to(value, value - 0.5 * step, i == limit ? far : value + 0.5 * step);
        }
        return sum;
    }
    double sum = error_to(scale, scale, far);
    for (size_t i = 0; i < limit; i++) {
        const double low = (double)i * step;
        const double high = low + step;
        const moments m = moments_between(low, high);
        sum += (low + high) * m.mean - m.square - low * high * m.mass;
    }
    return sum;
}

lmn_eta_rule lmn__grid_eta(double scale, unsigned bits, uint64_t rounding, size_t n)
{
    const double lost = normal_error(scale, bits, rounding);
    const double kept = rounding == LMN__ROUND_STOCHASTIC ? 1.0 / (1.0 + lost) : 1.0 - lost;
    return lmn__sliced_eta(fmax(kept, 1.0 / (double)n));
}

/* The chance that one number is larger is such that the chance of none of n is a half. */
double lmn__normal_extreme(size_t n)
{
    const double chance = -expm1(-log(2.0) / (double)n);
    double low = 0.0;
    double high = 40.0;
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        const bool is_low = erfc(middle / sqrt(2.0)) > chance;
        low = is_low ? middle : low;
        high = is_low ? high : middle;
    }
    return low;
}
