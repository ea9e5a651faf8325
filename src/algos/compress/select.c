/*
 * Exact selection by radix: three histograms find the k-th largest key.
 *
 * The 31 bits of a key are read as digits of 11, 10 and 10 bits. A histogram of the first digit
 * over the whole vector tells in which of its 2048 bins the k-th key lies; only the keys of that
 * bin, usually a few percent, are copied out and refined by the other two digits. Counting goes
 * round eight copies of the histogram, since gradients fall into few bins and an increment that
 * follows one of the same counter would wait for it.
 *
 * For the error curve the same pass also sums the squares per bin, so that what lies below a cut is
 * a sum over lower bins plus a part of one bin. Squares of f32 are exact in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "select_internal.h"

#include <assert.h>
#include <stdbool.h>

#define LANES        8
#define ENERGY_LANES 4
#define BINS         2048
#define BIN_SHIFT    20
#define DIGITS       1024
#define DIGIT_BITS   10
#define DIGIT_MASK   ((uint32_t)(DIGITS - 1))

typedef struct workspace {
    uint32_t counts[LANES][BINS]; /* [0] holds the totals after counting */
    double energy[ENERGY_LANES][BINS];
    uint32_t digits[DIGITS];
    unsigned char is_wanted[BINS];
    uint32_t keys[]; /* [count] copied out */
} workspace;

size_t lmn__select_scratch_bytes(size_t count)
{
    return lmn_align_up(sizeof(workspace) + sizeof(uint32_t) * count);
}

static void count_bins(const float *vector, size_t count, workspace *work)
{
    memset(work->counts, 0, sizeof work->counts);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            work->counts[lane][lmn__key(vector[i + lane]) >> BIN_SHIFT]++;
        }
    }
    for (; i < count; i++) {
        work->counts[0][lmn__key(vector[i]) >> BIN_SHIFT]++;
    }
    for (size_t lane = 1; lane < LANES; lane++) {
#pragma omp simd
        for (size_t bin = 0; bin < BINS; bin++) {
            work->counts[0][bin] += work->counts[lane][bin];
        }
    }
}

/* The bin, from the top, in which the k-th largest lies; adds what lies above it to `above`. */
static uint32_t find_bin(const uint32_t *bins, size_t n_bins, size_t k, size_t *above)
{
    size_t seen = 0;
    size_t bin = n_bins - 1;
    while (seen + bins[bin] < k) {
        seen += bins[bin];
        bin--;
    }
    *above += seen;
    return (uint32_t)bin;
}

/* Histogram of the digit at `shift` over the keys whose higher bits are `prefix`. */
static void count_digits(const uint32_t *keys, size_t n_keys, unsigned shift, uint32_t prefix,
                         uint32_t digits[DIGITS])
{
    memset(digits, 0, DIGITS * sizeof digits[0]);
    for (size_t i = 0; i < n_keys; i++) {
        const uint32_t high = keys[i] >> shift;
        digits[high & DIGIT_MASK] += (uint32_t)(high >> DIGIT_BITS == prefix);
    }
}

/* The cut after the k largest, which lies in `bin`; keys holds at least the keys of that bin. */
static lmn__cut cut_in_bin(workspace *work, size_t n_keys, uint32_t bin, size_t above, size_t k)
{
    uint32_t prefix = bin;
    for (unsigned shift = DIGIT_BITS;; shift = 0) {
        count_digits(work->keys, n_keys, shift, prefix, work->digits);
        const uint32_t digit = find_bin(work->digits, DIGITS, k - above, &above);
        prefix = prefix << DIGIT_BITS | digit;
        if (shift == 0) {
            break;
        }
    }
    return (lmn__cut){.key = prefix, .n_above = above, .n_equal = prefix == 0 ? 0 : k - above};
}

/* Copy out the keys of one bin. The store is unconditional: it costs less than a wrong guess. */
static size_t copy_bin(const float *vector, size_t count, uint32_t bin, uint32_t *keys)
{
    size_t n_keys = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = lmn__key(vector[i]);
        keys[n_keys] = key;
        n_keys += (size_t)(key >> BIN_SHIFT == bin);
    }
    return n_keys;
}

lmn__cut lmn__select_cut(const float *vector, size_t count, size_t k, void *scratch)
{
    assert(k >= 1 && k <= count);
    workspace *work = scratch;
    count_bins(vector, count, work);
    size_t above = 0;
    const uint32_t bin = find_bin(work->counts[0], BINS, k, &above);
    const size_t n_keys = copy_bin(vector, count, bin, work->keys);
    return cut_in_bin(work, n_keys, bin, above, k);
}

static double square_of_key(uint32_t key)
{
    float magnitude = 0.0F;
    memcpy(&magnitude, &key, sizeof magnitude);
    return (double)magnitude * (double)magnitude;
}

/* energy[0][bin] becomes the sum of squares of all lower bins. */
static void sum_energy_below(const float *vector, size_t count, workspace *work)
{
    memset(work->energy, 0, sizeof work->energy);
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = lmn__key(vector[i]);
        work->energy[i % ENERGY_LANES][key >> BIN_SHIFT] += square_of_key(key);
    }
    double below = 0.0;
    for (size_t bin = 0; bin < BINS; bin++) {
        const double here = (work->energy[0][bin] + work->energy[1][bin]) +
                            (work->energy[2][bin] + work->energy[3][bin]);
        work->energy[0][bin] = below;
        below += here;
    }
}

/* Copy out the keys of all wanted bins, in index order. */
static size_t copy_wanted(const float *vector, size_t count, workspace *work)
{
    size_t n_keys = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = lmn__key(vector[i]);
        work->keys[n_keys] = key;
        n_keys += work->is_wanted[key >> BIN_SHIFT];
    }
    return n_keys;
}

/* The sum of squares of what a cut leaves out. */
static double energy_of_rest(const workspace *work, size_t n_keys, const lmn__cut *cut)
{
    const uint32_t first_of_bin = cut->key >> BIN_SHIFT << BIN_SHIFT;
    double rest = 0.0;
    size_t n_equal = 0;
    for (size_t i = 0; i < n_keys; i++) {
        const uint32_t key = work->keys[i];
        const bool is_below = key >= first_of_bin && key < cut->key;
        rest += is_below ? square_of_key(key) : 0.0;
        n_equal += (size_t)(key == cut->key);
    }
    rest += (double)(n_equal - cut->n_equal) * square_of_key(cut->key);
    return work->energy[0][cut->key >> BIN_SHIFT] + rest;
}

void lmn__select_rest_energy(const float *vector, size_t count, const size_t *kept, size_t n_kept,
                             double *energy_out, void *scratch)
{
    assert(n_kept <= LMN__SELECT_CUTS_MAX);
    workspace *work = scratch;
    count_bins(vector, count, work);
    sum_energy_below(vector, count, work);
    memset(work->is_wanted, 0, sizeof work->is_wanted);
    uint32_t bin[LMN__SELECT_CUTS_MAX] = {0};
    size_t above[LMN__SELECT_CUTS_MAX] = {0};
    for (size_t i = 0; i < n_kept; i++) {
        bin[i] = find_bin(work->counts[0], BINS, kept[i], &above[i]);
        work->is_wanted[bin[i]] = 1;
    }
    const size_t n_keys = copy_wanted(vector, count, work);
    for (size_t i = 0; i < n_kept; i++) {
        const lmn__cut cut = cut_in_bin(work, n_keys, bin[i], above[i], kept[i]);
        energy_out[i] = energy_of_rest(work, n_keys, &cut);
    }
}
