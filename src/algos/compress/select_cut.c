/*
 * The exact cut after the k largest of some values, by histograms.
 *
 * The keys lie between the smallest and the largest of them. A histogram of 2048 bins over this
 * range tells in which bin the k-th largest lies, and the search goes on inside that bin, at most
 * three times, until a bin is a single key. Bins relative to the range spread values of like
 * magnitude over many counters; two copies of the histogram, used in turn, keep increments of the
 * same counter from waiting for each other. As soon as a bin holds few values, they are copied out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "select_internal.h"
#include "simd/scan.h"

#include <assert.h>

#define BIN_BITS 11
#define BINS     (1U << BIN_BITS)
#define COPIES   2
#define FEW      4096
#define LANES    8

typedef struct workspace {
    /* The last bin is for keys outside the range. */
    uint32_t counts[COPIES][BINS + 1];
    float few[FEW + 1];
} workspace;

/* Keys low .. low + 2^bits - 1. */
typedef struct key_range {
    uint32_t low;
    unsigned bits;
} key_range;

size_t lmn__cut_work_bytes(void)
{
    return lmn_align_up(sizeof(workspace));
}

/* Signed comparison, which every instruction set has; keys are below 2^31. */
static key_range range_of(const float *values, size_t n)
{
    int32_t smallest = INT32_MAX;
    int32_t largest = 0;
#pragma omp simd reduction(min : smallest) reduction(max : largest)
    for (size_t i = 0; i < n; i++) {
        const int32_t key = (int32_t)lmn__key(values[i]);
        smallest = key < smallest ? key : smallest;
        largest = key > largest ? key : largest;
    }
    const uint32_t distance = (uint32_t)(largest - smallest);
    return (key_range){.low = (uint32_t)smallest,
                       .bits = distance == 0 ? 0U : 32U - (unsigned)__builtin_clz(distance)};
}

static void count_bins(const float *values, size_t n, key_range range, unsigned shift,
                       workspace *work)
{
    memset(work->counts, 0, sizeof work->counts);
    for (size_t i = 0; i < n; i++) {
        const uint32_t bin = (lmn__key(values[i]) - range.low) >> shift;
        work->counts[i % COPIES][bin < BINS ? bin : BINS]++;
    }
    for (size_t copy = 1; copy < COPIES; copy++) {
        for (size_t bin = 0; bin < BINS; bin++) {
            work->counts[0][bin] += work->counts[copy][bin];
        }
    }
}

/* Narrow the range to the bin that holds the k-th largest of it; returns how many that bin holds
   and takes those above it away from k. */
static size_t narrow(const float *values, size_t n, key_range *range, size_t *k, workspace *work)
{
    const unsigned shift = range->bits > BIN_BITS ? range->bits - BIN_BITS : 0;
    count_bins(values, n, *range, shift, work);
    /* Bins of keys above the range may hold some too; they are not looked at. */
    uint32_t bin = (1U << (range->bits - shift)) - 1;
    while (work->counts[0][bin] < *k) {
        *k -= work->counts[0][bin];
        bin--;
    }
    range->low += bin << shift;
    range->bits = shift;
    return work->counts[0][bin];
}

/* Copy out the values of a range. The store is unconditional: it costs less than a wrong guess. */
static size_t copy_range(const float *values, size_t n, key_range range, float *few)
{
    size_t n_few = 0;
    for (size_t i = 0; i < n; i++) {
        few[n_few] = values[i];
        n_few += (size_t)((lmn__key(values[i]) - range.low) >> range.bits == 0);
    }
    return n_few;
}

lmn__cut lmn__cut_after(const float *values, size_t n, size_t k, void *work_memory)
{
    assert(k >= 1 && k <= n);
    workspace *work = work_memory;
    key_range range = range_of(values, n);
    size_t n_ties = n;
    while (range.bits > 0) {
        n_ties = narrow(values, n, &range, &k, work);
        if (range.bits > 0 && n_ties <= FEW && values != work->few) {
            n = copy_range(values, n, range, work->few);
            values = work->few;
        }
    }
    return (lmn__cut){.key = range.low, .n_equal = k, .n_ties = n_ties};
}

/* Some entries with the cut's key are dropped, the last ones. */
static size_t keep_first_ties(const lmn__cut *cut, lmn__entries *entries)
{
    size_t n_equal = cut->n_equal;
    size_t kept = 0;
    for (size_t i = 0; i < entries->n; i++) {
        const float value = entries->values[i];
        const uint32_t key = lmn__key(value);
        const bool is_equal = key == cut->key && n_equal > 0;
        entries->indices[kept] = entries->indices[i];
        entries->values[kept] = value;
        kept += (size_t)(key > cut->key || is_equal);
        n_equal -= (size_t)is_equal;
    }
    return kept;
}

void lmn__cut_apply(const lmn__cut *cut, lmn__entries *entries)
{
    if (cut->n_equal < cut->n_ties) {
        entries->n = keep_first_ties(cut, entries);
    } else {
        entries->n = lmn__scan_kernels_variant(0)->keep(entries->indices, entries->values,
                                                        entries->n, cut->key);
    }
}

/* The square of a value whose key is below the cut's, else 0. */
static double square_below(float value, int32_t key)
{
    const double number = (int32_t)lmn__key(value) < key ? (double)value : 0.0;
    return number * number;
}

double lmn__cut_energy_below(const lmn__cut *cut, const lmn__entries *entries)
{
    const int32_t key = (int32_t)cut->key;
    const float *values = entries->values;
    double sums[LANES] = {0.0};
    size_t i = 0;
    for (; i + LANES <= entries->n; i += LANES) {
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += square_below(values[i + lane], key);
        }
    }
    for (; i < entries->n; i++) {
        sums[0] += square_below(values[i], key);
    }
    float edge = 0.0F;
    memcpy(&edge, &cut->key, sizeof edge);
    double sum = (double)(cut->n_ties - cut->n_equal) * ((double)edge * (double)edge);
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}
