/*
 * Status codes and error messages.
 *
 * A message is built in a local buffer and copied at the end, so that an argument may point into
 * the error that is being written, and an error that cannot be described is still one that is
 * reported.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/status.h"

#include "base_internal.h"

#include <string.h>

const char *lmn_status_text(lmn_status status)
{
#define STATUS_CASE(name, value, text)                                                             \
    case name:                                                                                     \
        return text;
    switch (status) {
        LMN_STATUS_LIST(STATUS_CASE)
    default:
        return "unknown status";
    }
#undef STATUS_CASE
}

lmn_error lmn_error_none(void)
{
    return (lmn_error){.status = LMN_OK, .rank = -1};
}

lmn_status lmn_error_set(lmn_error *err, lmn_status status, const char *format, ...)
{
    if (err == NULL) {
        return status;
    }
    char message[sizeof err->message];
    va_list arguments;
    va_start(arguments, format);
    lmn__format_line(message, sizeof message, format, arguments);
    va_end(arguments);
    err->status = status;
    err->rank = -1;
    memcpy(err->message, message, strlen(message) + 1);
    return status;
}

void lmn_error_add_context(lmn_error *err, const char *format, ...)
{
    if (err == NULL || err->status == LMN_OK) {
        return;
    }
    char context[sizeof err->message];
    va_list arguments;
    va_start(arguments, format);
    lmn__format_line(context, sizeof context, format, arguments);
    va_end(arguments);
    lmn__text whole = {0};
    lmn__text_append(&whole, "%s: %s", context, err->message);
    memcpy(err->message, whole.data, strlen(whole.data) + 1);
}
