/*
 * Where a plan's values live.
 *
 * A value is alive from the node that writes it to the last node that reads it or a view of it.
 * Values whose lifetimes do not meet share memory. A node that may overwrite an operand which
 * nobody reads later takes over that operand's block, which then lives longer. Outputs stand apart,
 * since the caller may bind them elsewhere and reads them after the run.
 *
 * Blocks are packed largest first, each into the smallest gap that fits among the blocks that are
 * alive at the same time: "greedy by size" with best fit, Y. Pisarchyk and J. Lee, "Efficient
 * memory management for deep neural net inference", arXiv:2001.03288.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "plan_internal.h"

#include <stdint.h>
#include <stdlib.h>

/* Largest first; the position of the first write breaks ties and is unique. */
static int compare_blocks(const void *left, const void *right)
{
    const lmn__block *a = *(const lmn__block *const *)left;
    const lmn__block *b = *(const lmn__block *const *)right;
    if (a->bytes != b->bytes) {
        return a->bytes > b->bytes ? -1 : 1;
    }
    return a->first < b->first ? -1 : (int)(a->first > b->first);
}

/* The best offset for `block` among `placed` [n], which is sorted by offset. */
static size_t find_gap(const lmn__block *block, lmn__block *const *placed, size_t n)
{
    size_t end = 0; /* of the blocks so far that are alive together with this one */
    size_t best_offset = SIZE_MAX;
    size_t best_gap = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const lmn__block *other = placed[i];
        if (other->last < block->first || block->last < other->first) {
            continue;
        }
        const size_t gap = other->offset > end ? other->offset - end : 0;
        if (gap >= block->bytes && gap < best_gap) {
            best_gap = gap;
            best_offset = end;
        }
        if (other->offset + other->bytes > end) {
            end = other->offset + other->bytes;
        }
    }
    return best_offset != SIZE_MAX ? best_offset : end;
}

static void insert_sorted(lmn__block *block, lmn__block **placed, size_t n)
{
    size_t place = n;
    while (place > 0 && placed[place - 1]->offset > block->offset) {
        placed[place] = placed[place - 1];
        place--;
    }
    placed[place] = block;
}

lmn_status lmn__plan_pack(lmn__block *blocks, size_t n_blocks, size_t *bytes_out, lmn_error *err)
{
    lmn__block **by_size = (lmn__block **)lmn_alloc(n_blocks, sizeof(lmn__block *), err);
    lmn__block **placed = (lmn__block **)lmn_alloc(n_blocks, sizeof(lmn__block *), err);
    lmn_status status = LMN_ERR_MEMORY;
    if (by_size != NULL && placed != NULL) {
        size_t bytes = 0;
        for (size_t i = 0; i < n_blocks; i++) {
            by_size[i] = &blocks[i];
        }
        qsort((void *)by_size, n_blocks, sizeof(lmn__block *), compare_blocks);
        for (size_t i = 0; i < n_blocks; i++) {
            lmn__block *block = by_size[i];
            block->offset = find_gap(block, placed, i);
            insert_sorted(block, placed, i);
            const size_t end = block->offset + block->bytes;
            bytes = end > bytes ? end : bytes;
        }
        *bytes_out = bytes;
        status = LMN_OK;
    }
    lmn_free((void *)placed);
    lmn_free((void *)by_size);
    return status;
}

static const lmn_tensor *root_of(const lmn_plan *plan, const lmn_tensor *tensor)
{
    return lmn__graph_tensor(plan->graph, plan->root[tensor->index]);
}

static lmn__place place_of_kind(lmn__op_kind kind)
{
    switch (kind) {
    case LMN__OP_INPUT:
    case LMN__OP_PARAMETER:
        return LMN__PLACE_BOUND;
    case LMN__OP_CONSTANT:
        return LMN__PLACE_CONSTANT;
    case LMN__OP_COMPUTE:
        return LMN__PLACE_ARENA;
    case LMN__OP_VIEW:
    default:
        return LMN__PLACE_NONE;
    }
}

static void choose_places(lmn_plan *plan)
{
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(plan->graph, i);
        const bool is_absorbed =
            tensor->op->kind == LMN__OP_COMPUTE && plan->groups[i].first == NULL;
        plan->places[i] =
            plan->needed[i] && !is_absorbed ? place_of_kind(tensor->op->kind) : LMN__PLACE_NONE;
        if (plan->places[i] == LMN__PLACE_CONSTANT) {
            plan->constant_bytes += lmn_align_up(lmn__tensor_bytes(tensor));
        }
    }
    for (size_t k = 0; k < plan->n_outputs; k++) {
        const lmn_tensor *root = root_of(plan, plan->outputs[k].tensor);
        if (plan->places[root->index] == LMN__PLACE_ARENA) {
            plan->places[root->index] = LMN__PLACE_KEPT;
            plan->kept_bytes += lmn_align_up(lmn__tensor_bytes(root));
        }
    }
}

/*
 * Whether the group at `position` may be written over operand `k` of its op. Operands of steps are
 * never overwritten: ops may use their result as scratch memory before the steps run.
 */
static bool can_overwrite(const lmn_plan *plan, size_t position, size_t k)
{
    const lmn_tensor *last = plan->order[position];
    const lmn__group *group = &plan->groups[last->index];
    const lmn_tensor *first = group->first;
    const unsigned allowed = first->op->may_overwrite(first);
    const lmn_tensor *root = root_of(plan, first->inputs[k]);
    if ((allowed >> k & 1U) == 0 || plan->places[root->index] != LMN__PLACE_ARENA ||
        plan->last_use[plan->writer[root->index]] != position ||
        lmn__tensor_bytes(root) != lmn__tensor_bytes(last)) {
        return false;
    }
    const lmn_tensor *inputs[LMN__GROUP_INPUTS_MAX];
    const size_t n = lmn__group_inputs(plan, last, inputs);
    bool safe = true;
    for (size_t other = 0; other < n; other++) {
        const bool shares = root_of(plan, inputs[other]) == root;
        const bool is_allowed = other < first->n_inputs && (allowed >> other & 1U) != 0;
        safe = safe && (!shares || is_allowed);
    }
    return safe;
}

/* The root of the operand that the group at `position` overwrites, or NULL. */
static const lmn_tensor *find_overwritten(const lmn_plan *plan, size_t position)
{
    const lmn_tensor *first = plan->groups[plan->order[position]->index].first;
    if (first->op->may_overwrite == NULL) {
        return NULL;
    }
    for (size_t k = 0; k < first->n_inputs; k++) {
        if (can_overwrite(plan, position, k)) {
            return root_of(plan, first->inputs[k]);
        }
    }
    return NULL;
}

/* The block of what is written at `position`: that of the operand it overwrites, or a new one. */
static size_t block_at(lmn_plan *plan, size_t position)
{
    const lmn_tensor *overwritten = find_overwritten(plan, position);
    plan->in_place[position] = overwritten != NULL;
    if (overwritten != NULL) {
        return plan->block_of[plan->writer[overwritten->index]];
    }
    plan->blocks[plan->n_blocks] = (lmn__block){
        .bytes = lmn_align_up(lmn__tensor_bytes(plan->order[position])), .first = position};
    plan->n_blocks++;
    return plan->n_blocks - 1;
}

void lmn__plan_share(lmn_plan *plan)
{
    plan->n_blocks = 0;
    for (size_t position = 0; position < plan->n_nodes; position++) {
        const size_t index = plan->order[position]->index;
        plan->in_place[position] = false;
        if (plan->places[index] == LMN__PLACE_ARENA) {
            const size_t block = block_at(plan, position);
            plan->block_of[position] = block;
            plan->blocks[block].last = plan->last_use[position];
        }
        plan->writer[index] = position;
    }
}

void *lmn__plan_arena_at(const lmn_plan *plan, size_t position)
{
    return (char *)plan->arena + plan->blocks[plan->block_of[position]].offset;
}

void lmn__plan_place(lmn_plan *plan)
{
    choose_places(plan);
    for (size_t position = 0; position < plan->n_nodes; position++) {
        const size_t bytes = plan->groups[plan->order[position]->index].prepared.workspace_bytes;
        plan->workspace_bytes = bytes > plan->workspace_bytes ? bytes : plan->workspace_bytes;
    }
}
