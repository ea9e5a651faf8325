/*
 * Writing weights as a .safetensors file.
 *
 * The file is the length of its header (u64), the header, a JSON object that names type, shape and
 * place of every array, filled up with blanks to a multiple of 8 bytes, and the arrays one behind
 * the other. The header is gone through twice, once to know its length.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "weights_internal.h"

#include <inttypes.h>
#include <string.h>

/* What readers accept. */
#define HEADER_BYTES_MAX ((uint64_t)100000000)

/* Text that is written, or only counted when `output` is NULL. */
typedef struct header {
    lmn__output *output;
    uint64_t bytes;
} header;

static void put(header *h, const char *text, size_t bytes)
{
    if (h->output != NULL) {
        lmn__output_write(h->output, text, bytes);
    }
    h->bytes += bytes;
}

static void put_text(header *h, const char *text)
{
    put(h, text, strlen(text));
}

static void put_number(header *h, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    put_text(h, text);
}

/* A JSON string. */
static void put_string(header *h, const char *text)
{
    put_text(h, "\"");
    for (; *text != '\0'; text++) {
        const unsigned char sign = (unsigned char)*text;
        if (sign == '"' || sign == '\\') {
            put_text(h, "\\");
        }
        if (sign < 0x20) {
            char escape[8];
            (void)snprintf(escape, sizeof escape, "\\u%04x", sign);
            put_text(h, escape);
        } else {
            put(h, text, 1);
        }
    }
    put_text(h, "\"");
}

static void put_notes(header *h, const lmn_weight_note *notes, size_t n_notes)
{
    put_text(h, "\"__metadata__\":{");
    for (size_t i = 0; i < n_notes; i++) {
        put_text(h, i == 0 ? "" : ",");
        put_string(h, notes[i].name);
        put_text(h, ":");
        put_string(h, notes[i].text);
    }
    put_text(h, "}");
}

static void put_weight(header *h, const lmn_weight *weight, uint64_t offset)
{
    put_string(h, weight->name);
    put_text(h, ":{\"dtype\":\"F32\",\"shape\":[");
    for (size_t i = 0; i < weight->n_dims; i++) {
        put_text(h, i == 0 ? "" : ",");
        put_number(h, weight->dims[i]);
    }
    put_text(h, "],\"data_offsets\":[");
    put_number(h, offset);
    put_text(h, ",");
    put_number(h, offset + lmn__weight_count(weight) * sizeof *weight->values);
    put_text(h, "]}");
}

static void put_header(header *h, const lmn_weight *weights, size_t count,
                       const lmn_weight_note *notes, size_t n_notes)
{
    uint64_t offset = 0;
    put_text(h, "{");
    if (n_notes > 0) {
        put_notes(h, notes, n_notes);
    }
    for (size_t i = 0; i < count; i++) {
        put_text(h, i == 0 && n_notes == 0 ? "" : ",");
        put_weight(h, &weights[i], offset);
        offset += lmn__weight_count(&weights[i]) * sizeof *weights[i].values;
    }
    put_text(h, "}");
    while (h->bytes % 8 != 0) {
        put_text(h, " ");
    }
}

lmn_status lmn_safetensors_write(const char *path, const lmn_weight *weights, size_t count,
                                 const lmn_weight_note *notes, size_t n_notes, lmn_error *err)
{
    lmn_status status = lmn__weights_check(weights, count, err);
    header counted = {.output = NULL};
    put_header(&counted, weights, count, notes, n_notes);
    if (status == LMN_OK && counted.bytes > HEADER_BYTES_MAX) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "too many arrays for a .safetensors file: its header would have "
                               "%" PRIu64 " bytes",
                               counted.bytes);
    }
    if (status != LMN_OK) {
        return status;
    }
    lmn__output output;
    status = lmn__output_create(&output, path, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__output_number(&output, counted.bytes, 8);
    header written = {.output = &output};
    put_header(&written, weights, count, notes, n_notes);
    for (size_t i = 0; i < count; i++) {
        lmn__output_write(&output, weights[i].values,
                          (size_t)lmn__weight_count(&weights[i]) * sizeof *weights[i].values);
    }
    return lmn__output_finish(&output, LMN_OK, err);
}
