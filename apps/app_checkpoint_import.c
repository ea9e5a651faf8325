/*
 * `lamina checkpoint import`: parameters from PyTorch as a checkpoint.
 *
 * Another checkpoint of the same model says which parameters there are, what they are called and
 * how they lie; all of them must come, and nothing else may.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_facts.h"
#include "console.h"
#include "inspect.h"
#include "session.h"
#include "weight_set.h"

#include <stdio.h>
#include <string.h>

typedef struct import_options {
    const char *from;
    const char *layout;
    const char *like;
} import_options;

static const option_row rows[] = {
    {.name = "from",
     .type = OPTION_TEXT,
     .offset = offsetof(import_options, from),
     .argument = "FORMAT",
     .is_required = true,
     .help = "safetensors"},
    {.name = "like",
     .type = OPTION_TEXT,
     .offset = offsetof(import_options, like),
     .argument = "CKPT",
     .is_required = true,
     .help = "checkpoint of the same model, or a directory with one, such as a training of one "
             "step leaves"},
    {.name = "layout",
     .type = OPTION_TEXT,
     .offset = offsetof(import_options, layout),
     .argument = "LAYOUT",
     .initial = "torch",
     .help = "torch: names and shapes as PyTorch's modules have them; lamina: as they are in a "
             "checkpoint"},
};

#define MERGES "/vocabulary/merges"

/* One import. */
typedef struct import_job {
    import_options options;
    const char *in, *out;
    weight_layout layout;
    checkpoint_facts facts; /* of the model checkpoint */
    attribute vocabulary;
    weight_set set;
    uint64_t *merges; /* [n_merges][2] owned; NULL: none */
    size_t n_merges;
    uint64_t hash;
} import_job;

/* ---- from the file ---- */

static bool find_weight(const lmn_safetensors *file, const char *name, size_t *index_out)
{
    for (size_t i = 0; i < lmn_safetensors_count(file); i++) {
        if (strcmp(lmn_safetensors_describe(file, i).name, name) == 0) {
            *index_out = i;
            return true;
        }
    }
    return false;
}

/* PyTorch counts batches beside its statistics; nothing of ours needs that. */
static bool is_passed_over(const char *name)
{
    static const char ending[] = "num_batches_tracked";
    const size_t length = strlen(name);
    return length >= sizeof ending - 1 && strcmp(name + length - (sizeof ending - 1), ending) == 0;
}

static lmn_status check_known(const import_job *job, const lmn_safetensors *file, lmn_error *err)
{
    for (size_t i = 0; i < lmn_safetensors_count(file); i++) {
        const char *name = lmn_safetensors_describe(file, i).name;
        bool is_known = is_passed_over(name);
        for (size_t k = 0; k < job->set.n_views && !is_known; k++) {
            is_known = strcmp(job->set.views[k].name, name) == 0;
        }
        if (!is_known) {
            return lmn_error_set(err, LMN_ERR_SHAPE,
                                 "'%s' has an array '%.200s', which model '%s' does not have; "
                                 "`lamina checkpoint export` of '%s' shows what it should hold",
                                 job->in, name, job->facts.model, job->facts.path);
        }
    }
    return LMN_OK;
}

static lmn_status check_shape(const import_job *job, const weight_view *view,
                              const lmn_weight *found, lmn_error *err)
{
    if (found->n_dims == view->n_dims &&
        memcmp(found->dims, view->dims, view->n_dims * sizeof view->dims[0]) == 0) {
        return LMN_OK;
    }
    char have[256];
    char want[256];
    weight_shape_text(found->n_dims, found->dims, have);
    weight_shape_text(view->n_dims, view->dims, want);
    return lmn_error_set(err, LMN_ERR_SHAPE,
                         "the array '%s' in '%s' has the shape %s, and model '%s' needs %s",
                         view->name, job->in, have, job->facts.model, want);
}

static lmn_status take_view(import_job *job, const lmn_safetensors *file, size_t place,
                            lmn_error *err)
{
    const weight_view *view = &job->set.views[place];
    size_t index = 0;
    if (!find_weight(file, view->name, &index)) {
        return lmn_error_set(err, LMN_ERR_SHAPE, "'%s' has no array '%s', which model '%s' needs",
                             job->in, view->name, job->facts.model);
    }
    const lmn_weight found = lmn_safetensors_describe(file, index);
    lmn_status status = check_shape(job, view, &found, err);
    if (status != LMN_OK) {
        return status;
    }
    float *theirs = lmn_alloc((size_t)view->count, sizeof *theirs, err);
    status = theirs == NULL ? LMN_ERR_MEMORY : lmn_safetensors_read(file, index, theirs, err);
    if (status == LMN_OK) {
        weight_view_scatter(view, theirs, job->set.ours[job->set.array_of[place]]);
    }
    lmn_free(theirs);
    return status;
}

static lmn_status take_weights(import_job *job, lmn_error *err)
{
    lmn_safetensors *file = NULL;
    lmn_status status = lmn_safetensors_open(job->in, &file, err);
    if (status == LMN_OK) {
        status = check_known(job, file, err);
    }
    for (size_t i = 0; status == LMN_OK && i < job->set.n_views; i++) {
        status = take_view(job, file, i, err);
    }
    lmn_safetensors_close(file);
    return status;
}

/* ---- from the checkpoint of the same model ---- */

static lmn_status take_merges(import_job *job, const lmn_file *file, lmn_error *err)
{
    array_list found = {.count = 0};
    lmn_status status = array_list_read(file, MERGES, &found, err);
    double *values = NULL;
    size_t count = 0;
    if (status == LMN_OK && found.count > 0) {
        status = lmn_file_read_f64(file, MERGES, &values, &count, err);
    }
    if (status == LMN_OK && count > 0) {
        job->n_merges = count / 2;
        job->merges = lmn_alloc(count, sizeof *job->merges, err);
        status = job->merges == NULL ? LMN_ERR_MEMORY : LMN_OK;
    }
    for (size_t i = 0; status == LMN_OK && values != NULL && i < 2 * job->n_merges; i++) {
        job->merges[i] = (uint64_t)values[i];
    }
    lmn_free(values);
    lmn_free(found.items);
    return status;
}

static lmn_status take_model(import_job *job, lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = lmn_checkpoint_verify(job->facts.path, err);
    if (status == LMN_OK) {
        status = checkpoint_open(job->facts.path, &file, err);
    }
    if (status == LMN_OK) {
        status = weight_set_read(file, job->facts.model, job->layout, false, &job->set, err);
    }
    if (status == LMN_OK) {
        status = inspect_find(file, "/", "vocabulary", &job->vocabulary, err);
    }
    if (status == LMN_OK) {
        status = take_merges(job, file, err);
    }
    lmn_file_close(file);
    return status;
}

/* ---- the new checkpoint ---- */

static lmn_status add_parameters(import_job *job, lmn_state *state, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < job->set.arrays.count; i++) {
        const array_fact *array = &job->set.arrays.items[i];
        size_t dims[LMN_STATE_DIMS_MAX] = {0};
        for (size_t k = 0; k < array->n_dims && k < LMN_STATE_DIMS_MAX; k++) {
            dims[k] = (size_t)array->dims[k];
        }
        /* As lmn_parameters_hash has it: by name, one chained to the other. */
        job->hash = lmn_hash64(job->set.ours[i], (size_t)array->bytes, job->hash);
        status = lmn_state_add_array(state, array->path, "1", LMN_STATE_REPLICATED, LMN_STATE_F32,
                                     array->n_dims, dims, job->set.ours[i], err);
    }
    return status;
}

static lmn_status add_texts(const import_job *job, lmn_state *state, lmn_error *err)
{
    const char *slash = strrchr(job->in, '/');
    const struct {
        const char *name, *value;
    } texts[] = {{"model", job->facts.model},
                 {"task", job->facts.task},
                 {"vocabulary", job->vocabulary.is_there ? job->vocabulary.text : ""},
                 {"vocabulary_hash", job->facts.vocabulary_hash},
                 {"imported_from", slash == NULL ? job->in : slash + 1}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].value[0] != '\0') {
            status = lmn_state_add_text(state, texts[i].name, texts[i].value, false, err);
        }
    }
    return status;
}

static lmn_status fill_state(import_job *job, lmn_state *state, lmn_error *err)
{
    const size_t dims[2] = {job->n_merges, 2};
    lmn_status status = add_parameters(job, state, err);
    if (status == LMN_OK) {
        status = add_texts(job, state, err);
    }
    if (status == LMN_OK && job->merges != NULL) {
        status = lmn_state_add_array(state, MERGES, "1", LMN_STATE_REPLICATED, LMN_STATE_U64, 2,
                                     dims, job->merges, err);
    }
    return status == LMN_OK ? lmn_state_add_u64(state, "param_hash", &job->hash, err) : status;
}

static lmn_status write_checkpoint(lmn_world *world, import_job *job, lmn_error *err)
{
    lmn_state *state = NULL;
    lmn_status status = lmn_state_create(&state, err);
    if (status == LMN_OK) {
        status = fill_state(job, state, err);
    }
    if (status == LMN_OK) {
        status = lmn_checkpoint_write(world, job->out, 0, state, 0, err);
    }
    lmn_state_destroy(state);
    return status;
}

static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    import_job *job = user;
    if (lmn_world_size(world) > 1) {
        return lmn_error_set(err, LMN_ERR_USAGE, "an import is the work of one rank, not of %d",
                             lmn_world_size(world));
    }
    lmn_status status = checkpoint_facts_read(world, job->options.like, &job->facts, err);
    if (status == LMN_OK) {
        status = take_model(job, err);
    }
    if (status == LMN_OK) {
        status = take_weights(job, err);
    }
    if (status == LMN_OK) {
        status = write_checkpoint(world, job, err);
    }
    weight_set_free(&job->set);
    lmn_free(job->merges);
    return status;
}

static lmn_status make_job(const option_words *words, import_job *job, lmn_error *err)
{
    static const char *const formats[] = {"safetensors"};
    if (words->count != 2) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "give the file to read and the directory to write to; %zu words were "
                             "given",
                             words->count);
    }
    job->in = words->words[0];
    job->out = words->words[1];
    if (strcmp(job->options.from, formats[0]) != 0) {
        return lmn_spec_unknown("format", job->options.from, formats, 1, err);
    }
    return weight_layout_parse(job->options.layout, &job->layout, err);
}

static exit_code run(int argc, char **argv)
{
    import_job job = {.in = NULL};
    const option_table table = {
        .command = "lamina checkpoint import",
        .arguments = "IN DIR",
        .summary = "Make DIR/checkpoint-0.h5 of parameters from PyTorch, to be tested with `lamina "
                   "eval` or to begin a training with.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &job.options}}};
    console c = console_make(false);
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        options_print_help(&table);
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = make_job(&words, &job, &err);
    }
    const exit_code code = session_run(&c, status, &err, work, &job);
    if (code == EXIT_CODE_DONE) {
        console_answer(&c, "wrote %s/checkpoint-0.h5", job.out);
    }
    return code;
}

const command command_checkpoint_import = {
    .path = "checkpoint import", .summary = "parameters from PyTorch as a checkpoint", .run = run};
