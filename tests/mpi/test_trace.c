/*
 * Traces on 1 to 4 ranks: every span of every rank is in the file, on rank 0's clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_check.h"
#include "lamina/clock.h"
#include "lamina/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { SPANS = 3, TEXT_BYTES = 1 << 16 };

static lmn_trace *new_trace(size_t capacity)
{
    lmn_trace *trace = NULL;
    assert_int_equal(lmn_trace_create(capacity, &trace, NULL), LMN_OK);
    return trace;
}

static size_t occurrences(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        n++;
    }
    return n;
}

static void read_text(const char *path, char text[TEXT_BYTES])
{
    size_t bytes = 0;
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        bytes = fread(text, 1, TEXT_BYTES - 1, file);
        (void)fclose(file);
    }
    assert_true(bytes > 0);
    text[bytes] = '\0';
}

/* The number behind the n-th `"key":`. */
static double number_at(const char *text, const char *key, size_t n)
{
    const char *at = strstr(text, key);
    for (size_t i = 0; i < n && at != NULL; i++) {
        at = strstr(at + 1, key);
    }
    assert_non_null(at);
    return at == NULL ? 0.0 : strtod(at + strlen(key), NULL);
}

/* All ranks note spans that begin at a barrier, so their true starts are near each other. */
static void write_puts_all_spans_on_one_clock(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    lmn_trace *trace = new_trace(SPANS);
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = lmn_clock_seconds();
    for (int i = 0; i < SPANS; i++) {
        lmn_trace_add(trace, "work", i, 7, start, start + 0.25);
    }
    assert_int_equal(lmn_trace_count(trace), SPANS);
    const char *path = "test_trace.json";
    lmn_error err = lmn_error_none();
    if (lmn_trace_write(world, trace, path, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    if (lmn_world_rank(world) == 0) {
        char text[TEXT_BYTES];
        read_text(path, text);
        assert_int_equal(occurrences(text, "\"ph\":\"X\""), (size_t)size * SPANS);
        assert_int_equal(occurrences(text, "process_name"), (size_t)size);
        assert_int_equal(occurrences(text, "{"), occurrences(text, "}"));
        for (size_t i = 0; i < (size_t)size * SPANS; i++) {
            const double ts = number_at(text, "\"ts\":", i);
            assert_true(ts > -2e6 && ts < 2e6); /* microseconds */
            const double duration = number_at(text, "\"dur\":", i);
            assert_true(duration > 249999.0 && duration < 250001.0);
        }
        (void)remove(path);
    }
    lmn_trace_destroy(trace);
}

static void add_beyond_capacity_is_counted_as_dropped(void **state)
{
    (void)state;
    lmn_trace *trace = new_trace(2);
    for (int i = 0; i < 5; i++) {
        lmn_trace_add(trace, "a name that is far longer than what is kept of it", 0, 0, 0.0, 1.0);
    }
    assert_int_equal(lmn_trace_count(trace), 2);
    assert_int_equal(lmn_trace_dropped(trace), 3);
    lmn_trace_destroy(trace);
    lmn_trace_add(NULL, "nothing", 0, 0, 0.0, 1.0);
    lmn_trace_destroy(NULL);
}

static void write_to_a_missing_folder_fails_on_all_ranks(void **state)
{
    lmn_world *world = *state;
    lmn_trace *trace = new_trace(1);
    lmn_trace_add(trace, "work", 0, 0, 0.0, 1.0);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_trace_write(world, trace, "no/such/folder/trace.json", &err), LMN_ERR_IO);
    assert_non_null(strstr(err.message, "no/such/folder/trace.json"));
    lmn_trace_destroy(trace);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_puts_all_spans_on_one_clock),
        cmocka_unit_test(add_beyond_capacity_is_counted_as_dropped),
        cmocka_unit_test(write_to_a_missing_folder_fails_on_all_ranks),
    };
    const int failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return failed;
}
