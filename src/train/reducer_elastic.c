/*
 * What the reducer remembers, after other ranks have read it than wrote it.
 *
 * The h_i of workers were cut anew, so that their mean is what it was. h is formed from them again
 * rather than read: it then fits them to the last bit that rounding allows, also where another
 * number of ranks makes a layer be compressed that was not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <string.h>

/* Elements of h that are formed at once. */
#define BLOCK ((size_t)1 << 14)

static void keep_mean(const lmn_reducer *reducer, lmn__layer *layer, size_t first, size_t count,
                      const float *mean)
{
    if (layer->tracked != NULL) {
        memcpy(layer->tracked + first, mean, count * sizeof *mean);
    }
    layer->mean_in_slices = 0;
    const lmn__bucket *bucket = &reducer->buckets[layer->bucket];
    for (size_t e = 0; e < bucket->n_exchanges; e++) {
        lmn__exchange *exchange = bucket->exchanges[e];
        if (exchange->kind->set_mean != NULL) {
            exchange->kind->set_mean(exchange, layer, first, count, mean);
        }
    }
}

/* Collective over the team. sum, mean: [BLOCK] */
static lmn_status form_mean(const lmn_reducer *reducer, lmn__layer *layer, double *sum, float *mean,
                            lmn_error *err)
{
    for (size_t first = 0; first < layer->count; first += BLOCK) {
        const size_t count = layer->count - first < BLOCK ? layer->count - first : BLOCK;
        for (size_t k = 0; k < count; k++) {
            sum[k] = (double)layer->state[0][first + k]; /* h_i, of a mechanism that tracks */
        }
        const lmn_status status = lmn_world_sum_f64(reducer->team.world, sum, count, err);
        if (status != LMN_OK) {
            return status;
        }
        for (size_t k = 0; k < count; k++) {
            mean[k] = (float)(sum[k] / (double)reducer->team.size);
        }
        keep_mean(reducer, layer, first, count, mean);
    }
    return LMN_OK;
}

lmn_status lmn_reducer_recut(lmn_reducer *reducer, lmn_error *err)
{
    if (!lmn_feedback_tracks(reducer->feedback)) {
        return LMN_OK;
    }
    double *sum = lmn_alloc(BLOCK, sizeof *sum, err);
    float *mean = lmn_alloc(BLOCK, sizeof *mean, err);
    lmn_status status = sum == NULL || mean == NULL ? LMN_ERR_MEMORY : LMN_OK;
    status = lmn_agree(reducer->world, status, err);
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (sum != NULL && mean != NULL && !layer->small && layer->leads) {
            status = form_mean(reducer, layer, sum, mean, err);
        }
    }
    lmn_free(sum);
    lmn_free(mean);
    return lmn_agree(reducer->world, status, err);
}
