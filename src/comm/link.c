/*
 * Links: reading one, what collectives take on it, and fitting a line to times of messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/link.h"

#include "comm_internal.h"
#include "link_internal.h"
#include "pattern_internal.h"

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

/* A time that ends at `end`; seconds. */
static bool scan_time(const char *text, const char *end, double *seconds_out)
{
    static const unit times[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1.0}};
    return scan(text, end, times, sizeof times / sizeof times[0], seconds_out);
}

lmn_status lmn_link_parse(const char *text, lmn_link *link_out, lmn_error *err)
{
    static const unit rates[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}};
    const char *const end = text + strlen(text);
    const char *const first = strchr(text, ',');
    const char *const second = first != NULL ? strchr(first + 1, ',') : NULL;
    double rate = 0.0;
    double latency = 0.0;
    double gap = LMN_LINK_GAP;
    bool is_good = first != NULL &&
                   scan(text, first, rates, sizeof rates / sizeof rates[0], &rate) && rate > 0.0 &&
                   scan_time(first + 1, second != NULL ? second : end, &latency);
    if (is_good && second != NULL) {
        is_good = scan_time(second + 1, end, &gap);
    }
    if (!is_good) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%.64s' is not a link: write a rate and a latency, such as "
                             "10gbit,20us or 100mbit,1ms, and maybe the time from one message to "
                             "the next: 10gbit,20us,1us",
                             text);
    }
    const lmn_line line = {.latency = latency, .per_byte = 8.0 / rate};
    *link_out = (lmn_link){.sum = line, .gather = line, .gap = gap};
    return LMN_OK;
}

lmn__route lmn__sum_route(lmn_allreduce_algorithm algorithm, int size, double bytes)
{
    const double others = size - 1;
    const double share = 2.0 * others / size * bytes;
    const double n_rounds = lmn__doubling_round_count(size);
    switch (algorithm) {
    case LMN_ALLREDUCE_DIRECT:
        /* A message to every other rank, all at once; the same again with finished slices. */
        return (lmn__route){.hops = 2.0, .messages = 2.0 * others, .bytes = share};
    case LMN_ALLREDUCE_RING:
        return (lmn__route){.hops = 2.0 * others, .messages = 2.0 * others, .bytes = share};
    case LMN_ALLREDUCE_HALVING: {
        const double n_hops = lmn__halving_hop_count(size);
        return (lmn__route){.hops = n_hops, .messages = n_hops, .bytes = share};
    }
    default:
        /* MPI's own are taken for what they are for short vectors. */
        return (lmn__route){.hops = n_rounds, .messages = n_rounds, .bytes = n_rounds * bytes};
    }
}

lmn__route lmn__gather_route(int size, double bytes)
{
    const double others = size - 1;
    return (lmn__route){.hops = 1.0, .messages = others, .bytes = others * bytes};
}

static double latency_of(const lmn_line *line, double gap, lmn__route route)
{
    return route.hops * (line->latency + gap);
}

double lmn__route_seconds(const lmn_line *line, double gap, lmn__route route)
{
    const double gaps = (route.messages - route.hops) * gap;
    const double bytes = route.bytes * line->per_byte;
    return latency_of(line, gap, route) + (gaps > bytes ? gaps : bytes);
}

static lmn__route long_sum(int size)
{
    return lmn__sum_route(LMN_ALLREDUCE_DIRECT, size, 0.0);
}

double lmn_link_sum_seconds(const lmn_link *link, int size, double bytes)
{
    const lmn_allreduce_algorithm algorithm =
        bytes <= (double)LMN__DOUBLING_BYTES ? LMN_ALLREDUCE_DOUBLING : LMN_ALLREDUCE_DIRECT;
    return size < 2
               ? 0.0
               : lmn__route_seconds(&link->sum, link->gap, lmn__sum_route(algorithm, size, bytes));
}

double lmn_link_gather_seconds(const lmn_link *link, int size, double bytes)
{
    return size < 2 ? 0.0
                    : lmn__route_seconds(&link->gather, link->gap, lmn__gather_route(size, bytes));
}

double lmn_link_sum_latency(const lmn_link *link, int size)
{
    return size < 2 ? 0.0 : latency_of(&link->sum, link->gap, long_sum(size));
}

double lmn_link_gather_latency(const lmn_link *link, int size)
{
    return size < 2 ? 0.0 : latency_of(&link->gather, link->gap, lmn__gather_route(size, 0.0));
}

double lmn_link_sum_gaps(const lmn_link *link, int size)
{
    return size < 2 ? 0.0
                    : lmn__route_seconds(&link->sum, link->gap, long_sum(size)) -
                          lmn_link_sum_latency(link, size);
}

double lmn_link_gather_gaps(const lmn_link *link, int size)
{
    return lmn_link_gather_seconds(link, size, 0.0) - lmn_link_gather_latency(link, size);
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
