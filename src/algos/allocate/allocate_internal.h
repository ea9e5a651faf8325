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
    uint64_t warmup;   /* dense steps at the start; the first decision comes after them */
    uint64_t every;    /* steps between decisions; 0: never */
    uint64_t window;   /* steps before a decision that are observed */
    bool deals_curves; /* one rank takes the error curve of a layer, not all */
} lmn__allocation_times;

typedef enum lmn__curves { LMN__CURVES_DEALT = 0, LMN__CURVES_ALL = 1 } lmn__curves;

/** Keys that all allocators with decisions have: the first members of their configurations. */
typedef struct lmn__calendar {
    uint64_t every, warmup, window;
    uint64_t curves; /* lmn__curves */
} lmn__calendar;

#define LMN__CALENDAR_DEFAULTS                                                                     \
    {                                                                                              \
        .every = 200, .warmup = 20, .window = 10                                                   \
    }

#define LMN__CALENDAR_FIELDS                                                                       \
    {.key = "every",                                                                               \
     .type = LMN_SPEC_U64,                                                                         \
     .offset = offsetof(lmn__calendar, every),                                                     \
     .min = 1.0,                                                                                   \
     .max = 1e15,                                                                                  \
     .help = "steps between decisions (200)"},                                                     \
        {.key = "warmup",                                                                          \
         .type = LMN_SPEC_U64,                                                                     \
         .offset = offsetof(lmn__calendar, warmup),                                                \
         .min = 0.0,                                                                               \
         .max = 1e15,                                                                              \
         .help = "dense steps at the start, after which the first decision is made (20)"},         \
        {.key = "window",                                                                          \
         .type = LMN_SPEC_U64,                                                                     \
         .offset = offsetof(lmn__calendar, window),                                                \
         .min = 1.0,                                                                               \
         .max = 1e15,                                                                              \
         .help = "steps before a decision whose mean vector is measured (10)"},                    \
    {                                                                                              \
        .key = "curves", .type = LMN_SPEC_CHOICE, .offset = offsetof(lmn__calendar, curves),       \
        .choices = "dealt|all",                                                                    \
        .help = "each layer's errors are measured by one rank, in turns, or by all ranks on "      \
                "their own gradients (dealt)"                                                      \
    }

/** The times of a configuration that begins with a calendar. */
lmn__allocation_times lmn__calendar_times(const void *config);

/** The level that is really used: dense where a level saves nothing. */
size_t lmn__real_level(const lmn_cost_table *table, size_t layer, size_t level);

/** Report `levels` [n_layers] as they are, their errors in the table's own norm. */
lmn_allocation_report lmn__report_levels(const lmn_cost_table *table, const size_t *levels);

/** Make `chosen` [n_layers] the levels, dense where they save nothing. Returns whether any level
 *  changed. */
bool lmn__take_levels(const lmn_cost_table *table, const size_t *chosen, size_t *levels);

/** An allocator; constant. `config` is the struct that its keys filled. */
typedef struct lmn__allocator_kind {
    lmn__method method;
    bool needs_times; /* its decisions want lmn_cost_table.timings, which `decide` may rely on */
    lmn__allocation_times (*times)(const void *config);
    bool (*remembers)(const void *config);   /* NULL: no. Else energy and memory are there */
    bool (*needs_order)(const void *config); /* of levels; NULL: no */
    /* Bytes of memory that deciding needs, SIZE_MAX when too large to say; NULL: none. */
    size_t (*workspace_bytes)(const void *config, size_t n_layers, size_t n_levels);
    /* As lmn_allocator_decide, with a table whose sizes and static levels have been checked.
     * workspace  64-byte aligned, of any content */
    lmn_status (*decide)(const void *config, void *workspace, const lmn_cost_table *table,
                         size_t *levels, lmn_allocation_report *report_out, lmn_error *err);
} lmn__allocator_kind;

#define LMN__ALLOCATORS(X)                                                                         \
    X(uniform)                                                                                     \
    X(global_topk)                                                                                 \
    X(accordion)                                                                                   \
    X(lgreco)                                                                                      \
    X(time)

#define LMN__ALLOCATOR_DECLARE(name) extern const lmn__allocator_kind lmn__allocator_##name;
LMN__ALLOCATORS(LMN__ALLOCATOR_DECLARE)
#undef LMN__ALLOCATOR_DECLARE

#endif
