/*
 * Plans of random graphs, checked by brute force.
 *
 * A plan must give the bits of the naive executor, keep every two values that are alive at once
 * apart, and need no more memory than without sharing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/plan_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"
#include "naive_run.h"
#include "random_graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N_GRAPHS 200

static const lmn_run PLAIN_RUN = {.training = false};

/* A plan with memory for its inputs, parameters and some of its outputs. */
typedef struct bound_plan {
    lmn_plan *plan;
    void *memory[RANDOM_GRAPH_VALUES_MAX];
    size_t n_memory;
} bound_plan;

static void *take_memory(bound_plan *bound, const lmn_tensor *tensor)
{
    void *memory = lmn_alloc(1, lmn__tensor_bytes(tensor), NULL);
    assert_non_null(memory);
    assert_true(bound->n_memory < RANDOM_GRAPH_VALUES_MAX);
    bound->memory[bound->n_memory] = memory;
    bound->n_memory++;
    assert_int_equal(lmn_plan_bind(bound->plan, tensor, memory, NULL), LMN_OK);
    return memory;
}

static bound_plan bind_plan(random_graph *s)
{
    bound_plan bound = {.plan = check_new_plan(s->graph, s->outputs, s->n_outputs)};
    for (size_t i = 0; i < RANDOM_GRAPH_BOUND; i++) {
        naive_fill(s->values[i], s->dice.seed, take_memory(&bound, s->values[i]));
    }
    for (size_t k = 0; k < s->n_outputs; k++) {
        const lmn__op_kind kind = s->outputs[k]->op->kind;
        if (kind != LMN__OP_INPUT && kind != LMN__OP_PARAMETER && dice_roll(&s->dice, 2) == 1) {
            (void)take_memory(&bound, s->outputs[k]);
        }
    }
    return bound;
}

static void assert_same_outputs(const random_graph *s, const lmn_plan *plan,
                                const naive_values *expected)
{
    for (size_t k = 0; k < s->n_outputs; k++) {
        const void *value = lmn_plan_value(plan, s->outputs[k]);
        const size_t bytes = lmn__tensor_bytes(s->outputs[k]);
        if (memcmp(value, naive_value(expected, s->outputs[k]), bytes) != 0) {
            fail_msg("seed %zu: output %zu differs", (size_t)s->dice.seed, k);
        }
    }
}

static void plan_run_of_random_graphs_equals_the_naive_executor(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_GRAPHS; seed++) {
        random_graph s = random_graph_create(seed);
        naive_values expected = naive_run(s.graph, seed, &PLAIN_RUN);
        bound_plan bound = bind_plan(&s);
        for (size_t run = 0; run < 2; run++) {
            memset(bound.plan->arena, 0xFF, bound.plan->arena_bytes);
            memset(bound.plan->workspace, 0xFF, bound.plan->workspace_bytes);
            assert_int_equal(lmn_plan_run(bound.plan, &PLAIN_RUN, NULL), LMN_OK);
            assert_same_outputs(&s, bound.plan, &expected);
        }
        for (size_t i = 0; i < bound.n_memory; i++) {
            lmn_free(bound.memory[i]);
        }
        lmn_plan_destroy(bound.plan);
        naive_free(&expected);
        random_graph_destroy(&s);
    }
}

/* Fusing moves ops into others and loses none; that no bit changes is tested above. */
static void plan_fused_random_graphs_equal_unfused_ones(void **state)
{
    (void)state;
    size_t n_fused = 0;
    for (uint64_t seed = 0; seed < N_GRAPHS; seed++) {
        random_graph s = random_graph_create(seed);
        const lmn_plan_options unfused = {.fuse = false};
        lmn_plan *plan = NULL;
        assert_int_equal(lmn_plan_create(s.graph, s.outputs, s.n_outputs, &unfused, &plan, NULL),
                         LMN_OK);
        assert_int_equal(lmn_plan_get_stats(plan).n_fused, 0);
        const size_t n_nodes = lmn_plan_get_stats(plan).n_nodes;
        lmn_plan_destroy(plan);
        plan = check_new_plan(s.graph, s.outputs, s.n_outputs);
        const lmn_plan_stats stats = lmn_plan_get_stats(plan);
        assert_int_equal(stats.n_nodes + stats.n_fused, n_nodes);
        n_fused += stats.n_fused;
        lmn_plan_destroy(plan);
        random_graph_destroy(&s);
    }
    assert_true(n_fused > N_GRAPHS / 4);
}

/* Where and when a value lives, found anew from the order of the nodes. */
typedef struct life {
    const lmn_tensor *value;
    size_t first;
    size_t last;
    const char *start;
    const char *end;
} life;

static const lmn_tensor *behind_views(const lmn_tensor *tensor)
{
    while (tensor->op->kind == LMN__OP_VIEW) {
        tensor = tensor->inputs[0];
    }
    return tensor;
}

/* Whether the group that ends at `last` reads the value. */
static bool reads(const lmn_plan *plan, const lmn_tensor *last, const lmn_tensor *value)
{
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(plan, last, inputs);
    bool found = false;
    for (size_t k = 0; k < n; k++) {
        found = found || behind_views(inputs[k]) == value;
    }
    return found;
}

static life life_of(const lmn_plan *plan, size_t position)
{
    const lmn_tensor *value = plan->order[position];
    life result = {.value = value, .first = position, .last = position};
    for (size_t later = position; later < plan->n_nodes; later++) {
        if (reads(plan, plan->order[later], value)) {
            result.last = later;
        }
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        if (behind_views(plan->outputs[k].tensor) == value) {
            result.last = SIZE_MAX;
        }
    }
    result.start = plan->memory[value->index];
    result.end = result.start + lmn__tensor_bytes(value);
    return result;
}

/*
 * The op of `b`, which is made when `a` is read last, allows that b is written over a, and no fused
 * step reads a.
 */
static bool is_allowed_in_place(const lmn_plan *plan, const life *a, const life *b)
{
    const lmn__group *group = &plan->groups[b->value->index];
    const lmn_tensor *node = group->first;
    if (a->last != b->first || a->start != b->start || node->op->may_overwrite == NULL) {
        return false;
    }
    bool allowed = reads(plan, b->value, a->value);
    for (size_t k = 0; k < node->n_inputs; k++) {
        const bool bit = (node->op->may_overwrite(node) >> k & 1U) != 0;
        allowed = allowed && (bit || behind_views(node->inputs[k]) != a->value);
    }
    for (size_t k = 0; k < group->n_steps; k++) {
        const lmn_tensor *operand = group->operands[k];
        allowed = allowed && (operand == NULL || behind_views(operand) != a->value);
    }
    return allowed;
}

static void assert_apart(const lmn_plan *plan, const life *a, const life *b, uint64_t seed)
{
    const bool meet = a->last >= b->first; /* a is the elder */
    const bool overlap = a->start < b->end && b->start < a->end;
    if (meet && overlap && !is_allowed_in_place(plan, a, b)) {
        fail_msg("seed %zu: values %zu and %zu share memory while both are alive", (size_t)seed,
                 a->value->index, b->value->index);
    }
}

static void plan_memory_of_random_graphs_keeps_live_values_apart(void **state)
{
    (void)state;
    size_t n_in_place = 0;
    size_t n_shared = 0;
    for (uint64_t seed = 0; seed < N_GRAPHS; seed++) {
        random_graph s = random_graph_create(seed);
        lmn_plan *plan = check_new_plan(s.graph, s.outputs, s.n_outputs);
        for (size_t j = 0; j < plan->n_nodes; j++) {
            const life b = life_of(plan, j);
            for (size_t i = 0; i < j; i++) {
                const life a = life_of(plan, i);
                assert_apart(plan, &a, &b, seed);
                n_shared += a.start < b.end && b.start < a.end ? 1 : 0;
            }
            const lmn__place place = plan->places[b.value->index];
            const char *arena = plan->arena;
            assert_true(place != LMN__PLACE_ARENA ||
                        (b.start >= arena && b.end <= arena + plan->arena_bytes));
        }
        const lmn_plan_stats stats = lmn_plan_get_stats(plan);
        assert_true(stats.arena_bytes <= stats.unshared_bytes);
        n_in_place += stats.n_in_place;
        lmn_plan_destroy(plan);
        random_graph_destroy(&s);
    }
    /* The test has seen what it is about. */
    assert_true(n_in_place > N_GRAPHS);
    assert_true(n_shared > N_GRAPHS);
}

/* Whether `value` is there before the node at `position` runs. */
static bool is_there(const lmn_plan *plan, const lmn_tensor *value, size_t position)
{
    bool found = value->op->kind != LMN__OP_COMPUTE;
    for (size_t i = 0; i < position; i++) {
        found = found || plan->order[i] == value;
    }
    return found;
}

static void assert_in_order(const lmn_plan *plan, size_t position)
{
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(plan, plan->order[position], inputs);
    for (size_t k = 0; k < n; k++) {
        assert_true(is_there(plan, behind_views(inputs[k]), position));
    }
    const life value = life_of(plan, position);
    assert_true(value.last > position); /* somebody reads it, or it is an output */
}

static void plan_order_of_random_graphs_runs_needed_nodes_after_their_inputs(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < N_GRAPHS; seed++) {
        random_graph s = random_graph_create(seed);
        lmn_plan *plan = check_new_plan(s.graph, s.outputs, s.n_outputs);
        for (size_t position = 0; position < plan->n_nodes; position++) {
            assert_in_order(plan, position);
        }
        lmn_plan_destroy(plan);
        random_graph_destroy(&s);
    }
}

/* Packing alone, with lifetimes and sizes that no graph would give. */
static void plan_pack_of_random_blocks_keeps_live_ones_apart(void **state)
{
    (void)state;
    enum { N_BLOCKS = 40, N_POSITIONS = 30 };
    dice source = {.seed = 99};
    for (size_t trial = 0; trial < N_GRAPHS; trial++) {
        lmn__block blocks[N_BLOCKS] = {{0}};
        size_t sum = 0;
        for (size_t i = 0; i < N_BLOCKS; i++) {
            const size_t first = dice_roll(&source, N_POSITIONS);
            blocks[i].bytes = LMN_ALIGNMENT * (1 + dice_roll(&source, 8));
            blocks[i].first = first;
            blocks[i].last = first + dice_roll(&source, N_POSITIONS - first);
            sum += blocks[i].bytes;
        }
        size_t bytes = 0;
        assert_int_equal(lmn__plan_pack(blocks, N_BLOCKS, &bytes, NULL), LMN_OK);
        assert_true(bytes <= sum);
        for (size_t i = 0; i < N_BLOCKS; i++) {
            assert_int_equal(blocks[i].offset % LMN_ALIGNMENT, 0);
            assert_true(blocks[i].offset + blocks[i].bytes <= bytes);
            for (size_t k = 0; k < i; k++) {
                const bool meet =
                    blocks[i].first <= blocks[k].last && blocks[k].first <= blocks[i].last;
                const bool overlap = blocks[i].offset < blocks[k].offset + blocks[k].bytes &&
                                     blocks[k].offset < blocks[i].offset + blocks[i].bytes;
                assert_false(meet && overlap);
            }
        }
    }
}

static void plan_pack_of_consecutive_blocks_needs_the_largest(void **state)
{
    (void)state;
    lmn__block blocks[] = {
        {.bytes = 128, .first = 0, .last = 1},
        {.bytes = 256, .first = 2, .last = 3},
        {.bytes = 64, .first = 4, .last = 4},
    };
    size_t bytes = 0;
    assert_int_equal(lmn__plan_pack(blocks, 3, &bytes, NULL), LMN_OK);
    assert_int_equal(bytes, 256);
    assert_int_equal(lmn__plan_pack(blocks, 0, &bytes, NULL), LMN_OK);
    assert_int_equal(bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_run_of_random_graphs_equals_the_naive_executor),
        cmocka_unit_test(plan_fused_random_graphs_equal_unfused_ones),
        cmocka_unit_test(plan_memory_of_random_graphs_keeps_live_values_apart),
        cmocka_unit_test(plan_order_of_random_graphs_runs_needed_nodes_after_their_inputs),
        cmocka_unit_test(plan_pack_of_random_blocks_keeps_live_ones_apart),
        cmocka_unit_test(plan_pack_of_consecutive_blocks_needs_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
