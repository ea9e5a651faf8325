/*
 * Checkpoints on 1 to 4 ranks: what was written comes back to the bit, damage of any kind is found
 * before anything changes, and a write that fails leaves what was there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/checkpoint.h"
#include "lamina/import.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mpi.h>

#include <cmocka.h>

/* A run's memory. */
#define MATRIX   105
#define LONG_ROW 1001

typedef struct memory {
    float single;
    float pair[2];
    float matrix[MATRIX]; /* [3, 5, 7] */
    float six[64];        /* [2, 2, 2, 2, 2, 2] */
    float long_row[LONG_ROW];
    double precise[13];
    uint64_t counts[3];
    float mine[17];    /* per rank */
    uint64_t my_word;  /* per rank */
    uint64_t position; /* a number */
} memory;

typedef struct fixture {
    lmn_world *world;
    lmn_logger log;
    char last_warning[1024];
    char directory[TEST_PATH_BYTES];
    int rank, size;
} fixture;

static void keep_warning(void *user, lmn_log_level level, const char *line)
{
    fixture *f = user;
    if (level == LMN_LOG_WARN) {
        (void)snprintf(f->last_warning, sizeof f->last_warning, "%s", line);
    }
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->log = (lmn_logger){.level = LMN_LOG_WARN, .write = keep_warning, .user = f};
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, &f->log, &f->world, NULL), LMN_OK);
    f->rank = lmn_world_rank(f->world);
    f->size = lmn_world_size(f->world);
    if (f->rank == 0) {
        scratch_create(f->directory);
    }
    MPI_Bcast(f->directory, sizeof f->directory, MPI_CHAR, 0, MPI_COMM_WORLD);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        scratch_remove(f->directory);
    }
    lmn_world_destroy(f->world);
    free(f);
    return 0;
}

/* Bits without meaning, NaNs among them; for per-rank members they differ between ranks. */
static void fill(void *data, size_t bytes, unsigned seed)
{
    unsigned char *to = data;
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525U + 1013904223U;
        to[i] = (unsigned char)(seed >> 24);
    }
}

static void fill_memory(memory *m, unsigned seed, int rank)
{
    memset(m, 0, sizeof *m);
    fill(&m->single, sizeof m->single, seed + 1);
    fill(m->pair, sizeof m->pair, seed + 2);
    fill(m->matrix, sizeof m->matrix, seed + 3);
    fill(m->six, sizeof m->six, seed + 4);
    fill(m->long_row, sizeof m->long_row, seed + 5);
    fill(m->precise, sizeof m->precise, seed + 6);
    fill(m->counts, sizeof m->counts, seed + 7);
    fill(m->mine, sizeof m->mine, seed + 100 + (unsigned)rank);
    fill(&m->my_word, sizeof m->my_word, seed + 200 + (unsigned)rank);
    m->position = seed;
}

static void add(lmn_state *list, const char *name, lmn_state_kind kind, lmn_state_type type,
                size_t n_dims, const size_t *dims, void *data)
{
    assert_int_equal(lmn_state_add_array(list, name, "1", kind, type, n_dims, dims, data, NULL),
                     LMN_OK);
}

static lmn_state *list_memory(memory *m, const char *model)
{
    static const size_t matrix[] = {3, 5, 7};
    static const size_t six[] = {2, 2, 2, 2, 2, 2};
    static const size_t none[] = {4, 0};
    lmn_state *list = NULL;
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    const lmn_state_kind all = LMN_STATE_REPLICATED;
    add(list, "/parameters/single", all, LMN_STATE_F32, 0, NULL, &m->single);
    add(list, "/parameters/pair", all, LMN_STATE_F32, 1, (const size_t[]){2}, m->pair);
    add(list, "/parameters/deep/matrix", all, LMN_STATE_F32, 3, matrix, m->matrix);
    add(list, "/parameters/deep/six", all, LMN_STATE_F32, 6, six, m->six);
    add(list, "/parameters/long", all, LMN_STATE_F32, 1, (const size_t[]){LONG_ROW}, m->long_row);
    add(list, "/empty", all, LMN_STATE_F32, 2, none, NULL);
    add(list, "/precise", all, LMN_STATE_F64, 1, (const size_t[]){13}, m->precise);
    add(list, "/counts", all, LMN_STATE_U64, 1, (const size_t[]){3}, m->counts);
    add(list, "/feedback/mine", LMN_STATE_PER_RANK, LMN_STATE_F32, 1, (const size_t[]){17},
        m->mine);
    add(list, "/feedback/word", LMN_STATE_PER_RANK, LMN_STATE_U64, 0, NULL, &m->my_word);
    assert_int_equal(lmn_state_add_u64(list, "position", &m->position, NULL), LMN_OK);
    assert_int_equal(lmn_state_add_text(list, "model", model, true, NULL), LMN_OK);
    assert_int_equal(lmn_state_add_text(list, "note", model, false, NULL), LMN_OK);
    return list;
}

static void write_step(const fixture *f, memory *m, uint64_t step, size_t keep)
{
    lmn_state *list = list_memory(m, "cnn");
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_checkpoint_write(f->world, f->directory, step, list, keep, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    lmn_state_destroy(list);
}

static void step_path(const fixture *f, uint64_t step, char path[TEST_PATH_BYTES])
{
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoint-%llu.h5", (unsigned long long)step);
    path_join(path, f->directory, name);
}

/* Rank 0 does something to a file while the others wait. */
static void on_first(const fixture *f, void (*change)(const char *path), const char *path)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        change(path);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Status and message are the same on all ranks. */
static void check_same_error(const fixture *f, lmn_status status, const lmn_error *err)
{
    lmn_error first = *err;
    int first_status = status;
    MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD);
    MPI_Bcast(&first_status, 1, MPI_INT, 0, MPI_COMM_WORLD);
    assert_int_equal(status, first_status);
    assert_int_equal(err->status, status);
    assert_string_equal(err->message, first.message);
    (void)f;
}

/* Reading fails on all ranks alike, says `what`, and changes nothing. */
static void read_fails(const fixture *f, const char *path, lmn_state *list, const memory *m,
                       lmn_status status, const char *what)
{
    memory before = *m;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_read(f->world, path, list, &err), status);
    check_same_error(f, status, &err);
    if (strstr(err.message, what) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err.message);
    }
    assert_memory_equal(&before, m, sizeof before);
}

/* ---- what comes back ---- */

static void read_what_was_written_is_the_same_to_the_bit(void **state)
{
    const fixture *f = *state;
    memory written;
    memory loaded;
    fill_memory(&written, 7, f->rank);
    fill_memory(&loaded, 999, f->rank);
    write_step(f, &written, 12, 3);
    char path[TEST_PATH_BYTES];
    step_path(f, 12, path);
    lmn_state *list = list_memory(&loaded, "cnn");
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_checkpoint_read(f->world, path, list, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    assert_memory_equal(&written, &loaded, sizeof written);
    lmn_state_destroy(list);
    assert_int_equal(lmn_checkpoint_verify(path, NULL), LMN_OK);
    assert_int_equal(directory_count(f->directory), 1);
}

static void write_same_state_twice_gives_the_same_bytes(void **state)
{
    const fixture *f = *state;
    memory m;
    char path[TEST_PATH_BYTES];
    fill_memory(&m, 3, f->rank);
    step_path(f, 5, path);
    write_step(f, &m, 5, 0);
    size_t bytes = 0;
    unsigned char *first = file_read(path, &bytes);
    MPI_Barrier(MPI_COMM_WORLD);
    write_step(f, &m, 5, 0);
    size_t again_bytes = 0;
    unsigned char *again = file_read(path, &again_bytes);
    assert_int_equal(bytes, again_bytes);
    assert_memory_equal(first, again, bytes);
    free(first);
    free(again);
}

static void write_large_arrays_span_blocks(void **state)
{
    const fixture *f = *state;
    const size_t dims[2] = {773, 1999}; /* 6 MB: several blocks of the digest on each rank */
    const size_t count = dims[0] * dims[1];
    float *data = malloc(count * sizeof *data);
    float *loaded = calloc(count, sizeof *loaded);
    assert_non_null(data);
    assert_non_null(loaded);
    fill(data, count * sizeof *data, 5);
    for (int pass = 0; pass < 2; pass++) {
        lmn_state *list = NULL;
        assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
        add(list, "/w", LMN_STATE_REPLICATED, LMN_STATE_F32, 2, dims, pass == 0 ? data : loaded);
        char path[TEST_PATH_BYTES];
        step_path(f, 1, path);
        if (pass == 0) {
            assert_int_equal(lmn_checkpoint_write(f->world, f->directory, 1, list, 1, NULL),
                             LMN_OK);
        } else {
            assert_int_equal(lmn_checkpoint_read(f->world, path, list, NULL), LMN_OK);
        }
        lmn_state_destroy(list);
    }
    assert_memory_equal(data, loaded, count * sizeof *data);
    free(data);
    free(loaded);
}

static void read_parameters_alone_is_allowed(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    float loaded[MATRIX] = {0};
    lmn_state *list = NULL;
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    add(list, "/parameters/deep/matrix", LMN_STATE_REPLICATED, LMN_STATE_F32, 3,
        (const size_t[]){3, 5, 7}, loaded);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    assert_int_equal(lmn_checkpoint_read(f->world, path, list, NULL), LMN_OK);
    assert_memory_equal(loaded, m.matrix, sizeof loaded);
    lmn_state_destroy(list);
}

static void read_with_fewer_ranks_takes_only_what_all_share(void **state)
{
    const fixture *f = *state;
    if (f->size == 1) {
        print_message("needs 2 ranks: not tried\n");
        return;
    }
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, f->rank == 0 ? 1 : 0, f->rank, &part);
    lmn_world *world = NULL;
    assert_int_equal(lmn_world_create(part, NULL, &world, NULL), LMN_OK);
    memory loaded;
    fill_memory(&loaded, 1, f->rank);
    lmn_state *list = list_memory(&loaded, "cnn");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_read(world, path, list, &err), LMN_ERR_ARGUMENT);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "written by %d ranks and read by %d", f->size,
                   lmn_world_size(world));
    assert_non_null(strstr(err.message, expected));
    lmn_state_destroy(list);
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    add(list, "/parameters/long", LMN_STATE_REPLICATED, LMN_STATE_F32, 1,
        (const size_t[]){LONG_ROW}, loaded.long_row);
    assert_int_equal(lmn_checkpoint_read(world, path, list, NULL), LMN_OK);
    assert_memory_equal(loaded.long_row, m.long_row, sizeof m.long_row);
    lmn_state_destroy(list);
    lmn_world_destroy(world);
    MPI_Comm_free(&part);
}

/* ---- what does not fit ---- */

static void read_list_that_does_not_fit_is_refused(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    const struct {
        const char *name;
        lmn_state_kind kind;
        lmn_state_type type;
        size_t dims[1];
        const char *what;
    } wrong[] = {
        {"/parameters/absent", LMN_STATE_REPLICATED, LMN_STATE_F32, {2}, "'/parameters/absent'"},
        {"/parameters", LMN_STATE_REPLICATED, LMN_STATE_F32, {2}, "'/parameters' is not an array"},
        {"/parameters/pair", LMN_STATE_REPLICATED, LMN_STATE_F32, {3}, "[2] in the file, and [3]"},
        {"/parameters/pair", LMN_STATE_REPLICATED, LMN_STATE_F64, {2}, "is not f64"},
        {"/feedback/mine", LMN_STATE_REPLICATED, LMN_STATE_F32, {17}, "is per-rank in the file"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lmn_state *list = NULL;
        memory loaded;
        fill_memory(&loaded, 2, f->rank);
        assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
        /* A good one in front, which must not be loaded either. */
        add(list, "/counts", LMN_STATE_REPLICATED, LMN_STATE_U64, 1, (const size_t[]){3},
            loaded.counts);
        add(list, wrong[i].name, wrong[i].kind, wrong[i].type, 1, wrong[i].dims, loaded.matrix);
        read_fails(f, path, list, &loaded, LMN_ERR_SHAPE, wrong[i].what);
        lmn_state_destroy(list);
    }
}

static void read_other_text_names_both(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    lmn_state *list = list_memory(&m, "mlp");
    read_fails(f, path, list, &m, LMN_ERR_ARGUMENT, "model 'cnn', and this run has 'mlp'");
    lmn_state_destroy(list);
}

static void read_missing_number_is_named(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    lmn_state *list = list_memory(&m, "cnn");
    uint64_t extra = 1;
    assert_int_equal(lmn_state_add_u64(list, "extra", &extra, NULL), LMN_OK);
    read_fails(f, path, list, &m, LMN_ERR_FORMAT, "'extra' is missing");
    lmn_state_destroy(list);
}

static void lists_that_differ_between_ranks_are_refused(void **state)
{
    const fixture *f = *state;
    if (f->size == 1) {
        print_message("needs 2 ranks: not tried\n");
        return;
    }
    memory m;
    fill_memory(&m, 11, f->rank);
    lmn_state *list = list_memory(&m, f->rank == f->size - 1 ? "mlp" : "cnn");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_write(f->world, f->directory, 1, list, 1, &err),
                     LMN_ERR_DIVERGED);
    check_same_error(f, LMN_ERR_DIVERGED, &err);
    assert_int_equal(directory_count(f->directory), 0);
    lmn_state_destroy(list);
}

/* ---- damage ---- */

static void cut_in_half(const char *path)
{
    file_truncate(path, file_bytes(path) / 2);
}

static void flip_one_byte(const char *path)
{
    file_flip(path, file_bytes(path) - 3, 0x40);
}

static void latest_is(const fixture *f, uint64_t step)
{
    char path[LMN_PATH_BYTES] = "unset";
    uint64_t found = 99;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_latest(f->world, f->directory, path, &found, &err), LMN_OK);
    char expected[TEST_PATH_BYTES];
    step_path(f, step, expected);
    assert_string_equal(path, expected);
    assert_true(found == step);
}

static void latest_damaged_one_is_passed_over_by_name(void **state)
{
    fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    char path[TEST_PATH_BYTES];
    for (uint64_t step = 9; step <= 11; step++) {
        write_step(f, &m, step, 0);
    }
    latest_is(f, 11);
    assert_string_equal(f->last_warning, "");
    step_path(f, 11, path);
    on_first(f, flip_one_byte, path);
    latest_is(f, 10);
    assert_int_equal(strstr(f->last_warning, "checkpoint-11.h5") != NULL, f->rank == 0);
    step_path(f, 10, path);
    on_first(f, cut_in_half, path);
    latest_is(f, 9);
    assert_int_equal(strstr(f->last_warning, "checkpoint-10.h5") != NULL, f->rank == 0);
    step_path(f, 9, path);
    on_first(f, cut_in_half, path);
    char none[LMN_PATH_BYTES] = "unset";
    uint64_t found = 99;
    assert_int_equal(lmn_checkpoint_latest(f->world, f->directory, none, &found, NULL), LMN_OK);
    assert_string_equal(none, "");
}

static void latest_without_directory_is_none(void **state)
{
    const fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    path_join(directory, f->directory, "never/made");
    char path[LMN_PATH_BYTES] = "unset";
    uint64_t step = 99;
    assert_int_equal(lmn_checkpoint_latest(f->world, directory, path, &step, NULL), LMN_OK);
    assert_string_equal(path, "");
}

static void verify_any_flipped_byte_is_found(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    if (f->rank == 0) {
        const size_t bytes = file_bytes(path);
        assert_int_equal(lmn_checkpoint_verify(path, NULL), LMN_OK);
        for (size_t i = 0; i < bytes; i++) {
            lmn_error err = lmn_error_none();
            const unsigned char mask = (unsigned char)(1U << (i % 8));
            file_flip(path, i, mask);
            assert_int_equal(lmn_checkpoint_verify(path, &err), LMN_ERR_FORMAT);
            assert_non_null(strstr(err.message, path));
            file_flip(path, i, mask);
        }
        assert_int_equal(lmn_checkpoint_verify(path, NULL), LMN_OK);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void verify_any_truncation_or_addition_is_found(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 1);
    char path[TEST_PATH_BYTES];
    step_path(f, 1, path);
    if (f->rank == 0) {
        size_t bytes = 0;
        unsigned char *data = file_read(path, &bytes);
        data[bytes] = 0;
        file_write(path, data, bytes + 1);
        assert_int_equal(lmn_checkpoint_verify(path, NULL), LMN_ERR_FORMAT);
        for (size_t cut = bytes; cut > 0; cut -= cut < 61 ? cut : 61) {
            file_truncate(path, cut - 1);
            assert_int_equal(lmn_checkpoint_verify(path, NULL), LMN_ERR_FORMAT);
        }
        free(data);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void flip_first_byte(const char *path)
{
    file_flip(path, 0, 1);
}

static void make_newer(const char *path)
{
    file_flip(path, strlen("LAMINA CHECKPOINT "), '2' ^ '3');
}

static void remove_file(const char *path)
{
    (void)unlink(path);
}

static void write_garbage(const char *path)
{
    char text[2000];
    memset(text, 'x', sizeof text);
    file_write(path, text, sizeof text);
}

static void write_few_bytes(const char *path)
{
    file_write(path, "LAMINA", 6);
}

static void read_damaged_file_changes_nothing(void **state)
{
    const fixture *f = *state;
    const struct {
        void (*damage)(const char *path);
        lmn_status status;
        const char *what;
    } cases[] = {
        {flip_one_byte, LMN_ERR_FORMAT, "checksum does not match"},
        {flip_first_byte, LMN_ERR_FORMAT, "not a complete checkpoint"},
        {make_newer, LMN_ERR_FORMAT, "use a newer Lamina"},
        {cut_in_half, LMN_ERR_FORMAT, "truncated or damaged"},
        {write_garbage, LMN_ERR_FORMAT, "not a complete checkpoint"},
        {write_few_bytes, LMN_ERR_FORMAT, "only 6 bytes"},
        {remove_file, LMN_ERR_IO, "No such file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memory m;
        fill_memory(&m, 11, f->rank);
        write_step(f, &m, 1, 1);
        char path[TEST_PATH_BYTES];
        step_path(f, 1, path);
        on_first(f, cases[i].damage, path);
        fill_memory(&m, 12, f->rank);
        lmn_state *list = list_memory(&m, "cnn");
        read_fails(f, path, list, &m, cases[i].status, cases[i].what);
        lmn_state_destroy(list);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* ---- the directory ---- */

static void leave_litter(const char *directory)
{
    static const char *const names[] = {".checkpoint-3.h5.part", ".checkpoint-77.h5.part.lock",
                                        "checkpoint-03.h5", "checkpoint-x.h5", "notes.txt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[TEST_PATH_BYTES];
        path_join(path, directory, names[i]);
        file_write(path, "litter", 6);
    }
}

static void write_keeps_the_newest_and_leaves_other_files(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    on_first(f, leave_litter, f->directory);
    for (uint64_t step = 8; step <= 12; step++) {
        write_step(f, &m, step, 2);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    char path[TEST_PATH_BYTES];
    for (uint64_t step = 8; step <= 12; step++) {
        step_path(f, step, path);
        assert_int_equal(file_exists(path), step >= 11);
    }
    /* Two checkpoints and the three files that are none of ours; both parts are gone. */
    assert_int_equal(directory_count(f->directory), 5);
}

static void write_incomplete_ones_do_not_count_as_kept(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    for (uint64_t step = 1; step <= 3; step++) {
        write_step(f, &m, step, 0);
    }
    char path[TEST_PATH_BYTES];
    step_path(f, 3, path);
    on_first(f, cut_in_half, path);
    step_path(f, 9, path);
    on_first(f, write_few_bytes, path); /* of a later step: left alone */
    write_step(f, &m, 4, 2);
    MPI_Barrier(MPI_COMM_WORLD);
    for (uint64_t step = 1; step <= 9; step++) {
        step_path(f, step, path);
        assert_int_equal(file_exists(path), step == 2 || step == 4 || step == 9);
    }
}

static void write_creates_the_directory(void **state)
{
    fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    char base[TEST_PATH_BYTES];
    memcpy(base, f->directory, sizeof base);
    path_join(f->directory, base, "a//b/c/");
    write_step(f, &m, 0, 1);
    latest_is(f, 0);
    memcpy(f->directory, base, sizeof base);
}

static void write_into_a_file_is_refused(void **state)
{
    const fixture *f = *state;
    memory m;
    fill_memory(&m, 11, f->rank);
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, "file");
    on_first(f, write_few_bytes, path);
    lmn_state *list = list_memory(&m, "cnn");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_write(f->world, path, 1, list, 1, &err), LMN_ERR_IO);
    check_same_error(f, LMN_ERR_IO, &err);
    assert_non_null(strstr(err.message, path));
    lmn_state_destroy(list);
}

/* Files may not grow beyond `bytes` on this rank, so that any phase of a write can fail on it. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void write_that_fails_on_one_rank_fails_on_all(void **state)
{
    const fixture *f = *state;
    static const rlim_t limits[] = {600, 4000, 9000};
    memory m;
    fill_memory(&m, 11, f->rank);
    write_step(f, &m, 1, 0);
    lmn_state *list = list_memory(&m, "cnn");
    (void)signal(SIGXFSZ, SIG_IGN);
    for (int failing = 0; failing < f->size; failing++) {
        for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
            lmn_error err = lmn_error_none();
            if (f->rank == failing) {
                limit_files(limits[i]);
            }
            const lmn_status status =
                lmn_checkpoint_write(f->world, f->directory, 2, list, 0, &err);
            limit_files(RLIM_INFINITY);
            /* Which ranks really write is MPI's choice, but rank 0 creates the file. */
            assert_true(status == LMN_ERR_IO || (status == LMN_OK && failing > 0));
            check_same_error(f, status, &err);
            latest_is(f, status == LMN_OK ? 2 : 1);
            assert_int_equal(directory_count(f->directory), status == LMN_OK ? 2 : 1);
            MPI_Barrier(MPI_COMM_WORLD);
            if (f->rank == 0 && status == LMN_OK) {
                char path[TEST_PATH_BYTES];
                step_path(f, 2, path);
                assert_int_equal(unlink(path), 0);
            }
            MPI_Barrier(MPI_COMM_WORLD);
        }
    }
    (void)signal(SIGXFSZ, SIG_DFL);
    lmn_state_destroy(list);
}

static void write_to_a_full_disk_keeps_what_was_there(void **state)
{
    fixture *f = *state;
    char disk[TEST_PATH_BYTES];
    path_join(disk, f->directory, "disk");
    int code = 0;
    if (f->rank == 0) {
        assert_int_equal(mkdir(disk, 0777), 0);
        code = mount("none", disk, "tmpfs", 0, "size=60k") == 0 ? 0 : errno;
    }
    MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (code != 0) {
        if (f->rank == 0) {
            print_message("a small tmpfs cannot be mounted (error %d): not tried\n", code);
        }
        return;
    }
    char base[TEST_PATH_BYTES];
    memcpy(base, f->directory, sizeof base);
    memcpy(f->directory, disk, sizeof disk);
    memory m;
    fill_memory(&m, 11, f->rank);
    lmn_state *list = list_memory(&m, "cnn");
    lmn_status status = LMN_OK;
    lmn_error err = lmn_error_none();
    uint64_t step = 1;
    while (status == LMN_OK && step < 100) {
        status = lmn_checkpoint_write(f->world, disk, step++, list, 0, &err);
    }
    assert_int_equal(status, LMN_ERR_IO);
    check_same_error(f, LMN_ERR_IO, &err);
    assert_non_null(strstr(err.message, "No space left"));
    assert_true(step > 3);
    latest_is(f, step - 2);
    assert_int_equal(directory_count(disk), step - 2);
    MPI_Barrier(MPI_COMM_WORLD);
    /* Also with nothing left at all. */
    if (f->rank == 0) {
        char filler[TEST_PATH_BYTES];
        path_join(filler, disk, "filler");
        FILE *file = fopen(filler, "wb");
        while (file != NULL && fputc('x', file) != EOF && fflush(file) == 0) {
        }
        if (file != NULL) {
            (void)fclose(file);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
    err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_write(f->world, disk, 100, list, 0, &err), LMN_ERR_IO);
    check_same_error(f, LMN_ERR_IO, &err);
    latest_is(f, step - 2);
    lmn_state_destroy(list);
    MPI_Barrier(MPI_COMM_WORLD);
    memcpy(f->directory, base, sizeof base);
    if (f->rank == 0) {
        assert_int_equal(umount(disk), 0);
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(read_what_was_written_is_the_same_to_the_bit),
        CASE(write_same_state_twice_gives_the_same_bytes),
        CASE(write_large_arrays_span_blocks),
        CASE(read_parameters_alone_is_allowed),
        CASE(read_with_fewer_ranks_takes_only_what_all_share),
        CASE(read_list_that_does_not_fit_is_refused),
        CASE(read_other_text_names_both),
        CASE(read_missing_number_is_named),
        CASE(lists_that_differ_between_ranks_are_refused),
        CASE(latest_damaged_one_is_passed_over_by_name),
        CASE(latest_without_directory_is_none),
        CASE(verify_any_flipped_byte_is_found),
        CASE(verify_any_truncation_or_addition_is_found),
        CASE(read_damaged_file_changes_nothing),
        CASE(write_keeps_the_newest_and_leaves_other_files),
        CASE(write_incomplete_ones_do_not_count_as_kept),
        CASE(write_creates_the_directory),
        CASE(write_into_a_file_is_refused),
        CASE(write_that_fails_on_one_rank_fails_on_all),
        CASE(write_to_a_full_disk_keeps_what_was_there),
    };
#undef CASE
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return n_failed;
}
