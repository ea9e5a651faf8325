/*
 * Plans that fit into a limit of memory: values are given up between two uses and computed again.
 *
 * Most of the memory of a training step are values of the forward pass that wait for the backward
 * pass. Such a value can be dropped after its last use before the wait, and its group run again
 * right before the first use after it, from values that are still there; what has been dropped
 * itself, or has died since, is run again first. So a chain of dropped values becomes a segment
 * between two kept ones: T. Chen et al., "Training deep nets with sublinear memory cost",
 * arXiv:1604.06174. What a segment computes again stays until its own last use.
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
#include "lamina/memory.h"
#include "plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* Moving a byte is taken to cost as much as so many floating point operations. */
static const double FLOPS_PER_BYTE = 4.0;

/* The highest load of the arena: bytes that are alive at once. */
typedef struct summit {
    size_t bytes;
    size_t n_positions; /* at which it is reached */
    size_t position;    /* the first of them */
} summit;

typedef struct candidate {
    size_t node;
    double score;
} candidate;

/* What becomes of a value during its wait. */
typedef enum drops {
    KEPT = 0,
    DROPPED_ONCE = 1, /* until a segment that it is part of runs again */
    DROPPED_TWICE = 2 /* after that, too, until it is used itself */
} drops;

/*
 * State of the search. The original order is numbered by `node`, 0 .. n_nodes - 1; positions are
 * those of the plan's present order. [n_nodes] unless said otherwise; all in one arena.
 */
typedef struct search {
    lmn_plan *plan;
    lmn_arena *tables; /* owned */
    const lmn_tensor **nodes;
    size_t n_nodes;
    size_t *node_of;    /* [n_tensors] of a root that runs: its node */
    double *work;       /* of running the node once */
    size_t *last_read;  /* node that reads its value last */
    size_t *wait_start; /* the longest time between two uses of its value: the nodes that use it */
    size_t *wait_end;   /* before and after; both 0 when it must not be dropped */
    drops *drops;       /* during its wait */
    size_t *until;      /* node up to which its value is there; scratch */
    size_t *chain;      /* nodes to run again; scratch */
    size_t *mark;       /* equals `n_marks` when in the chain */
    size_t n_marks;
    candidate *candidates;
    size_t *origin; /* [capacity] of a position: the node that runs, or for which it runs */
    size_t *load;   /* [capacity + 1] bytes alive at a position; scratch */
    summit top;     /* of the present order */
} search;

static size_t plan_bytes(const lmn_plan *plan)
{
    return plan->arena_bytes + lmn_align_up(plan->workspace_bytes) + plan->constant_bytes +
           plan->kept_bytes;
}

static lmn_status search_create(search *s, lmn_plan *plan, lmn_error *err)
{
    enum { N_TABLES = 13 };
    const size_t longest = (plan->capacity + 1) * sizeof(candidate);
    *s = (search){.plan = plan, .n_nodes = plan->n_nodes};
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

/* The nodes whose values `node` reads; returns how many. */
static size_t nodes_read(const search *s, size_t node, size_t read_out[LMN__GROUP_INPUTS_MAX])
{
    const lmn_plan *plan = s->plan;
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(plan, s->nodes[node], inputs);
    size_t n_read = 0;
    for (size_t k = 0; k < n; k++) {
        const size_t root = plan->root[inputs[k]->index];
        if (plan->groups[root].first != NULL) {
            read_out[n_read++] = s->node_of[root];
        }
    }
    return n_read;
}

/* Outputs are seen from outside, and other ranks would wait to be asked again. */
static bool may_run_again(const search *s, size_t node)
{
    const lmn_tensor *last = s->nodes[node];
    return s->plan->places[last->index] == LMN__PLACE_ARENA &&
           !lmn__group_asks_ranks(s->plan, last);
}

/* Everything about the original order. */
static void look_at_nodes(search *s)
{
    const lmn_plan *plan = s->plan;
    size_t *used = s->until; /* last use so far */
    for (size_t node = 0; node < s->n_nodes; node++) {
        const lmn_tensor *last = plan->order[node];
        s->nodes[node] = last;
        s->node_of[last->index] = node;
        s->last_read[node] = plan->last_use[node];
        s->origin[node] = node;
        s->work[node] =
            lmn__group_flops(plan, last) + FLOPS_PER_BYTE * (double)lmn__group_bytes(plan, last);
        used[node] = node;
        size_t read[LMN__GROUP_INPUTS_MAX];
        const size_t n = nodes_read(s, node, read);
        for (size_t k = 0; k < n; k++) {
            const size_t value = read[k];
            if (node - used[value] > s->wait_end[value] - s->wait_start[value] &&
                may_run_again(s, value)) {
                s->wait_start[value] = used[value];
                s->wait_end[value] = node;
            }
            used[value] = node;
        }
    }
}

/* ---- The order with what is dropped, and its load. ---- */

/* How long each value is there when nothing has run again yet. */
static void reset_until(search *s)
{
    for (size_t node = 0; node < s->n_nodes; node++) {
        const bool is_output = s->plan->places[s->nodes[node]->index] == LMN__PLACE_KEPT;
        s->until[node] = s->drops[node] > KEPT ? s->wait_start[node] : s->last_read[node];
        if (!is_output && !may_run_again(s, node)) {
            s->until[node] = SIZE_MAX; /* kept as long as anybody wants */
        }
    }
}

static int compare_nodes(const void *left, const void *right)
{
    const size_t a = *(const size_t *)left;
    const size_t b = *(const size_t *)right;
    return a < b ? -1 : (int)(a > b);
}

/*
 * Collect what must run again right before the node `at`, so that the value of `wanted` is there:
 * chain [returned count], as it must run. 0 when something may not run again.
 */
static size_t collect_chain(search *s, size_t wanted, size_t at)
{
    size_t n = 0;
    s->n_marks++;
    s->mark[wanted] = s->n_marks;
    s->chain[n++] = wanted;
    for (size_t i = 0; i < n; i++) {
        if (!may_run_again(s, s->chain[i])) {
            return 0;
        }
        size_t read[LMN__GROUP_INPUTS_MAX];
        const size_t n_read = nodes_read(s, s->chain[i], read);
        for (size_t k = 0; k < n_read; k++) {
            if (at > s->until[read[k]] && s->mark[read[k]] != s->n_marks) {
                s->mark[read[k]] = s->n_marks;
                s->chain[n++] = read[k];
            }
        }
    }
    qsort(s->chain, n, sizeof *s->chain, compare_nodes);
    return n;
}

static bool append(search *s, size_t node, size_t origin, bool again)
{
    lmn_plan *plan = s->plan;
    if (plan->n_nodes == plan->capacity) {
        return false;
    }
    plan->order[plan->n_nodes] = s->nodes[node];
    plan->again[plan->n_nodes] = again;
    s->origin[plan->n_nodes] = origin;
    plan->n_nodes++;
    return true;
}

/* How long the value of `again` stays that runs again right before `node`. */
static size_t kept_until(const search *s, size_t again, size_t node)
{
    const bool waits_on = s->drops[again] == DROPPED_TWICE && node < s->wait_end[again];
    return waits_on || s->last_read[again] < node ? node : s->last_read[again];
}

/* Append what must run again for the node, then the node. */
static bool append_with_chains(search *s, size_t node)
{
    size_t read[LMN__GROUP_INPUTS_MAX];
    const size_t n_read = nodes_read(s, node, read);
    bool possible = true;
    for (size_t k = 0; k < n_read && possible; k++) {
        if (node <= s->until[read[k]]) {
            continue;
        }
        const size_t n = collect_chain(s, read[k], node);
        possible = n > 0;
        for (size_t i = 0; i < n && possible; i++) {
            const size_t part = s->chain[i];
            s->until[part] = kept_until(s, part, node);
            possible = append(s, part, node, true);
        }
    }
    return possible && append(s, node, node, false);
}

/* The order that follows from what is dropped; false when it is not possible. */
static bool write_order(search *s)
{
    bool possible = true;
    s->plan->n_nodes = 0;
    reset_until(s);
    for (size_t node = 0; node < s->n_nodes && possible; node++) {
        possible = append_with_chains(s, node);
    }
    return possible;
}

/* The highest load of the plan's present order, whose blocks are known. */
static summit find_summit(search *s)
{
    const lmn_plan *plan = s->plan;
    memset(s->load, 0, (plan->n_nodes + 1) * sizeof *s->load);
    for (size_t i = 0; i < plan->n_blocks; i++) {
        s->load[plan->blocks[i].first] += plan->blocks[i].bytes;
        s->load[plan->blocks[i].last + 1] -= plan->blocks[i].bytes; /* may wrap; the sum does not */
    }
    summit top = {0};
    size_t bytes = 0;
    for (size_t position = 0; position < plan->n_nodes; position++) {
        bytes += s->load[position];
        if (bytes > top.bytes) {
            top = (summit){.bytes = bytes, .position = position};
        }
        top.n_positions += bytes == top.bytes ? 1 : 0;
    }
    return top;
}

/* ---- What to drop. ---- */

/* Work of what must run again when the value of `node`, and what is dropped now, is dropped. */
static double chain_work(search *s, size_t node)
{
    const size_t n = collect_chain(s, node, s->wait_end[node]);
    double work = 0.0;
    for (size_t i = 0; i < n; i++) {
        work += s->work[s->chain[i]];
    }
    return work;
}

/* Best first; equal ones as they run. */
static int compare_candidates(const void *left, const void *right)
{
    const candidate *a = left;
    const candidate *b = right;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return a->node < b->node ? -1 : (int)(a->node > b->node);
}

/* The values that wait where the load is highest, best first; returns how many. */
static size_t list_candidates(search *s)
{
    const lmn_plan *plan = s->plan;
    const size_t origin = s->origin[s->top.position];
    size_t n = 0;
    reset_until(s);
    for (size_t position = 0; position < s->top.position; position++) {
        const size_t node = s->node_of[plan->order[position]->index];
        if (plan->last_use[position] < s->top.position || s->drops[node] == DROPPED_TWICE ||
            s->wait_start[node] >= origin || s->wait_end[node] <= origin) {
            continue;
        }
        const double work = chain_work(s, node);
        const double wait = (double)(s->wait_end[node] - s->wait_start[node]);
        const double bytes = (double)lmn__tensor_bytes(s->nodes[node]);
        if (work > 0.0) {
            s->candidates[n++] = (candidate){.node = node, .score = bytes * wait / work};
        }
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
    return n;
}

/* Write the order and look whether it has a lower load than the one before. */
static bool is_better(search *s)
{
    if (!write_order(s)) {
        return false;
    }
    lmn__plan_trace(s->plan);
    lmn__plan_share(s->plan);
    const summit top = find_summit(s);
    const bool better = top.bytes < s->top.bytes ||
                        (top.bytes == s->top.bytes && top.n_positions < s->top.n_positions);
    if (better) {
        s->top = top;
    }
    return better;
}

/* Drop one more value. False, and no usable order, when none helps. */
static bool drop_one(search *s)
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
static lmn_status drop_until(search *s, size_t limit, lmn_error *err)
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
static lmn_status settle(search *s, lmn_error *err)
{
    lmn_plan *plan = s->plan;
    const bool possible = write_order(s);
    plan->arena_bytes = SIZE_MAX / 2; /* of an order that is not possible */
    if (!possible) {
        return LMN_OK;
    }
    lmn__plan_trace(plan);
    lmn__plan_share(plan);
    return lmn__plan_pack(plan->blocks, plan->n_blocks, &plan->arena_bytes, err);
}

/* The plan fits: keep again what turned out to be dropped in vain, the most expensive first. */
static lmn_status keep_again(search *s, size_t limit, lmn_error *err)
{
    size_t n = 0;
    for (size_t node = 0; node < s->n_nodes; node++) {
        if (s->drops[node] > KEPT) {
            s->candidates[n++] = (candidate){.node = node, .score = s->work[node]};
        }
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        const size_t node = s->candidates[i].node;
        const drops before = s->drops[node];
        s->drops[node] = KEPT;
        status = settle(s, err);
        s->drops[node] = plan_bytes(s->plan) > limit ? before : KEPT;
    }
    return status == LMN_OK ? settle(s, err) : status;
}

lmn_status lmn__plan_fit(lmn_plan *plan, size_t limit, lmn_error *err)
{
    lmn__plan_share(plan);
    lmn_status status = lmn__plan_pack(plan->blocks, plan->n_blocks, &plan->arena_bytes, err);
    plan->stats.unlimited_bytes = plan_bytes(plan);
    if (status == LMN_OK && limit > 0 && plan_bytes(plan) > limit) {
        search s;
        status = search_create(&s, plan, err);
        if (status == LMN_OK) {
            look_at_nodes(&s);
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
