/*
 * What a plan will compute, for people: one line for each node, one for each kind of op, then the
 * totals.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_report.h"

#include "text.h"

#include <string.h>

static void print_node(console *c, size_t place, const lmn_plan_node *node)
{
    char shape[96];
    lmn_shape_format(lmn_tensor_shape(node->tensor), shape, sizeof shape);
    console_answer(c, "%5zu  %-24s %-10s %10.2f %10s  %-20s %s%s%s", place, node->op, node->kernel,
                   node->flops * 1e-6, text_bytes((uint64_t)node->bytes).data, shape,
                   node->recomputed ? "again " : "", node->fused[0] != '\0' ? "then " : "",
                   node->fused);
}

static bool is_same_kind(const lmn_plan_node *a, const lmn_plan_node *b)
{
    return strcmp(a->op, b->op) == 0 && strcmp(a->kernel, b->kernel) == 0;
}

/* Whether a node before `index` is of the same kind. */
static bool has_come(const lmn_plan *plan, size_t index)
{
    const lmn_plan_node own = lmn_plan_get_node(plan, index);
    for (size_t i = 0; i < index; i++) {
        const lmn_plan_node node = lmn_plan_get_node(plan, i);
        if (is_same_kind(&node, &own)) {
            return true;
        }
    }
    return false;
}

/* All nodes of the kind of the one at `first`, which is the first of them. */
static void print_kind(console *c, const lmn_plan *plan, size_t first, size_t n_nodes)
{
    const lmn_plan_node own = lmn_plan_get_node(plan, first);
    size_t count = 0;
    double flops = 0.0;
    uint64_t bytes = 0;
    for (size_t i = first; i < n_nodes; i++) {
        const lmn_plan_node node = lmn_plan_get_node(plan, i);
        if (is_same_kind(&node, &own)) {
            count++;
            flops += node.flops;
            bytes += node.bytes;
        }
    }
    console_answer(c, "%5zu  %-24s %-10s %10.2f %10s", count, own.op, own.kernel, flops * 1e-6,
                   text_bytes(bytes).data);
}

static void print_kinds(console *c, const lmn_plan *plan, size_t n_nodes)
{
    console_answer(c, "%s", "");
    console_answer(c, "%5s  %-24s %-10s %10s %10s", "nodes", "op", "kernel", "MFLOP", "moved");
    for (size_t i = 0; i < n_nodes; i++) {
        if (!has_come(plan, i)) {
            print_kind(c, plan, i, n_nodes);
        }
    }
}

static uint64_t moved_bytes(const lmn_plan *plan, size_t n_nodes)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_nodes; i++) {
        bytes += lmn_plan_get_node(plan, i).bytes;
    }
    return bytes;
}

static void print_totals(console *c, const lmn_plan *plan, const lmn_plan_stats *stats)
{
    console_answer(c, "%s", "");
    console_answer(c, "%zu nodes, with %zu further ops fused into them; %zu work in place",
                   stats->n_nodes, stats->n_fused, stats->n_in_place);
    console_answer(c, "%.3f GFLOP in products and convolutions, %s read and written",
                   stats->flops * 1e-9, text_bytes(moved_bytes(plan, stats->n_nodes)).data);
    console_answer(c, "%s for intermediate values, which would be %s if none shared memory",
                   text_bytes((uint64_t)stats->arena_bytes).data,
                   text_bytes((uint64_t)stats->unshared_bytes).data);
    console_answer(c, "%s (%zu bytes) with outputs and constants: what --memory limits",
                   text_bytes((uint64_t)stats->memory_bytes).data, stats->memory_bytes);
    if (stats->n_recomputed > 0) {
        const double once = stats->flops - stats->recomputed_flops;
        console_answer(
            c,
            "of the nodes %zu compute again what was given up: %.3f GFLOP more (%.1f %%), "
            "%s less memory",
            stats->n_recomputed, stats->recomputed_flops * 1e-9,
            once > 0.0 ? 100.0 * stats->recomputed_flops / once : 0.0,
            text_bytes((uint64_t)(stats->unlimited_bytes - stats->memory_bytes)).data);
    }
}

void plan_report_print(console *c, const lmn_plan *plan)
{
    const lmn_plan_stats stats = lmn_plan_get_stats(plan);
    console_answer(c, "%5s  %-24s %-10s %10s %10s  %-20s %s", "place", "op", "kernel", "MFLOP",
                   "moved", "shape", "fused");
    for (size_t i = 0; i < stats.n_nodes; i++) {
        const lmn_plan_node node = lmn_plan_get_node(plan, i);
        print_node(c, i, &node);
    }
    print_kinds(c, plan, stats.n_nodes);
    print_totals(c, plan, &stats);
}
