/*
 * Specs, sizes and durations: every type, and one refusal for every kind of bad input.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/spec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct options {
    double density;
    double eta;
    uint64_t every;
    bool nesterov;
    uint64_t init;
    lmn_spec_list levels;
} options;

static const lmn_spec_field fields[] = {
    {.key = "density",
     .type = LMN_SPEC_F64,
     .offset = offsetof(options, density),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true},
    {.key = "eta",
     .type = LMN_SPEC_F64,
     .offset = offsetof(options, eta),
     .min = 0.0,
     .max = (double)INFINITY,
     .choices = "auto"},
    {.key = "every",
     .type = LMN_SPEC_U64,
     .offset = offsetof(options, every),
     .min = 1,
     .max = 1e6},
    {.key = "nesterov", .type = LMN_SPEC_BOOL, .offset = offsetof(options, nesterov)},
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(options, init),
     .choices = "grad|zero|gradient"},
    {.key = "levels",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(options, levels),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true},
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

static options parse(const char *text)
{
    options values = {.density = 0.01, .eta = 0.5, .every = 100};
    lmn_error err = lmn_error_none();
    if (lmn_spec_parse("compressor", text, fields, N_FIELDS, &values, &err) != LMN_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return values;
}

/* The spec must be refused with a message that holds each of the parts. */
static void assert_refused(const char *text, const char *const *parts, size_t n_parts)
{
    options values = {0};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_spec_parse("compressor", text, fields, N_FIELDS, &values, &err);
    assert_int_equal(status, LMN_ERR_USAGE);
    assert_int_equal(err.status, LMN_ERR_USAGE);
    for (size_t i = 0; i < n_parts; i++) {
        if (strstr(err.message, parts[i]) == NULL) {
            fail_msg("%s: '%s' lacks '%s'", text, err.message, parts[i]);
        }
    }
}

static void assert_refused_with(const char *text, const char *part)
{
    assert_refused(text, &part, 1);
}

static void spec_name_before_the_colon_is_found(void **state)
{
    (void)state;
    char name[LMN_SPEC_NAME_BYTES];
    assert_int_equal(lmn_spec_name("topk:density=1", name, NULL), LMN_OK);
    assert_string_equal(name, "topk");
    assert_int_equal(lmn_spec_name("ef21_sgdm-2", name, NULL), LMN_OK);
    assert_string_equal(name, "ef21_sgdm-2");
}

static void spec_name_longest_is_accepted_and_one_more_refused(void **state)
{
    (void)state;
    char name[LMN_SPEC_NAME_BYTES] = "unchanged";
    const char *text = "abcdefghijklmnopqrstuvwxyz012345";
    assert_int_equal(lmn_spec_name(text, name, NULL), LMN_ERR_USAGE);
    assert_string_equal(name, "unchanged");
    assert_int_equal(lmn_spec_name(text + 1, name, NULL), LMN_OK);
    assert_string_equal(name, text + 1);
}

static void spec_name_empty_or_illegal_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"", ":density=1", "Topk", "top k", "topk=1", " topk"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char name[LMN_SPEC_NAME_BYTES];
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_spec_name(bad[i], name, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, bad[i]));
    }
}

static void spec_parse_name_alone_keeps_the_defaults(void **state)
{
    (void)state;
    const options values = parse("topk");
    assert_true(values.density == 0.01);
    assert_int_equal(values.every, 100);
}

static void spec_parse_every_type_is_stored(void **state)
{
    (void)state;
    const options values = parse("topk:density=0.25,eta=1e3,every=1000000,nesterov=yes,init=zero,"
                                 "levels=0.001/0.5/1");
    assert_true(values.density == 0.25);
    assert_true(values.eta == 1000.0);
    assert_int_equal(values.every, 1000000);
    assert_true(values.nesterov);
    assert_int_equal(values.init, 1);
    assert_int_equal(values.levels.count, 3);
    assert_true(values.levels.values[0] == 0.001 && values.levels.values[2] == 1.0);
}

static void spec_parse_every_bool_word_is_understood(void **state)
{
    (void)state;
    const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < 8; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "sgd:nesterov=%s", words[i]);
        assert_int_equal(parse(text).nesterov, i % 2 == 1);
    }
}

static void spec_parse_auto_is_stored_as_nan(void **state)
{
    (void)state;
    assert_true(isnan(parse("topk:eta=auto").eta));
    const char *const parts[] = {"density", "number", "'auto'"};
    assert_refused("topk:density=auto", parts, 3);
    assert_refused_with("topk:eta=automatic", "a number or auto");
}

static void spec_parse_choice_whole_words_only(void **state)
{
    (void)state;
    assert_int_equal(parse("ec:init=grad").init, 0);
    assert_int_equal(parse("ec:init=gradient").init, 2);
    const char *const parts[] = {"init", "grad|zero|gradient", "'gra'"};
    assert_refused("ec:init=gra", parts, 3);
    assert_refused_with("ec:init=", "init");
    assert_refused_with("ec:init=grad|zero", "init");
}

static void spec_parse_unknown_key_names_the_nearest_and_all(void **state)
{
    (void)state;
    const char *const parts[] = {"compressor 'topk'", "'densty'", "did you mean 'density'",
                                 "density, eta, every, nesterov, init, levels"};
    assert_refused("topk:densty=0.1", parts, 4);
    assert_refused_with("topk:dens=0.1", "did you mean 'density'");
    assert_refused_with("topk:enit=0.1", "did you mean 'init'");
    assert_refused_with("topk:eevry=0.1", "did you mean 'every'");
}

static void spec_parse_far_key_has_no_suggestion(void **state)
{
    (void)state;
    options values = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_spec_parse("compressor", "topk:colour=1", fields, N_FIELDS, &values, &err),
                     LMN_ERR_USAGE);
    assert_null(strstr(err.message, "did you mean"));
    assert_non_null(strstr(err.message, "density"));
}

static void spec_parse_key_for_method_without_keys_is_refused(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_spec_parse("compressor", "dense", NULL, 0, NULL, &err), LMN_OK);
    assert_int_equal(lmn_spec_parse("compressor", "dense:x=1", NULL, 0, NULL, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "takes no keys"));
}

static void spec_parse_repeated_key_is_refused(void **state)
{
    (void)state;
    const char *const parts[] = {"density", "twice"};
    assert_refused("topk:density=0.1,every=3,density=0.1", parts, 2);
}

static void spec_parse_broken_pieces_are_refused(void **state)
{
    (void)state;
    assert_refused_with("topk:", "key is missing");
    assert_refused_with("topk:density=0.1,", "key is missing");
    assert_refused_with("topk:,density=0.1", "key is missing");
    assert_refused_with("topk:=0.1", "key is missing");
    assert_refused_with("topk:density", "'density' lacks '='");
    assert_refused_with("topk:every=3,density", "'density' lacks '='");
}

static void spec_parse_overlong_key_or_value_is_refused(void **state)
{
    (void)state;
    char text[3000];
    (void)snprintf(text, sizeof text, "topk:%0100d=1", 0);
    assert_refused_with(text, "too long");
    (void)snprintf(text, sizeof text, "topk:density=0.%02000d", 1);
    assert_refused_with(text, "too long");
}

static void spec_parse_out_of_range_names_the_range(void **state)
{
    (void)state;
    const char *const parts[] = {"density", "greater than 0 and at most 1", "'2'"};
    assert_refused("topk:density=2", parts, 3);
    assert_refused_with("topk:density=0", "greater than 0");
    assert_refused_with("topk:density=-0.5", "greater than 0");
    assert_refused_with("topk:density=1e-400", "greater than 0");
    assert_refused_with("topk:eta=-1", "must be at least 0, not");
    assert_refused_with("topk:every=0", "at least 1 and at most 1000000");
    assert_refused_with("topk:every=1000001", "at least 1 and at most 1000000");
    assert_refused_with("topk:levels=0.1/2", "greater than 0 and at most 1");
}

static void spec_parse_not_a_number_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"",    "x",    "nan",  "inf",   "-inf", "0x1p-2", "1e999",
                               " .5", "0.5 ", "0.5x", "0.5.5", "--1",  ".",      "e5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "topk:eta=%s", bad[i]);
        assert_refused_with(text, "must be a number");
    }
}

static void spec_parse_not_a_whole_number_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"",    "x",   "-1",  "+1",   " 1",
                               "1.5", "1e3", "10k", "0x10", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "topk:every=%s", bad[i]);
        assert_refused_with(text, "must be a whole number");
    }
}

static void spec_parse_bad_bool_is_refused(void **state)
{
    (void)state;
    assert_refused_with("sgd:nesterov=2", "true or false");
    assert_refused_with("sgd:nesterov=", "true or false");
}

static void spec_parse_broken_list_is_refused(void **state)
{
    (void)state;
    assert_refused_with("topk:levels=", "separated by '/'");
    assert_refused_with("topk:levels=0.1/", "separated by '/'");
    assert_refused_with("topk:levels=0.1//0.2", "separated by '/'");
    assert_refused_with("topk:levels=0.1;0.2", "separated by '/'");
}

static void spec_parse_list_of_the_limit_fits_and_one_more_does_not(void **state)
{
    (void)state;
    const char start[] = "topk:levels=1";
    char text[256];
    memcpy(text, start, sizeof start);
    for (size_t i = 0; i < LMN_SPEC_LIST_MAX; i++) {
        if (i == LMN_SPEC_LIST_MAX - 1) {
            assert_int_equal(parse(text).levels.count, LMN_SPEC_LIST_MAX);
        }
        memcpy(text + sizeof start - 1 + 2 * i, "/1", 3);
    }
    assert_refused_with(text, "more than 32 numbers");
}

static void spec_parse_bad_name_says_what_it_was_for(void **state)
{
    (void)state;
    const char *const parts[] = {"compressor", "starts with no name"};
    assert_refused(":density=1", parts, 2);
}

static void spec_parse_without_error_still_refuses(void **state)
{
    (void)state;
    options values = {0};
    assert_int_equal(lmn_spec_parse("compressor", "topk:x=1", fields, N_FIELDS, &values, NULL),
                     LMN_ERR_USAGE);
}

static void spec_unknown_names_the_nearest_and_all(void **state)
{
    (void)state;
    const char *const known[] = {"dense", "topk", "powersgd"};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_spec_unknown("compressor", "tokp", known, 3, &err), LMN_ERR_USAGE);
    assert_string_equal(err.message, "no compressor 'tokp'; did you mean 'topk'? "
                                     "Known: dense, topk, powersgd");
    (void)lmn_spec_unknown("compressor", "zfp", known, 3, &err);
    assert_string_equal(err.message, "no compressor 'zfp'; known: dense, topk, powersgd");
}

static void parse_bytes_every_unit_is_scaled(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"0", 0},
                 {"1000", 1000},
                 {"7B", 7},
                 {"4k", 4000},
                 {"4kB", 4000},
                 {"4Ki", 4096},
                 {"512MiB", UINT64_C(512) << 20},
                 {"0.3M", 300000},
                 {"1.5GB", UINT64_C(1500000000)},
                 {"2Gi", UINT64_C(2) << 30},
                 {"1T", UINT64_C(1000000000000)},
                 {"9007199254740992", UINT64_C(1) << 53}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 0;
        assert_int_equal(lmn_parse_bytes(cases[i].text, &bytes, NULL), LMN_OK);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void parse_bytes_bad_sizes_are_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"",     "k",   "-1",  "1.5",  "1 k",   "1kk",    "1Q",
                               "0x10", "nan", "inf", "1e30", "0.1Ki", "1e308T", "99999T"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t bytes = 7;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_parse_bytes(bad[i], &bytes, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, bad[i]));
        assert_int_equal(bytes, 7);
    }
}

static void parse_seconds_every_unit_is_scaled(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } cases[] = {{"0", 0.0},     {"90", 90.0},     {"90s", 90.0},
                 {"10m", 600.0}, {"1.5h", 5400.0}, {"2d", 172800.0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double seconds = -1.0;
        assert_int_equal(lmn_parse_seconds(cases[i].text, &seconds, NULL), LMN_OK);
        assert_true(seconds == cases[i].seconds);
    }
}

static void parse_seconds_bad_durations_are_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"", "m", "-1s", "10 m", "10min", "1h30m", "nan", "1e308d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double seconds = 7.0;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_parse_seconds(bad[i], &seconds, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "duration"));
        assert_true(seconds == 7.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spec_name_before_the_colon_is_found),
        cmocka_unit_test(spec_name_longest_is_accepted_and_one_more_refused),
        cmocka_unit_test(spec_name_empty_or_illegal_is_refused),
        cmocka_unit_test(spec_parse_name_alone_keeps_the_defaults),
        cmocka_unit_test(spec_parse_every_type_is_stored),
        cmocka_unit_test(spec_parse_every_bool_word_is_understood),
        cmocka_unit_test(spec_parse_auto_is_stored_as_nan),
        cmocka_unit_test(spec_parse_choice_whole_words_only),
        cmocka_unit_test(spec_parse_unknown_key_names_the_nearest_and_all),
        cmocka_unit_test(spec_parse_far_key_has_no_suggestion),
        cmocka_unit_test(spec_parse_key_for_method_without_keys_is_refused),
        cmocka_unit_test(spec_parse_repeated_key_is_refused),
        cmocka_unit_test(spec_parse_broken_pieces_are_refused),
        cmocka_unit_test(spec_parse_overlong_key_or_value_is_refused),
        cmocka_unit_test(spec_parse_out_of_range_names_the_range),
        cmocka_unit_test(spec_parse_not_a_number_is_refused),
        cmocka_unit_test(spec_parse_not_a_whole_number_is_refused),
        cmocka_unit_test(spec_parse_bad_bool_is_refused),
        cmocka_unit_test(spec_parse_broken_list_is_refused),
        cmocka_unit_test(spec_parse_list_of_the_limit_fits_and_one_more_does_not),
        cmocka_unit_test(spec_parse_bad_name_says_what_it_was_for),
        cmocka_unit_test(spec_parse_without_error_still_refuses),
        cmocka_unit_test(spec_unknown_names_the_nearest_and_all),
        cmocka_unit_test(parse_bytes_every_unit_is_scaled),
        cmocka_unit_test(parse_bytes_bad_sizes_are_refused),
        cmocka_unit_test(parse_seconds_every_unit_is_scaled),
        cmocka_unit_test(parse_seconds_bad_durations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
