/*
 * One walk over a vector: tiles are formed in the nearest cache and scanned for large entries.
 *
 * Long vectors are cut into blocks of tiles that threads share. The number of blocks is fixed, so
 * nothing depends on the number of threads; each block lists its entries where its part of the room
 * begins, and the lists are then moved together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "select_internal.h"
#include "simd/scan.h"

#include <math.h>
#include <stdalign.h>

#define BLOCKS ((size_t)32)

/* The sample: so many short runs, spread over the vector. */
#define SAMPLE_RUNS ((size_t)128)
#define SAMPLE_RUN  ((size_t)128)
#define SAMPLE      (SAMPLE_RUNS * SAMPLE_RUN)

/* What one block found. */
typedef struct found {
    size_t n;
    bool is_finite;
    double energy[LMN__ENERGY_LANES];
} found;

static size_t block_start(size_t count, size_t n_blocks, size_t block)
{
    if (block == n_blocks) {
        return count;
    }
    const size_t n_tiles = (count + LMN__TILE - 1) / LMN__TILE;
    const size_t start = LMN__TILE * lmn_partition(n_tiles, n_blocks, block).first;
    return start < count ? start : count;
}

static void walk_block(const lmn__walk *walk, size_t start, size_t end, const lmn__entries *entries,
                       found *f)
{
    const lmn__scan_kernels *scan = lmn__scan_kernels_variant(0);
    const lmn_source *source = walk->source;
    alignas(LMN_ALIGNMENT) float tile[LMN__TILE];
    uint32_t *const indices = entries->indices + start;
    float *const values = entries->values + start;
    *f = (found){.is_finite = true};
    for (size_t first = start; first < end; first += LMN__TILE) {
        const size_t count = end - first < LMN__TILE ? end - first : LMN__TILE;
        f->is_finite &= (walk->tell_sent ? source->form_unsent : source->form)(source->user, first,
                                                                               count, tile);
        if (walk->weigh_rest) {
            f->n += scan->pick_and_weigh(tile, count, walk->floor, (uint32_t)first, indices + f->n,
                                         values + f->n, f->energy);
        } else {
            f->n += scan->pick(tile, count, walk->floor, (uint32_t)first, indices + f->n,
                               values + f->n);
        }
    }
}

static double sum_of(const double energy[LMN__ENERGY_LANES])
{
    double sum = 0.0;
    for (size_t lane = 0; lane < LMN__ENERGY_LANES; lane++) {
        sum += energy[lane];
    }
    return sum;
}

void lmn__walk_pick(lmn__walk *walk, lmn__entries *entries)
{
    const size_t n_blocks = walk->count < LMN__WALK_PARALLEL ? 1 : BLOCKS;
    found blocks[BLOCKS];
#pragma omp parallel for schedule(static) if (n_blocks > 1)
    for (size_t block = 0; block < n_blocks; block++) {
        walk_block(walk, block_start(walk->count, n_blocks, block),
                   block_start(walk->count, n_blocks, block + 1), entries, &blocks[block]);
    }
    entries->n = 0;
    walk->is_finite = true;
    walk->rest_energy = 0.0;
    for (size_t block = 0; block < n_blocks; block++) {
        const found *f = &blocks[block];
        const size_t start = block_start(walk->count, n_blocks, block);
        memmove(entries->indices + entries->n, entries->indices + start,
                f->n * sizeof entries->indices[0]);
        memmove(entries->values + entries->n, entries->values + start,
                f->n * sizeof entries->values[0]);
        entries->n += f->n;
        walk->is_finite &= f->is_finite;
        walk->rest_energy += sum_of(f->energy);
    }
}

/* The sample, formed into values [SAMPLE]. */
static void take_sample(const lmn_source *source, size_t count, float *values)
{
    for (size_t run = 0; run < SAMPLE_RUNS; run++) {
        const size_t first = lmn_partition(count, SAMPLE_RUNS, run).first;
        (void)source->form(source->user, first, SAMPLE_RUN, values + SAMPLE_RUN * run);
    }
}

static size_t count_from(const float *values, size_t n, uint32_t floor)
{
    int32_t reached = 0;
#pragma omp simd reduction(+ : reached)
    for (size_t i = 0; i < n; i++) {
        reached += (int32_t)lmn__key(values[i]) >= (int32_t)floor;
    }
    return (size_t)reached;
}

/*
 * The k largest of the vector are expected to be `share` of the sample, give or take sqrt(share). A
 * hint is taken if a little more than that reach it, but not several times as many; else the floor
 * is what half as many again and some more reach, because samples in runs vary more than single
 * ones.
 */
uint32_t lmn__walk_floor(const lmn_source *source, size_t count, size_t k, uint32_t hint,
                         const lmn__entries *entries, void *work)
{
    const uint32_t unaided = hint == 0 ? LMN__FLOOR_LOWEST : hint;
    if (count < 4 * SAMPLE || k > count / 2) {
        return unaided;
    }
    take_sample(source, count, entries->values);
    const double share = (double)SAMPLE * (double)k / (double)count;
    const double spread = sqrt(share);
    const double wanted = 1.5 * share + 6.0 * spread + 8.0;
    if (hint != 0) {
        const double reached = (double)count_from(entries->values, SAMPLE, hint);
        if (reached >= 1.1 * share - (share < 32.0 ? 2.0 * spread : 0.0) &&
            reached <= 2.0 * wanted) {
            return hint;
        }
    }
    if (wanted >= (double)SAMPLE) {
        return LMN__FLOOR_LOWEST;
    }
    const lmn__cut cut = lmn__cut_after(entries->values, SAMPLE, (size_t)wanted, work);
    return cut.key < LMN__FLOOR_LOWEST ? LMN__FLOOR_LOWEST : cut.key;
}
