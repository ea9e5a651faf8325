/*
 * `lamina train convex`: least squares and logistic regression with compressed gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

#include <inttypes.h>
#include <string.h>

#define COMMAND_BYTES 4096
/* Lines that tell of progress. */
#define LINES 10

typedef struct convex_options {
    const char *problem, *data, *split, *scale, *regularizer;
    uint64_t workers;
    const char *dtype;
    bool full_gradient;
    uint64_t batch;
    double lr;
    uint64_t steps;
    uint64_t seed;
    const char *compress, *feedback;
    const char *out;
    uint64_t record_every;
    bool optimum, iterates;
    bool is_quiet;
} convex_options;

#define MEMBER(name) offsetof(convex_options, name)

static const option_row rows[] = {
    {.heading = "Problem:",
     .name = "problem",
     .short_name = 'p',
     .type = OPTION_TEXT,
     .offset = MEMBER(problem),
     .argument = "KIND",
     .is_required = true,
     .help = "least-squares or logistic"},
    {.name = "data",
     .short_name = 'd',
     .type = OPTION_TEXT,
     .offset = MEMBER(data),
     .argument = "FILE|SPEC",
     .environment = "LAMINA_DATA",
     .is_required = true,
     .help = "HDF5 file with /rank_<i>/A and /rank_<i>/b, LIBSVM file, or synthetic:key=value,..."},
    {.name = "workers",
     .short_name = 'w',
     .type = OPTION_U64,
     .offset = MEMBER(workers),
     .argument = "V",
     .initial = "0",
     .max = LMN_CONVEX_WORKERS_MAX,
     .help = "workers, each with its own data and error state, over all ranks together; 0: as many "
             "as the data has, for LIBSVM files one a rank"},
    {.name = "split",
     .type = OPTION_TEXT,
     .offset = MEMBER(split),
     .argument = "HOW",
     .initial = "contiguous",
     .help = "how samples of a LIBSVM file are dealt out: contiguous, iid or label"},
    {.name = "scale",
     .type = OPTION_TEXT,
     .offset = MEMBER(scale),
     .argument = "HOW",
     .initial = "auto",
     .help = "the loss of a worker is the sum or the mean over its rows; auto: sum for "
             "least-squares, mean for logistic"},
    {.name = "regularizer",
     .type = OPTION_TEXT,
     .offset = MEMBER(regularizer),
     .argument = "SPEC",
     .help = "none, l2:lambda=L (L/2 |x|^2) or nonconvex:lambda=L (L sum x^2/(1+x^2)); if not "
             "given, what synthetic data says, or none"},
    {.name = "dtype",
     .type = OPTION_TEXT,
     .offset = MEMBER(dtype),
     .argument = "f32|f64",
     .initial = "f64",
     .help = "numbers of iterates, gradients and error states"},
    {.heading = "Steps:",
     .name = "full-gradient",
     .type = OPTION_FLAG,
     .offset = MEMBER(full_gradient),
     .help = "gradients over all rows of a worker; so it is without --batch, too"},
    {.name = "batch",
     .short_name = 'b',
     .type = OPTION_U64,
     .offset = MEMBER(batch),
     .argument = "B",
     .initial = "0",
     .unit = "rows",
     .environment = "LAMINA_BATCH",
     .max = 1 << 30,
     .help = "rows of each worker's gradient, drawn with replacement; 0: all"},
    {.name = "steps",
     .type = OPTION_U64,
     .offset = MEMBER(steps),
     .argument = "N",
     .initial = "1000",
     .environment = "LAMINA_STEPS",
     .max = 4294967295.0,
     .help = "steps"},
    {.name = "lr",
     .type = OPTION_F64,
     .offset = MEMBER(lr),
     .argument = "X",
     .initial = "0.01",
     .environment = "LAMINA_LR",
     .min = 1e-300,
     .max = 1e12,
     .help = "step size"},
    {.name = "seed",
     .short_name = 's',
     .type = OPTION_U64,
     .offset = MEMBER(seed),
     .argument = "N",
     .initial = "1",
     .environment = "LAMINA_SEED",
     .max = 18446744073709551615.0,
     .help = "of batches, noise, compressors and --split iid; synthetic data has its own"},
    {.heading = "Communication:",
     .name = "compress",
     .short_name = 'c',
     .type = OPTION_TEXT,
     .offset = MEMBER(compress),
     .argument = "SPEC",
     .initial = "topk:density=0.1",
     .environment = "LAMINA_COMPRESS",
     .help = "how gradients are compressed"},
    {.name = "feedback",
     .type = OPTION_TEXT,
     .offset = MEMBER(feedback),
     .argument = "SPEC",
     .initial = "econtrol",
     .environment = "LAMINA_FEEDBACK",
     .help = "what becomes of the part that was not sent"},
    {.heading = "Results:",
     .name = "out",
     .short_name = 'o',
     .type = OPTION_TEXT,
     .offset = MEMBER(out),
     .argument = "FILE",
     .initial = "run.h5",
     .environment = "LAMINA_OUT",
     .help = "results; a file of that name is replaced"},
    {.name = "record-every",
     .type = OPTION_U64,
     .offset = MEMBER(record_every),
     .argument = "N",
     .initial = "1",
     .unit = "steps",
     .min = 1,
     .max = 4294967295.0,
     .help = "record as often; the start and the end always are"},
    {.name = "optimum",
     .type = OPTION_FLAG,
     .offset = MEMBER(optimum),
     .help = "find the optimum first, and record the distance to it"},
    {.name = "iterates",
     .type = OPTION_FLAG,
     .offset = MEMBER(iterates),
     .help = "record x as well"},
    {.heading = "Console:",
     .name = "quiet",
     .short_name = 'q',
     .type = OPTION_FLAG,
     .offset = MEMBER(is_quiet),
     .environment = "LAMINA_QUIET",
     .help = "say nothing but errors"},
};

/* One run. */
typedef struct convex_job {
    convex_options options;
    option_table table;
    char command[COMMAND_BYTES]; /* with all defaults */
    console console;
    lmn_convex_problem_options problem;
    lmn_convex_run_options run;
    uint64_t next_line; /* step from which on progress is told */
    lmn_convex_record last;
} convex_job;

/* The place of a word in a list. Errors: LMN_ERR_USAGE naming the option and the list. */
static lmn_status choose(const char *option, const char *word, const char *const *choices, size_t n,
                         size_t *choice_out, lmn_error *err)
{
    const char *given = word == NULL ? "" : word;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(given, choices[i]) == 0) {
            *choice_out = i;
            return LMN_OK;
        }
    }
    return lmn_spec_unknown(option, given, choices, n, err);
}

static lmn_status apply_problem(convex_job *job, lmn_error *err)
{
    static const char *const kinds[] = {"least-squares", "logistic"};
    static const char *const scales[] = {"auto", "sum", "mean"};
    static const char *const splits[] = {"contiguous", "iid", "label"};
    const convex_options *o = &job->options;
    size_t kind = 0;
    size_t scale = 0;
    size_t split = 0;
    lmn_status status = choose("problem", o->problem, kinds, 2, &kind, err);
    if (status == LMN_OK) {
        status = choose("scale", o->scale, scales, 3, &scale, err);
    }
    if (status == LMN_OK) {
        status = choose("split", o->split, splits, 3, &split, err);
    }
    job->problem = (lmn_convex_problem_options){.loss = (lmn_convex_loss)kind,
                                                .data = o->data,
                                                .scale = (lmn_convex_scale)scale,
                                                .regularizer = o->regularizer,
                                                .workers = (size_t)o->workers,
                                                .split = (lmn_convex_split)split,
                                                .seed = o->seed};
    return status;
}

static void show_record(void *user, const lmn_convex_record *record)
{
    convex_job *job = user;
    if (record->step < job->next_line) {
        return;
    }
    const uint64_t distance = job->options.steps / LINES;
    job->next_line = record->step + (distance == 0 ? 1 : distance);
    console_say(&job->console, "step %" PRIu64 "/%" PRIu64 ": objective %.9g, |gradient| %.3g",
                record->step, job->options.steps, record->objective, record->grad_norm);
}

static lmn_status apply(convex_job *job, lmn_error *err)
{
    static const char *const dtypes[] = {"f64", "f32"};
    const convex_options *o = &job->options;
    size_t dtype = 0;
    lmn_status status = apply_problem(job, err);
    if (status == LMN_OK) {
        status = choose("dtype", o->dtype, dtypes, 2, &dtype, err);
    }
    if (status == LMN_OK && o->full_gradient && o->batch != 0) {
        status = lmn_error_set(err, LMN_ERR_USAGE,
                               "options --full-gradient and --batch exclude each other");
    }
    job->run = (lmn_convex_run_options){.compress = o->compress,
                                        .feedback = o->feedback,
                                        .is_f32 = dtype == 1,
                                        .lr = o->lr,
                                        .steps = o->steps,
                                        .batch = (size_t)o->batch,
                                        .seed = o->seed,
                                        .record_every = o->record_every,
                                        .with_optimum = o->optimum,
                                        .with_iterates = o->iterates,
                                        .out = o->out,
                                        .on_record = show_record,
                                        .user = job};
    return status;
}

static void say_problem(convex_job *job, const lmn_convex_problem *problem)
{
    const lmn_convex_info info = lmn_convex_problem_info(problem);
    console_say(&job->console, "%s", job->command);
    console_say(&job->console,
                "%s: %" PRIu64 " rows of %zu workers, %zu features%s, x has %zu elements",
                job->options.data, info.samples, info.workers, info.features,
                info.classes > 2 ? " in more than two classes" : "", info.dimension);
}

/* What the library does not know. */
static lmn_status describe(const convex_job *job, lmn_convex_run *run, lmn_error *err)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"command", job->command},
                 {"data", job->options.data},
                 {"split", job->options.split},
                 {"results_path", job->options.out}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == LMN_OK; i++) {
        status = lmn_convex_run_describe(run, texts[i].name, texts[i].value, err);
    }
    return status;
}

static lmn_status make_run(convex_job *job, lmn_world *world, lmn_convex_problem *problem,
                           lmn_error *err)
{
    lmn_convex_run *run = NULL;
    lmn_status status = lmn_convex_run_create(problem, &job->run, &run, err);
    if (status != LMN_OK) {
        return status;
    }
    say_problem(job, problem);
    status = lmn_agree(world, describe(job, run, err), err);
    if (status == LMN_OK) {
        status = lmn_convex_run_all(run, err);
    }
    job->last = lmn_convex_run_last(run);
    lmn_convex_run_destroy(run);
    return status;
}

static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    convex_job *job = user;
    const uint64_t hash = lmn_hash64(job->command, strlen(job->command), 0);
    lmn_status status = lmn_world_check_same(world, "the options of the run", hash, err);
    lmn_convex_problem *problem = NULL;
    if (status == LMN_OK) {
        status = lmn_convex_problem_create(world, &job->problem, &problem, err);
    }
    if (status == LMN_OK) {
        status = make_run(job, world, problem, err);
    }
    lmn_convex_problem_destroy(problem);
    return status;
}

static void say_summary(convex_job *job)
{
    console *c = &job->console;
    const lmn_convex_record *last = &job->last;
    console_answer(c, "%" PRIu64 " steps: objective %.17g, |gradient| %.6g", last->step,
                   last->objective, last->grad_norm);
    if (job->options.optimum) {
        console_answer(c, "squared distance to the optimum %.6g, objective above it by %.6g",
                       last->distance, last->suboptimality);
    }
    console_answer(c, "%.0f bits sent by each worker", last->bits_per_rank);
    console_answer(c, "results in %s", job->options.out);
}

static void print_help(const convex_job *job)
{
    options_print_help(&job->table);
    train_print_methods("compress", lmn_compressor_entry);
    train_print_methods("feedback", lmn_feedback_entry);
    train_print_methods("feedback", lmn_convex_method_entry);
    train_print_methods("data", lmn_convex_data_entry);
}

static exit_code run(int argc, char **argv)
{
    convex_job job = {.console = console_make(false)};
    job.table = (option_table){
        .command = "lamina train convex",
        .summary = "Minimise a least-squares or logistic problem with compressed gradients, on all "
                   "ranks of an MPI job or alone, with the same bits for any number of ranks.",
        .details = "f(x) is the mean over workers of their losses, and the regulariser. A SPEC is "
                   "a name, or a name with parameters: name:key=value,key=value. The results hold "
                   "/x, /x0, and for each recorded step /objective, /grad_norm, /bits_per_rank "
                   "and with --optimum /distance and /suboptimality. Exit codes: 0 done, 1 failed "
                   "or diverged, 2 wrong usage.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &job.options}}};
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&job.table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        if (job.console.rank == 0) {
            print_help(&job);
        }
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = apply(&job, &err);
    }
    job.console.is_quiet = status == LMN_OK && job.options.is_quiet;
    options_format(&job.table, job.command, sizeof job.command);
    const exit_code code = session_run(&job.console, status, &err, work, &job);
    if (code == EXIT_CODE_DONE) {
        say_summary(&job);
    }
    return code;
}

const command command_train_convex = {
    .path = "train convex", .summary = "minimise a convex problem", .run = run};
