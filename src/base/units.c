/*
 * Sizes and durations as people write them: a decimal number and a unit.
 *
 * Sizes go through a double, which is exact for whole numbers of bytes up to 2^53; larger ones are
 * refused instead of rounded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base_internal.h"
#include "lamina/spec.h"

#include <math.h>
#include <string.h>

typedef struct unit {
    const char *suffix;
    double factor;
} unit;

static const double LARGEST_EXACT = 0x1p53;

/* The factor of `suffix`, or 0 when no unit has this name. */
static double find_unit(const unit *units, size_t n_units, const char *suffix)
{
    for (size_t i = 0; i < n_units; i++) {
        if (strcmp(units[i].suffix, suffix) == 0) {
            return units[i].factor;
        }
    }
    return 0.0;
}

/* A number that is not negative, times its unit; false when either is wrong. */
static bool scan_quantity(const char *text, const unit *units, size_t n_units, double *value_out)
{
    double number = 0.0;
    const char *suffix = NULL;
    if (!lmn__scan_number(text, &number, &suffix) || number < 0.0) {
        return false;
    }
    const double factor = find_unit(units, n_units, suffix);
    *value_out = number * factor;
    return factor > 0.0 && isfinite(*value_out);
}

lmn_status lmn_parse_bytes(const char *text, uint64_t *bytes_out, lmn_error *err)
{
    static const unit units[] = {{"", 1.0},      {"B", 1.0},      {"k", 1e3},     {"kB", 1e3},
                                 {"K", 1e3},     {"KB", 1e3},     {"M", 1e6},     {"MB", 1e6},
                                 {"G", 1e9},     {"GB", 1e9},     {"T", 1e12},    {"TB", 1e12},
                                 {"Ki", 0x1p10}, {"KiB", 0x1p10}, {"Mi", 0x1p20}, {"MiB", 0x1p20},
                                 {"Gi", 0x1p30}, {"GiB", 0x1p30}, {"Ti", 0x1p40}, {"TiB", 0x1p40}};
    double bytes = 0.0;
    if (!scan_quantity(text, units, sizeof units / sizeof units[0], &bytes)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' is not a size; write for example 1000, 64k, 512MiB or 1.5GB",
                             text);
    }
    /* 0.3 GB is meant to be whole although 0.3 is no binary fraction; 1.5 bytes is not. */
    const double whole = round(bytes);
    if (bytes > LARGEST_EXACT || fabs(bytes - whole) > 1e-9 * fmax(bytes, 1.0)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' must be a whole number of bytes, at most 2^53", text);
    }
    *bytes_out = (uint64_t)whole;
    return LMN_OK;
}

lmn_status lmn_parse_seconds(const char *text, double *seconds_out, lmn_error *err)
{
    static const unit units[] = {{"", 1.0}, {"s", 1.0}, {"m", 60.0}, {"h", 3600.0}, {"d", 86400.0}};
    double seconds = 0.0;
    if (!scan_quantity(text, units, sizeof units / sizeof units[0], &seconds)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' is not a duration; write for example 90, 90s, 10m, 1.5h or 2d",
                             text);
    }
    *seconds_out = seconds;
    return LMN_OK;
}
