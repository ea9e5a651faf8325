/*
 * Looking things up in an open file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"

#include <stdio.h>
#include <string.h>

typedef struct search {
    const char *name;
    attribute found;
} search;

static lmn_status compare_name(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    search *s = user;
    if (strcmp(value->name, s->name) != 0) {
        return LMN_OK;
    }
    s->found.is_there = true;
    s->found.type = value->type;
    s->found.u64 = value->u64;
    s->found.f64 = value->type == LMN_VALUE_U64 ? (double)value->u64 : value->f64;
    if (value->type == LMN_VALUE_TEXT) {
        (void)snprintf(s->found.text, sizeof s->found.text, "%s", value->text);
    }
    return LMN_OK;
}

lmn_status inspect_find(const lmn_file *file, const char *path, const char *name,
                        attribute *attribute_out, lmn_error *err)
{
    *attribute_out = (attribute){.is_there = false};
    search s = {.name = name};
    const lmn_status status = lmn_file_visit_attributes(file, path, compare_name, &s, err);
    if (status == LMN_OK) {
        *attribute_out = s.found;
    }
    return status;
}

bool inspect_is_hash(const char *name)
{
    return strstr(name, "hash") != NULL || strstr(name, "fingerprint") != NULL ||
           strstr(name, "checksum") != NULL;
}

static lmn_status add_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    (void)err;
    array_totals *totals = user;
    if (strncmp(array->path, totals->folder, strlen(totals->folder)) != 0) {
        return LMN_OK;
    }
    uint64_t elements = 1;
    for (size_t i = 0; i < array->n_dims; i++) {
        elements *= array->dims[i];
    }
    totals->count++;
    totals->elements += elements;
    totals->bytes += array->bytes;
    return LMN_OK;
}

lmn_status inspect_count_arrays(const lmn_file *file, array_totals *totals, lmn_error *err)
{
    return lmn_file_visit_arrays(file, add_array, totals, err);
}
