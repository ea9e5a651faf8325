/*
 * Text from the importer through training and a checkpoint to what a model generates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/generator.h"
#include "lamina/import.h"
#include "lamina/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define CONTEXT 12
#define MODEL   "gpt:layers=1,heads=2,width=32,context=12"

/* Of 53 bytes, and 31 tokens with 18 merges: coprime to the context, so windows begin everywhere.
 */
static const char verse[] = "one two buckle my shoe, three four knock at the door\n";
#define VERSE_BYTES (sizeof verse - 1)
#define REPEATS     40

typedef struct fixture {
    lmn_world *world;
    int rank, size;
    char directory[TEST_PATH_BYTES];
} fixture;

/* A dataset of the verse again and again; on all ranks. */
static void import_verses(const fixture *f, const char *name, const char *vocabulary,
                          char path_out[TEST_PATH_BYTES])
{
    path_join(path_out, f->directory, name);
    if (f->rank == 0) {
        char text_path[TEST_PATH_BYTES];
        char text[REPEATS * VERSE_BYTES];
        for (size_t i = 0; i < REPEATS; i++) {
            memcpy(text + i * VERSE_BYTES, verse, VERSE_BYTES);
        }
        path_join(text_path, f->directory, "verses.txt");
        file_write(text_path, text, sizeof text);
        const char *const files[] = {text_path};
        const lmn_import_text_options options = {
            .files = files, .n_files = 1, .vocabulary = vocabulary, .test_part = 0.2};
        lmn_error err = lmn_error_none();
        if (lmn_import_text(&options, path_out, &err) != LMN_OK) {
            fail_msg("%s", err.message);
        }
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
}

static lmn_dataset *open_dataset(const fixture *f, const char *path)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_dataset_open(f->world, path, &dataset, &err) != LMN_OK ||
        lmn_dataset_set_context(dataset, CONTEXT, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return dataset;
}

static lmn_training_summary train(const fixture *f, const lmn_dataset *dataset,
                                  const lmn_task *task, const lmn_trainer_options *options)
{
    lmn_trainer *trainer = NULL;
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_trainer_create(f->world, dataset, task, options, &trainer, &err);
    if (status == LMN_OK) {
        status = lmn_agree(
            f->world, lmn_trainer_keep_vocabulary(trainer, lmn_dataset_vocabulary(dataset), &err),
            &err);
    }
    if (status == LMN_OK) {
        status = lmn_trainer_run(trainer, &summary, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_trainer_destroy(trainer);
    return summary;
}

typedef struct output {
    size_t n;
    char bytes[4 * VERSE_BYTES];
} output;

static lmn_status keep(void *user, const unsigned char *bytes, size_t n, lmn_error *err)
{
    (void)err;
    output *o = user;
    for (size_t i = 0; i < n && o->n < sizeof o->bytes; i++) {
        o->bytes[o->n++] = (char)bytes[i];
    }
    return LMN_OK;
}

/* What the model in a checkpoint says behind a prompt, without the dataset. */
static output generate(const fixture *f, const char *checkpoint, const char *prompt, size_t tokens)
{
    lmn_vocabulary *vocabulary = NULL;
    lmn_generator *generator = NULL;
    lmn_state *state = NULL;
    output o = {.n = 0};
    lmn_error err = lmn_error_none();
    const lmn_generation generation = {.prompt = (const unsigned char *)prompt,
                                       .prompt_bytes = strlen(prompt),
                                       .tokens = tokens,
                                       .on_token = keep,
                                       .user = &o};
    lmn_status status = lmn_generator_vocabulary(checkpoint, &vocabulary, &err);
    if (status == LMN_OK) {
        status = lmn_generator_create(MODEL, vocabulary, &generator, &err);
    }
    if (status == LMN_OK) {
        status = lmn_state_create(&state, &err);
    }
    if (status == LMN_OK) {
        status = lmn_parameters_add_state(lmn_generator_parameters(generator), state, &err);
    }
    if (status == LMN_OK) {
        status = lmn_checkpoint_read(f->world, checkpoint, state, &err);
    }
    if (status == LMN_OK) {
        status = lmn_generator_run(generator, &generation, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_state_destroy(state);
    lmn_generator_destroy(generator);
    lmn_vocabulary_destroy(vocabulary);
    return o;
}

static lmn_trainer_options options_for(uint64_t steps)
{
    lmn_trainer_options options = lmn_trainer_options_default();
    options.steps = steps;
    options.global_batch = 16;
    options.optimizer = "adamw";
    options.lr = 0.01;
    options.reducer.compress = "dense";
    options.reducer.feedback = "none";
    options.reducer.allocate = "uniform";
    options.verify_every = 50;
    return options;
}

static void train_verse_until_it_is_known_and_say_it(const fixture *f, const char *vocabulary)
{
    char path[TEST_PATH_BYTES];
    char checkpoints[TEST_PATH_BYTES];
    char checkpoint[LMN_PATH_BYTES];
    uint64_t step = 0;
    import_verses(f, "verses.h5", vocabulary, path);
    path_join(checkpoints, f->directory, vocabulary);
    lmn_dataset *dataset = open_dataset(f, path);
    const lmn_text_task text = {.model = MODEL, .data = *lmn_dataset_get_info(dataset)};
    const lmn_task task = lmn_text_task_get(&text);
    lmn_trainer_options options = options_for(300);
    options.checkpoint_directory = checkpoints;
    const lmn_training_summary summary = train(f, dataset, &task, &options);
    assert_true(summary.test.accuracy > 0.9);
    /* What the metrics say of the loss. */
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    const double bytes_a_token = (double)info->text_bytes[1] / (double)info->text_tokens[1];
    assert_int_equal(summary.test.n_metrics, 2);
    assert_true(fabs(summary.test.metrics[0] - summary.test.loss / log(2.0) / bytes_a_token) <
                1e-9);
    assert_true(fabs(summary.test.metrics[1] - exp(summary.test.loss)) < 1e-9);
    assert_int_equal(lmn_checkpoint_latest(f->world, checkpoints, checkpoint, &step, NULL), LMN_OK);
    const char *prompt = "one two buckle";
    const output o = generate(f, checkpoint, prompt, 2 * VERSE_BYTES);
    assert_true(o.n >= 2 * VERSE_BYTES);
    for (size_t i = 0; i < 2 * VERSE_BYTES; i++) {
        assert_int_equal(o.bytes[i], verse[(strlen(prompt) + i) % VERSE_BYTES]);
    }
    lmn_dataset_close(dataset);
}

static void text_of_bytes_overfitted_is_repeated(void **state)
{
    train_verse_until_it_is_known_and_say_it(*state, "bytes");
}

static void text_of_pairs_overfitted_is_repeated(void **state)
{
    train_verse_until_it_is_known_and_say_it(*state, "bpe:size=274");
}

/* Rows without a sample, of which there are more on more ranks, must not count. */
static void evaluator_run_text_counts_every_window_once(void **state)
{
    const fixture *f = *state;
    char path[TEST_PATH_BYTES];
    import_verses(f, "counted.h5", "bytes", path);
    lmn_dataset *dataset = open_dataset(f, path);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    const lmn_text_task text = {.model = MODEL, .data = *info};
    const lmn_task task = lmn_text_task_get(&text);
    const uint64_t windows = (info->text_tokens[LMN_SPLIT_TEST] - 1) / CONTEXT;
    double first_loss = 0.0;
    static const size_t batches[] = {4, 7, 1000};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        lmn_evaluator *evaluator = NULL;
        lmn_evaluation found = {0};
        assert_int_equal(lmn_evaluator_create(f->world, dataset, LMN_SPLIT_TEST, &task, batches[i],
                                              NULL, &evaluator, NULL),
                         LMN_OK);
        lmn_parameters_init(lmn_evaluator_parameters(evaluator), 11);
        assert_int_equal(lmn_evaluator_run(evaluator, &found, NULL), LMN_OK);
        lmn_evaluator_destroy(evaluator);
        assert_int_equal(found.samples, windows);
        first_loss = i == 0 ? found.loss : first_loss;
        assert_true(fabs(found.loss - first_loss) < 1e-5 * first_loss);
    }
    /* Start values know nothing: close to the logarithm of the number of tokens. */
    assert_true(fabs(first_loss - log(256.0)) < 0.1);
    lmn_dataset_close(dataset);
}

static void generator_vocabulary_of_another_file_is_refused(void **state)
{
    const fixture *f = *state;
    char path[TEST_PATH_BYTES];
    import_verses(f, "other.h5", "bytes", path);
    lmn_vocabulary *vocabulary = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_generator_vocabulary(path, &vocabulary, &err), LMN_ERR_FORMAT);
    assert_null(vocabulary);
    assert_non_null(strstr(err.message, "other.h5"));
}

static int set_up(void **state)
{
    static fixture f;
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, NULL, &f.world, NULL), LMN_OK);
    f.rank = lmn_world_rank(f.world);
    f.size = lmn_world_size(f.world);
    if (f.rank == 0) {
        scratch_create(f.directory);
    }
    assert_int_equal(lmn_world_broadcast(f.world, f.directory, sizeof f.directory, 0, NULL),
                     LMN_OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    const fixture *f = *state;
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    if (f->rank == 0) {
        scratch_remove(f->directory);
    }
    lmn_world_destroy(f->world);
    return 0;
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_bytes_overfitted_is_repeated),
        cmocka_unit_test(text_of_pairs_overfitted_is_repeated),
        cmocka_unit_test(evaluator_run_text_counts_every_window_once),
        cmocka_unit_test(generator_vocabulary_of_another_file_is_refused),
    };
    const int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
