/*
 * Plans that fit into a limit of memory: values are given up between two uses and computed again.
 *
 * Most of the memory of a training step are values of the forward pass that wait for the backward
 * pass. Such a value can be dropped after its last use before the wait, and its group run again
 * right before the first use after it, from values that are still there; what has been dropped
 * itself, or has died since, is run again first. So a chain of dropped values becomes a segment
 * between two kept ones: T. Chen et al., "Training deep nets with sublinear memory cost",
 * arXiv:1604.06174. What a segment computes again stays until its own last use, unless it is
 * dropped a second time and runs again for itself. plan_segments.c has this part.
 *
 * Which values to drop is decided greedily, one at a time. Where the plan needs most memory, those
 * are looked at that wait there. They are tried in the order of
 *     bytes * length of the wait / work of running again what is missing
 * and the first is dropped with which the highest load falls, or is reached at fewer positions. So
 * short segments come first, and they merge as long as that helps. The search ends when the plan
 * fits or no value helps. Its steps do not depend on the limit: the limit only says where to stop.
 * Hence the smallest size that it meets on its way is a limit that it reaches.
 *
 * The groups of the original order keep their order, outputs are written once and are not read for
 * longer, and groups that ask other ranks run once: nobody outside sees a difference but time.
 * A group that runs again reads the bits that it read before, and random numbers come from
 * counters, so it writes the bits that it wrote before.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_recompute_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t plan_bytes(const lmn_plan *plan)
{
    return plan->arena_bytes + lmn_align_up(plan->workspace_bytes) + plan->constant_bytes +
           plan->kept_bytes;
}

static lmn_status search_create(lmn__search *s, lmn_plan *plan, lmn_error *err)
{
    enum { N_TABLES = 13 };
    const size_t longest = (plan->capacity + 1) * sizeof(lmn__candidate);
    *s = (lmn__search){.plan = plan, .n_nodes = plan->n_nodes};
    const lmn_status status = lmn_arena_create(N_TABLES * lmn_align_up(longest), &s->tables, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t n = plan->n_nodes;
    s->nodes = lmn_arena_take(s->tables, n, sizeof(lmn_tensor *));
    s->node_of = lmn_arena_take(s->tables, plan->n_tensors, sizeof *s->node_of);
    s->work = lmn_arena_take(s->tables, n, sizeof *s->work);
    s->last_read = lmn_arena_take(s->tables, n, sizeof *s->last_read);
    s->wait_start = lmn_arena_take(s->tables, n, sizeof *s->wait_start);
    s->wait_end = lmn_arena_take(s->tables, n, sizeof *s->wait_end);
    s->drops = lmn_arena_take(s->tables, n, sizeof *s->drops);
    s->until = lmn_arena_take(s->tables, n, sizeof *s->until);
    s->chain = lmn_arena_take(s->tables, n, sizeof *s->chain);
    s->mark = lmn_arena_take(s->tables, n, sizeof *s->mark);
    s->candidates = lmn_arena_take(s->tables, n, sizeof *s->candidates);
    s->origin = lmn_arena_take(s->tables, plan->capacity, sizeof *s->origin);
    s->load = lmn_arena_take(s->tables, plan->capacity + 1, sizeof *s->load);
    return LMN_OK;
}

/* The highest load of the plan's present order, whose blocks are known. */
static lmn__summit find_summit(lmn__search *s)
{
    const lmn_plan *plan = s->plan;
    memset(s->load, 0, (plan->n_nodes + 1) * sizeof *s->load);
    for (size_t i = 0; i < plan->n_blocks; i++) {
        s->load[plan->blocks[i].first] += plan->blocks[i].bytes;
        s->load[plan->blocks[i].last + 1] -= plan->blocks[i].bytes; /* may wrap; the sum does not */
    }
    lmn__summit top = {0};
    size_t bytes = 0;
    for (size_t position = 0; position < plan->n_nodes; position++) {
        bytes += s->load[position];
        if (bytes > top.bytes) {
            top = (lmn__summit){.bytes = bytes, .position = position};
        }
        top.n_positions += bytes == top.bytes ? 1 : 0;
    }
    return top;
}

/* Work of what must run again when the value of `node`, and what is dropped now, is dropped. */
static double chain_work(lmn__search *s, size_t node)
{
    const size_t n = lmn__search_chain(s, node, s->wait_end[node]);
    double work = 0.0;
    for (size_t i = 0; i < n; i++) {
        work += s->work[s->chain[i]];
    }
    return work;
}

/* Best first; equal ones as they run. */
static int compare_candidates(const void *left, const void *right)
{
    const lmn__candidate *a = left;
    const lmn__candidate *b = right;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return a->node < b->node ? -1 : (int)(a->node > b->node);
}

/* The values that wait where the load is highest, best first; returns how many. */
static size_t list_candidates(lmn__search *s)
{
    const lmn_plan *plan = s->plan;
    const size_t origin = s->origin[s->top.position];
    size_t n = 0;
    lmn__search_reset(s);
    for (size_t position = 0; position < s->top.position; position++) {
        const size_t node = s->node_of[plan->order[position]->index];
        if (plan->last_use[position] < s->top.position || s->drops[node] == LMN__DROPPED_TWICE ||
            s->wait_start[node] >= origin || s->wait_end[node] <= origin) {
            continue;
        }
        const double work = chain_work(s, node);
        const double wait = (double)(s->wait_end[node] - s->wait_start[node]);
        const double bytes = (double)lmn__tensor_bytes(s->nodes[node]);
        if (work > 0.0) {
            s->candidates[n++] = (lmn__candidate){.node = node, .score = bytes * wait / work};
        }
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
    return n;
}

/* Write the order and look whether it has a lower load than the one before. */
static bool is_better(lmn__search *s)
{
    if (!lmn__search_order(s)) {
        return false;
    }
    lmn__plan_trace(s->plan);
    lmn__plan_share(s->plan);
    const lmn__summit top = find_summit(s);
    const bool better = top.bytes < s->top.bytes ||
                        (top.bytes == s->top.bytes && top.n_positions < s->top.n_positions);
    if (better) {
        s->top = top;
    }
    return better;
}

/* Drop one more value. False, and no usable order, when none helps. */
static bool drop_one(lmn__search *s)
{
    const size_t n = list_candidates(s);
    for (size_t i = 0; i < n; i++) {
        const size_t node = s->candidates[i].node;
        s->drops[node]++;
        if (is_better(s)) {
            return true;
        }
        s->drops[node]--;
    }
    return false;
}

/* Drop values until the plan needs no more than `limit`. */
static lmn_status drop_until(lmn__search *s, size_t limit, lmn_error *err)
{
    lmn_plan *plan = s->plan;
    const size_t others = plan_bytes(plan) - plan->arena_bytes;
    size_t least = plan_bytes(plan);
    lmn_status status = LMN_OK;
    while (least > limit && status == LMN_OK && drop_one(s)) {
        if (others + s->top.bytes >= least) {
            continue; /* packing needs at least the highest load */
        }
        status = lmn__plan_pack(plan->blocks, plan->n_blocks, &plan->arena_bytes, err);
        if (status == LMN_OK && plan_bytes(plan) < least) {
            least = plan_bytes(plan);
        }
    }
    if (status == LMN_OK && least > limit) {
        status = lmn_error_set(err, LMN_ERR_MEMORY,
                               "plan: the limit of %zu bytes cannot be kept: it takes %zu bytes at "
                               "least, even with values computed again; raise the limit to that, "
                               "or make the batch smaller",
                               limit, least);
    }
    return status;
}

/* Write the order and pack it. Errors: LMN_ERR_MEMORY. */
static lmn_status settle(lmn__search *s, lmn_error *err)
{
    lmn_plan *plan = s->plan;
    const bool possible = lmn__search_order(s);
    plan->arena_bytes = SIZE_MAX / 2; /* of an order that is not possible */
    if (!possible) {
        return LMN_OK;
    }
    lmn__plan_trace(plan);
    lmn__plan_share(plan);
    return lmn__plan_pack(plan->blocks, plan->n_blocks, &plan->arena_bytes, err);
}

/* The plan fits: keep again what turned out to be dropped in vain, the most expensive first. */
static lmn_status keep_again(lmn__search *s, size_t limit, lmn_error *err)
{
    size_t n = 0;
    for (size_t node = 0; node < s->n_nodes; node++) {
        if (s->drops[node] > LMN__KEPT) {
            s->candidates[n++] = (lmn__candidate){.node = node, .score = s->work[node]};
        }
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        const size_t node = s->candidates[i].node;
        const lmn__drops before = s->drops[node];
        s->drops[node] = LMN__KEPT;
        status = settle(s, err);
        s->drops[node] = plan_bytes(s->plan) > limit ? before : LMN__KEPT;
    }
    return status == LMN_OK ? settle(s, err) : status;
}

lmn_status lmn__plan_fit(lmn_plan *plan, size_t limit, lmn_error *err)
{
    lmn__plan_share(plan);
    lmn_status status = lmn__plan_pack(plan->blocks, plan->n_blocks, &plan->arena_bytes, err);
    plan->stats.unlimited_bytes = plan_bytes(plan);
    if (status == LMN_OK && limit > 0 && plan_bytes(plan) > limit) {
        lmn__search s;
        status = search_create(&s, plan, err);
        if (status == LMN_OK) {
            lmn__search_look(&s);
            s.top = find_summit(&s);
            status = drop_until(&s, limit, err);
        }
        if (status == LMN_OK) {
            status = keep_again(&s, limit, err);
        }
        lmn_arena_destroy(s.tables);
    }
    plan->stats.arena_bytes = plan->arena_bytes + lmn_align_up(plan->workspace_bytes);
    plan->stats.memory_bytes = plan_bytes(plan);
    return status;
}
