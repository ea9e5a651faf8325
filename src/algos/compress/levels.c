/*
 * Levels of families whose strength is one number.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "levels_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The range that L-GreCo searches by default: down to half of the static level, because a layer
   that is refreshed ever more rarely learns from ever older gradients, whatever its share of the
   error. */
static const double default_multiples[] = {20.0, 10.0, 5.0, 2.0, 0.5};

size_t lmn__level_insert(lmn__level_list *list, double value)
{
    size_t place = 0;
    while (place < list->count && list->values[place] > value) {
        place++;
    }
    if (place == list->count || list->values[place] < value) {
        assert(list->count < LMN__LEVELS_MAX);
        memmove(&list->values[place + 1], &list->values[place],
                (list->count - place) * sizeof list->values[0]);
        list->values[place] = value;
        list->count++;
    }
    return place + 1;
}

size_t lmn__density_levels(double density, const lmn_spec_list *levels, lmn__level_list *list_out)
{
    *list_out = (lmn__level_list){.count = 0};
    for (size_t i = 0; i < levels->count; i++) {
        (void)lmn__level_insert(list_out, levels->values[i]);
    }
    const size_t n_multiples = sizeof default_multiples / sizeof default_multiples[0];
    for (size_t i = 0; i < n_multiples && levels->count == 0; i++) {
        if (default_multiples[i] * density <= 1.0) {
            (void)lmn__level_insert(list_out, default_multiples[i] * density);
        }
    }
    return lmn__level_insert(list_out, density);
}

size_t lmn__entries_kept(double density, size_t count)
{
    /* The slack keeps 0.07 of 100, a hair above 7 in binary, at 7. */
    const double wanted = ceil(density * (double)count * (1.0 - 1e-12));
    const size_t k = wanted < (double)count ? (size_t)wanted : count;
    return k == 0 && count > 0 ? 1 : k;
}
