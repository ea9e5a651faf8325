/*
 * Choosing and configuring a method by its spec.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_internal.h"
#include "lamina/memory.h"

#include <string.h>

/* No kind of method has more members than this. */
#define METHODS_MAX 64

static lmn_status find(const char *what, const char *spec, lmn__method_list list, size_t *index_out,
                       lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    const lmn_status status = lmn_spec_name(spec, name, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "%s", what);
        return status;
    }
    const char *known[METHODS_MAX];
    size_t n_known = 0;
    for (const lmn__method *method = list(0); method != NULL && n_known < METHODS_MAX;
         method = list(n_known)) {
        if (strcmp(method->entry.name, name) == 0) {
            *index_out = n_known;
            return LMN_OK;
        }
        known[n_known++] = method->entry.name;
    }
    return lmn_spec_unknown(what, name, known, n_known, err);
}

static lmn_status configure(const char *what, const char *spec, const lmn__method *method,
                            void *config, lmn_error *err)
{
    if (method->config_bytes > 0) {
        memcpy(config, method->defaults, method->config_bytes);
    }
    const lmn_status status =
        lmn_spec_parse(what, spec, method->entry.fields, method->entry.n_fields, config, err);
    if (status != LMN_OK || method->complete == NULL) {
        return status;
    }
    return method->complete(config, err);
}

lmn_status lmn__method_configure(const char *what, const char *spec, lmn__method_list list,
                                 size_t *index_out, void **config_out, lmn_error *err)
{
    size_t index = 0;
    lmn_status status = find(what, spec, list, &index, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__method *method = list(index);
    void *config = lmn_alloc(1, method->config_bytes, err);
    if (config == NULL) {
        return LMN_ERR_MEMORY;
    }
    status = configure(what, spec, method, config, err);
    if (status != LMN_OK) {
        lmn_free(config);
        return status;
    }
    *index_out = index;
    *config_out = config;
    return LMN_OK;
}

const lmn_spec_entry *lmn__method_entry(lmn__method_list list, size_t index)
{
    const lmn__method *method = list(index);
    return method == NULL ? NULL : &method->entry;
}
