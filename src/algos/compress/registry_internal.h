/*
 * What a compressor is made of: the families that its spec names, one or several.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPRESS_REGISTRY_INTERNAL_H
#define LAMINA_COMPRESS_REGISTRY_INTERNAL_H

#include "compress_internal.h"

/* Of a mixture. Levels of all of them together stay below 256, which is what solvers can take. */
#define LMN__MEMBERS_MAX 6

typedef struct lmn__member {
    const lmn__compressor_family *family;
    void *config; /* owned */
    lmn__compressor_levels levels;
    size_t before; /* levels above 0 of the members before: its level l is before + l of all */
} lmn__member;

struct lmn_compressor {
    size_t n_members; /* at least 1 */
    lmn__member members[LMN__MEMBERS_MAX];
    size_t n_levels;
};

/** The member whose level above 0 this is. */
const lmn__member *lmn__member_of(const lmn_compressor *compressor, size_t level);

/** The same level as its family counts. */
static inline size_t lmn__own_level(const lmn__member *member, size_t level)
{
    return level - member->before;
}

/** Where the member's part begins of what is remembered of a layer. */
lmn_compressor_memory lmn__memory_before(const lmn_compressor *compressor,
                                         const lmn__member *member, lmn_layer_shape shape);

#endif
