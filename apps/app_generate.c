/*
 * `lamina generate`: text that a trained model goes on with.
 *
 * The checkpoint holds the vocabulary as well as the model, so no dataset is needed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_facts.h"
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

typedef struct generate_options {
    const char *prompt;
    uint64_t tokens;
    double temperature;
    uint64_t top_k;
    uint64_t seed;
    const char *threads;
} generate_options;

#define MEMBER(name) offsetof(generate_options, name)

static const option_row rows[] = {
    {.name = "prompt",
     .short_name = 'p',
     .type = OPTION_TEXT,
     .offset = MEMBER(prompt),
     .argument = "TEXT",
     .is_required = true,
     .help = "text to go on from"},
    {.name = "tokens",
     .short_name = 'n',
     .type = OPTION_U64,
     .offset = MEMBER(tokens),
     .argument = "N",
     .initial = "256",
     .max = 1e9,
     .help = "tokens to generate"},
    {.name = "temperature",
     .type = OPTION_F64,
     .offset = MEMBER(temperature),
     .argument = "X",
     .initial = "0.8",
     .max = 1e6,
     .help = "below 1 likely tokens become likelier, above 1 less so; 0: always the likeliest"},
    {.name = "top-k",
     .type = OPTION_U64,
     .offset = MEMBER(top_k),
     .argument = "K",
     .initial = "0",
     .max = 1e9,
     .help = "choose among the K likeliest tokens; 0: among all"},
    {.name = "seed",
     .short_name = 's',
     .type = OPTION_U64,
     .offset = MEMBER(seed),
     .argument = "N",
     .initial = "1",
     .max = 18446744073709551615.0,
     .help = "same seed, same text"},
    {.name = "threads",
     .short_name = 't',
     .type = OPTION_TEXT,
     .offset = MEMBER(threads),
     .argument = "N|auto",
     .initial = "auto",
     .environment = "LAMINA_THREADS",
     .help = "threads to compute with; auto: all cores that the process may use"},
};

typedef struct generate_job {
    generate_options options;
    console console;
    const char *checkpoint;
    checkpoint_facts facts;
} generate_job;

static lmn_status write_bytes(void *user, const unsigned char *bytes, size_t n, lmn_error *err)
{
    const generate_job *job = user;
    if (job->console.rank != 0) {
        return LMN_OK;
    }
    if (fwrite(bytes, 1, n, stdout) != n || fflush(stdout) != 0) {
        return lmn_error_set(err, LMN_ERR_IO, "cannot write to standard output");
    }
    return LMN_OK;
}

/* Local. */
static lmn_status check_facts(const generate_job *job, lmn_error *err)
{
    if (strcmp(job->facts.task, "text") == 0) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "'%s' holds model '%s' of `lamina train %s`; text can be generated from "
                         "checkpoints of `lamina train text`",
                         job->facts.path, job->facts.model,
                         job->facts.task[0] == '\0' ? "vision" : job->facts.task);
}

/* Local. */
static lmn_status generate(generate_job *job, lmn_generator *generator, lmn_error *err)
{
    const generate_options *options = &job->options;
    const lmn_generation generation = {.prompt = (const unsigned char *)options->prompt,
                                       .prompt_bytes = strlen(options->prompt),
                                       .tokens = (size_t)options->tokens,
                                       .temperature = options->temperature,
                                       .top_k = (size_t)options->top_k,
                                       .seed = options->seed,
                                       .on_token = write_bytes,
                                       .user = job};
    lmn_status status = write_bytes(job, generation.prompt, generation.prompt_bytes, err);
    if (status == LMN_OK) {
        status = lmn_generator_run(generator, &generation, err);
    }
    return status == LMN_OK ? write_bytes(job, (const unsigned char *)"\n", 1, err) : status;
}

static lmn_status generate_from(generate_job *job, lmn_world *world, lmn_error *err)
{
    lmn_vocabulary *vocabulary = NULL;
    lmn_generator *generator = NULL;
    lmn_status status = lmn_generator_vocabulary(job->facts.path, &vocabulary, err);
    if (status == LMN_OK) {
        status = lmn_generator_create(job->facts.model, vocabulary, &generator, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = checkpoint_load_parameters(world, &job->facts, lmn_generator_parameters(generator),
                                            err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, generate(job, generator, err), err);
    }
    lmn_generator_destroy(generator);
    lmn_vocabulary_destroy(vocabulary);
    return status;
}

static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    generate_job *job = user;
    int threads = 1;
    lmn_status status = session_parse_threads(world, job->options.threads, &threads, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_compute_set_threads(threads);
    status = checkpoint_facts_read(world, job->checkpoint, &job->facts, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, check_facts(job, err), err);
    }
    return status == LMN_OK ? generate_from(job, world, err) : status;
}

static lmn_status check_words(const option_words *words, lmn_error *err)
{
    if (words->count != 1) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "%zu checkpoints are given; text is generated from one", words->count);
    }
    return LMN_OK;
}

static exit_code run(int argc, char **argv)
{
    generate_job job = {.console = console_make(false)};
    const option_table table = {
        .command = "lamina generate",
        .arguments = "CHECKPOINT|DIR",
        .summary = "Go on with a text, as the model in a checkpoint of `lamina train text` would; "
                   "of a directory the newest complete checkpoint is taken.",
        .details = "The text goes to standard output token by token, the prompt first.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &job.options}}};
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        if (job.console.rank == 0) {
            options_print_help(&table);
        }
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = check_words(&words, &err);
    }
    job.checkpoint = status == LMN_OK ? words.words[0] : NULL;
    return session_run(&job.console, status, &err, work, &job);
}

const command command_generate = {
    .path = "generate", .summary = "go on with a text as a trained model would", .run = run};
