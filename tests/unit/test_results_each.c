/*
 * Columns of results that have one value for each rank, when other ranks go on with the file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/inspect.h"
#include "lamina/memory.h"
#include "lamina/results.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void succeeds(lmn_status status, const lmn_error *err)
{
    assert_string_equal(err->message, "");
    assert_int_equal(status, LMN_OK);
}

/* Rows first .. last - 1 of `width` values, step + place / 100 each. */
static void append_each(const char *path, uint64_t first, uint64_t last, size_t width)
{
    const lmn_column each[] = {{"step", "1", "training step", LMN_COLUMN_U64, 1},
                               {"wait", "s", "of each rank", LMN_COLUMN_F32_EACH, width}};
    lmn_results *results = NULL;
    lmn_table *table = NULL;
    lmn_error err = lmn_error_none();
    succeeds(lmn_results_open(path, first > 0, &results, &err), &err);
    succeeds(lmn_results_add_table(results, "/waits", each, 2, 64, &table, &err), &err);
    succeeds(lmn_table_truncate(table, first, &err), &err);
    lmn_cell cells[1 + 80] = {{.u64 = 0}};
    for (uint64_t step = first; step < last; step++) {
        cells[0].u64 = step;
        for (size_t i = 0; i < width; i++) {
            cells[1 + i].f64 = (double)step + (double)i / 100.0;
        }
        succeeds(lmn_table_append(table, cells, &err), &err);
    }
    succeeds(lmn_results_flush(results, &err), &err);
    lmn_results_close(results);
}

/* Rows first .. last - 1 of `values`, rows of `all` values, have `width` and NaN behind them. */
static void check_each(const double *values, uint64_t first, uint64_t last, size_t width,
                       size_t all)
{
    for (uint64_t step = first; step < last; step++) {
        for (size_t i = 0; i < all; i++) {
            const double found = values[step * all + i];
            if (i < width) {
                assert_true(fabs(found - ((double)step + (double)i / 100.0)) < 1e-5);
            } else {
                assert_true(isnan(found));
            }
        }
    }
}

static void resume_with_more_or_fewer_members_leaves_nan_where_there_was_none(void **state)
{
    (void)state;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    scratch_create(directory);
    path_join(path, directory, "run.h5");
    append_each(path, 0, 20, 1);
    append_each(path, 12, 30, 80);
    append_each(path, 25, 40, 3);
    lmn_file *file = NULL;
    assert_int_equal(lmn_file_open(path, &file, NULL), LMN_OK);
    double *values = NULL;
    size_t count = 0;
    assert_int_equal(lmn_file_read_f64(file, "/waits/wait", &values, &count, NULL), LMN_OK);
    assert_int_equal(count, 40 * 80);
    check_each(values, 0, 12, 1, 80);
    check_each(values, 12, 25, 80, 80);
    check_each(values, 25, 40, 3, 80);
    lmn_free(values);
    lmn_file_close(file);
    scratch_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resume_with_more_or_fewer_members_leaves_nan_where_there_was_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
