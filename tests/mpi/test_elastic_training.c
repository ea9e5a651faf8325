/*
 * A training that goes on with another number of ranks: 4, then 3, 2 and 4 again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 48, STAGES = 4 };

static const int stage_ranks[STAGES] = {4, 3, 2, 4};

/* One stage on the first `n` ranks, which stops after `steps` steps; the others wait. */
static lmn_training_summary run_stage(const training *t, int n, uint64_t steps,
                                      const lmn_trainer_options *options)
{
    lmn_training_summary summary = {0};
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, t->rank < n ? 0 : MPI_UNDEFINED, t->rank, &comm);
    if (comm != MPI_COMM_NULL) {
        training part = *t;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_world_create(comm, NULL, &part.world, &err), LMN_OK);
        part.size = n;
        if (lmn_dataset_open(part.world, t->dataset_path, &part.dataset, &err) != LMN_OK) {
            fail_msg("%s", err.message);
        }
        training_stop stop = training_stop_make(&part, steps);
        lmn_trainer_options own = *options;
        own.should_stop = training_should_stop;
        own.user = &stop;
        summary = training_run(&part, &own);
        lmn_dataset_close(part.dataset);
        lmn_world_destroy(part.world);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return summary;
}

/* All stages; what the last one, on all ranks, ends with. */
static lmn_training_summary run_stages(const training *t, const char *name,
                                       lmn_trainer_options options)
{
    char directory[TEST_PATH_BYTES];
    training_path(t, name, directory);
    options.checkpoint_directory = directory;
    lmn_training_summary summary = {0};
    for (int stage = 0; stage < STAGES; stage++) {
        options.resume = stage > 0;
        summary = run_stage(t, stage_ranks[stage], STEPS / STAGES, &options);
        if (t->rank < stage_ranks[stage]) {
            assert_int_equal(summary.steps, (stage + 1) * STEPS / STAGES);
        }
    }
    return summary;
}

static lmn_trainer_options options_of(const char *compress, const char *feedback,
                                      const char *allocate)
{
    lmn_trainer_options options = training_options(STEPS);
    options.reducer.compress = compress;
    options.reducer.feedback = feedback;
    options.reducer.allocate = allocate;
    options.reducer.dense_below = 64;
    options.lr = 0.01;
    return options;
}

static void dense_training_on_changing_ranks_has_the_loss_of_one_on_the_same(void **state)
{
    const training *t = *state;
    const lmn_trainer_options options = training_options(STEPS);
    const lmn_training_summary straight = training_run(t, &options);
    const lmn_training_summary changing = run_stages(t, "dense", options);
    assert_true(fabs(changing.loss - straight.loss) <= 1e-4 * straight.loss);
    assert_true(fabs(changing.test.loss - straight.test.loss) <= 1e-4 * straight.test.loss);
    assert_int_equal(changing.test.samples, TRAINING_TESTS);
}

static void check_compressed(const training *t, const char *name, const char *compress,
                             const char *feedback, const char *allocate)
{
    lmn_trainer_options options = options_of(compress, feedback, allocate);
    const lmn_training_summary straight = training_run(t, &options);
    const lmn_training_summary changing = run_stages(t, name, options);
    assert_same_on_all_ranks(t, changing.param_hash);
    assert_int_equal(changing.skipped, 0);
    /* Both learn it; what is compressed differs from the first change on. */
    assert_true(straight.test.loss < 0.9 * log(TRAINING_CLASSES));
    assert_true(fabs(changing.test.loss - straight.test.loss) <= 0.05 * straight.test.loss);
    assert_true(fabs(changing.test.accuracy - straight.test.accuracy) <= 0.05);
}

static void compressed_training_on_changing_ranks_learns_as_much(void **state)
{
    check_compressed(*state, "lgreco", "topk:density=0.1", "econtrol",
                     "lgreco:warmup=4,window=4,every=8");
    check_compressed(*state, "quant", "quant:bits=4", "econtrol", "uniform");
    check_compressed(*state, "mixture", "topk:density=0.1+quant:bits=4+lowrank:rank=2", "econtrol",
                     "lgreco:warmup=4,window=4,every=8");
}

static void training_on_more_ranks_than_samples_in_a_batch_is_refused(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    training_path(t, "small-batch", directory);
    lmn_trainer_options options = training_options(8);
    options.global_batch = 3;
    options.checkpoint_directory = directory;
    (void)run_stage(t, 3, 4, &options);
    options.resume = true;
    lmn_error err = lmn_error_none();
    lmn_training_summary summary;
    assert_int_equal(training_try(t, t->dataset, &t->task, &options, &summary, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "smaller than the"));
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_training_on_changing_ranks_has_the_loss_of_one_on_the_same),
        cmocka_unit_test(compressed_training_on_changing_ranks_learns_as_much),
        cmocka_unit_test(training_on_more_ranks_than_samples_in_a_batch_is_refused),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    MPI_Finalize();
    return failed;
}
