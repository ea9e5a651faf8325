/*
 * Evaluation counts every sample of a split once, however it is dealt out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/evaluator.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

static lmn_evaluation evaluate(lmn_world *world, const lmn_dataset *dataset, lmn_split split,
                               const lmn_task *task, size_t batch)
{
    lmn_evaluator *evaluator = NULL;
    lmn_evaluation evaluation = {0};
    lmn_error err = lmn_error_none();
    lmn_status status =
        lmn_evaluator_create(world, dataset, split, task, batch, NULL, &evaluator, &err);
    if (status == LMN_OK) {
        lmn_parameters_init(lmn_evaluator_parameters(evaluator), 11);
        status = lmn_evaluator_run(evaluator, &evaluation, &err);
    }
    if (status == LMN_OK) { /* again: nothing is left over from the first time */
        lmn_evaluation second = {0};
        status = lmn_evaluator_run(evaluator, &second, &err);
        assert_true(second.loss == evaluation.loss);
        assert_true(second.samples == evaluation.samples);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_evaluator_destroy(evaluator);
    return evaluation;
}

/* Batches that fit, that leave a rest, and one larger than the split. */
static void evaluator_run_any_batch_counts_every_sample_once(void **state)
{
    const training *t = *state;
    lmn_world *self = NULL;
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn_world_create(MPI_COMM_SELF, NULL, &self, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_open(self, t->dataset_path, &dataset, NULL), LMN_OK);
    const lmn_evaluation one_by_one = evaluate(self, dataset, LMN_SPLIT_TEST, &t->task, 1);
    assert_int_equal(one_by_one.samples, TRAINING_TESTS);
    static const size_t batches[] = {4, 7, 33, 66, 100};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        const lmn_evaluation found =
            evaluate(t->world, t->dataset, LMN_SPLIT_TEST, &t->task, batches[i]);
        assert_int_equal(found.samples, TRAINING_TESTS);
        assert_true(found.accuracy == one_by_one.accuracy);
        assert_true(fabs(found.loss - one_by_one.loss) < 1e-5 * one_by_one.loss);
    }
    lmn_dataset_close(dataset);
    lmn_world_destroy(self);
}

static void evaluator_run_training_split_is_counted_whole(void **state)
{
    const training *t = *state;
    const lmn_evaluation found = evaluate(t->world, t->dataset, LMN_SPLIT_TRAIN, &t->task, 50);
    assert_int_equal(found.samples, TRAINING_SAMPLES);
}

static void evaluator_create_batch_smaller_than_ranks_is_refused(void **state)
{
    const training *t = *state;
    lmn_evaluator *evaluator = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_evaluator_create(t->world, t->dataset, LMN_SPLIT_TEST, &t->task,
                                          (size_t)t->size - 1, NULL, &evaluator, &err),
                     LMN_ERR_ARGUMENT);
    assert_null(evaluator);
    assert_non_null(strstr(err.message, "smaller than"));
}

static void evaluator_create_model_unknown_to_one_rank_fails_on_all(void **state)
{
    const training *t = *state;
    lmn_vision_task vision = t->vision;
    if (t->rank == t->size - 1) {
        vision.model = "mlq";
    }
    const lmn_task task = lmn_vision_task_get(&vision);
    lmn_evaluator *evaluator = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_evaluator_create(t->world, t->dataset, LMN_SPLIT_TEST, &task, 32, NULL,
                                          &evaluator, &err),
                     LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "mlq"));
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluator_run_any_batch_counts_every_sample_once),
        cmocka_unit_test(evaluator_run_training_split_is_counted_whole),
        cmocka_unit_test(evaluator_create_batch_smaller_than_ranks_is_refused),
        cmocka_unit_test(evaluator_create_model_unknown_to_one_rank_fails_on_all),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
