/*
 * Generation: the window beside a graph of exactly the tokens there are, and what temperature, the
 * number of tokens to draw from and the seed do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/generator.h"
#include "lamina/memory.h"
#include "lamina/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MODEL      "gpt:layers=2,heads=2,width=8,context=6"
#define CONTEXT    6
#define TOKENS     256
#define TEXT_BYTES 512

typedef struct fixture {
    lmn_vocabulary *vocabulary;
    lmn_generator *generator;
} fixture;

typedef struct output {
    size_t n;
    unsigned char bytes[TEXT_BYTES];
} output;

static int set_up(void **state)
{
    static fixture f;
    assert_int_equal(lmn_vocabulary_create(NULL, 0, &f.vocabulary, NULL), LMN_OK);
    assert_int_equal(lmn_generator_create(MODEL, f.vocabulary, &f.generator, NULL), LMN_OK);
    lmn_parameters *parameters = lmn_generator_parameters(f.generator);
    lmn_parameters_init(parameters, 5);
    /* Larger than start values, so that tokens differ in how likely they are. */
    for (size_t place = 0; place < lmn_parameters_count(parameters); place++) {
        float *values = lmn_parameters_values(parameters, place);
        const size_t count = lmn_shape_count(lmn_parameters_shape(parameters, place));
        for (size_t i = 0; i < count; i++) {
            values[i] *= 20.0F;
        }
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    const fixture *f = *state;
    lmn_generator_destroy(f->generator);
    lmn_vocabulary_destroy(f->vocabulary);
    return 0;
}

static lmn_status keep(void *user, const unsigned char *bytes, size_t n, lmn_error *err)
{
    (void)err;
    output *o = user;
    assert_true(o->n + n <= TEXT_BYTES);
    memcpy(o->bytes + o->n, bytes, n);
    o->n += n;
    return LMN_OK;
}

static lmn_generation request(const char *prompt, size_t tokens, output *o)
{
    *o = (output){.n = 0};
    return (lmn_generation){.prompt = (const unsigned char *)prompt,
                            .prompt_bytes = strlen(prompt),
                            .tokens = tokens,
                            .seed = 1,
                            .on_token = keep,
                            .user = o};
}

static void generate(const fixture *f, const lmn_generation *generation)
{
    lmn_error err = lmn_error_none();
    if (lmn_generator_run(f->generator, generation, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

/* The likeliest token behind text [n] by a graph of n tokens, n at most CONTEXT. */
static unsigned char likeliest_of(const fixture *f, const unsigned char *text, size_t n)
{
    lmn_graph *graph = NULL;
    lmn_plan *plan = NULL;
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    const lmn_shape shape = {.n_dims = 2, .dims = {1, n}};
    const lmn_tensor *tokens = lmn_input(graph, "tokens", LMN_I32, shape);
    const lmn_tensor *logits = NULL;
    const lmn_model_input input = {.values = tokens, .n_classes = TOKENS};
    assert_int_equal(lmn_model_build(MODEL, graph, &input, &logits, NULL), LMN_OK);
    assert_int_equal(lmn_plan_create(graph, &logits, 1, NULL, &plan, NULL), LMN_OK);
    lmn_parameters *parameters = lmn_generator_parameters(f->generator);
    assert_int_equal(lmn_parameters_bind(parameters, graph, plan, NULL), LMN_OK);
    int32_t *values = lmn_alloc(n, sizeof *values, NULL);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) {
        values[i] = text[i];
    }
    assert_int_equal(lmn_plan_bind(plan, tokens, values, NULL), LMN_OK);
    assert_int_equal(lmn_plan_run(plan, &(lmn_run){.training = false}, NULL), LMN_OK);
    const float *last = (const float *)lmn_plan_value(plan, logits) + (n - 1) * TOKENS;
    size_t best = 0;
    for (size_t i = 1; i < TOKENS; i++) {
        best = last[i] > last[best] ? i : best;
    }
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
    lmn_free(values);
    return (unsigned char)best;
}

static void generate_without_temperature_takes_the_likeliest_of_what_fits(void **state)
{
    const fixture *f = *state;
    const char *prompt = "ab";
    unsigned char text[TEXT_BYTES];
    output o;
    const lmn_generation generation = request(prompt, 12, &o);
    generate(f, &generation);
    assert_int_equal(o.n, 12);
    size_t n = strlen(prompt);
    text[0] = (unsigned char)prompt[0];
    text[1] = (unsigned char)prompt[1];
    for (size_t i = 0; i < o.n; i++, n++) {
        const size_t seen = n < CONTEXT ? n : CONTEXT;
        text[n] = likeliest_of(f, text + n - seen, seen);
        assert_int_equal(o.bytes[i], text[n]);
    }
}

static void generate_long_prompt_sees_its_end_only(void **state)
{
    const fixture *f = *state;
    output a;
    output b;
    lmn_generation generation = request("something else efghij", 5, &a);
    generate(f, &generation);
    generation = request("efghij", 5, &b);
    generate(f, &generation);
    assert_memory_equal(a.bytes, b.bytes, 5);
}

static void generate_is_a_function_of_the_seed(void **state)
{
    const fixture *f = *state;
    output first;
    output second;
    lmn_generation generation = request("ab", 40, &first);
    generation.temperature = 1.5;
    generate(f, &generation);
    generation.user = &second;
    second.n = 0;
    generate(f, &generation);
    assert_int_equal(second.n, first.n);
    assert_memory_equal(second.bytes, first.bytes, first.n);
    generation.seed = 2;
    second.n = 0;
    generate(f, &generation);
    assert_memory_not_equal(second.bytes, first.bytes, first.n);
}

/* How often each token comes first behind a prompt, over many seeds. */
static void count_tokens(const fixture *f, double temperature, size_t top_k, size_t draws,
                         size_t counts[TOKENS])
{
    memset(counts, 0, TOKENS * sizeof *counts);
    for (uint64_t seed = 0; seed < draws; seed++) {
        output o;
        lmn_generation generation = request("xyz", 1, &o);
        generation.temperature = temperature;
        generation.top_k = top_k;
        generation.seed = seed;
        generate(f, &generation);
        counts[o.bytes[0]]++;
    }
}

static size_t count_kinds(const size_t counts[TOKENS])
{
    size_t n = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        n += counts[i] > 0 ? 1 : 0;
    }
    return n;
}

static void generate_top_k_draws_from_the_k_likeliest(void **state)
{
    const fixture *f = *state;
    const unsigned char best = likeliest_of(f, (const unsigned char *)"xyz", 3);
    size_t two[TOKENS];
    size_t five[TOKENS];
    size_t all[TOKENS];
    /* So hot that all are nearly as likely. */
    count_tokens(f, 1e5, 2, 100, two);
    count_tokens(f, 1e5, 5, 200, five);
    count_tokens(f, 1e5, 0, 300, all);
    assert_int_equal(count_kinds(two), 2);
    assert_int_equal(count_kinds(five), 5);
    assert_true(count_kinds(all) > 50);
    assert_true(two[best] > 0);
    for (size_t i = 0; i < TOKENS; i++) {
        assert_true(two[i] == 0 || five[i] > 0);
    }
    size_t one[TOKENS];
    count_tokens(f, 1e5, 1, 5, one);
    assert_int_equal(one[best], 5);
}

/* Between two tokens the share of the likelier is 1 / (1 + exp(-difference / temperature)): hot it
   is a half, cold it is all. */
static void generate_temperature_moves_the_shares(void **state)
{
    const fixture *f = *state;
    const unsigned char best = likeliest_of(f, (const unsigned char *)"xyz", 3);
    size_t hot[TOKENS];
    size_t cold[TOKENS];
    count_tokens(f, 1e6, 2, 400, hot);
    count_tokens(f, 1e-6, 2, 50, cold);
    assert_in_range(hot[best], 150, 250);
    assert_int_equal(cold[best], 50);
}

static void assert_refused(const fixture *f, const lmn_generation *generation, lmn_status wanted)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_generator_run(f->generator, generation, &err), wanted);
    assert_true(err.message[0] != '\0');
}

static void generate_bad_requests_are_refused(void **state)
{
    const fixture *f = *state;
    output o;
    lmn_generation generation = request("", 1, &o);
    assert_refused(f, &generation, LMN_ERR_ARGUMENT);
    generation = request("a", 1, &o);
    generation.temperature = -0.1;
    assert_refused(f, &generation, LMN_ERR_ARGUMENT);
    generation.temperature = (double)NAN;
    assert_refused(f, &generation, LMN_ERR_ARGUMENT);
    assert_int_equal(o.n, 0);
}

static void generate_parameters_not_finite_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_parameters *parameters = lmn_generator_parameters(f->generator);
    float *value = lmn_parameters_values(parameters, lmn_parameters_count(parameters) - 1);
    const float kept = *value;
    *value = NAN;
    output o;
    const lmn_generation generation = request("a", 1, &o);
    assert_refused(f, &generation, LMN_ERR_NONFINITE);
    *value = kept;
}

static lmn_status refuse(void *user, const unsigned char *bytes, size_t n, lmn_error *err)
{
    (void)bytes;
    (void)n;
    (*(size_t *)user)++;
    return lmn_error_set(err, LMN_ERR_IO, "enough");
}

static void generate_output_that_fails_ends_it(void **state)
{
    const fixture *f = *state;
    size_t calls = 0;
    const lmn_generation generation = {.prompt = (const unsigned char *)"a",
                                       .prompt_bytes = 1,
                                       .tokens = 10,
                                       .on_token = refuse,
                                       .user = &calls};
    assert_refused(f, &generation, LMN_ERR_IO);
    assert_int_equal(calls, 1);
}

static void generator_create_model_without_tokens_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_generator *generator = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_generator_create("cnn", f->vocabulary, &generator, &err), LMN_ERR_USAGE);
    assert_null(generator);
    assert_non_null(strstr(err.message, "cnn"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate_without_temperature_takes_the_likeliest_of_what_fits),
        cmocka_unit_test(generate_long_prompt_sees_its_end_only),
        cmocka_unit_test(generate_is_a_function_of_the_seed),
        cmocka_unit_test(generate_top_k_draws_from_the_k_likeliest),
        cmocka_unit_test(generate_temperature_moves_the_shares),
        cmocka_unit_test(generate_bad_requests_are_refused),
        cmocka_unit_test(generate_parameters_not_finite_is_refused),
        cmocka_unit_test(generate_output_that_fails_ends_it),
        cmocka_unit_test(generator_create_model_without_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
