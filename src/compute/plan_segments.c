/*
 * Segments: what must run again for values that were dropped, and the order that follows.
 *
 * Outputs never run again, since they are seen from outside, and neither does what asks other
 * ranks, since they would wait to be asked again. Values of the latter stay as long as anybody
 * wants them; outputs may not be read for longer than in the original order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_recompute_internal.h"

#include <stdlib.h>

/* Moving a byte is taken to cost as much as so many floating point operations. */
static const double FLOPS_PER_BYTE = 4.0;

/* The nodes whose values `node` reads; returns how many. */
static size_t nodes_read(const lmn__search *s, size_t node, size_t read_out[LMN__GROUP_INPUTS_MAX])
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

static bool may_run_again(const lmn__search *s, size_t node)
{
    const lmn_tensor *last = s->nodes[node];
    return s->plan->places[last->index] == LMN__PLACE_ARENA &&
           !lmn__group_asks_ranks(s->plan, last);
}

void lmn__search_look(lmn__search *s)
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

void lmn__search_reset(lmn__search *s)
{
    for (size_t node = 0; node < s->n_nodes; node++) {
        const bool is_output = s->plan->places[s->nodes[node]->index] == LMN__PLACE_KEPT;
        s->until[node] = s->drops[node] > LMN__KEPT ? s->wait_start[node] : s->last_read[node];
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

size_t lmn__search_chain(lmn__search *s, size_t wanted, size_t at)
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

/* Append the node, which runs for the sake of `origin`: itself, or one that reads its value. */
static bool append(lmn__search *s, size_t node, size_t origin)
{
    lmn_plan *plan = s->plan;
    if (plan->n_nodes == plan->capacity) {
        return false;
    }
    plan->order[plan->n_nodes] = s->nodes[node];
    plan->again[plan->n_nodes] = node != origin;
    s->origin[plan->n_nodes] = origin;
    plan->n_nodes++;
    return true;
}

/* How long the value of `node` stays that runs again right before the node `at`. */
static size_t kept_until(const lmn__search *s, size_t node, size_t at)
{
    const bool is_dropped = s->drops[node] == LMN__DROPPED_TWICE && at < s->wait_end[node];
    return is_dropped || s->last_read[node] < at ? at : s->last_read[node];
}

/* Append what must run again for the node `at`, then that node. */
static bool append_with_chains(lmn__search *s, size_t at)
{
    size_t read[LMN__GROUP_INPUTS_MAX];
    const size_t n_read = nodes_read(s, at, read);
    bool possible = true;
    for (size_t k = 0; k < n_read && possible; k++) {
        if (at <= s->until[read[k]]) {
            continue;
        }
        const size_t n = lmn__search_chain(s, read[k], at);
        possible = n > 0;
        for (size_t i = 0; i < n && possible; i++) {
            const size_t part = s->chain[i];
            s->until[part] = kept_until(s, part, at);
            possible = append(s, part, at);
        }
    }
    return possible && append(s, at, at);
}

bool lmn__search_order(lmn__search *s)
{
    bool possible = true;
    s->plan->n_nodes = 0;
    lmn__search_reset(s);
    for (size_t node = 0; node < s->n_nodes && possible; node++) {
        possible = append_with_chains(s, node);
    }
    return possible;
}
