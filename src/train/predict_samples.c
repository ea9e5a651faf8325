/*
 * Samples of any kind, drawn at random: for timing steps without a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"
#include "predict_internal.h"

static size_t field_count(const lmn_field *field, size_t rows)
{
    size_t count = rows;
    for (size_t i = 0; i < field->n_dims; i++) {
        count *= field->dims[i];
    }
    return count;
}

/* Whole numbers below n_classes, from uniform ones in their place. */
static void to_classes(void *values, size_t count, size_t n_classes)
{
    float *uniform = values;
    int32_t *classes = values;
    for (size_t i = 0; i < count; i++) {
        const size_t class = (size_t)((double)uniform[i] * (double)n_classes);
        classes[i] = (int32_t)(class < n_classes ? class : n_classes - 1);
    }
}

lmn_status lmn__profile_make_samples(lmn_profile *profile, lmn_error *err)
{
    const lmn_dataset_info *info = &profile->info;
    const size_t rows = profile->learner.inputs.rows;
    for (size_t i = 0; i < info->n_fields; i++) {
        const lmn_field *field = &info->fields[i];
        const size_t count = field_count(field, rows);
        profile->fields[i] = lmn_alloc(count, sizeof(float), err);
        if (profile->fields[i] == NULL) {
            return LMN_ERR_MEMORY;
        }
        const lmn_stream stream = {.seed = profile->seed,
                                   .layer = (uint32_t)i,
                                   .purpose = LMN_STREAM_USER,
                                   .rank = (uint16_t)lmn_world_rank(profile->world)};
        if (field->dtype == LMN_F32) {
            lmn_stream_normal(&stream, 0, count, profile->fields[i]);
        } else {
            lmn_stream_uniform(&stream, 0, count, profile->fields[i]);
            to_classes(profile->fields[i], count, info->n_classes > 0 ? info->n_classes : 1);
        }
    }
    return LMN_OK;
}
