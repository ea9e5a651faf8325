/*
 * Logging: what reaches the handler, and in what form.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct record {
    int n_lines;
    lmn_log_level level;
    char line[2000];
} record;

static void remember(void *user, lmn_log_level level, const char *line)
{
    record *last = user;
    last->n_lines++;
    last->level = level;
    (void)snprintf(last->line, sizeof last->line, "%s", line);
}

static void log_write_up_to_the_level_reaches_the_handler(void **state)
{
    (void)state;
    record last = {0};
    const lmn_logger log = {.level = LMN_LOG_INFO, .write = remember, .user = &last};
    lmn_log_write(&log, LMN_LOG_INFO, "ranks %d, links %s", 4, "fast");
    assert_int_equal(last.n_lines, 1);
    assert_int_equal(last.level, LMN_LOG_INFO);
    assert_string_equal(last.line, "ranks 4, links fast");
    lmn_log_write(&log, LMN_LOG_ERROR, "bad");
    assert_int_equal(last.n_lines, 2);
    assert_int_equal(last.level, LMN_LOG_ERROR);
}

static void log_write_above_the_level_is_dropped(void **state)
{
    (void)state;
    record last = {0};
    const lmn_logger log = {.level = LMN_LOG_INFO, .write = remember, .user = &last};
    lmn_log_write(&log, LMN_LOG_DEBUG, "detail");
    assert_int_equal(last.n_lines, 0);
}

static void log_write_without_log_or_handler_is_silent(void **state)
{
    (void)state;
    const lmn_logger silent = {.level = LMN_LOG_DEBUG};
    lmn_log_write(NULL, LMN_LOG_ERROR, "nobody hears");
    lmn_log_write(&silent, LMN_LOG_ERROR, "nobody hears");
}

static void log_write_long_line_is_cut_to_one_line(void **state)
{
    (void)state;
    record last = {0};
    const lmn_logger log = {.level = LMN_LOG_INFO, .write = remember, .user = &last};
    char text[1500];
    memset(text, 'x', sizeof text);
    lmn_log_write(&log, LMN_LOG_WARN, "a\nb%.*s", (int)sizeof text, text);
    assert_int_equal(strlen(last.line), 1023);
    assert_memory_equal(last.line, "a b", 3);
    assert_string_equal(last.line + 1020, "...");
}

static void log_level_name_every_level_has_one(void **state)
{
    (void)state;
    assert_string_equal(lmn_log_level_name(LMN_LOG_ERROR), "error");
    assert_string_equal(lmn_log_level_name(LMN_LOG_WARN), "warn");
    assert_string_equal(lmn_log_level_name(LMN_LOG_INFO), "info");
    assert_string_equal(lmn_log_level_name(LMN_LOG_DEBUG), "debug");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_write_up_to_the_level_reaches_the_handler),
        cmocka_unit_test(log_write_above_the_level_is_dropped),
        cmocka_unit_test(log_write_without_log_or_handler_is_silent),
        cmocka_unit_test(log_write_long_line_is_cut_to_one_line),
        cmocka_unit_test(log_level_name_every_level_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
