/*
 * Training applications: the run from options to summary.
 *
 * SIGTERM, SIGINT and SIGUSR1 set a flag; the trainer asks for it after every step, agrees over all
 * ranks, writes a checkpoint and returns. So batch systems can take the machine away at any time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"

#include "checkpoint_facts.h"
#include "console.h"
#include "evaluation_text.h"
#include "plan_report.h"
#include "progress.h"
#include "session.h"
#include "stall_watch.h"
#include "text.h"
#include "train_settings.h"
#include "waiting_text.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define COMMAND_BYTES 8192

/* The only thing that a signal handler may touch.
   NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables) */
static volatile sig_atomic_t signal_received = 0;

/* One run of a training application. */
typedef struct train_job {
    const train_application *application;
    option_table table;
    option_row rows[OPTION_ROWS_MAX]; /* of the settings */
    train_settings settings;
    lmn_trainer_options options;
    char command[COMMAND_BYTES]; /* with all defaults */
    console console;
    progress progress;
    int threads;
    lmn_task task;
    lmn_training_summary summary;
} train_job;

static void take_signal(int signal_number)
{
    signal_received = signal_number;
}

static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = take_signal;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    static const int signals[] = {SIGTERM, SIGINT, SIGUSR1};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)sigaction(signals[i], &action, NULL);
    }
}

static bool should_stop(void *user)
{
    (void)user;
    return signal_received != 0;
}

/* SIGTERM is how launchers end ranks when they have lost one. */
static bool must_end(void *user)
{
    (void)user;
    return signal_received == SIGTERM;
}

static void on_progress(void *user, const lmn_training_progress *state)
{
    train_job *job = user;
    progress_show(&job->progress, state);
}

static void say_data(train_job *job, const lmn_dataset_info *info)
{
    const uint64_t n_train = info->sample_count[LMN_SPLIT_TRAIN];
    const uint64_t n_test = info->sample_count[LMN_SPLIT_TEST];
    const size_t *dims = info->fields[0].dims;
    const char *path = job->settings.data;
    if (info->kind == LMN_DATASET_TEXT) {
        console_say(&job->console,
                    "%s: %" PRIu64 " training and %" PRIu64
                    " test samples of %zu tokens, %zu tokens in the vocabulary",
                    path, n_train, n_test, dims[0], info->n_classes);
    } else if (info->kind == LMN_DATASET_VECTORS) {
        console_say(&job->console,
                    "%s: %" PRIu64 " training and %" PRIu64
                    " test vectors of %zu columns, %zu classes%s",
                    path, n_train, n_test, dims[0], info->n_classes,
                    info->n_classes == 0 ? ": numbers are to be predicted" : "");
    } else {
        console_say(&job->console,
                    "%s: %" PRIu64 " training and %" PRIu64
                    " test images of %zux%zux%zu, %zu classes",
                    path, n_train, n_test, dims[0], dims[1], dims[2], info->n_classes);
    }
}

static void say_configuration(train_job *job, const lmn_world *world, const lmn_dataset *dataset)
{
    const lmn_placement *placement = lmn_world_placement(world);
    console_say(&job->console, "lamina %s on %d rank%s, %d node%s, %d thread%s each", lmn_version(),
                lmn_world_size(world), lmn_world_size(world) == 1 ? "" : "s", placement->node_count,
                placement->node_count == 1 ? "" : "s", job->threads, job->threads == 1 ? "" : "s");
    console_say(&job->console, "%s", job->command);
    say_data(job, lmn_dataset_get_info(dataset));
}

/* What the trainer cannot know by itself. */
static lmn_status describe(const train_job *job, const lmn_dataset *dataset, lmn_trainer *trainer,
                           lmn_error *err)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"command", job->command},
                 {"data", job->settings.data},
                 {"threads", job->settings.threads}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == LMN_OK; i++) {
        status = lmn_trainer_describe(trainer, texts[i].name, texts[i].value, false, err);
    }
    if (status == LMN_OK) {
        status = job->application->describe(job->application->own.values, dataset, trainer, err);
    }
    return status;
}

/* Local. */
static lmn_status make_task(train_job *job, lmn_dataset *dataset, lmn_error *err)
{
    const train_application *application = job->application;
    const lmn_status status =
        application->make_task(application->own.values, dataset, &job->task, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", job->settings.data);
        return status;
    }
    job->progress.task = &job->task;
    return LMN_OK;
}

/* Of another run, instead of random ones. */
static lmn_status take_parameters(train_job *job, lmn_world *world, lmn_trainer *trainer,
                                  lmn_error *err)
{
    if (job->settings.init == NULL) {
        return LMN_OK;
    }
    checkpoint_facts facts;
    lmn_status status = checkpoint_facts_read(world, job->settings.init, &facts, err);
    if (status == LMN_OK) {
        status = checkpoint_load_parameters(world, &facts, lmn_trainer_parameters(trainer), err);
    }
    if (status == LMN_OK) {
        console_say(&job->console, "beginning with the parameters of %s", facts.path);
    } else {
        lmn_error_add_context(err, "option --init");
    }
    return status;
}

static lmn_status train(train_job *job, lmn_world *world, lmn_dataset *dataset, lmn_error *err)
{
    lmn_trainer *trainer = NULL;
    lmn_status status = lmn_agree(world, make_task(job, dataset, err), err);
    if (status == LMN_OK) {
        status = lmn_trainer_create(world, dataset, &job->task, &job->options, &trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, describe(job, dataset, trainer, err), err);
    }
    if (status == LMN_OK) {
        say_configuration(job, world, dataset);
        status = take_parameters(job, world, trainer, err);
    }
    if (status == LMN_OK && job->settings.plan_only) {
        plan_report_print(&job->console, lmn_trainer_plan(trainer));
    } else if (status == LMN_OK) {
        status = lmn_trainer_run(trainer, &job->summary, err);
    }
    lmn_trainer_destroy(trainer);
    return status;
}

static void say_waiting(console *c, const lmn_waiting *waiting)
{
    const waiting_text text = waiting_text_make(waiting);
    if (text.ranks[0] != '\0') {
        console_answer(c, "%s", text.ranks);
    }
    if (text.link[0] != '\0') {
        console_answer(c, "%s", text.link);
    }
}

static void say_summary(train_job *job)
{
    const lmn_training_summary *s = &job->summary;
    console *c = &job->console;
    if (s->test.samples > 0) {
        console_answer(c, "test %s (%" PRIu64 " samples)",
                       evaluation_text_make(&job->task, &s->test).data, s->test.samples);
    }
    console_answer(c, "%" PRIu64 " steps, %.2f epochs in %s of training, %s in all", s->steps,
                   s->epochs, text_seconds(s->seconds).data, text_seconds(s->total_seconds).data);
    if (s->seconds > 0.0) {
        console_answer(c, "waited for input %.1f %% of training",
                       100.0 * s->input_seconds / s->seconds);
    }
    if (s->adapt_seconds > 0.0) {
        console_answer(c, "adapting levels took %s, %.2f %% of training",
                       text_seconds(s->adapt_seconds).data, 100.0 * s->adapt_seconds / s->seconds);
    }
    if (s->skipped > 0) {
        console_answer(c, "%" PRIu64 " steps skipped, because gradients were not finite",
                       s->skipped);
    }
    if (s->bytes_dense > 0) {
        console_answer(c, "sent %s, %s (%s)", text_bytes(s->bytes_sent).data,
                       text_comparison(s->bytes_sent, s->bytes_dense).data,
                       text_bytes(s->bytes_dense).data);
    }
    say_waiting(c, &s->waiting);
    console_answer(c, "%" PRIu64 " parameters, hash %s", s->parameters,
                   text_hash(s->param_hash).data);
    console_answer(c, "results in %s%s%s", job->settings.out,
                   job->settings.checkpoint_dir == NULL ? "" : ", checkpoints in ",
                   job->settings.checkpoint_dir == NULL ? "" : job->settings.checkpoint_dir);
}

/* All ranks must have been started with the same options, environment included. */
static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    train_job *job = user;
    const uint64_t hash = lmn_hash64(job->command, strlen(job->command), 0);
    lmn_status status = lmn_world_check_same(world, "the options of the run", hash, err);
    if (status == LMN_OK) {
        status = session_parse_threads(world, job->settings.threads, &job->threads, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    lmn_compute_set_threads(job->threads);
    lmn_watch *watch = NULL;
    lmn_dataset *dataset = NULL;
    status = stall_watch_start(world, job->settings.stall_timeout, must_end, &watch, err);
    if (status == LMN_OK) {
        status = lmn_dataset_open(world, job->settings.data, &dataset, err);
    }
    if (status == LMN_OK) {
        status = train(job, world, dataset, err);
    }
    lmn_dataset_close(dataset);
    lmn_watch_destroy(watch);
    return status;
}

/* A stopped run is a success only if it can be resumed. */
static exit_code finish(train_job *job, exit_code code)
{
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    if (!job->summary.stopped) {
        if (!job->settings.plan_only) {
            say_summary(job);
        }
        return EXIT_CODE_DONE;
    }
    lmn_error err = lmn_error_none();
    if (job->settings.checkpoint_dir == NULL) {
        (void)lmn_error_set(&err, LMN_ERR_ARGUMENT,
                            "stopped by a signal after step %" PRIu64
                            "; the run cannot be resumed, for it had no --checkpoint-dir",
                            job->summary.steps);
        console_error(&job->console, &err);
        return EXIT_CODE_FAILED;
    }
    console_say(&job->console,
                "stopped by a signal after step %" PRIu64
                "; the same command with --resume goes on from %s",
                job->summary.steps, job->settings.checkpoint_dir);
    return EXIT_CODE_STOPPED;
}

static void print_help(const train_job *job)
{
    options_print_help(&job->table);
    job->application->print_choices();
    train_print_methods("split", lmn_sharding_entry);
    train_print_methods("optimizer", lmn_optimizer_entry);
    train_print_methods("schedule", lmn_schedule_entry);
    train_print_methods("compress", lmn_compressor_entry);
    train_print_methods("feedback", lmn_feedback_entry);
    train_print_methods("allocate", lmn_allocator_entry);
}

lmn_status train_check_kind(const lmn_dataset *dataset, bool wants_text, lmn_error *err)
{
    const bool is_text = lmn_dataset_get_info(dataset)->kind == LMN_DATASET_TEXT;
    if (is_text == wants_text) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT, "the dataset holds %s: use `lamina train %s`",
                         is_text ? "text" : "no text", is_text ? "text" : "vision");
}

exit_code train_application_run(const train_application *application, int argc, char **argv)
{
    train_job job = {.application = application, .console = console_make(false), .threads = 1};
    job.table = (option_table){
        .command = application->command,
        .summary = application->summary,
        .details = "A SPEC is a name, or a name with parameters: name:key=value,key=value. Every "
                   "option may also be given by the environment variable named beside it; the "
                   "command line goes before it. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 "
                   "stopped by SIGTERM, SIGINT or SIGUSR1 with a checkpoint written, 4 a rank was "
                   "lost or is late.",
        .n_sets = 2,
        .sets = {application->own, train_settings_rows(&job.settings, application->defaults,
                                                       application->n_defaults, job.rows)}};
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
        status = train_settings_apply(&job.settings, &job.options, &err);
    }
    job.console.is_quiet = status == LMN_OK && job.settings.is_quiet;
    if (status == LMN_OK && application->set_options != NULL) {
        application->set_options(application->own.values, &job.options);
    }
    job.options.should_stop = should_stop;
    job.options.on_progress = on_progress;
    job.options.user = &job;
    job.progress = progress_make(&job.console);
    options_format(&job.table, job.command, sizeof job.command);
    catch_signals();
    return finish(&job, session_run(&job.console, status, &err, work, &job));
}
