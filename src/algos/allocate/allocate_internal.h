/*
 * Allocators: what an allocator provides, and the list of them.
 *
 * To add an allocator, write src/algos/allocate/<name>.c with a constant lmn__allocator_<name> and
 * add one line to LMN__ALLOCATORS. When to decide follows from three numbers, which registry.c
 * turns into answers about steps; deciding is one function of a cost table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ALLOCATE_INTERNAL_H
#define LAMINA_ALLOCATE_INTERNAL_H

#include "algos_internal.h"
#include "lamina/allocator.h"

/** When levels are decided, in steps. */
typedef struct lmn__allocation_times {
    uint64_t warmup; /* dense steps at the start; the first decision comes after them */
    uint64_t every;  /* steps between decisions; 0: never */
    uint64_t window; /* steps before a decision that are observed */
} lmn__allocation_times;

/** An allocator; constant. `config` is the struct that its keys filled. */
typedef struct lmn__allocator_kind {
    lmn__method method;
    bool needs_times; /* its decisions want lmn_cost_table.timings, which `decide` may rely on */
    lmn__allocation_times (*times)(const void *config);
    /* Bytes of memory that deciding needs, SIZE_MAX when too large to say; NULL: none. */
    size_t (*workspace_bytes)(const void *config, size_t n_layers, size_t n_levels);
    /* As lmn_allocator_decide, with a table whose sizes and static levels have been checked.
     * workspace  64-byte aligned, of any content */
    lmn_status (*decide)(const void *config, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err);
} lmn__allocator_kind;

#define LMN__ALLOCATORS(X)                                                                         \
    X(uniform)                                                                                     \
    X(lgreco)                                                                                      \
    X(time)

#define LMN__ALLOCATOR_DECLARE(name) extern const lmn__allocator_kind lmn__allocator_##name;
LMN__ALLOCATORS(LMN__ALLOCATOR_DECLARE)
#undef LMN__ALLOCATOR_DECLARE

#endif
