/*
 * Settings of a training run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "train_settings.h"

#include <string.h>

#define MEMBER(name) offsetof(train_settings, name)

static const double COUNT_MAX = 1e15;

static const option_row rows[] = {
    {.heading = "Data and length:",
     .name = "data",
     .short_name = 'd',
     .type = OPTION_TEXT,
     .offset = MEMBER(data),
     .argument = "FILE",
     .environment = "LAMINA_DATA",
     .is_required = true,
     .help = "dataset, as `lamina data import` writes it"},
    {.name = "epochs",
     .short_name = 'e',
     .type = OPTION_F64,
     .offset = MEMBER(epochs),
     .argument = "N",
     .initial = "3",
     .environment = "LAMINA_EPOCHS",
     .min = 1e-3,
     .max = 1e6,
     .help = "passes over the training split; need not be whole"},
    {.name = "steps",
     .type = OPTION_U64,
     .offset = MEMBER(steps),
     .argument = "N",
     .initial = "0",
     .environment = "LAMINA_STEPS",
     .max = COUNT_MAX,
     .help = "training steps in all, in place of --epochs; 0: as --epochs says"},
    {.name = "max-time",
     .type = OPTION_TEXT,
     .offset = MEMBER(max_time),
     .argument = "TIME",
     .environment = "LAMINA_MAX_TIME",
     .help = "end as if all steps were made once so much time is used: 90s, 10m, 1h; the schedule "
             "still counts on all steps"},
    {.name = "batch",
     .short_name = 'b',
     .type = OPTION_U64,
     .offset = MEMBER(batch),
     .argument = "N",
     .initial = "128",
     .unit = "samples",
     .environment = "LAMINA_BATCH",
     .min = 1,
     .max = 1 << 24,
     .help = "samples of one step, over all ranks together"},
    {.name = "split",
     .type = OPTION_TEXT,
     .offset = MEMBER(split),
     .argument = "SPEC",
     .initial = "iid",
     .environment = "LAMINA_SPLIT",
     .help = "which samples each rank trains on"},
    {.name = "seed",
     .short_name = 's',
     .type = OPTION_U64,
     .offset = MEMBER(seed),
     .argument = "N",
     .initial = "1",
     .environment = "LAMINA_SEED",
     .max = 18446744073709551615.0,
     .help = "of everything random; same seed, ranks and threads: same bits"},
    {.heading = "Updates:",
     .name = "optimizer",
     .type = OPTION_TEXT,
     .offset = MEMBER(optimizer),
     .argument = "SPEC",
     .initial = "sgd:momentum=0.9",
     .environment = "LAMINA_OPTIMIZER",
     .help = "update rule"},
    {.name = "lr",
     .type = OPTION_F64,
     .offset = MEMBER(lr),
     .argument = "X",
     .initial = "0.05",
     .environment = "LAMINA_LR",
     .min = 1e-12,
     .max = 1e3,
     .help = "learning rate, which the schedule scales"},
    {.name = "schedule",
     .type = OPTION_TEXT,
     .offset = MEMBER(schedule),
     .argument = "SPEC",
     .initial = "cosine",
     .environment = "LAMINA_SCHEDULE",
     .help = "learning rate over time"},
    {.heading = "Communication:",
     .name = "compress",
     .short_name = 'c',
     .type = OPTION_TEXT,
     .offset = MEMBER(compress),
     .argument = "SPEC",
     .initial = "topk:density=0.01",
     .environment = "LAMINA_COMPRESS",
     .help = "how gradients are compressed; several joined by '+' are mixed, and allocation "
             "chooses the family of each layer, too"},
    {.name = "feedback",
     .type = OPTION_TEXT,
     .offset = MEMBER(feedback),
     .argument = "SPEC",
     .initial = "econtrol",
     .environment = "LAMINA_FEEDBACK",
     .help = "what becomes of the part that was not sent"},
    {.name = "allocate",
     .type = OPTION_TEXT,
     .offset = MEMBER(allocate),
     .argument = "SPEC",
     .initial = "lgreco",
     .environment = "LAMINA_ALLOCATE",
     .help = "which layer is compressed how much"},
    {.name = "collective",
     .type = OPTION_TEXT,
     .offset = MEMBER(collective),
     .argument = "NAME",
     .initial = "auto",
     .environment = "LAMINA_COLLECTIVE",
     .help = "how entries of topk are added up: auto, gather, merge or balanced"},
    {.name = "hierarchy",
     .type = OPTION_TEXT,
     .offset = MEMBER(hierarchy),
     .argument = "HOW",
     .initial = "auto",
     .environment = "LAMINA_HIERARCHY",
     .help = "flat, node (sums inside a node, exchanges between nodes) or auto"},
    {.name = "bucket",
     .type = OPTION_BYTES,
     .offset = MEMBER(bucket_bytes),
     .argument = "BYTES",
     .initial = "4MiB",
     .environment = "LAMINA_BUCKET",
     .min = 4096,
     .max = 1 << 30,
     .help = "gradients that travel together"},
    {.name = "dense-below",
     .type = OPTION_U64,
     .offset = MEMBER(dense_below),
     .argument = "N",
     .initial = "1024",
     .environment = "LAMINA_DENSE_BELOW",
     .min = 0,
     .max = 1e15,
     .help = "layers with fewer parameters stay dense, whatever the compressor and the allocator"},
    {.heading = "Results and checkpoints:",
     .name = "out",
     .short_name = 'o',
     .type = OPTION_TEXT,
     .offset = MEMBER(out),
     .argument = "FILE",
     .initial = "run.h5",
     .environment = "LAMINA_OUT",
     .help = "results; a file of that name is replaced, with --resume continued"},
    {.name = "checkpoint-dir",
     .type = OPTION_TEXT,
     .offset = MEMBER(checkpoint_dir),
     .argument = "DIR",
     .environment = "LAMINA_CHECKPOINT_DIR",
     .help = "write checkpoints there, one at the end or at a stop at least"},
    {.name = "checkpoint-every",
     .type = OPTION_TEXT,
     .offset = MEMBER(checkpoint_every),
     .argument = "N|TIME|auto",
     .environment = "LAMINA_CHECKPOINT_EVERY",
     .help = "also every N steps, or every 90s, 10m, 1h; auto: as often as costs the least time in "
             "all, "
             "by what one takes and by --mtbf"},
    {.name = "mtbf",
     .type = OPTION_TEXT,
     .offset = MEMBER(mtbf),
     .argument = "TIME",
     .environment = "LAMINA_MTBF",
     .help =
         "mean time between failures of the whole run, for --checkpoint-every auto: that of a host "
         "divided by their number: 12h, 1000h"},
    {.name = "checkpoint-async",
     .type = OPTION_FLAG,
     .offset = MEMBER(checkpoint_async),
     .environment = "LAMINA_CHECKPOINT_ASYNC",
     .help = "copy what a checkpoint holds and write it while training goes on; takes the memory "
             "of a checkpoint, divided by the ranks, on each of them"},
    {.name = "keep",
     .type = OPTION_U64,
     .offset = MEMBER(keep),
     .argument = "N",
     .initial = "3",
     .environment = "LAMINA_KEEP",
     .max = 1e6,
     .help = "newest checkpoints that stay; 0: all"},
    {.name = "resume",
     .short_name = 'r',
     .type = OPTION_FLAG,
     .offset = MEMBER(resume),
     .environment = "LAMINA_RESUME",
     .help = "go on from the newest complete checkpoint in --checkpoint-dir, if there is one"},
    {.name = "init",
     .type = OPTION_TEXT,
     .offset = MEMBER(init),
     .argument = "CKPT",
     .environment = "LAMINA_INIT",
     .help = "begin with the parameters of another run's checkpoint, or of the newest in a "
             "directory, as `lamina checkpoint import` writes them, too; the model must be the "
             "same. A run that is resumed goes on from its own"},
    {.heading = "Checks:",
     .name = "evaluate-every",
     .type = OPTION_U64,
     .offset = MEMBER(evaluate_every),
     .argument = "N",
     .initial = "0",
     .unit = "steps",
     .environment = "LAMINA_EVALUATE_EVERY",
     .max = COUNT_MAX,
     .help = "test as often; 0: after every epoch; always at the end"},
    {.name = "verify-every",
     .type = OPTION_U64,
     .offset = MEMBER(verify_every),
     .argument = "N",
     .initial = "100",
     .unit = "steps",
     .environment = "LAMINA_VERIFY_EVERY",
     .max = COUNT_MAX,
     .help = "compare the parameters of all ranks as often; 0: never"},
    {.name = "stall-timeout",
     .type = OPTION_TEXT,
     .offset = MEMBER(stall_timeout),
     .argument = "TIME",
     .environment = "LAMINA_STALL_TIMEOUT",
     .help =
         "end the run on all ranks, naming the late one, when nothing is heard of a rank for so "
         "long or none gets on: 30s, 10m; longer than a step, an evaluation and a checkpoint "
         "take"},
    {.name = "nonfinite",
     .type = OPTION_TEXT,
     .offset = MEMBER(nonfinite),
     .argument = "skip|stop",
     .initial = "skip",
     .environment = "LAMINA_NONFINITE",
     .help = "when a gradient holds NaN or infinity: leave the step out on all ranks, or end the "
             "run; 50 such steps in a row end it always"},
    {.name = "trace",
     .type = OPTION_TEXT,
     .offset = MEMBER(trace),
     .argument = "FILE",
     .environment = "LAMINA_TRACE",
     .help = "write what all ranks do in five steps, for chrome://tracing or ui.perfetto.dev"},
    {.name = "trace-step",
     .type = OPTION_U64,
     .offset = MEMBER(trace_step),
     .argument = "N",
     .initial = "10",
     .environment = "LAMINA_TRACE_STEP",
     .max = COUNT_MAX,
     .help = "the first step that --trace shows"},
    {.name = "measure-link",
     .type = OPTION_FLAG,
     .offset = MEMBER(measure_link),
     .environment = "LAMINA_MEASURE_LINK",
     .help =
         "after the last step, measure what the link can do, to compare with what it delivered; "
         "about a second"},
    {.heading = "Machine and console:",
     .name = "threads",
     .short_name = 't',
     .type = OPTION_TEXT,
     .offset = MEMBER(threads),
     .argument = "N|auto",
     .initial = "auto",
     .environment = "LAMINA_THREADS",
     .help = "threads of each rank; auto: the cores it shares with no other rank"},
    {.name = "memory",
     .type = OPTION_BYTES,
     .offset = MEMBER(memory_bytes),
     .argument = "BYTES",
     .initial = "0",
     .environment = "LAMINA_MEMORY",
     .max = 1e18,
     .help = "limit for the values of a step on each rank, outside parameters and optimiser; what "
             "does not fit is computed again: slower, same bits; 0: no limit"},
    {.name = "plan-only",
     .type = OPTION_FLAG,
     .offset = MEMBER(plan_only),
     .help = "train nothing; print what a step computes, and in how much memory"},
    {.name = "quiet",
     .short_name = 'q',
     .type = OPTION_FLAG,
     .offset = MEMBER(is_quiet),
     .environment = "LAMINA_QUIET",
     .help = "say nothing but errors"},
};

option_set train_settings_rows(train_settings *settings, const train_default *defaults,
                               size_t n_defaults, option_row *rows_out)
{
    const size_t n_rows = sizeof rows / sizeof rows[0];
    memcpy(rows_out, rows, sizeof rows);
    for (size_t i = 0; i < n_rows * n_defaults; i++) {
        option_row *row = &rows_out[i / n_defaults];
        const train_default *other = &defaults[i % n_defaults];
        if (strcmp(row->name, other->name) == 0) {
            row->initial = other->initial;
        }
    }
    return (option_set){.rows = rows_out, .n_rows = n_rows, .values = settings};
}

static lmn_status apply_max_time(const char *text, lmn_trainer_options *options, lmn_error *err)
{
    double seconds = 0.0;
    if (lmn_parse_seconds(text, &seconds, err) != LMN_OK || seconds <= 0.0 || seconds > COUNT_MAX) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --max-time: '%s' is not a time, such as 90s, 10m or 1h", text);
    }
    options->max_seconds = seconds;
    return LMN_OK;
}

static lmn_status apply_mtbf(const char *text, lmn_trainer_options *options, lmn_error *err)
{
    double seconds = 0.0;
    if (lmn_parse_seconds(text, &seconds, err) != LMN_OK || seconds <= 0.0 || seconds > COUNT_MAX) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --mtbf: '%s' is not a time, such as 12h or 1000h", text);
    }
    options->failure_seconds = seconds;
    return LMN_OK;
}

/* "500" is steps; "90s", "10m" are time. */
static lmn_status apply_checkpoint_every(const char *text, lmn_trainer_options *options,
                                         lmn_error *err)
{
    const bool is_count = text[strspn(text, "0123456789")] == '\0';
    double value = 0.0;
    if (lmn_parse_seconds(text, &value, err) != LMN_OK || value <= 0.0 || value > COUNT_MAX) {
        return lmn_error_set(
            err, LMN_ERR_USAGE,
            "option --checkpoint-every: '%s' is neither auto nor a number of steps, "
            "such as 500, nor a time, such as 90s, 10m or 1h",
            text);
    }
    if (is_count) {
        options->checkpoint_every = (uint64_t)value;
    } else {
        options->checkpoint_seconds = value;
    }
    return LMN_OK;
}

static bool is_automatic(const char *checkpoint_every)
{
    return checkpoint_every != NULL && strcmp(checkpoint_every, "auto") == 0;
}

static lmn_status check_together(const train_settings *s, lmn_error *err)
{
    if (s->checkpoint_dir == NULL && s->resume) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --resume needs --checkpoint-dir DIR to resume from");
    }
    if (s->checkpoint_dir == NULL && s->checkpoint_every != NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --checkpoint-every needs --checkpoint-dir DIR to write to");
    }
    if (s->checkpoint_dir == NULL && s->checkpoint_async) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --checkpoint-async needs --checkpoint-dir DIR to write to");
    }
    const bool is_auto = is_automatic(s->checkpoint_every);
    if (is_auto != (s->mtbf != NULL)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             is_auto ? "option --checkpoint-every auto needs --mtbf TIME, the mean "
                                       "time between failures of the whole run"
                                     : "option --mtbf is for --checkpoint-every auto only");
    }
    return LMN_OK;
}

static lmn_status apply_nonfinite(const char *text, lmn_trainer_options *options, lmn_error *err)
{
    if (strcmp(text, "stop") == 0) {
        options->skip_limit = 1;
    } else if (strcmp(text, "skip") != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --nonfinite: '%s' is neither skip nor stop", text);
    }
    return LMN_OK;
}

lmn_status train_settings_apply(const train_settings *s, lmn_trainer_options *options_out,
                                lmn_error *err)
{
    lmn_status status = check_together(s, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_trainer_options o = lmn_trainer_options_default();
    o.reducer.compress = s->compress;
    o.reducer.feedback = s->feedback;
    o.reducer.allocate = s->allocate;
    o.reducer.collective = s->collective;
    o.reducer.hierarchy = s->hierarchy;
    o.reducer.bucket_bytes = (size_t)s->bucket_bytes;
    o.reducer.dense_below = (size_t)s->dense_below;
    o.optimizer = s->optimizer;
    o.schedule = s->schedule;
    o.lr = s->lr;
    o.epochs = s->epochs;
    o.steps = s->steps;
    o.global_batch = (size_t)s->batch;
    o.split = s->split;
    o.seed = s->seed;
    o.evaluate_every = s->evaluate_every;
    o.results_path = s->out;
    o.checkpoint_directory = s->checkpoint_dir;
    o.checkpoint_keep = (size_t)s->keep;
    o.checkpoint_async = s->checkpoint_async;
    o.resume = s->resume;
    o.verify_every = s->verify_every;
    o.memory_bytes = (size_t)s->memory_bytes;
    o.trace_path = s->trace;
    o.trace_step = s->trace_step;
    o.measure_link = s->measure_link;
    if (is_automatic(s->checkpoint_every)) {
        status = apply_mtbf(s->mtbf, &o, err);
    } else if (s->checkpoint_every != NULL) {
        status = apply_checkpoint_every(s->checkpoint_every, &o, err);
    }
    if (status == LMN_OK) {
        status = apply_nonfinite(s->nonfinite, &o, err);
    }
    if (status == LMN_OK && s->max_time != NULL) {
        status = apply_max_time(s->max_time, &o, err);
    }
    if (status == LMN_OK) {
        *options_out = o;
    }
    return status;
}
