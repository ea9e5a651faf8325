/*
 * Vocabularies by their spec.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "vocabulary_internal.h"

#include <string.h>

typedef struct bpe_options {
    uint64_t size;
} bpe_options;

static const lmn_spec_field bpe_fields[] = {
    {.key = "size",
     .type = LMN_SPEC_U64,
     .offset = offsetof(bpe_options, size),
     .min = LMN__BYTE_TOKENS,
     .max = LMN_VOCABULARY_MAX,
     .help = "tokens, the 256 bytes included, default 1024"},
};

enum { ENTRY_BYTES = 0, ENTRY_BPE = 1, ENTRY_COUNT = 2 };

static const lmn_spec_entry entries[ENTRY_COUNT] = {
    [ENTRY_BYTES] = {.name = "bytes", .summary = "each byte is a token"},
    [ENTRY_BPE] = {.name = "bpe",
                   .summary = "pairs that occur often become tokens, learnt from the text",
                   .fields = bpe_fields,
                   .n_fields = 1},
};

const lmn_spec_entry *lmn_vocabulary_entry(size_t index)
{
    return index < ENTRY_COUNT ? &entries[index] : NULL;
}

static lmn_status parse(const char *spec, bpe_options *options, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    lmn_status status = lmn_spec_name(spec, name, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "vocabulary");
        return status;
    }
    const char *known[ENTRY_COUNT];
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        known[i] = entries[i].name;
        if (strcmp(name, known[i]) == 0) {
            options->size = i == ENTRY_BYTES ? LMN__BYTE_TOKENS : 1024;
            return lmn_spec_parse("vocabulary", spec, entries[i].fields, entries[i].n_fields,
                                  options, err);
        }
    }
    return lmn_spec_unknown("vocabulary", name, known, ENTRY_COUNT, err);
}

lmn_status lmn_vocabulary_check(const char *spec, lmn_error *err)
{
    bpe_options options = {0};
    return parse(spec, &options, err);
}

lmn_status lmn_vocabulary_make(const char *spec, const unsigned char *text, size_t bytes,
                               lmn_vocabulary **vocabulary_out, lmn_error *err)
{
    bpe_options options = {0};
    const lmn_status status = parse(spec, &options, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn_vocabulary_train(text, bytes, options.size, vocabulary_out, err);
}
