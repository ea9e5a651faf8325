/*
 * A vocabulary in checkpoints: the array /vocabulary/merges where there are merges, and two texts
 * that say which vocabulary it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/generator.h"
#include "lamina/inspect.h"
#include "trainer_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BYTE_TOKENS 256
#define TEXT_BYTES  64

static const char merges_path[] = "/vocabulary/merges";

static lmn_status keep_merges(lmn_trainer *trainer, const lmn_vocabulary *vocabulary,
                              lmn_error *err)
{
    const size_t dims[2] = {lmn_vocabulary_size(vocabulary) - BYTE_TOKENS, 2};
    const lmn_merge *merges = lmn_vocabulary_merges(vocabulary);
    trainer->merges = lmn_alloc(2 * dims[0], sizeof *trainer->merges, err);
    if (trainer->merges == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t m = 0; m < dims[0]; m++) {
        trainer->merges[2 * m] = merges[m].first;
        trainer->merges[2 * m + 1] = merges[m].second;
    }
    return lmn_state_add_array(trainer->state, merges_path, "1", LMN_STATE_REPLICATED,
                               LMN_STATE_U64, 2, dims, trainer->merges, err);
}

lmn_status lmn_trainer_keep_vocabulary(lmn_trainer *trainer, const lmn_vocabulary *vocabulary,
                                       lmn_error *err)
{
    const size_t size = lmn_vocabulary_size(vocabulary);
    char name[TEXT_BYTES] = "bytes";
    char hash[TEXT_BYTES];
    if (size > BYTE_TOKENS) {
        (void)snprintf(name, sizeof name, "bpe:size=%zu", size);
    }
    (void)snprintf(hash, sizeof hash, "0x%016" PRIx64, lmn_vocabulary_hash(vocabulary));
    lmn_status status = lmn_trainer_describe(trainer, "vocabulary", name, true, err);
    if (status == LMN_OK) {
        status = lmn_trainer_describe(trainer, "vocabulary_hash", hash, true, err);
    }
    return status == LMN_OK && size > BYTE_TOKENS ? keep_merges(trainer, vocabulary, err) : status;
}

/* name [TEXT_BYTES] of the vocabulary */
static lmn_status take_name(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    if (value->type == LMN_VALUE_TEXT && strcmp(value->name, "vocabulary") == 0) {
        (void)snprintf(user, TEXT_BYTES, "%s", value->text);
    }
    return LMN_OK;
}

/* values [2 * n_merges] of whole numbers */
static lmn_status from_values(const double *values, size_t n_merges,
                              lmn_vocabulary **vocabulary_out, lmn_error *err)
{
    lmn_merge *merges = lmn_alloc(n_merges, sizeof *merges, err);
    if (merges == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = LMN_OK;
    for (size_t m = 0; m < n_merges && status == LMN_OK; m++) {
        const double *pair = values + 2 * m;
        if (pair[0] < LMN_VOCABULARY_MAX && pair[1] < LMN_VOCABULARY_MAX) {
            merges[m] = (lmn_merge){(uint32_t)pair[0], (uint32_t)pair[1]};
        } else {
            status = lmn_error_set(err, LMN_ERR_FORMAT, "vocabulary: merge %zu is damaged", m);
        }
    }
    if (status == LMN_OK) {
        status = lmn_vocabulary_create(merges, n_merges, vocabulary_out, err);
    }
    lmn_free(merges);
    return status;
}

static lmn_status read_vocabulary(const lmn_file *file, lmn_vocabulary **vocabulary_out,
                                  lmn_error *err)
{
    char name[TEXT_BYTES] = "";
    lmn_status status = lmn_file_visit_attributes(file, "/", take_name, name, err);
    if (status != LMN_OK) {
        return status;
    }
    if (lmn_file_get_kind(file) != LMN_FILE_CHECKPOINT || name[0] == '\0') {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "there is no vocabulary in it: it is not a checkpoint of `lamina "
                             "train text`");
    }
    if (strcmp(name, "bytes") == 0) {
        return lmn_vocabulary_create(NULL, 0, vocabulary_out, err);
    }
    double *values = NULL;
    size_t count = 0;
    status = lmn_file_read_f64(file, merges_path, &values, &count, err);
    if (status == LMN_OK) {
        status = from_values(values, count / 2, vocabulary_out, err);
    }
    lmn_free(values);
    return status;
}

lmn_status lmn_generator_vocabulary(const char *checkpoint, lmn_vocabulary **vocabulary_out,
                                    lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = lmn_file_open(checkpoint, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    status = read_vocabulary(file, vocabulary_out, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", checkpoint);
    }
    lmn_file_close(file);
    return status;
}
