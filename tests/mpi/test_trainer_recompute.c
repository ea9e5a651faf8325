/*
 * Training under a limit of memory: the same parameters, to the bit, as without.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 4 };

/* The limit that the refusal of a smaller one names; all ranks must be refused alike. */
static size_t find_least(const training *t, const lmn_task *task,
                         const lmn_trainer_options *options)
{
    static const char before[] = "it takes ";
    lmn_trainer_options smaller = *options;
    smaller.memory_bytes = 1;
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    const lmn_status status = training_try(t, t->dataset, task, &smaller, &summary, &err);
    assert_int_equal(status, LMN_ERR_MEMORY);
    const char *found = strstr(err.message, before);
    if (found == NULL) {
        fail_msg("'%s' names no limit", err.message);
        return 0;
    }
    const size_t least = strtoul(found + strlen(before), NULL, 10);
    assert_same_on_all_ranks(t, least);
    return least;
}

/* Nodes that run again, and whether the limit is kept. */
static size_t count_recomputed(const training *t, const lmn_task *task,
                               const lmn_trainer_options *options)
{
    lmn_trainer *trainer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_trainer_create(t->world, t->dataset, task, options, &trainer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    const lmn_plan_stats stats = lmn_plan_get_stats(lmn_trainer_plan(trainer));
    assert_true(stats.memory_bytes <= options->memory_bytes);
    assert_true(stats.memory_bytes < stats.unlimited_bytes);
    lmn_trainer_destroy(trainer);
    return stats.n_recomputed;
}

static void check_model(const training *t, const char *model)
{
    const lmn_vision_task vision = {.model = model, .data = *lmn_dataset_get_info(t->dataset)};
    const lmn_task task = lmn_vision_task_get(&vision);
    lmn_trainer_options options = training_options(STEPS);
    options.reducer.allocate = "uniform";
    const lmn_training_summary free = training_run_task(t, &task, &options);
    options.memory_bytes = find_least(t, &task, &options);
    assert_true(count_recomputed(t, &task, &options) > 0);
    const lmn_training_summary limited = training_run_task(t, &task, &options);
    assert_true(limited.param_hash == free.param_hash);
    assert_true(limited.loss == free.loss);
    assert_true(limited.bytes_sent == free.bytes_sent);
    assert_same_on_all_ranks(t, limited.param_hash);
}

static void trainer_run_with_limit_gives_the_same_parameters(void **state)
{
    check_model(*state, "mlp:hidden=32x32x32x32x32x32x32x32,dropout=0.2");
    check_model(*state, "cnn");
}

/* Statistics move once in a step, and ranks are asked once. */
static void trainer_run_with_limit_and_batch_norm_gives_the_same_parameters(void **state)
{
    check_model(*state, "resnet20:width=4");
    check_model(*state, "resnet20:width=4,sync=1");
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_with_limit_gives_the_same_parameters),
        cmocka_unit_test(trainer_run_with_limit_and_batch_norm_gives_the_same_parameters),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
