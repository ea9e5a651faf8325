/*
 * The knapsack of L-GreCo without rounding: all assignments of the first layers that no other beats
 * in both bytes and error, layer after layer.
 *
 * Such a front is sorted by error, and its bytes fall. One more layer shifts it by each level and
 * merges the copies. Its length may double and more with every layer, so there is a limit, beyond
 * which the rounded table of knapsack.c takes over; problems of a few layers, and those with few
 * different errors, stay below it.
 *
 * Method: G. L. Nemhauser, Z. Ullmann, "Discrete dynamic programming and capital allocation",
 * Management Science 15 (1969).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "front_internal.h"
#include "lamina/memory.h"

#include <stdbool.h>
#include <string.h>

#define POINTS_MAX ((size_t)4096)
/* Points looked at in all: some milliseconds, which is what the rounded table takes, too. */
#define WORK_MAX ((size_t)2000000)

typedef struct front {
    size_t n;
    uint64_t *error;  /* [POINTS_MAX] ascending */
    uint64_t *bytes;  /* [POINTS_MAX] descending */
    uint16_t *parent; /* [POINTS_MAX] point of the front before */
    uint8_t *level;   /* [POINTS_MAX] that leads there from the parent */
} front;

typedef struct front_memory {
    front before, merged, spare;
    uint16_t *parents; /* [n_layers][POINTS_MAX] of finished fronts */
    uint8_t *levels;   /* [n_layers][POINTS_MAX] */
} front_memory;

#define POINT_BYTES (2 * sizeof(uint64_t) + sizeof(uint16_t) + sizeof(uint8_t))
#define KEPT_BYTES  (sizeof(uint16_t) + sizeof(uint8_t))

size_t lmn__front_scratch_bytes(size_t n_layers)
{
    if (n_layers > SIZE_MAX / 2 / (POINTS_MAX * KEPT_BYTES)) {
        return SIZE_MAX;
    }
    return POINTS_MAX * (3 * POINT_BYTES + n_layers * KEPT_BYTES);
}

static front cut_front(unsigned char **memory)
{
    front f = {0};
    f.error = (void *)*memory;
    f.bytes = f.error + POINTS_MAX;
    f.parent = (void *)(f.bytes + POINTS_MAX);
    f.level = (void *)(f.parent + POINTS_MAX);
    *memory += POINTS_MAX * POINT_BYTES;
    return f;
}

static front_memory lay_out(size_t n_layers, void *scratch)
{
    unsigned char *memory = scratch;
    front_memory m = {0};
    m.before = cut_front(&memory);
    m.merged = cut_front(&memory);
    m.spare = cut_front(&memory);
    m.parents = (void *)memory;
    m.levels = (void *)(m.parents + n_layers * POINTS_MAX);
    return m;
}

/* One level of the layer in hand. */
typedef struct offer {
    uint64_t error, bytes;
    uint8_t level;
} offer;

/* Append a point unless the last one is as good. False when there is no room. */
static bool append(front *f, uint64_t error, uint64_t bytes, size_t parent, uint8_t level)
{
    if (f->n > 0 && bytes >= f->bytes[f->n - 1]) {
        return true;
    }
    if (f->n == POINTS_MAX) {
        return false;
    }
    f->error[f->n] = error;
    f->bytes[f->n] = bytes;
    f->parent[f->n] = (uint16_t)parent;
    f->level[f->n] = level;
    f->n++;
    return true;
}

/* Whether point i of `merged` comes before point k of `before` under the offer. */
static bool comes_first(const front *merged, size_t i, const front *before, size_t k,
                        const offer *o)
{
    const uint64_t error = before->error[k] + o->error;
    if (merged->error[i] != error) {
        return merged->error[i] < error;
    }
    return merged->bytes[i] <= before->bytes[k] + o->bytes;
}

/* out = points of `merged` and of `before` under the offer that none beats. False: no room. */
static bool merge(const front *merged, const front *before, const offer *o, uint64_t budget,
                  front *out)
{
    out->n = 0;
    size_t usable = before->n;
    while (usable > 0 && before->error[usable - 1] > budget - o->error) {
        usable--;
    }
    size_t i = 0;
    size_t k = 0;
    bool fits = true;
    while ((i < merged->n || k < usable) && fits) {
        if (k == usable || (i < merged->n && comes_first(merged, i, before, k, o))) {
            fits = append(out, merged->error[i], merged->bytes[i], merged->parent[i],
                          merged->level[i]);
            i++;
        } else {
            fits =
                append(out, before->error[k] + o->error, before->bytes[k] + o->bytes, k, o->level);
            k++;
        }
    }
    return fits;
}

static void swap(front *a, front *b)
{
    const front kept = *a;
    *a = *b;
    *b = kept;
}

/* From the front of the layers before to that with one more. False: too long, or too much work. */
static bool add_layer(const lmn_lgreco_problem *problem, front_memory *m, size_t layer,
                      size_t *work)
{
    const size_t row = layer * problem->n_levels;
    m->merged.n = 0;
    for (size_t level = 0; level < problem->n_levels; level++) {
        const offer o = {.error = problem->error[row + level],
                         .bytes = problem->bytes[row + level],
                         .level = (uint8_t)level};
        if (o.error == UINT64_MAX || o.error > problem->budget) {
            continue;
        }
        *work += m->merged.n + m->before.n;
        if (*work > WORK_MAX || !merge(&m->merged, &m->before, &o, problem->budget, &m->spare)) {
            return false;
        }
        swap(&m->merged, &m->spare);
    }
    memcpy(m->parents + layer * POINTS_MAX, m->merged.parent, m->merged.n * sizeof(uint16_t));
    memcpy(m->levels + layer * POINTS_MAX, m->merged.level, m->merged.n * sizeof(uint8_t));
    swap(&m->before, &m->merged);
    return true;
}

lmn__front_outcome lmn__front_solve(const lmn_lgreco_problem *problem, void *scratch,
                                    size_t *levels_out)
{
    front_memory m = lay_out(problem->n_layers, scratch);
    (void)append(&m.before, 0, 0, 0, 0);
    size_t work = 0;
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        if (!add_layer(problem, &m, layer, &work)) {
            return LMN__FRONT_TOO_LONG;
        }
    }
    if (m.before.n == 0) {
        return LMN__FRONT_INFEASIBLE;
    }
    size_t point = m.before.n - 1;
    for (size_t layer = problem->n_layers; layer-- > 0;) {
        levels_out[layer] = m.levels[layer * POINTS_MAX + point];
        point = m.parents[layer * POINTS_MAX + point];
    }
    return LMN__FRONT_SOLVED;
}
