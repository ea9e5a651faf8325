/*
 * Which samples a training uses whose number of ranks changes in the middle of epochs: each one
 * once in every epoch, by counting.
 *
 * What is trained is a counter: sample i has label i, the loss is the sum over rows of weight times
 * w[label], and gradient descent with a rate of one batch takes 1 from w[i] whenever sample i is
 * used. A checkpoint after every step says what each step used. So the whole way is counted, from
 * the reader over the weights of rows and the reducer to the parameters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/import.h"
#include "lamina/memory.h"
#include "lamina/ops.h"
#include "lamina/partition.h"
#include "lamina/shard.h"
#include "training.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* An epoch is 4.6 batches, which no number of ranks here divides but 1. */
enum { SAMPLES = 143, BATCH = 31, STAGES = 4, STEPS = 17 };

/* Ranks, and the step after which they end: in the middle of epochs 0, 1 and 2. */
static const struct stage {
    int ranks;
    uint64_t end;
} stages[STAGES] = {{4, 3}, {3, 7}, {2, 11}, {4, STEPS}};

/* ---- a dataset whose labels are the samples, and a task that counts them ---- */

static void write_split(const char *images_path, const char *labels_path, uint32_t count)
{
    const uint32_t dims[] = {count, 2, 2};
    unsigned char *images = calloc(count, 4);
    unsigned char *labels = calloc(count, 1);
    assert_non_null(images);
    assert_non_null(labels);
    for (uint32_t i = 0; i < count; i++) {
        images[4UL * i] = (unsigned char)i;
        labels[i] = (unsigned char)i;
    }
    idx_write(images_path, 3, dims, images, false);
    idx_write(labels_path, 1, dims, labels, false);
    free(images);
    free(labels);
}

/* The same path on all ranks. */
static void write_dataset(const training *t, char path_out[TEST_PATH_BYTES])
{
    char images[TEST_PATH_BYTES];
    char labels[TEST_PATH_BYTES];
    training_path(t, "counted-images", images);
    training_path(t, "counted-labels", labels);
    training_path(t, "counted.h5", path_out);
    if (t->rank == 0) {
        const lmn_import_idx_options options = {.train_images = images,
                                                .train_labels = labels,
                                                .test_images = images,
                                                .test_labels = labels};
        lmn_error err = lmn_error_none();
        write_split(images, labels, SAMPLES);
        if (lmn_import_idx(&options, path_out, &err) != LMN_OK) {
            fail_msg("%s", err.message);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static lmn_status build_counter(const void *user, lmn_graph *graph, size_t rows,
                                lmn_task_graph *task_out, lmn_error *err)
{
    (void)user;
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    const lmn_shape table_shape = {.n_dims = 1, .dims = {SAMPLES}};
    const lmn_init zero = {.kind = LMN_INIT_CONSTANT};
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, row_shape);
    const lmn_tensor *weights = lmn_input(graph, "weights", LMN_F32, row_shape);
    const lmn_tensor *table = lmn_parameter(graph, "uses", table_shape, zero);
    const lmn_tensor *uses = lmn_gather(graph, table, labels);
    *task_out = (lmn_task_graph){
        .n_inputs = 1,
        .inputs = {labels},
        .weights = weights,
        .loss = lmn_reduce_sum(graph, lmn_mul(graph, uses, weights), LMN_ALL_AXES, false),
        .hits = lmn_reduce_sum(graph, weights, LMN_ALL_AXES, false),
    };
    return lmn_graph_status(graph, err);
}

/* ---- the training ---- */

/* The first ranks of the job train until step `end`; the others wait. */
static void run_stage(const training *t, const char *dataset_path, const struct stage *stage,
                      uint64_t first, const lmn_trainer_options *options)
{
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, t->rank < stage->ranks ? 0 : MPI_UNDEFINED, t->rank, &comm);
    if (comm != MPI_COMM_NULL) {
        training part = *t;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_world_create(comm, NULL, &part.world, &err), LMN_OK);
        part.size = stage->ranks;
        if (lmn_dataset_open(part.world, dataset_path, &part.dataset, &err) != LMN_OK) {
            fail_msg("%s", err.message);
        }
        training_stop stop = training_stop_make(&part, stage->end - first);
        lmn_trainer_options own = *options;
        own.resume = first > 0;
        own.should_stop = training_should_stop;
        own.user = &stop;
        const lmn_task task = {.build = build_counter};
        const lmn_training_summary summary = training_run_task(&part, &task, &own);
        assert_int_equal(summary.steps, stage->end);
        lmn_dataset_close(part.dataset);
        lmn_world_destroy(part.world);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* How often each sample was used until a step, from its checkpoint. */
static void read_uses(const char *directory, uint64_t step, long uses[SAMPLES])
{
    char name[64];
    char path[TEST_PATH_BYTES];
    (void)snprintf(name, sizeof name, "checkpoint-%lu.h5", (unsigned long)step);
    path_join(path, directory, name);
    lmn_file *file = NULL;
    double *values = NULL;
    size_t count = 0;
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_file_open(path, &file, &err);
    if (status == LMN_OK) {
        status = lmn_file_read_f64(file, "/parameters/uses", &values, &count, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(count, SAMPLES);
    for (size_t i = 0; i < SAMPLES && values != NULL; i++) {
        uses[i] = lround(-values[i]);
        assert_true(fabs(-values[i] - (double)uses[i]) < 1e-4);
    }
    lmn_free(values);
    lmn_file_close(file);
}

static lmn_trainer_options options_of(const char *directory, const char *split)
{
    lmn_trainer_options options = training_options(STEPS);
    options.global_batch = BATCH;
    options.lr = BATCH;
    options.optimizer = "sgd:momentum=0";
    options.reducer.compress = "dense";
    options.reducer.feedback = "none";
    options.reducer.allocate = "uniform";
    options.split = split;
    options.checkpoint_directory = directory;
    options.checkpoint_every = 1;
    options.checkpoint_keep = 0;
    return options;
}

static void run_all(const training *t, const char *name, const char *split,
                    char directory[TEST_PATH_BYTES])
{
    char dataset_path[TEST_PATH_BYTES];
    write_dataset(t, dataset_path);
    training_path(t, name, directory);
    const lmn_trainer_options options = options_of(directory, split);
    uint64_t first = 0;
    for (size_t i = 0; i < STAGES; i++) {
        run_stage(t, dataset_path, &stages[i], first, &options);
        first = stages[i].end;
    }
}

/* After p positions each sample was used p / SAMPLES times or once more, and so many of them once
   more as remain: at every step, so in every epoch each once. */
static void check_epochs(const char *directory)
{
    long before[SAMPLES] = {0};
    for (uint64_t step = 1; step <= STEPS; step++) {
        long uses[SAMPLES] = {0};
        read_uses(directory, step, uses);
        const long positions = (long)step * BATCH;
        long more = 0;
        for (size_t i = 0; i < SAMPLES; i++) {
            assert_in_range(uses[i] - positions / SAMPLES, 0, 1);
            assert_true(uses[i] >= before[i]);
            more += uses[i] - positions / SAMPLES;
            before[i] = uses[i];
        }
        assert_int_equal(more, positions % SAMPLES);
    }
}

/* Samples of the shard of a rank that were used in a step had been used as little as any other of
 * it. */
static void check_shard(const lmn_shard *shard, const long before[SAMPLES],
                        const long after[SAMPLES], long part)
{
    long least = LONG_MAX;
    long used = 0;
    for (uint64_t i = 0; i < shard->count; i++) {
        const uint64_t sample = shard->samples == NULL ? shard->first + i : shard->samples[i];
        least = after[sample] < least ? after[sample] : least;
        used += after[sample] - before[sample];
    }
    assert_int_equal(used, part);
    for (uint64_t i = 0; i < shard->count; i++) {
        const uint64_t sample = shard->samples == NULL ? shard->first + i : shard->samples[i];
        assert_true(after[sample] == before[sample] || after[sample] <= least + 1);
    }
}

static void check_shards(const training *t, const char *directory, const char *split)
{
    char path[TEST_PATH_BYTES];
    lmn_dataset *dataset = NULL;
    lmn_sharding sharding;
    lmn_world *self = NULL;
    training_path(t, "counted.h5", path);
    assert_int_equal(lmn_world_create(MPI_COMM_SELF, NULL, &self, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_open(self, path, &dataset, NULL), LMN_OK);
    assert_int_equal(lmn_sharding_parse(split, &sharding, NULL), LMN_OK);
    long before[SAMPLES] = {0};
    size_t stage = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        stage += step > stages[stage].end ? 1 : 0;
        const int size = stages[stage].ranks;
        long after[SAMPLES];
        read_uses(directory, step, after);
        for (int rank = 0; rank < size; rank++) {
            lmn_shard shard = {.count = 0};
            assert_int_equal(lmn_shard_create(dataset, &sharding, training_options(1).seed, rank,
                                              size, &shard, NULL),
                             LMN_OK);
            const lmn_range part = lmn_partition(BATCH, (size_t)size, (size_t)rank);
            check_shard(&shard, before, after, (long)part.count);
            lmn_shard_destroy(&shard);
        }
        memcpy(before, after, sizeof before);
    }
    lmn_dataset_close(dataset);
    lmn_world_destroy(self);
}

static void so_it_is_in_every_shard_where_ranks_have_their_own_samples(void **state)
{
    static const char *const splits[] = {"label", "dirichlet:alpha=0.5"};
    const training *t = *state;
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        char directory[TEST_PATH_BYTES];
        run_all(t, i == 0 ? "counted-label" : "counted-dirichlet", splits[i], directory);
        if (t->rank == 0) {
            check_shards(t, directory, splits[i]);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

static void each_sample_is_used_once_an_epoch_on_4_3_2_and_4_ranks(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    run_all(t, "counted-iid", "iid", directory);
    if (t->rank == 0) {
        check_epochs(directory);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sample_is_used_once_an_epoch_on_4_3_2_and_4_ranks),
        cmocka_unit_test(so_it_is_in_every_shard_where_ranks_have_their_own_samples),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    MPI_Finalize();
    return failed;
}
