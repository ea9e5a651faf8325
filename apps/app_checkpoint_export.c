/*
 * `lamina checkpoint export`: a checkpoint's parameters for PyTorch and NumPy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_facts.h"
#include "console.h"
#include "session.h"
#include "weight_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct export_options {
    const char *to;
    const char *layout;
} export_options;

static const option_row rows[] = {
    {.name = "to",
     .type = OPTION_TEXT,
     .offset = offsetof(export_options, to),
     .argument = "FORMAT",
     .is_required = true,
     .help = "safetensors or npz"},
    {.name = "layout",
     .type = OPTION_TEXT,
     .offset = offsetof(export_options, layout),
     .argument = "LAYOUT",
     .initial = "torch",
     .help = "torch: names and shapes as PyTorch's modules have them; lamina: as they are in the "
             "checkpoint"},
};

/* One export. */
typedef struct export_job {
    const char *from, *to;
    bool to_npz;
    weight_layout layout;
    checkpoint_facts facts;
    weight_set set;
    size_t n_written;
} export_job;

/* Numbers in the order of the views; freed by free_values. */
static lmn_status gather(const export_job *job, float **values, lmn_weight *weights, lmn_error *err)
{
    const weight_set *set = &job->set;
    for (size_t i = 0; i < set->n_views; i++) {
        const weight_view *view = &set->views[i];
        values[i] = lmn_alloc((size_t)view->count, sizeof **values, err);
        if (values[i] == NULL) {
            return LMN_ERR_MEMORY;
        }
        weight_view_gather(view, set->ours[set->array_of[i]], values[i]);
        weights[i] = (lmn_weight){.name = view->name, .n_dims = view->n_dims, .values = values[i]};
        memcpy(weights[i].dims, view->dims, sizeof weights[i].dims);
    }
    return LMN_OK;
}

static lmn_status write_weights(const export_job *job, const lmn_weight *weights, lmn_error *err)
{
    char step[32];
    (void)snprintf(step, sizeof step, "%" PRIu64, job->facts.step);
    const lmn_weight_note notes[] = {
        {"format", "pt"}, {"model", job->facts.model}, {"step", step}, {"written_by", "lamina"}};
    return job->to_npz ? lmn_npz_write(job->to, weights, job->set.n_views, err)
                       : lmn_safetensors_write(job->to, weights, job->set.n_views, notes,
                                               sizeof notes / sizeof notes[0], err);
}

static lmn_status convert(const export_job *job, lmn_error *err)
{
    const size_t n = job->set.n_views;
    float **values = (float **)lmn_alloc(n, sizeof *values, err);
    lmn_weight *weights = lmn_alloc(n, sizeof *weights, err);
    lmn_status status = values == NULL || weights == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = gather(job, values, weights, err);
    }
    if (status == LMN_OK) {
        status = write_weights(job, weights, err);
    }
    for (size_t i = 0; values != NULL && i < n; i++) {
        lmn_free(values[i]);
    }
    lmn_free((void *)values);
    lmn_free(weights);
    return status;
}

/* On one rank; a directory means its newest complete checkpoint, which takes a world to find. */
static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    export_job *job = user;
    lmn_status status = LMN_OK;
    if (lmn_world_size(world) > 1) {
        return lmn_error_set(err, LMN_ERR_USAGE, "an export is the work of one rank, not of %d",
                             lmn_world_size(world));
    }
    status = checkpoint_facts_read(world, job->from, &job->facts, err);
    if (status == LMN_OK) {
        status = lmn_checkpoint_verify(job->facts.path, err);
    }
    lmn_file *file = NULL;
    if (status == LMN_OK) {
        status = checkpoint_open(job->facts.path, &file, err);
    }
    if (status == LMN_OK) {
        status = weight_set_read(file, job->facts.model, job->layout, true, &job->set, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", job->facts.path);
        }
    }
    if (status == LMN_OK) {
        status = convert(job, err);
    }
    job->n_written = job->set.n_views;
    weight_set_free(&job->set);
    lmn_file_close(file);
    return status;
}

static lmn_status make_job(const export_options *options, const option_words *words,
                           export_job *job, lmn_error *err)
{
    static const char *const formats[] = {"safetensors", "npz"};
    if (words->count != 2) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "give the checkpoint and the file to write; %zu words were given",
                             words->count);
    }
    job->from = words->words[0];
    job->to = words->words[1];
    job->to_npz = strcmp(options->to, formats[1]) == 0;
    if (!job->to_npz && strcmp(options->to, formats[0]) != 0) {
        return lmn_spec_unknown("format", options->to, formats, 2, err);
    }
    return weight_layout_parse(options->layout, &job->layout, err);
}

static exit_code run(int argc, char **argv)
{
    export_options options = {0};
    export_job job = {.from = NULL};
    const option_table table = {
        .command = "lamina checkpoint export",
        .arguments = "CKPT OUT",
        .summary = "Write the parameters of a checkpoint, or of the newest complete one in a "
                   "directory, to a file that PyTorch or NumPy reads.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options}}};
    console c = console_make(false);
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        options_print_help(&table);
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = make_job(&options, &words, &job, &err);
    }
    const exit_code code = session_run(&c, status, &err, work, &job);
    if (code == EXIT_CODE_DONE) {
        console_answer(&c, "wrote %s: %zu arrays of %s", job.to, job.n_written, job.facts.path);
    }
    return code;
}

const command command_checkpoint_export = {
    .path = "checkpoint export", .summary = "parameters for PyTorch and NumPy", .run = run};
