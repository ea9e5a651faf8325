/*
 * What the trainer makes of a step: the loss over the global batch, the learning rate, the number
 * of the update. The model is one number w, and the loss is w itself, so every value has a closed
 * form: the gradient is 1, and AdamW with its moments corrected for their start moves w by the
 * learning rate in every update.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/ops.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* The task with one parameter. */
typedef struct line {
    float start;      /* of w */
    bool is_poisoned; /* the white sample makes loss and gradient of its batch NaN */
} line;

/* 1, or NaN where the batch holds the white sample. */
static const lmn_tensor *one_unless_white(lmn_graph *graph, const lmn_tensor *images)
{
    const lmn_shape scalar = {.n_dims = 0};
    const lmn_tensor *light = lmn_reduce_sum(graph, images, 0xEU, false);
    const lmn_tensor *brightest = lmn_reduce_max(graph, light, LMN_ALL_AXES, false);
    const lmn_tensor *limit = lmn_constant(graph, (float)TRAINING_PIXELS - 0.5F, scalar);
    const lmn_tensor *root = lmn_sqrt(graph, lmn_sub(graph, limit, brightest));
    return lmn_add(graph, lmn_constant(graph, 1.0F, scalar), lmn_scale(graph, root, 0.0F));
}

static lmn_status build_line(const void *user, lmn_graph *graph, size_t rows,
                             lmn_task_graph *task_out, lmn_error *err)
{
    const line *model = user;
    const lmn_shape scalar = {.n_dims = 0};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    const lmn_shape image_shape = {.n_dims = 4, .dims = {rows, TRAINING_SIDE, TRAINING_SIDE, 1}};
    lmn_task_graph task = {.n_inputs = 2,
                           .inputs = {lmn_input(graph, "images", LMN_F32, image_shape),
                                      lmn_input(graph, "labels", LMN_I32, row_shape)},
                           .weights = lmn_input(graph, "weights", LMN_F32, row_shape)};
    const lmn_init init = {.kind = LMN_INIT_CONSTANT, .value = model->start};
    const lmn_tensor *w = lmn_parameter(graph, "w", scalar, init);
    const lmn_tensor *weight = lmn_reduce_sum(graph, task.weights, LMN_ALL_AXES, false);
    task.loss = lmn_mul(graph, w, weight);
    if (model->is_poisoned) {
        task.loss = lmn_mul(graph, task.loss, one_unless_white(graph, task.inputs[0]));
    }
    task.hits = lmn_scale(graph, weight, 0.5F);
    const lmn_status status = lmn_graph_status(graph, err);
    if (status == LMN_OK) {
        *task_out = task;
    }
    return status;
}

static lmn_task task_of(const line *model)
{
    return (lmn_task){.build = build_line, .user = model};
}

static lmn_training_summary train(const training *t, const line *model,
                                  const lmn_trainer_options *options)
{
    const lmn_task task = task_of(model);
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    if (training_try(t, t->dataset, &task, options, &summary, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return summary;
}

static void assert_near(double found, double expected)
{
    if (!(fabs(found - expected) < 2e-5)) {
        fail_msg("%.9g is not %.9g", found, expected);
    }
}

/* The loss of a step is w before its update; the test split sees w at the end. */
static void trainer_run_sgd_moves_by_learning_rate_times_mean_gradient(void **state)
{
    const line model = {.start = 5.0F};
    lmn_trainer_options options = training_options(10);
    options.optimizer = "sgd";
    options.global_batch = 31; /* not the same number of rows on all ranks */
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_near(summary.loss, 5.0 - 9 * 0.05);
    assert_near(summary.test.loss, 5.0 - 10 * 0.05);
    assert_near(summary.test.accuracy, 0.5);
}

static void trainer_run_schedule_scales_the_learning_rate_of_each_step(void **state)
{
    const line model = {.start = 5.0F};
    lmn_trainer_options options = training_options(10);
    options.optimizer = "sgd";
    options.schedule = "step:every=4,factor=0.5";
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_near(summary.test.loss, 5.0 - 0.05 * (4 * 1.0 + 4 * 0.5 + 2 * 0.25));
}

static void trainer_run_adamw_counts_updates_from_zero(void **state)
{
    const line model = {.start = 5.0F};
    lmn_trainer_options options = training_options(10);
    options.optimizer = "adamw:weight_decay=0";
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_near(summary.test.loss, 5.0 - 10 * 0.05);
}

/* Two of the 16 steps hold the white sample. A skipped step must not count for the correction. */
static void trainer_run_adamw_does_not_count_skipped_steps(void **state)
{
    const line model = {.start = 5.0F, .is_poisoned = true};
    lmn_trainer_options options = training_options(2 * TRAINING_SAMPLES / TRAINING_BATCH);
    options.optimizer = "adamw:weight_decay=0";
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_int_equal(summary.skipped, 2);
    assert_near(summary.test.loss, 5.0 - 14 * 0.05);
}

/* Decay is for what has at least two dimensions. */
static void trainer_run_weight_decay_leaves_a_scalar_alone(void **state)
{
    const line model = {.start = 5.0F};
    lmn_trainer_options options = training_options(10);
    options.optimizer = "sgd:weight_decay=0.5";
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_near(summary.test.loss, 5.0 - 10 * 0.05);
}

static void trainer_run_epochs_decide_the_number_of_steps(void **state)
{
    const line model = {.start = 5.0F};
    lmn_trainer_options options = training_options(0);
    options.epochs = 1.1; /* 281.6 samples: 9 batches of 32 */
    const lmn_training_summary summary = train(*state, &model, &options);
    assert_int_equal(summary.steps, 9);
}

static void trainer_run_parameters_that_differ_between_ranks_are_found(void **state)
{
    const training *t = *state;
    if (t->size == 1) {
        skip();
    }
    const line model = {.start = t->rank == t->size - 1 ? 4.0F : 5.0F};
    const lmn_task task = task_of(&model);
    lmn_trainer_options options = training_options(10);
    options.verify_every = 3;
    lmn_training_summary summary = {.steps = 77};
    lmn_error err = lmn_error_none();
    assert_int_equal(training_try(t, t->dataset, &task, &options, &summary, &err),
                     LMN_ERR_DIVERGED);
    assert_non_null(strstr(err.message, "parameters after step 2"));
    assert_int_equal(summary.steps, 77);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_sgd_moves_by_learning_rate_times_mean_gradient),
        cmocka_unit_test(trainer_run_schedule_scales_the_learning_rate_of_each_step),
        cmocka_unit_test(trainer_run_adamw_counts_updates_from_zero),
        cmocka_unit_test(trainer_run_adamw_does_not_count_skipped_steps),
        cmocka_unit_test(trainer_run_weight_decay_leaves_a_scalar_alone),
        cmocka_unit_test(trainer_run_epochs_decide_the_number_of_steps),
        cmocka_unit_test(trainer_run_parameters_that_differ_between_ranks_are_found),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
