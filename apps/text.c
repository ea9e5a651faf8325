/*
 * Numbers for people.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

short_text text_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    const size_t last = sizeof units / sizeof units[0] - 1;
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 999.5 && unit < last) {
        value /= 1000.0;
        unit++;
    }
    short_text text;
    const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    (void)snprintf(text.data, sizeof text.data, "%.*f %s", digits, value, units[unit]);
    return text;
}

short_text text_seconds(double seconds)
{
    short_text text;
    if (seconds < 60.0) {
        (void)snprintf(text.data, sizeof text.data, "%.1f s", seconds);
        return text;
    }
    const uint64_t whole = seconds < 1e15 ? (uint64_t)seconds : UINT64_C(1000000000000000);
    const uint64_t hours = whole / 3600;
    const uint64_t minutes = whole / 60 % 60;
    if (hours == 0) {
        (void)snprintf(text.data, sizeof text.data, "%" PRIu64 ":%02" PRIu64, minutes, whole % 60);
    } else {
        (void)snprintf(text.data, sizeof text.data, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, hours,
                       minutes, whole % 60);
    }
    return text;
}

short_text text_saving(uint64_t bytes_sent, uint64_t bytes_dense)
{
    short_text text;
    const double factor = bytes_sent == 0 ? 1.0 : (double)bytes_dense / (double)bytes_sent;
    (void)snprintf(text.data, sizeof text.data, "%.*fx", factor >= 99.95 || factor == 1.0 ? 0 : 1,
                   factor);
    return text;
}

short_text text_comparison(uint64_t bytes_sent, uint64_t bytes_dense)
{
    short_text text;
    if (bytes_sent == 0 || (double)bytes_dense / (double)bytes_sent < 1.05) {
        (void)snprintf(text.data, sizeof text.data, "as much as dense");
    } else {
        (void)snprintf(text.data, sizeof text.data, "%.30s less than dense",
                       text_saving(bytes_sent, bytes_dense).data);
    }
    return text;
}

short_text text_hash(uint64_t hash)
{
    short_text text;
    (void)snprintf(text.data, sizeof text.data, "0x%016" PRIx64, hash);
    return text;
}
