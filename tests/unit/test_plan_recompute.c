/*
 * Plans under a limit of memory.
 *
 * Whatever is computed again, outputs must be those of the plan without a limit, to the bit and in
 * the same order, and the plan must keep the limit. The smallest limit that a refusal names must be
 * accepted, and one byte less must not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/plan_internal.h"
#include "compute_check.h"
#include "lamina/memory.h"
#include "lamina/model.h"
#include "naive_run.h"
#include "random_graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OUTPUTS_MAX 200

/* A graph, and what is computed of it. */
typedef struct subject {
    lmn_graph *graph;
    const lmn_tensor *outputs[OUTPUTS_MAX];
    size_t n_outputs;
    lmn_run run;
} subject;

/* ---- Plans with a limit. ---- */

static lmn_status try_plan(const subject *s, size_t limit, lmn_plan **plan_out, lmn_error *err)
{
    lmn_plan_options options = lmn_plan_options_default();
    options.memory_bytes = limit;
    *err = lmn_error_none();
    return lmn_plan_create(s->graph, s->outputs, s->n_outputs, &options, plan_out, err);
}

static lmn_plan *new_limited_plan(const subject *s, size_t limit)
{
    lmn_plan *plan = NULL;
    lmn_error err = lmn_error_none();
    if (try_plan(s, limit, &plan, &err) != LMN_OK) {
        fail_msg("limit %zu: %s", limit, err.message);
    }
    return plan;
}

/* ---- Runs, with the values of all outputs. ---- */

/* Copies of outputs at the moment in which they became final. */
typedef struct outcome {
    void *values[OUTPUTS_MAX]; /* owned */
    size_t order[OUTPUTS_MAX];
    size_t n_final;
    size_t n_sums; /* calls of sum_ranks */
    const lmn_tensor *const *outputs;
    lmn_plan *plan;
} outcome;

/* Take the value, and spoil it: nobody may read it any more. */
static lmn_status take_output(void *user, size_t index, lmn_error *err)
{
    (void)err;
    outcome *o = user;
    const size_t bytes = lmn__tensor_bytes(o->outputs[index]);
    const void *value = lmn_plan_value(o->plan, o->outputs[index]);
    o->values[index] = lmn_alloc(bytes, 1, NULL);
    assert_non_null(o->values[index]);
    memcpy(o->values[index], value, bytes);
    o->order[o->n_final] = index;
    o->n_final++;
    const lmn__op_kind kind = o->outputs[index]->op->kind;
    if (kind == LMN__OP_COMPUTE) {
        memset(o->plan->memory[o->outputs[index]->index], 0xFF, bytes);
    }
    return LMN_OK;
}

/* One of two equal ranks. */
static lmn_status sum_two_ranks(void *user, double *values, size_t n, lmn_error *err)
{
    (void)err;
    outcome *o = user;
    o->n_sums++;
    for (size_t i = 0; i < n; i++) {
        values[i] *= 2.0;
    }
    return LMN_OK;
}

static void assert_spoilt(const outcome *o)
{
    for (size_t k = 0; k < o->n_final; k++) {
        if (o->outputs[k]->op->kind != LMN__OP_COMPUTE) {
            continue;
        }
        const unsigned char *value = lmn_plan_value(o->plan, o->outputs[k]);
        for (size_t i = 0; i < lmn__tensor_bytes(o->outputs[k]); i++) {
            assert_int_equal(value[i], 0xFF);
        }
    }
}

static outcome run_plan(const subject *s, lmn_plan *plan)
{
    outcome o = {.outputs = s->outputs, .plan = plan};
    void *bound[OUTPUTS_MAX];
    size_t n_bound = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lmn_tensor *tensor = lmn__graph_tensor(s->graph, i);
        if (tensor->op->kind == LMN__OP_INPUT || tensor->op->kind == LMN__OP_PARAMETER) {
            assert_true(n_bound < OUTPUTS_MAX);
            bound[n_bound] = lmn_alloc(1, lmn__tensor_bytes(tensor), NULL);
            assert_non_null(bound[n_bound]);
            naive_fill(tensor, 7, bound[n_bound]);
            check_bind(plan, tensor, bound[n_bound]);
            n_bound++;
        }
    }
    lmn_run run = s->run;
    run.on_output = take_output;
    run.sum_ranks = sum_two_ranks;
    run.user = &o;
    memset(plan->arena, 0xFF, plan->arena_bytes);
    memset(plan->workspace, 0xFF, plan->workspace_bytes);
    check_run(plan, &run);
    assert_int_equal(o.n_final, s->n_outputs);
    assert_spoilt(&o);
    for (size_t i = 0; i < n_bound; i++) {
        lmn_free(bound[i]);
    }
    return o;
}

static void outcome_free(outcome *o)
{
    for (size_t k = 0; k < OUTPUTS_MAX; k++) {
        lmn_free(o->values[k]);
    }
}

static void assert_same_outcome(const subject *s, const outcome *a, const outcome *b)
{
    assert_int_equal(a->n_sums, b->n_sums);
    for (size_t k = 0; k < s->n_outputs; k++) {
        assert_int_equal(a->order[k], b->order[k]);
        if (memcmp(a->values[k], b->values[k], lmn__tensor_bytes(s->outputs[k])) != 0) {
            fail_msg("output %zu ('%s') differs", k, lmn_tensor_name(s->outputs[k]));
        }
    }
}

/* ---- What is asked of every subject. ---- */

static void assert_stats(const lmn_plan *plan, size_t limit)
{
    const lmn_plan_stats stats = lmn_plan_get_stats(plan);
    assert_true(stats.memory_bytes <= limit);
    assert_int_equal(stats.memory_bytes, plan->arena_bytes + lmn_align_up(plan->workspace_bytes) +
                                             plan->constant_bytes + plan->kept_bytes);
    size_t n_again = 0;
    double flops = 0.0;
    for (size_t i = 0; i < stats.n_nodes; i++) {
        const lmn_plan_node node = lmn_plan_get_node(plan, i);
        n_again += node.recomputed ? 1 : 0;
        flops += node.recomputed ? node.flops : 0.0;
        bool has_run = false;
        for (size_t k = 0; k < i; k++) {
            has_run = has_run || plan->order[k] == plan->order[i];
        }
        assert_int_equal(node.recomputed, has_run);
    }
    assert_int_equal(stats.n_recomputed, n_again);
    assert_true(stats.recomputed_flops == flops);
}

/* At `limit`, the same as without. Returns how many nodes run again. */
static size_t check_limit(const subject *s, size_t limit, const outcome *expected, double flops)
{
    lmn_plan *plan = new_limited_plan(s, limit);
    assert_stats(plan, limit);
    const lmn_plan_stats stats = lmn_plan_get_stats(plan);
    assert_true(stats.flops - stats.recomputed_flops == flops);
    outcome found = run_plan(s, plan);
    assert_same_outcome(s, expected, &found);
    outcome_free(&found);
    lmn_plan_destroy(plan);
    return stats.n_recomputed;
}

typedef struct finding {
    size_t natural; /* bytes without a limit */
    size_t least;   /* bytes that the refusal names */
    size_t n_again; /* nodes that run again at the least limit */
} finding;

static finding check_subject(const subject *s)
{
    lmn_plan *plan = new_limited_plan(s, 0);
    const lmn_plan_stats stats = lmn_plan_get_stats(plan);
    assert_int_equal(stats.memory_bytes, stats.unlimited_bytes);
    assert_int_equal(stats.n_recomputed, 0);
    outcome expected = run_plan(s, plan);
    finding f = {.natural = stats.memory_bytes,
                 .least = check_least_memory(s->graph, s->outputs, s->n_outputs)};
    assert_true(f.least <= f.natural);
    assert_int_equal(check_limit(s, f.natural, &expected, stats.flops), 0);
    for (size_t part = 1; part < 4; part++) {
        const size_t limit = f.least + (f.natural - f.least) * part / 4;
        (void)check_limit(s, limit, &expected, stats.flops);
    }
    f.n_again = check_limit(s, f.least, &expected, stats.flops);
    lmn_error err;
    lmn_plan *none = NULL;
    if (f.least > 1) {
        assert_int_equal(try_plan(s, f.least - 1, &none, &err), LMN_ERR_MEMORY);
        assert_null(none);
    }
    outcome_free(&expected);
    lmn_plan_destroy(plan);
    return f;
}

/* ---- Models. ---- */

/* A model in training: gradients, what statistics follow, and the loss. */
static subject new_model(const char *spec, lmn_shape values_shape, lmn_dtype dtype, size_t n_labels)
{
    enum { N_CLASSES = 4 };
    subject s = {.graph = check_new_graph(), .run = {.seed = 5, .step = 3, .training = true}};
    const lmn_shape labels_shape = {.n_dims = 1, .dims = {n_labels}};
    const lmn_tensor *labels = lmn_input(s.graph, "labels", LMN_I32, labels_shape);
    const lmn_model_input input = {.values = lmn_input(s.graph, "values", dtype, values_shape),
                                   .n_classes = N_CLASSES};
    const lmn_tensor *logits = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_model_build(spec, s.graph, &input, &logits, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    const lmn_shape rows = {.n_dims = 2, .dims = {n_labels, N_CLASSES}};
    const lmn_tensor *losses =
        lmn_softmax_cross_entropy(s.graph, lmn_reshape(s.graph, logits, rows), labels);
    const lmn_tensor *loss = lmn_reduce_mean(s.graph, losses, LMN_ALL_AXES, false);
    const lmn_tensor *trained[OUTPUTS_MAX];
    size_t n_trained = 0;
    for (size_t i = 0; i < lmn_graph_parameter_count(s.graph); i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(s.graph, i);
        assert_true(s.n_outputs + n_trained + 1 < OUTPUTS_MAX);
        if (lmn_parameter_is_statistic(parameter)) {
            s.outputs[s.n_outputs++] = lmn_statistic_observed(parameter);
        } else {
            trained[n_trained++] = parameter;
        }
    }
    if (lmn_gradients(s.graph, loss, trained, n_trained, s.outputs + s.n_outputs, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    s.n_outputs += n_trained;
    s.outputs[s.n_outputs++] = loss;
    return s;
}

static finding check_images(const char *spec)
{
    const lmn_shape images = {.n_dims = 4, .dims = {4, 16, 16, 2}};
    subject s = new_model(spec, images, LMN_F32, 4);
    const finding f = check_subject(&s);
    lmn_graph_destroy(s.graph);
    return f;
}

static finding check_text(const char *spec)
{
    const lmn_shape tokens = {.n_dims = 2, .dims = {2, 16}};
    subject s = new_model(spec, tokens, LMN_I32, 32);
    const finding f = check_subject(&s);
    lmn_graph_destroy(s.graph);
    return f;
}

static void plan_with_limit_of_mlp_gives_the_same_bits(void **state)
{
    (void)state;
    const finding f = check_images("mlp:hidden=8x8x8x8x8x8x8x8,dropout=0.2");
    assert_true(f.least < f.natural);
    assert_true(f.n_again > 0);
}

static void plan_with_limit_of_cnn_gives_the_same_bits(void **state)
{
    (void)state;
    const finding f = check_images("cnn:dropout=0.3");
    assert_true(f.least < f.natural);
    assert_true(f.n_again > 0);
}

/* A third of the memory goes at least. */
static void plan_with_limit_of_resnet_gives_the_same_bits(void **state)
{
    (void)state;
    const finding f = check_images("resnet20:width=8");
    assert_true(3 * f.least < 2 * f.natural);
    assert_true(f.n_again > 5);
}

/* Synchronised batch norm asks other ranks as often as without a limit: see assert_same_outcome. */
static void plan_with_limit_of_synchronised_resnet_asks_ranks_once(void **state)
{
    (void)state;
    const finding f = check_images("resnet20:width=8,sync=1");
    assert_true(3 * f.least < 2 * f.natural);
    assert_true(f.n_again > 5);
}

static void plan_with_limit_of_gpt_gives_the_same_bits(void **state)
{
    (void)state;
    const finding f = check_text("gpt:layers=6,heads=2,width=16,context=16,dropout=0.1");
    assert_true(3 * f.least < 2 * f.natural);
    assert_true(f.n_again > 5);
}

/* ---- Graphs with a closed form. ---- */

enum { CHAIN = 64, COUNT = 1024 };

/* CHAIN times y = tanh(w y) with a number w, and its gradient: every y waits for the way back. */
static subject new_chain(void)
{
    subject s = {.graph = check_new_graph(), .n_outputs = CHAIN};
    const lmn_shape shape = {.n_dims = 1, .dims = {COUNT}};
    const lmn_shape scalar = {.n_dims = 0};
    const lmn_tensor *w[CHAIN];
    const lmn_tensor *y = lmn_input(s.graph, "x", LMN_F32, shape);
    for (size_t i = 0; i < CHAIN; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%zu", i);
        w[i] = lmn_parameter(s.graph, name, scalar, (lmn_init){0});
        y = lmn_tanh(s.graph, lmn_mul(s.graph, y, w[i]));
    }
    lmn_error err = lmn_error_none();
    const lmn_tensor *loss = lmn_reduce_sum(s.graph, y, LMN_ALL_AXES, false);
    if (lmn_gradients(s.graph, loss, w, CHAIN, s.outputs, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return s;
}

/*
 * With segments of sqrt(n) values some 2 sqrt(n) are alive at once, and every product and every
 * tanh runs a second time at most. The least limit is lower still, for more work.
 */
static void plan_with_limit_of_a_chain_needs_the_root_of_its_length(void **state)
{
    (void)state;
    subject s = new_chain();
    const finding f = check_subject(&s);
    const size_t value = COUNT * sizeof(float);
    const size_t limit = 20 * value;
    assert_true(f.natural > CHAIN * value);
    assert_true(f.least < limit);
    assert_in_range(f.n_again, CHAIN, 4 * CHAIN);
    lmn_plan *plan = new_limited_plan(&s, limit);
    assert_in_range(lmn_plan_get_stats(plan).n_recomputed, CHAIN, 2 * CHAIN);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(s.graph);
}

/* Nothing waits: there is nothing to gain. */
static void plan_with_limit_of_a_forward_pass_runs_nothing_again(void **state)
{
    (void)state;
    subject s = {.graph = check_new_graph(), .n_outputs = 1};
    const lmn_shape shape = {.n_dims = 1, .dims = {COUNT}};
    const lmn_tensor *y = lmn_input(s.graph, "x", LMN_F32, shape);
    for (size_t i = 0; i < 4; i++) {
        y = lmn_tanh(s.graph, y);
    }
    s.outputs[0] = lmn_reduce_sum(s.graph, y, LMN_ALL_AXES, false);
    const finding f = check_subject(&s);
    assert_int_equal(f.least, f.natural);
    lmn_graph_destroy(s.graph);
}

/*
 * Statistics of a batch of two are as large as the batch, and wait as long: giving them up would
 * pay, but nobody asks other ranks twice. They are no outputs here.
 */
static void plan_with_limit_of_statistics_asks_ranks_once(void **state)
{
    (void)state;
    enum { N_LAYERS = 8 };
    subject s = {.graph = check_new_graph(), .n_outputs = N_LAYERS, .run = {.training = true}};
    const lmn_shape batch = {.n_dims = 2, .dims = {2, COUNT}};
    const lmn_shape row = {.n_dims = 1, .dims = {COUNT}};
    const lmn_tensor *x = lmn_input(s.graph, "x", LMN_F32, batch);
    const lmn_tensor *running = lmn_input(s.graph, "running", LMN_F32, batch);
    const lmn_tensor *shift = lmn_constant(s.graph, 0.5F, row);
    const lmn_tensor *scales[N_LAYERS];
    for (size_t i = 0; i < N_LAYERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "scale%zu", i);
        scales[i] = lmn_parameter(s.graph, name, row, (lmn_init){0});
        const lmn_tensor *statistics = lmn_batch_statistics(s.graph, x, NULL, running, true);
        x = lmn_tanh(s.graph, lmn_batch_norm(s.graph, x, statistics, scales[i], shift, 0.1F));
    }
    lmn_error err = lmn_error_none();
    const lmn_tensor *loss = lmn_reduce_sum(s.graph, x, LMN_ALL_AXES, false);
    if (lmn_gradients(s.graph, loss, scales, N_LAYERS, s.outputs, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    const finding f = check_subject(&s);
    assert_true(f.n_again > 0);
    lmn_graph_destroy(s.graph);
}

/*
 * The small value waits longer and is given up first, but only giving up the large one reaches the
 * limit, which makes the first vain.
 */
static void plan_with_limit_keeps_again_what_was_given_up_in_vain(void **state)
{
    (void)state;
    subject s = {.graph = check_new_graph(), .n_outputs = 2};
    const lmn_tensor *waiting[3];
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[3] = {"small", "large", "largest"};
        const lmn_shape shape = {.n_dims = 1, .dims = {(size_t)COUNT << (2 * i)}};
        waiting[i] = lmn_tanh(s.graph, lmn_input(s.graph, names[i], LMN_F32, shape));
    }
    const lmn_tensor *sum = lmn_reduce_sum(s.graph, waiting[2], LMN_ALL_AXES, false);
    for (size_t i = 2; i > 0; i--) {
        sum = lmn_add(s.graph, sum, lmn_reduce_sum(s.graph, waiting[i - 1], LMN_ALL_AXES, false));
    }
    /* With two outputs nothing before them is eager: ops run as they are written here. */
    s.outputs[0] = lmn_scale(s.graph, sum, 2.0F);
    s.outputs[1] = lmn_scale(s.graph, sum, 3.0F);
    const finding f = check_subject(&s);
    assert_int_equal(f.n_again, 2);
    lmn_plan *plan = new_limited_plan(&s, f.natural - sizeof(float) * 4 * COUNT);
    assert_int_equal(lmn_plan_get_stats(plan).n_recomputed, 1);
    lmn_plan_destroy(plan);
    lmn_graph_destroy(s.graph);
}

static void plan_create_limit_that_cannot_be_kept_says_what_can(void **state)
{
    (void)state;
    subject s = new_chain();
    lmn_plan *plan = NULL;
    lmn_error err;
    assert_int_equal(try_plan(&s, 4096, &plan, &err), LMN_ERR_MEMORY);
    assert_null(plan);
    check_message(&err, "the limit of 4096 bytes cannot be kept");
    check_message(&err, "raise the limit");
    lmn_graph_destroy(s.graph);
}

/* ---- Random graphs. ---- */

static void plan_with_limit_of_random_graphs_gives_the_same_bits(void **state)
{
    (void)state;
    size_t n_smaller = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        random_graph random = random_graph_create(seed);
        subject s = {.graph = random.graph, .n_outputs = random.n_outputs};
        memcpy((void *)s.outputs, (const void *)random.outputs, sizeof random.outputs);
        const finding f = check_subject(&s);
        n_smaller += f.least < f.natural ? 1 : 0;
        random_graph_destroy(&random);
    }
    assert_true(n_smaller > 30);
}

/* The oracle shares nothing with the planner. */
static void plan_with_least_limit_of_random_graphs_equals_the_naive_executor(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed < 400; seed++) {
        random_graph random = random_graph_create(seed);
        subject s = {.graph = random.graph, .n_outputs = random.n_outputs};
        memcpy((void *)s.outputs, (const void *)random.outputs, sizeof random.outputs);
        naive_values expected = naive_run(s.graph, 7, &s.run);
        lmn_plan *plan = new_limited_plan(&s, check_least_memory(s.graph, s.outputs, s.n_outputs));
        outcome found = run_plan(&s, plan);
        for (size_t k = 0; k < s.n_outputs; k++) {
            assert_memory_equal(found.values[k], naive_value(&expected, s.outputs[k]),
                                lmn__tensor_bytes(s.outputs[k]));
        }
        outcome_free(&found);
        lmn_plan_destroy(plan);
        naive_free(&expected);
        random_graph_destroy(&random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_with_limit_of_mlp_gives_the_same_bits),
        cmocka_unit_test(plan_with_limit_of_cnn_gives_the_same_bits),
        cmocka_unit_test(plan_with_limit_of_resnet_gives_the_same_bits),
        cmocka_unit_test(plan_with_limit_of_synchronised_resnet_asks_ranks_once),
        cmocka_unit_test(plan_with_limit_of_gpt_gives_the_same_bits),
        cmocka_unit_test(plan_with_limit_of_a_chain_needs_the_root_of_its_length),
        cmocka_unit_test(plan_with_limit_of_a_forward_pass_runs_nothing_again),
        cmocka_unit_test(plan_with_limit_of_statistics_asks_ranks_once),
        cmocka_unit_test(plan_with_limit_keeps_again_what_was_given_up_in_vain),
        cmocka_unit_test(plan_create_limit_that_cannot_be_kept_says_what_can),
        cmocka_unit_test(plan_with_limit_of_random_graphs_gives_the_same_bits),
        cmocka_unit_test(plan_with_least_limit_of_random_graphs_equals_the_naive_executor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
