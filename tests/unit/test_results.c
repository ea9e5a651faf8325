/*
 * Results: rows and attributes reach the file at a flush, a resumed run goes on from them, and a
 * flush that fails leaves the file and the waiting rows as they were. Read back through the
 * inspector.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/inspect.h"
#include "lamina/memory.h"
#include "lamina/results.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static const lmn_column columns[] = {
    {"step", "1", "training step", LMN_COLUMN_U64, 1},
    {"loss", "1", "mean loss of the batch", LMN_COLUMN_F64, 1},
    {"bytes_sent", "byte", "sent by all ranks", LMN_COLUMN_U64, 1},
    {"levels", "1", "level of each layer", LMN_COLUMN_U64, 3},
};
#define N_COLUMNS (sizeof columns / sizeof columns[0])

typedef struct fixture {
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->directory);
    path_join(f->path, f->directory, "run.h5");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    scratch_remove(f->directory);
    free(f);
    return 0;
}

static void succeeds(lmn_status status, const lmn_error *err)
{
    assert_string_equal(err->message, "");
    assert_int_equal(status, LMN_OK);
}

static lmn_results *open_results(const fixture *f, bool resume)
{
    lmn_results *results = NULL;
    lmn_error err = lmn_error_none();
    succeeds(lmn_results_open(f->path, resume, &results, &err), &err);
    return results;
}

static lmn_table *add_steps(lmn_results *results, size_t capacity)
{
    lmn_table *table = NULL;
    lmn_error err = lmn_error_none();
    succeeds(lmn_results_add_table(results, "/steps", columns, N_COLUMNS, capacity, &table, &err),
             &err);
    return table;
}

static void flush(lmn_results *results)
{
    lmn_error err = lmn_error_none();
    succeeds(lmn_results_flush(results, &err), &err);
}

static double loss_of(uint64_t step)
{
    return step == 3 ? nan("") : 1.0 / ((double)step + 1.0);
}

static lmn_status append(lmn_table *table, uint64_t step)
{
    const lmn_cell cells[6] = {{.u64 = step},     {.f64 = loss_of(step)}, {.u64 = 1000 * step},
                               {.u64 = step + 1}, {.u64 = step + 2},      {.u64 = step + 3}};
    return lmn_table_append(table, cells, NULL);
}

/* Steps first .. last - 1, flushing whenever the table is full. */
static void append_steps(lmn_results *results, lmn_table *table, uint64_t first, uint64_t last)
{
    for (uint64_t step = first; step < last; step++) {
        if (lmn_table_room(table) == 0) {
            flush(results);
        }
        assert_int_equal(append(table, step), LMN_OK);
    }
}

static double *read_column(const lmn_file *file, const char *name, size_t expected)
{
    double *values = NULL;
    size_t count = 0;
    lmn_error err = lmn_error_none();
    succeeds(lmn_file_read_f64(file, name, &values, &count, &err), &err);
    assert_int_equal(count, expected);
    return values;
}

/* The file holds steps 0 .. count - 1. */
static void check_steps(const fixture *f, size_t count)
{
    lmn_file *file = NULL;
    assert_int_equal(lmn_file_open(f->path, &file, NULL), LMN_OK);
    assert_int_equal(lmn_file_get_kind(file), LMN_FILE_RESULTS);
    double *step = read_column(file, "/steps/step", count);
    double *loss = read_column(file, "/steps/loss", count);
    double *bytes = read_column(file, "/steps/bytes_sent", count);
    double *levels = read_column(file, "/steps/levels", 3 * count);
    for (size_t i = 0; i < count; i++) {
        /* By their bits, since one of them is NaN. */
        const lmn_cell expected = {.f64 = loss_of(i)};
        const lmn_cell found = {.f64 = loss[i]};
        assert_int_equal((uint64_t)step[i], i);
        assert_true(found.u64 == expected.u64);
        assert_int_equal((uint64_t)bytes[i], 1000 * i);
        assert_int_equal((uint64_t)levels[3 * i + 2], i + 3);
    }
    assert_int_equal(lmn_file_verify(file, NULL), LMN_OK);
    lmn_free(step);
    lmn_free(loss);
    lmn_free(bytes);
    lmn_free(levels);
    lmn_file_close(file);
}

static void append_and_flush_many_times_keeps_every_row(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    lmn_table *table = add_steps(results, 700);
    append_steps(results, table, 0, 5000);
    assert_int_equal(lmn_table_waiting(table) + lmn_table_room(table), 700);
    flush(results);
    assert_int_equal(lmn_table_waiting(table), 0);
    lmn_results_close(results);
    check_steps(f, 5000);
    assert_int_equal(directory_count(f->directory), 1);
}

static void flush_without_rows_makes_a_file_and_empty_tables(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    assert_false(file_exists(f->path));
    flush(results);
    assert_true(file_exists(f->path));
    (void)add_steps(results, 1);
    flush(results);
    lmn_results_close(results);
    check_steps(f, 0);
}

static void open_anew_begins_from_nothing(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    append_steps(results, add_steps(results, 100), 0, 50);
    flush(results);
    lmn_results_close(results);
    results = open_results(f, false);
    check_steps(f, 50); /* the old file stays until the first flush */
    append_steps(results, add_steps(results, 100), 0, 7);
    flush(results);
    lmn_results_close(results);
    check_steps(f, 7);
}

static void resume_goes_on_after_the_last_row(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, true); /* nothing there: begins anew */
    append_steps(results, add_steps(results, 100), 0, 50);
    flush(results);
    lmn_results_close(results);
    results = open_results(f, true);
    lmn_table *table = add_steps(results, 100);
    assert_int_equal(append(table, 49), LMN_ERR_ARGUMENT);
    append_steps(results, table, 50, 80);
    flush(results);
    lmn_results_close(results);
    check_steps(f, 80);
}

static void truncate_drops_rows_in_file_and_memory(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    lmn_table *table = add_steps(results, 100);
    append_steps(results, table, 0, 40);
    flush(results);
    append_steps(results, table, 40, 60);
    /* Only waiting rows, then flushed ones, then all. */
    assert_int_equal(lmn_table_truncate(table, 50, NULL), LMN_OK);
    assert_int_equal(lmn_table_waiting(table), 10);
    assert_int_equal(append(table, 49), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_table_truncate(table, 30, NULL), LMN_OK);
    assert_int_equal(lmn_table_waiting(table), 0);
    assert_int_equal(append(table, 29), LMN_ERR_ARGUMENT);
    append_steps(results, table, 30, 35);
    assert_int_equal(lmn_table_truncate(table, 33, NULL), LMN_OK);
    flush(results);
    check_steps(f, 33);
    assert_int_equal(lmn_table_truncate(table, 0, NULL), LMN_OK);
    append_steps(results, table, 0, 2);
    flush(results);
    lmn_results_close(results);
    check_steps(f, 2);
    /* And in a resumed file, to the same end. */
    results = open_results(f, true);
    table = add_steps(results, 10);
    assert_int_equal(lmn_table_truncate(table, 1, NULL), LMN_OK);
    append_steps(results, table, 1, 4);
    flush(results);
    lmn_results_close(results);
    check_steps(f, 4);
}

static void append_beyond_capacity_or_backwards_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    lmn_table *table = add_steps(results, 2);
    assert_int_equal(append(table, 5), LMN_OK);
    assert_int_equal(append(table, 5), LMN_ERR_ARGUMENT);
    assert_int_equal(append(table, 6), LMN_OK);
    assert_int_equal(append(table, 7), LMN_ERR_ARGUMENT);
    lmn_results_close(results);
}

static void resume_with_other_columns_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    (void)add_steps(results, 1);
    flush(results);
    lmn_results_close(results);
    results = open_results(f, true);
    lmn_table *table = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_results_add_table(results, "/steps", columns, 2, 1, &table, &err),
                     LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "levels u64[3]"));
    assert_null(table);
    lmn_results_close(results);
}

static void add_table_bad_columns_are_refused(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    lmn_table *table = NULL;
    assert_int_equal(lmn_results_add_table(results, "steps", columns, 1, 1, &table, NULL),
                     LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_results_add_table(results, "/steps", columns, 0, 1, &table, NULL),
                     LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_results_add_table(results, "/steps", columns + 1, 1, 1, &table, NULL),
                     LMN_ERR_ARGUMENT);
    lmn_results_close(results);
}

/* ---- attributes and lists ---- */

typedef struct visited {
    size_t count;
    char text[2048]; /* "name=value;" in order */
} visited;

static lmn_status note_value(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    visited *seen = user;
    char *to = seen->text + strlen(seen->text);
    const size_t room = sizeof seen->text - strlen(seen->text);
    seen->count++;
    if (value->type == LMN_VALUE_TEXT) {
        (void)snprintf(to, room, "%s=%s;", value->name, value->text);
    } else if (value->type == LMN_VALUE_U64) {
        (void)snprintf(to, room, "%s=%lluu;", value->name, (unsigned long long)value->u64);
    } else {
        (void)snprintf(to, room, "%s=%g;", value->name, value->f64);
    }
    return LMN_OK;
}

static void check_attributes(const fixture *f, const char *group, const char *expected)
{
    lmn_file *file = NULL;
    visited seen = {0};
    assert_int_equal(lmn_file_open(f->path, &file, NULL), LMN_OK);
    assert_int_equal(lmn_file_visit_attributes(file, group, note_value, &seen, NULL), LMN_OK);
    assert_string_equal(seen.text, expected);
    lmn_file_close(file);
}

static void set_attributes_come_back_in_order_and_are_replaced(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    assert_int_equal(lmn_results_set_text(results, "/configuration", "model", "cnn", NULL), LMN_OK);
    assert_int_equal(lmn_results_set_u64(results, "/configuration", "seed", UINT64_MAX, NULL),
                     LMN_OK);
    assert_int_equal(lmn_results_set_f64(results, "/configuration", "lr", 0.5, NULL), LMN_OK);
    assert_int_equal(lmn_results_set_text(results, "/configuration", "model", "", NULL), LMN_OK);
    assert_int_equal(lmn_results_set_text(results, "/a/b", "c", "d", NULL), LMN_OK);
    flush(results);
    check_attributes(f, "/configuration", "lr=0.5;model=;seed=18446744073709551615u;");
    check_attributes(f, "/a/b", "c=d;");
    check_attributes(f, "/nowhere", "");
    assert_int_equal(lmn_results_set_f64(results, "/configuration", "seed", -2.0, NULL), LMN_OK);
    flush(results);
    lmn_results_close(results);
    results = open_results(f, true);
    assert_int_equal(
        lmn_results_set_text(results, "/configuration", "model", "gr\xc3\xb6\xc3\x9f", NULL),
        LMN_OK);
    flush(results);
    lmn_results_close(results);
    check_attributes(f, "/configuration", "lr=0.5;model=gr\xc3\xb6\xc3\x9f;seed=-2;");
}

static void set_attributes_bad_names_are_refused(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    char name[400];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(lmn_results_set_u64(results, "configuration", "a", 1, NULL), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_results_set_u64(results, "/c", name, 1, NULL), LMN_ERR_ARGUMENT);
    lmn_results_close(results);
}

static void set_lists_come_back_and_are_replaced(void **state)
{
    const fixture *f = *state;
    const char *const names[] = {"conv1", "", "a much longer name than the others"};
    const uint64_t sizes[] = {320, 18496, 7};
    lmn_results *results = open_results(f, false);
    for (size_t n = 0; n <= 3; n++) {
        assert_int_equal(lmn_results_set_texts(results, "/layers/name", names, n, NULL), LMN_OK);
        assert_int_equal(lmn_results_set_u64s(results, "/layers/size", "1", sizes, n, NULL),
                         LMN_OK);
        flush(results);
        lmn_file *file = NULL;
        assert_int_equal(lmn_file_open(f->path, &file, NULL), LMN_OK);
        double *values = read_column(file, "/layers/size", n);
        char text[64];
        for (size_t i = 0; i < n; i++) {
            assert_int_equal((uint64_t)values[i], sizes[i]);
            assert_int_equal(lmn_file_read_text(file, "/layers/name", i, text, sizeof text, NULL),
                             LMN_OK);
            assert_string_equal(text, names[i]);
        }
        assert_int_equal(lmn_file_read_text(file, "/layers/name", n, text, sizeof text, NULL),
                         LMN_ERR_ARGUMENT);
        lmn_free(values);
        lmn_file_close(file);
    }
    lmn_results_close(results);
}

/* ---- failures ---- */

static void open_where_nothing_can_be_written_is_refused(void **state)
{
    fixture *f = *state;
    lmn_results *results = NULL;
    lmn_error err = lmn_error_none();
    path_join(f->path, f->directory, "nowhere/run.h5");
    assert_int_equal(lmn_results_open(f->path, false, &results, &err), LMN_ERR_IO);
    assert_non_null(strstr(err.message, "nowhere/run.h5': No such file"));
    assert_null(results);
}

static void resume_of_another_or_damaged_file_is_refused(void **state)
{
    fixture *f = *state;
    lmn_results *results = NULL;
    lmn_error err = lmn_error_none();
    char dataset[TEST_PATH_BYTES];
    dataset_write(f->directory, 8, dataset);
    assert_int_equal(lmn_results_open(dataset, true, &results, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "is a dataset file, not a results file"));
    results = open_results(f, false);
    append_steps(results, add_steps(results, 10), 0, 10);
    flush(results);
    lmn_results_close(results);
    file_truncate(f->path, file_bytes(f->path) / 2);
    results = NULL;
    assert_int_equal(lmn_results_open(f->path, true, &results, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "damaged or truncated"));
    assert_null(results);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The file system refuses at every possible byte; rows wait on and the next flush has them. */
static void flush_that_fails_anywhere_keeps_file_and_rows(void **state)
{
    const fixture *f = *state;
    lmn_results *results = open_results(f, false);
    lmn_table *table = add_steps(results, 100);
    append_steps(results, table, 0, 20);
    flush(results);
    append_steps(results, table, 20, 40);
    assert_int_equal(lmn_results_set_text(results, "/summary", "state", "running", NULL), LMN_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    size_t failures = 0;
    lmn_status status = LMN_ERR_IO;
    for (rlim_t bytes = 0; status != LMN_OK; bytes += 509) {
        lmn_error err = lmn_error_none();
        limit_files(bytes);
        status = lmn_results_flush(results, &err);
        limit_files(RLIM_INFINITY);
        if (status != LMN_OK) {
            failures++;
            assert_int_equal(status, LMN_ERR_IO);
            assert_non_null(strstr(err.message, "File too large"));
            assert_int_equal(lmn_table_waiting(table), 20);
            assert_int_equal(directory_count(f->directory), 1);
            check_steps(f, 20);
        }
    }
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_true(failures > 10);
    lmn_results_close(results);
    check_steps(f, 40);
    check_attributes(f, "/summary", "state=running;");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(append_and_flush_many_times_keeps_every_row),
        CASE(flush_without_rows_makes_a_file_and_empty_tables),
        CASE(open_anew_begins_from_nothing),
        CASE(resume_goes_on_after_the_last_row),
        CASE(truncate_drops_rows_in_file_and_memory),
        CASE(append_beyond_capacity_or_backwards_is_refused),
        CASE(resume_with_other_columns_is_refused),
        CASE(add_table_bad_columns_are_refused),
        CASE(set_attributes_come_back_in_order_and_are_replaced),
        CASE(set_attributes_bad_names_are_refused),
        CASE(set_lists_come_back_and_are_replaced),
        CASE(open_where_nothing_can_be_written_is_refused),
        CASE(resume_of_another_or_damaged_file_is_refused),
        CASE(flush_that_fails_anywhere_keeps_file_and_rows),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
