/*
 * Training applications: the run from options to summary.
 *
 * SIGTERM, SIGINT and SIGUSR1 set a flag; the trainer asks for it after every step, agrees over all
 * ranks, writes a checkpoint and returns. So batch systems can take the machine away at any time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"

#include "console.h"
#include "plan_report.h"
#include "progress.h"
#include "session.h"
#include "text.h"
#include "train_settings.h"

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
    train_settings settings;
    lmn_trainer_options options;
    char command[COMMAND_BYTES]; /* with all defaults */
    console console;
    progress progress;
    int threads;
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

static void on_progress(void *user, const lmn_training_progress *state)
{
    train_job *job = user;
    progress_show(&job->progress, state);
}

static void say_configuration(train_job *job, const lmn_world *world, const lmn_dataset *dataset)
{
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    const lmn_placement *placement = lmn_world_placement(world);
    console_say(&job->console, "lamina %s on %d rank%s, %d node%s, %d thread%s each", lmn_version(),
                lmn_world_size(world), lmn_world_size(world) == 1 ? "" : "s", placement->node_count,
                placement->node_count == 1 ? "" : "s", job->threads, job->threads == 1 ? "" : "s");
    console_say(&job->console, "%s", job->command);
    console_say(&job->console,
                "%s: %" PRIu64 " training and %" PRIu64 " test images of %zux%zux%zu, %zu classes",
                job->settings.data, info->sample_count[LMN_SPLIT_TRAIN],
                info->sample_count[LMN_SPLIT_TEST], info->fields[0].dims[0],
                info->fields[0].dims[1], info->fields[0].dims[2], info->n_classes);
}

/* What the trainer cannot know by itself. */
static lmn_status describe(const train_job *job, lmn_trainer *trainer, lmn_error *err)
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
        status = job->application->describe(job->application->own.values, trainer, err);
    }
    return status;
}

static lmn_status train(train_job *job, lmn_world *world, const lmn_dataset *dataset,
                        lmn_error *err)
{
    const lmn_task task =
        job->application->make_task(job->application->own.values, lmn_dataset_get_info(dataset));
    lmn_trainer *trainer = NULL;
    lmn_status status = lmn_trainer_create(world, dataset, &task, &job->options, &trainer, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, describe(job, trainer, err), err);
    }
    if (status == LMN_OK) {
        say_configuration(job, world, dataset);
    }
    if (status == LMN_OK && job->settings.plan_only) {
        plan_report_print(&job->console, lmn_trainer_plan(trainer));
    } else if (status == LMN_OK) {
        status = lmn_trainer_run(trainer, &job->summary, err);
    }
    lmn_trainer_destroy(trainer);
    return status;
}

static void say_summary(train_job *job)
{
    const lmn_training_summary *s = &job->summary;
    console *c = &job->console;
    if (s->test.samples > 0) {
        console_answer(c, "test accuracy %.4f, loss %.4f (%" PRIu64 " samples)", s->test.accuracy,
                       s->test.loss, s->test.samples);
    }
    console_answer(c, "%" PRIu64 " steps, %.2f epochs in %s of training, %s in all", s->steps,
                   s->epochs, text_seconds(s->seconds).data, text_seconds(s->total_seconds).data);
    if (s->skipped > 0) {
        console_answer(c, "%" PRIu64 " steps skipped, because gradients were not finite",
                       s->skipped);
    }
    if (s->bytes_dense > 0) {
        console_answer(c, "sent %s, %s (%s)", text_bytes(s->bytes_sent).data,
                       text_comparison(s->bytes_sent, s->bytes_dense).data,
                       text_bytes(s->bytes_dense).data);
    }
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
    lmn_dataset *dataset = NULL;
    status = lmn_dataset_open(world, job->settings.data, &dataset, err);
    if (status == LMN_OK) {
        status = train(job, world, dataset, err);
    }
    lmn_dataset_close(dataset);
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
    train_print_methods("optimizer", lmn_optimizer_entry);
    train_print_methods("schedule", lmn_schedule_entry);
    train_print_methods("compress", lmn_compressor_entry);
    train_print_methods("feedback", lmn_feedback_entry);
    train_print_methods("allocate", lmn_allocator_entry);
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
                   "stopped by SIGTERM, SIGINT or SIGUSR1 with a checkpoint written.",
        .n_sets = 2,
        .sets = {application->own, train_settings_rows(&job.settings)}};
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
    job.options.should_stop = should_stop;
    job.options.on_progress = on_progress;
    job.options.user = &job;
    job.progress = progress_make(&job.console);
    options_format(&job.table, job.command, sizeof job.command);
    catch_signals();
    return finish(&job, session_run(&job.console, status, &err, work, &job));
}
