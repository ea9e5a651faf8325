/*
 * `lamina plan`: how long a training step will take, and which levels layers should have, on ranks
 * and links that need not be at hand.
 *
 * A few steps of the model are made here, on the ranks that run this; all else is calculated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "options.h"
#include "plan_facts.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

#define MEMBER(name) offsetof(plan_options, name)

static const option_row rows[] = {
    {.heading = "Model:",
     .name = "model",
     .short_name = 'm',
     .type = OPTION_TEXT,
     .offset = MEMBER(model),
     .argument = "SPEC",
     .initial = "cnn",
     .environment = "LAMINA_MODEL",
     .help = "network whose steps are timed"},
    {.name = "data",
     .short_name = 'd',
     .type = OPTION_TEXT,
     .offset = MEMBER(data),
     .argument = "FILE",
     .environment = "LAMINA_DATA",
     .help = "dataset that samples come from; without it they are random, and errors of "
             "compression are larger than of real ones"},
    {.name = "shape",
     .type = OPTION_TEXT,
     .offset = MEMBER(shape),
     .argument = "HxWxC",
     .initial = "28x28x1",
     .help = "of random images"},
    {.name = "classes",
     .type = OPTION_U64,
     .offset = MEMBER(classes),
     .argument = "N",
     .initial = "10",
     .min = 2,
     .max = 1 << 24,
     .help = "of random images, or tokens in the vocabulary of random text"},
    {.name = "batch",
     .short_name = 'b',
     .type = OPTION_U64,
     .offset = MEMBER(batch),
     .argument = "N",
     .initial = "128",
     .unit = "samples",
     .min = 1,
     .max = 1 << 20,
     .help = "samples of one step on each rank"},
    {.name = "optimizer",
     .type = OPTION_TEXT,
     .offset = MEMBER(optimizer),
     .argument = "SPEC",
     .initial = "sgd:momentum=0.9",
     .help = "update rule"},
    {.heading = "Where it is to run:",
     .name = "ranks",
     .short_name = 'n',
     .type = OPTION_U64,
     .offset = MEMBER(ranks),
     .argument = "N",
     .initial = "2",
     .min = 1,
     .max = 1 << 20,
     .help = "ranks of the run"},
    {.name = "nodes",
     .type = OPTION_U64,
     .offset = MEMBER(nodes),
     .argument = "N",
     .initial = "0",
     .max = 1 << 20,
     .help = "hosts that they share; where each has several ranks, these add up first, and the "
             "link is between hosts; 0: as many as ranks"},
    {.name = "link",
     .short_name = 'l',
     .type = OPTION_TEXT,
     .offset = MEMBER(link),
     .argument = "RATE,LATENCY[,GAP]",
     .initial = "10gbit,20us",
     .help = "of each host, such as 1gbit,50us, or 1gbit,50us,3us with the time from one message "
             "to the next (1us); or `measure`: between the ranks that run this, under mpirun or "
             "srun"},
    {.name = "compute-ms",
     .type = OPTION_F64,
     .offset = MEMBER(compute_ms),
     .argument = "X",
     .initial = "0",
     .max = 1e9,
     .help = "milliseconds of forward and backward there; 0: what they take here"},
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
    {.name = "collective",
     .type = OPTION_TEXT,
     .offset = MEMBER(collective),
     .argument = "NAME",
     .initial = "auto",
     .help = "how entries of topk are added up: auto, gather, merge or balanced"},
    {.name = "bucket",
     .type = OPTION_BYTES,
     .offset = MEMBER(bucket_bytes),
     .argument = "BYTES",
     .initial = "4MiB",
     .min = 4096,
     .max = 1 << 30,
     .help = "gradients that travel together"},
    {.name = "alpha",
     .type = OPTION_F64,
     .offset = MEMBER(alpha),
     .argument = "X",
     .initial = "1",
     .min = 1e-6,
     .max = 1e6,
     .help = "error that lgreco and time may cause, relative to uniform levels"},
    {.heading = "What is done and shown:",
     .name = "levels-by",
     .type = OPTION_TEXT,
     .offset = MEMBER(show),
     .argument = "NAME",
     .initial = "time",
     .help = "whose levels are listed: dense, uniform, lgreco or time"},
    {.name = "steps",
     .type = OPTION_U64,
     .offset = MEMBER(steps),
     .argument = "N",
     .initial = "12",
     .min = 3,
     .max = 1000,
     .help = "dense steps that are timed, and half as many compressed ones and ones that only "
             "compute; all of it twice: without feedback, and with errors fed back"},
    {.name = "seed",
     .short_name = 's',
     .type = OPTION_U64,
     .offset = MEMBER(seed),
     .argument = "N",
     .initial = "1",
     .max = 18446744073709551615.0,
     .help = "of parameters and of random samples"},
    {.name = "threads",
     .short_name = 't',
     .type = OPTION_TEXT,
     .offset = MEMBER(threads),
     .argument = "N|auto",
     .initial = "auto",
     .environment = "LAMINA_THREADS",
     .help = "threads of each rank; auto: the cores it shares with no other rank"},
    {.name = "json",
     .short_name = 'j',
     .type = OPTION_FLAG,
     .offset = MEMBER(wants_json),
     .help = "print a JSON object: layers, predictions, the curve"},
};

/* One plan. */
typedef struct plan_job {
    plan_options options;
    const char *run_path; /* NULL: none */
    plan_run run;
    console console;
    lmn_dataset *dataset; /* owned; NULL: random samples */
    plan_task task;
    lmn_profile *dense, *compressed; /* owned */
    plan_facts facts;
} plan_job;

static lmn_status choose_link(plan_job *job, lmn_error *err)
{
    job->facts.is_measured = strcmp(job->options.link, "measure") == 0;
    if (!job->facts.is_measured) {
        const lmn_status status = lmn_link_parse(job->options.link, &job->facts.link, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "option --link");
        }
        return status;
    }
    return LMN_OK;
}

static lmn_status choose_shown(plan_job *job, lmn_error *err)
{
    const char *known[LMN_CHOOSER_COUNT];
    for (lmn_chooser who = 0; who < LMN_CHOOSER_COUNT; who++) {
        known[who] = lmn_chooser_name(who);
        if (strcmp(known[who], job->options.show) == 0) {
            job->facts.shown = who;
            return LMN_OK;
        }
    }
    const lmn_status status =
        lmn_spec_unknown("chooser of levels", job->options.show, known, LMN_CHOOSER_COUNT, err);
    lmn_error_add_context(err, "option --levels-by");
    return status;
}

/* Local; everything that needs no model. */
static lmn_status check_options(plan_job *job, lmn_error *err)
{
    plan_options *o = &job->options;
    lmn_status status =
        job->run_path == NULL ? LMN_OK : plan_read_run(job->run_path, o, &job->run, err);
    if (status == LMN_OK) {
        status = choose_link(job, err);
    }
    if (status == LMN_OK) {
        status = choose_shown(job, err);
    }
    o->nodes = o->nodes == 0 ? o->ranks : o->nodes;
    if (status == LMN_OK && o->nodes > o->ranks) {
        status =
            lmn_error_set(err, LMN_ERR_USAGE, "option --nodes: %llu ranks cannot be on %llu nodes",
                          (unsigned long long)o->ranks, (unsigned long long)o->nodes);
    }
    return status;
}

static lmn_profile_options profile_options(const plan_options *o, bool is_dense)
{
    lmn_profile_options options = lmn_profile_options_default();
    options.compress = is_dense ? "dense" : o->compress;
    options.feedback = is_dense ? "none" : o->feedback;
    options.collective = is_dense ? "auto" : o->collective;
    options.optimizer = o->optimizer;
    options.alpha = o->alpha;
    options.bucket_bytes = (size_t)o->bucket_bytes;
    options.batch = (size_t)o->batch;
    options.steps = (size_t)o->steps;
    options.seed = o->seed;
    options.compute_seconds = 1e-3 * o->compute_ms;
    return options;
}

/* Ranks of a node add up first; then as many exchange as there are nodes. */
static lmn_status predict_row(plan_job *job, uint64_t ranks, uint64_t nodes, plan_row *row,
                              lmn_error *err)
{
    *row = (plan_row){.ranks = (int)ranks, .nodes = (int)nodes};
    row->size = nodes > 1 ? (int)nodes : (int)ranks;
    lmn_status status = LMN_OK;
    for (lmn_chooser who = 0; who < LMN_CHOOSER_COUNT && status == LMN_OK; who++) {
        lmn_profile *profile = who == LMN_CHOOSER_DENSE ? job->dense : job->compressed;
        status = lmn_profile_predict(profile, &job->facts.link, row->size, who, &row->by[who], NULL,
                                     err);
    }
    return status;
}

static lmn_status predict_curve(plan_job *job, lmn_error *err)
{
    const uint64_t each = (job->options.ranks + job->options.nodes - 1) / job->options.nodes;
    lmn_status status = LMN_OK;
    for (uint64_t ranks = 2; job->facts.n_sizes < PLAN_SIZES_MAX && status == LMN_OK; ranks *= 2) {
        const uint64_t nodes = ranks < each ? 1 : ranks / each;
        status = predict_row(job, ranks, nodes, &job->facts.curve[job->facts.n_sizes++], err);
    }
    return status;
}

/* Local, and the same on all ranks. */
static lmn_status predict(plan_job *job, lmn_error *err)
{
    plan_facts *facts = &job->facts;
    lmn_profile *shown = facts->shown == LMN_CHOOSER_DENSE ? job->dense : job->compressed;
    facts->options = &job->options;
    facts->profile = shown;
    facts->compute = lmn_profile_compute(shown);
    facts->update = lmn_profile_update(shown);
    facts->n_layers = lmn_profile_layer_count(shown);
    facts->layers = lmn_alloc(facts->n_layers, sizeof *facts->layers, err);
    if (facts->layers == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = predict_row(job, job->options.ranks, job->options.nodes, &facts->row, err);
    if (status == LMN_OK) {
        lmn_time_prediction again;
        status = lmn_profile_predict(shown, &facts->link, facts->row.size, facts->shown, &again,
                                     facts->layers, err);
        facts->latency = lmn_profile_latency(shown, &facts->link, facts->row.size);
    }
    return status == LMN_OK ? predict_curve(job, err) : status;
}

static lmn_status print(plan_job *job, lmn_error *err)
{
    if (job->console.rank != 0) {
        return LMN_OK;
    }
    if (job->options.wants_json) {
        return plan_print_json(&job->facts, err);
    }
    plan_print(&job->console, &job->facts);
    return LMN_OK;
}

static lmn_status take_profiles(plan_job *job, lmn_world *world, lmn_error *err)
{
    lmn_profile_options options = profile_options(&job->options, true);
    lmn_status status = lmn_profile_create(world, &job->task.task, &job->task.info, job->dataset,
                                           &options, &job->dense, err);
    if (status == LMN_OK) {
        options = profile_options(&job->options, false);
        options.compute_seconds = lmn_profile_compute(job->dense); /* one time for both */
        status = lmn_profile_create(world, &job->task.task, &job->task.info, job->dataset, &options,
                                    &job->compressed, err);
    }
    if (status == LMN_OK && job->facts.is_measured) {
        job->facts.link = lmn_profile_link(job->compressed);
    }
    return status;
}

static lmn_status prepare(plan_job *job, lmn_world *world, lmn_error *err)
{
    lmn_status status = check_options(job, err);
    if (status == LMN_OK && job->facts.is_measured && lmn_world_size(world) < 2) {
        status = lmn_error_set(err, LMN_ERR_USAGE,
                               "option --link measure: there is one rank, and no link to it; start "
                               "the plan on two ranks at least with mpirun or srun");
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK && job->options.data != NULL) {
        status = lmn_dataset_open(world, job->options.data, &job->dataset, err);
    }
    return status == LMN_OK
               ? lmn_agree(world, plan_make_task(&job->options, job->dataset, &job->task, err), err)
               : status;
}

static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    plan_job *job = user;
    int threads = 1;
    lmn_status status = session_parse_threads(world, job->options.threads, &threads, err);
    if (status == LMN_OK) {
        lmn_compute_set_threads(threads);
        status = prepare(job, world, err);
    }
    if (status == LMN_OK) {
        status = take_profiles(job, world, err);
    }
    if (status == LMN_OK) {
        status = predict(job, err);
        status = lmn_agree(world, status == LMN_OK ? print(job, err) : status, err);
    }
    lmn_free(job->facts.layers);
    lmn_profile_destroy(job->dense);
    lmn_profile_destroy(job->compressed);
    lmn_dataset_close(job->dataset);
    return status;
}

static exit_code run(int argc, char **argv)
{
    plan_job job = {.console = console_make(false)};
    const option_table table = {
        .command = "lamina plan",
        .arguments = "[RUN.h5]",
        .summary = "Predict the time of training steps and choose levels of compression for ranks "
                   "and links that need not be at hand. A few steps are made here and timed; "
                   "docs/plan.md says what is calculated from them.",
        .details = "With the results of a run, its model, data, compression and batch are planned "
                   "for, and its time of forward and backward is taken. docs/plan.md says what the "
                   "fields of --json hold.",
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
    if (status == LMN_OK && words.count > 1) {
        status = lmn_error_set(&err, LMN_ERR_USAGE,
                               "one file with results at most can be planned "
                               "for, and %zu are given",
                               words.count);
    }
    job.run_path = status == LMN_OK && words.count == 1 ? words.words[0] : NULL;
    return session_run(&job.console, status, &err, work, &job);
}

const command command_plan = {
    .path = "plan", .summary = "predict the time of steps on other ranks and links", .run = run};
