/*
 * Links: reading one, and fitting a line to times of messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/link.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct unit {
    const char *suffix;
    double factor;
} unit;

/* A positive number and one of the units, which ends at `end`; false when it is neither. */
static bool scan(const char *text, const char *end, const unit *units, size_t n_units,
                 double *value_out)
{
    char *suffix = NULL;
    const double number = strtod(text, &suffix);
    if (suffix == text || suffix > end || !(number >= 0.0) || !isfinite(number)) {
        return false;
    }
    const size_t length = (size_t)(end - suffix);
    for (size_t i = 0; i < n_units; i++) {
        if (strlen(units[i].suffix) == length && strncmp(units[i].suffix, suffix, length) == 0) {
            *value_out = number * units[i].factor;
            return true;
        }
    }
    return false;
}

lmn_status lmn_link_parse(const char *text, lmn_link *link_out, lmn_error *err)
{
    static const unit rates[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}};
    static const unit times[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1.0}};
    const char *comma = strchr(text, ',');
    double rate = 0.0;
    double latency = 0.0;
    const bool is_good =
        comma != NULL && scan(text, comma, rates, sizeof rates / sizeof rates[0], &rate) &&
        rate > 0.0 &&
        scan(comma + 1, text + strlen(text), times, sizeof times / sizeof times[0], &latency);
    if (!is_good) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%.64s' is not a link: write a rate and a latency, such as "
                             "10gbit,20us or 100mbit,1ms",
                             text);
    }
    const lmn_line line = {.latency = latency, .per_byte = 8.0 / rate};
    *link_out = (lmn_link){.sum = line, .gather = line};
    return LMN_OK;
}

double lmn_link_sum_messages(int size)
{
    return size < 2 ? 0.0 : 2.0 * ceil(log2((double)size));
}

double lmn_link_gather_messages(int size)
{
    return size < 2 ? 0.0 : (double)(size - 1);
}

/* Sums of the normal equations, each sample divided by its time. */
typedef struct equations {
    double mm, mb, bb, m, b;
} equations;

lmn_line lmn_line_fit(const lmn_line_sample *samples, size_t n)
{
    equations e = {0};
    for (size_t i = 0; i < n; i++) {
        if (samples[i].seconds <= 0.0) {
            continue;
        }
        const double messages = samples[i].messages / samples[i].seconds;
        const double bytes = samples[i].bytes / samples[i].seconds;
        e.mm += messages * messages;
        e.mb += messages * bytes;
        e.bb += bytes * bytes;
        e.m += messages;
        e.b += bytes;
    }
    const double determinant = e.mm * e.bb - e.mb * e.mb;
    lmn_line line = {0};
    if (determinant > 1e-12 * e.mm * e.bb) {
        line.latency = (e.m * e.bb - e.b * e.mb) / determinant;
        line.per_byte = (e.b * e.mm - e.m * e.mb) / determinant;
    }
    /* What would be negative is nothing, and the other takes all. */
    if (line.latency <= 0.0) {
        line = (lmn_line){.per_byte = e.bb > 0.0 ? e.b / e.bb : 0.0};
    }
    if (line.per_byte <= 0.0) {
        line = (lmn_line){.latency = e.mm > 0.0 ? e.m / e.mm : 0.0};
    }
    return line;
}
