/*
 * Logging through a handler that the application owns: format a line, hand it over.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/log.h"

#include "base_internal.h"

void lmn_log_write(const lmn_logger *log, lmn_log_level level, const char *format, ...)
{
    if (log == NULL || log->write == NULL || level > log->level) {
        return;
    }
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    lmn__format_line(line, sizeof line, format, arguments);
    va_end(arguments);
    log->write(log->user, level, line);
}

const char *lmn_log_level_name(lmn_log_level level)
{
    switch (level) {
    case LMN_LOG_ERROR:
        return "error";
    case LMN_LOG_WARN:
        return "warn";
    case LMN_LOG_INFO:
        return "info";
    case LMN_LOG_DEBUG:
        return "debug";
    default:
        return "unknown";
    }
}
