/*
 * Writing archives of arrays as numpy.savez does: zip files of .npy members, stored.
 *
 * All lengths and places are given as 64-bit numbers (zip64), whatever the size: one way to write
 * an entry, and no limit of 4 GiB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "weights_internal.h"

#include <inttypes.h>
#include <string.h>

#include <zlib.h>

#define HEADER_BYTES 512
#define CRC_BYTES    ((size_t)1 << 30)

enum {
    VERSION_ZIP64 = 45,
    EXTRA_ZIP64 = 1,
    DATE_1980 = 0x21, /* the first that the format knows: equal arrays give equal archives */
    END64_BYTES = 56
};

/* A member that was written. */
typedef struct member {
    uint64_t offset, bytes;
    uint32_t crc;
} member;

static void put_text(lmn__output *output, const char *text)
{
    lmn__output_write(output, text, strlen(text));
}

/* The header of a .npy file, of a length that is a multiple of 64. Returns its bytes. */
static size_t format_header(const lmn_weight *weight, char header[HEADER_BYTES])
{
    static const char magic[] = "\x93NUMPY\x01";
    const size_t prefix = 10; /* magic, version and length */
    size_t used = prefix;
    memset(header, ' ', HEADER_BYTES);
    used += (size_t)snprintf(header + used, HEADER_BYTES - used,
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (size_t i = 0; i < weight->n_dims; i++) {
        used += (size_t)snprintf(header + used, HEADER_BYTES - used, "%s%" PRIu64,
                                 i == 0 ? "" : ", ", weight->dims[i]);
    }
    used += (size_t)snprintf(header + used, HEADER_BYTES - used, "%s), }",
                             weight->n_dims == 1 ? "," : "");
    header[used] = ' ';
    const size_t bytes = (used + 1 + 63) / 64 * 64;
    header[bytes - 1] = '\n';
    memcpy(header, magic, sizeof magic); /* its final 0 is the minor version */
    header[8] = (char)((bytes - prefix) & 0xff);
    header[9] = (char)((bytes - prefix) >> 8);
    return bytes;
}

/* Of any length; the function of zlib takes 32 bits. */
static uint32_t crc_of(uint32_t crc, const void *data, uint64_t bytes)
{
    const unsigned char *from = data;
    while (bytes > 0) {
        const size_t some = bytes < CRC_BYTES ? (size_t)bytes : CRC_BYTES;
        crc = (uint32_t)crc32(crc, from, (uInt)some);
        from += some;
        bytes -= some;
    }
    return crc;
}

/* What the local header and the directory's entry share, between version and name. */
static void put_facts(lmn__output *output, const lmn_weight *weight, const member *item,
                      size_t extra_bytes)
{
    lmn__output_number(output, VERSION_ZIP64, 2);
    lmn__output_number(output, 1 << 11, 2); /* names are UTF-8 */
    lmn__output_number(output, 0, 2);       /* stored */
    lmn__output_number(output, 0, 2);
    lmn__output_number(output, DATE_1980, 2);
    lmn__output_number(output, item->crc, 4);
    lmn__output_number(output, UINT32_MAX, 4);
    lmn__output_number(output, UINT32_MAX, 4);
    lmn__output_number(output, strlen(weight->name) + strlen(".npy"), 2);
    lmn__output_number(output, extra_bytes, 2);
}

static void put_name(lmn__output *output, const lmn_weight *weight)
{
    put_text(output, weight->name);
    put_text(output, ".npy");
}

static void put_member(lmn__output *output, const lmn_weight *weight, member *item)
{
    char header[HEADER_BYTES];
    const size_t header_bytes = format_header(weight, header);
    const uint64_t data_bytes = lmn__weight_count(weight) * sizeof *weight->values;
    item->offset = output->bytes;
    item->bytes = header_bytes + data_bytes;
    item->crc = crc_of(crc_of(0, header, header_bytes), weight->values, data_bytes);
    put_text(output, "PK\x03\x04");
    put_facts(output, weight, item, 20);
    put_name(output, weight);
    lmn__output_number(output, EXTRA_ZIP64, 2);
    lmn__output_number(output, 16, 2);
    lmn__output_number(output, item->bytes, 8);
    lmn__output_number(output, item->bytes, 8);
    lmn__output_write(output, header, header_bytes);
    lmn__output_write(output, weight->values, (size_t)data_bytes);
}

static void put_entry(lmn__output *output, const lmn_weight *weight, const member *item)
{
    put_text(output, "PK\x01\x02");
    lmn__output_number(output, VERSION_ZIP64, 2);
    put_facts(output, weight, item, 28);
    lmn__output_number(output, 0, 2); /* comment */
    lmn__output_number(output, 0, 2); /* disk */
    lmn__output_number(output, 0, 2);
    lmn__output_number(output, 0, 4); /* attributes */
    lmn__output_number(output, UINT32_MAX, 4);
    put_name(output, weight);
    lmn__output_number(output, EXTRA_ZIP64, 2);
    lmn__output_number(output, 24, 2);
    lmn__output_number(output, item->bytes, 8);
    lmn__output_number(output, item->bytes, 8);
    lmn__output_number(output, item->offset, 8);
}

/* The two end records, with the locator between them. */
static void put_end(lmn__output *output, size_t count, uint64_t directory)
{
    const uint64_t end = output->bytes;
    put_text(output, "PK\x06\x06");
    lmn__output_number(output, END64_BYTES - 12, 8);
    lmn__output_number(output, VERSION_ZIP64, 2);
    lmn__output_number(output, VERSION_ZIP64, 2);
    lmn__output_number(output, 0, 8); /* disks */
    lmn__output_number(output, count, 8);
    lmn__output_number(output, count, 8);
    lmn__output_number(output, end - directory, 8);
    lmn__output_number(output, directory, 8);
    put_text(output, "PK\x06\x07");
    lmn__output_number(output, 0, 4);
    lmn__output_number(output, end, 8);
    lmn__output_number(output, 1, 4);
    put_text(output, "PK\x05\x06");
    lmn__output_number(output, 0, 4); /* disks */
    lmn__output_number(output, UINT16_MAX, 2);
    lmn__output_number(output, UINT16_MAX, 2);
    lmn__output_number(output, UINT32_MAX, 4);
    lmn__output_number(output, UINT32_MAX, 4);
    lmn__output_number(output, 0, 2); /* comment */
}

lmn_status lmn_npz_write(const char *path, const lmn_weight *weights, size_t count, lmn_error *err)
{
    lmn_status status = lmn__weights_check(weights, count, err);
    if (status != LMN_OK) {
        return status;
    }
    member *members = lmn_alloc(count, sizeof *members, err);
    if (members == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__output output;
    status = lmn__output_create(&output, path, err);
    if (status == LMN_OK) {
        for (size_t i = 0; i < count; i++) {
            put_member(&output, &weights[i], &members[i]);
        }
        const uint64_t directory = output.bytes;
        for (size_t i = 0; i < count; i++) {
            put_entry(&output, &weights[i], &members[i]);
        }
        put_end(&output, count, directory);
        status = lmn__output_finish(&output, LMN_OK, err);
    }
    lmn_free(members);
    return status;
}
