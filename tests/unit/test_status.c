/*
 * Status codes and error messages: cutting, aliasing, context.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CAPACITY LMN_ERROR_MESSAGE_BYTES

static void status_text_every_code_is_told_apart(void **state)
{
    (void)state;
#define TEXT(name, value, text) assert_string_equal(lmn_status_text(name), text);
    LMN_STATUS_LIST(TEXT)
#undef TEXT
    assert_string_equal(lmn_status_text((lmn_status)-99), "unknown status");
    assert_int_equal(LMN_OK, 0);
    assert_true(LMN_IN_PROGRESS > 0);
}

static void error_none_is_empty(void **state)
{
    (void)state;
    const lmn_error err = lmn_error_none();
    assert_int_equal(err.status, LMN_OK);
    assert_int_equal(err.rank, -1);
    assert_string_equal(err.message, "");
}

static void error_set_formats_and_returns_the_status(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_error_set(&err, LMN_ERR_IO, "cannot open '%s': %d", "x.h5", 7);
    assert_int_equal(status, LMN_ERR_IO);
    assert_int_equal(err.status, LMN_ERR_IO);
    assert_int_equal(err.rank, -1);
    assert_string_equal(err.message, "cannot open 'x.h5': 7");
}

static void error_set_without_error_returns_the_status(void **state)
{
    (void)state;
    assert_int_equal(lmn_error_set(NULL, LMN_ERR_COMM, "%d", 1), LMN_ERR_COMM);
}

static void error_set_argument_inside_the_error_is_read_first(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "disk full");
    lmn_error_set(&err, LMN_ERR_FORMAT, "reader: %s (%s)", err.message, err.message + 5);
    assert_string_equal(err.message, "reader: disk full (full)");
    assert_int_equal(err.status, LMN_ERR_FORMAT);
}

static void error_set_message_of_full_length_is_kept(void **state)
{
    (void)state;
    char text[CAPACITY + 1];
    memset(text, 'a', sizeof text);
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "%.*s", CAPACITY - 1, text);
    assert_int_equal(strlen(err.message), CAPACITY - 1);
    assert_int_equal(err.message[CAPACITY - 2], 'a');
}

static void error_set_long_message_ends_in_dots(void **state)
{
    (void)state;
    char text[CAPACITY + 1];
    memset(text, 'a', sizeof text);
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "%.*s", CAPACITY, text);
    assert_int_equal(strlen(err.message), CAPACITY - 1);
    assert_string_equal(err.message + CAPACITY - 5, "a...");
}

static void error_set_cut_inside_a_character_drops_it(void **state)
{
    (void)state;
    char text[2 * CAPACITY + 1];
    for (size_t i = 0; i < CAPACITY; i++) {
        memcpy(text + 2 * i, "\xc3\xa9", 2); /* e with acute accent */
    }
    text[sizeof text - 1] = '\0';
    for (int shift = 0; shift < 2; shift++) {
        lmn_error err = lmn_error_none();
        lmn_error_set(&err, LMN_ERR_IO, "%.*s%s", shift, "x", text);
        const size_t length = strlen(err.message);
        assert_true(length >= CAPACITY - 2);
        assert_int_equal((unsigned char)err.message[length - 4], 0xa9);
        assert_string_equal(err.message + length - 3, "...");
    }
}

static void error_set_newlines_become_spaces(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "one\ntwo\r\nthree");
    assert_string_equal(err.message, "one two  three");
}

static void error_add_context_puts_it_in_front(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "disk full");
    err.rank = 3;
    lmn_error_add_context(&err, "checkpoint %d", 7);
    assert_string_equal(err.message, "checkpoint 7: disk full");
    assert_int_equal(err.status, LMN_ERR_IO);
    assert_int_equal(err.rank, 3);
}

static void error_add_context_argument_inside_the_error_is_read_first(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "disk");
    lmn_error_add_context(&err, "<%s>", err.message);
    assert_string_equal(err.message, "<disk>: disk");
}

static void error_add_context_to_long_message_cuts_the_end(void **state)
{
    (void)state;
    char text[CAPACITY];
    memset(text, 'b', sizeof text);
    lmn_error err = lmn_error_none();
    lmn_error_set(&err, LMN_ERR_IO, "%.*s", CAPACITY - 1, text);
    lmn_error_add_context(&err, "context");
    assert_int_equal(strlen(err.message), CAPACITY - 1);
    assert_memory_equal(err.message, "context: bbb", 12);
    assert_string_equal(err.message + CAPACITY - 5, "b...");
}

static void error_add_context_nothing_to_add_to_is_ignored(void **state)
{
    (void)state;
    lmn_error_add_context(NULL, "context");
    lmn_error err = lmn_error_none();
    lmn_error_add_context(&err, "context");
    assert_string_equal(err.message, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_text_every_code_is_told_apart),
        cmocka_unit_test(error_none_is_empty),
        cmocka_unit_test(error_set_formats_and_returns_the_status),
        cmocka_unit_test(error_set_without_error_returns_the_status),
        cmocka_unit_test(error_set_argument_inside_the_error_is_read_first),
        cmocka_unit_test(error_set_message_of_full_length_is_kept),
        cmocka_unit_test(error_set_long_message_ends_in_dots),
        cmocka_unit_test(error_set_cut_inside_a_character_drops_it),
        cmocka_unit_test(error_set_newlines_become_spaces),
        cmocka_unit_test(error_add_context_puts_it_in_front),
        cmocka_unit_test(error_add_context_argument_inside_the_error_is_read_first),
        cmocka_unit_test(error_add_context_to_long_message_cuts_the_end),
        cmocka_unit_test(error_add_context_nothing_to_add_to_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
