/*
 * Reading arrays that NumPy saved: their elements, as the type that an importer wants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "npy_internal.h"
#include "zip_directory_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* One element in the type that its kind needs. */
typedef struct element {
    double number;   /* of any type, rounded where a whole number has more than 53 bits */
    int64_t integer; /* of integers */
    bool fits;       /* into i64 */
} element;

static element integer_element(int64_t value)
{
    return (element){.number = (double)value, .integer = value, .fits = true};
}

static element load_float(const lmn__npy *npy, const unsigned char *from)
{
    if (npy->type == LMN__NPY_F32) {
        float value = 0.0F;
        memcpy(&value, from, sizeof value);
        return (element){.number = (double)value};
    }
    element loaded = {0};
    memcpy(&loaded.number, from, sizeof loaded.number);
    return loaded;
}

static element load(const lmn__npy *npy, const unsigned char *from)
{
    const uint64_t bits = lmn__little_endian(from, npy->element_bytes);
    switch (npy->type) {
    case LMN__NPY_F32:
    case LMN__NPY_F64:
        return load_float(npy, from);
    case LMN__NPY_BOOL:
        return integer_element(bits == 0 ? 0 : 1);
    case LMN__NPY_I8:
        return integer_element((int8_t)bits);
    case LMN__NPY_I16:
        return integer_element((int16_t)bits);
    case LMN__NPY_I32:
        return integer_element((int32_t)bits);
    case LMN__NPY_U64:
        return (element){
            .number = (double)bits, .integer = (int64_t)bits, .fits = bits <= INT64_MAX};
    case LMN__NPY_I64:
    case LMN__NPY_U8:
    case LMN__NPY_U16:
    case LMN__NPY_U32:
        break;
    }
    return integer_element((int64_t)bits);
}

static lmn_status refuse_element(const lmn__npy *npy, uint64_t index, const char *why,
                                 lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT,
                         "element %" PRIu64 " of sample %" PRIu64 " in '%s' %s",
                         index % npy->row_elements, index / npy->row_elements, npy->name, why);
}

/* Put one element into `values` [...] at `at`, or refuse it. */
typedef lmn_status (*take_fn)(const lmn__npy *npy, const element *from, uint64_t index,
                              void *values, size_t at, lmn_error *err);

static lmn_status take_f32(const lmn__npy *npy, const element *from, uint64_t index, void *values,
                           size_t at, lmn_error *err)
{
    const float value = (float)from->number;
    ((float *)values)[at] = value;
    if (isfinite(value)) {
        return LMN_OK;
    }
    return refuse_element(
        npy, index, isfinite(from->number) ? "is too large for f32" : "is NaN or infinite", err);
}

static lmn_status take_i64(const lmn__npy *npy, const element *from, uint64_t index, void *values,
                           size_t at, lmn_error *err)
{
    ((int64_t *)values)[at] = from->integer;
    return from->fits ? LMN_OK : refuse_element(npy, index, "is too large", err);
}

static lmn_status read_elements(lmn__npy *npy, uint64_t first, size_t count, take_fn take,
                                void *values, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t done = 0; status == LMN_OK && done < count;) {
        const size_t n = count - done < npy->capacity ? count - done : npy->capacity;
        status = lmn__npy_read_bytes(npy, npy->block, n * npy->element_bytes, err);
        for (size_t i = 0; status == LMN_OK && i < n; i++) {
            const element loaded = load(npy, npy->block + i * npy->element_bytes);
            status = take(npy, &loaded, first + done + i, values, done + i, err);
        }
        done += n;
    }
    return status;
}

lmn_status lmn__npy_read_f32(lmn__npy *npy, uint64_t first, float *values, size_t count,
                             lmn_error *err)
{
    return read_elements(npy, first, count, take_f32, values, err);
}

lmn_status lmn__npy_read_i64(lmn__npy *npy, uint64_t first, int64_t *values, size_t count,
                             lmn_error *err)
{
    return read_elements(npy, first, count, take_i64, values, err);
}
