/*
 * What a plan will compute, for people: one line for each node, then the totals.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_report.h"

#include "text.h"

static void print_node(console *c, size_t place, const lmn_plan_node *node)
{
    char shape[96];
    lmn_shape_format(lmn_tensor_shape(node->tensor), shape, sizeof shape);
    console_answer(c, "%5zu  %-24s %-10s %10.2f %10s  %-20s %s%s", place, node->op, node->kernel,
                   node->flops * 1e-6, text_bytes((uint64_t)node->bytes).data, shape,
                   node->fused[0] != '\0' ? "then " : "", node->fused);
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
    console_answer(c, "%zu nodes, with %zu further ops fused into them; %zu work in place",
                   stats.n_nodes, stats.n_fused, stats.n_in_place);
    console_answer(c, "%.3f GFLOP in products and convolutions", stats.flops * 1e-9);
    console_answer(c, "%s for intermediate values, which would be %s if none shared memory",
                   text_bytes((uint64_t)stats.arena_bytes).data,
                   text_bytes((uint64_t)stats.unshared_bytes).data);
}
