/*
 * Statistics in training: values that follow others instead of descending.
 *
 * The model is one number w whose gradient is 1, and a statistic s that follows w times the sum of
 * this rank's row weights. Ranks hold different numbers of rows, but the mean of that sum over
 * ranks is 1, so s follows w and both have closed forms.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/ops.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <mpi.h>

#include <cmocka.h>

#define START    5.0F
#define FIRST    2.0F
#define MOMENTUM 0.25F

/* loss = (w + s) * sum of weights, without gradient in s */
static lmn_status build_followed(const void *user, lmn_graph *graph, size_t rows,
                                 lmn_task_graph *task_out, lmn_error *err)
{
    (void)user;
    const lmn_shape scalar = {.n_dims = 0};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, row_shape);
    const lmn_tensor *weights = lmn_input(graph, "weights", LMN_F32, row_shape);
    const lmn_init init = {.kind = LMN_INIT_CONSTANT, .value = START};
    const float first = FIRST;
    const lmn_tensor *w = lmn_parameter(graph, "w", scalar, init);
    const lmn_tensor *s = lmn_statistic(graph, "s", scalar, &first, MOMENTUM);
    const lmn_tensor *weight = lmn_reduce_sum(graph, weights, LMN_ALL_AXES, false);
    lmn_statistic_follow(graph, s, lmn_mul(graph, w, weight));
    *task_out = (lmn_task_graph){.n_inputs = 1,
                                 .inputs = {labels},
                                 .weights = weights,
                                 .loss = lmn_mul(graph, lmn_add(graph, w, s), weight),
                                 .hits = lmn_scale(graph, weight, 0.5F)};
    return lmn_graph_status(graph, err);
}

static const lmn_task followed = {.build = build_followed};

static lmn_trainer_options options_for(uint64_t steps)
{
    lmn_trainer_options options = training_options(steps);
    options.optimizer = "sgd:momentum=0.9,weight_decay=0.1";
    options.global_batch = 31; /* not the same number of rows on all ranks */
    return options;
}

/* The test split sees w + s after ten updates. */
static void trainer_run_statistics_follow_the_mean_over_ranks(void **state)
{
    const training *t = *state;
    const lmn_trainer_options options = options_for(10);
    const lmn_training_summary summary = training_run_task(t, &followed, &options);
    double w = (double)START;
    double s = (double)FIRST;
    double direction = 0.0;
    for (int step = 0; step < 10; step++) {
        s = (1.0 - (double)MOMENTUM) * s + (double)MOMENTUM * w;
        direction = 0.9 * direction + 1.0;
        w -= 0.05 * direction;
    }
    if (!(fabs(summary.test.loss - (w + s)) < 2e-5)) {
        fail_msg("%.9g is not %.9g", summary.test.loss, w + s);
    }
    assert_same_on_all_ranks(t, summary.param_hash);
}

static void trainer_run_resumed_statistics_go_on_to_the_bit(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = options_for(10);
    const uint64_t hash = training_run_task(t, &followed, &options).param_hash;
    char directory[TEST_PATH_BYTES];
    training_path(t, "statistics", directory);
    options = options_for(6);
    options.checkpoint_directory = directory;
    (void)training_run_task(t, &followed, &options);
    options.steps = 10;
    options.resume = true;
    assert_true(training_run_task(t, &followed, &options).param_hash == hash);
}

/* Batch norm over all ranks: what travels is the same, whatever the number of ranks. */
static void trainer_run_synchronised_batch_norm_does_not_depend_on_ranks(void **state)
{
    const training *t = *state;
    const lmn_vision_task vision = {.model = "resnet20:width=4,blocks=1,sync=1",
                                    .data = *lmn_dataset_get_info(t->dataset)};
    const lmn_task task = lmn_vision_task_get(&vision);
    lmn_trainer_options options = training_options(4);
    options.reducer.compress = "dense";
    const lmn_training_summary together = training_run_task(t, &task, &options);
    training alone = *t;
    alone.task = task;
    const lmn_training_summary single = training_run_alone(&alone, &options);
    if (!(fabs(together.loss - single.loss) < 1e-3 * single.loss)) {
        fail_msg("loss %.9g on all ranks, %.9g on one", together.loss, single.loss);
    }
    assert_same_on_all_ranks(t, together.param_hash);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_statistics_follow_the_mean_over_ranks),
        cmocka_unit_test(trainer_run_resumed_statistics_go_on_to_the_bit),
        cmocka_unit_test(trainer_run_synchronised_batch_norm_does_not_depend_on_ranks),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
