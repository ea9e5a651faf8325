/*
 * `lamina allocate`: the levels that a stated cost table asks for.
 *
 * For who has costs from elsewhere: a measurement, a simulation, another program.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

typedef struct allocate_options {
    double alpha;
    uint64_t buckets;
    const char *norm;
    uint64_t decision;
    bool wants_json;
    const char *out;
} allocate_options;

static const option_row rows[] = {
    {.name = "alpha",
     .type = OPTION_F64,
     .offset = offsetof(allocate_options, alpha),
     .argument = "A",
     .initial = "1",
     .min = 0.0,
     .max = 1e6,
     .help = "the budget is A times what the errors of the static levels add up to"},
    {.name = "buckets",
     .type = OPTION_U64,
     .offset = offsetof(allocate_options, buckets),
     .argument = "B",
     .initial = "10000",
     .min = 1.0,
     .max = 1e6,
     .help =
         "parts into which the budget is cut where the table is too large to be solved exactly"},
    {.name = "norm",
     .type = OPTION_TEXT,
     .offset = offsetof(allocate_options, norm),
     .argument = "NORM",
     .initial = "l2sq",
     .help = "l2sq: errors are added up as they are; l2: the table holds squared errors, and their "
             "square roots are added up"},
    {.name = "decision",
     .type = OPTION_U64,
     .offset = offsetof(allocate_options, decision),
     .argument = "N",
     .initial = "0",
     .min = 0.0,
     .max = 1e15,
     .help = "of results of a run: take the costs of its decision N, or of the last one (0)"},
    {.name = "json",
     .short_name = 'j',
     .type = OPTION_FLAG,
     .offset = offsetof(allocate_options, wants_json),
     .help = "print a JSON object"},
    {.name = "out",
     .type = OPTION_TEXT,
     .offset = offsetof(allocate_options, out),
     .argument = "FILE",
     .help = "write the JSON object to this file as well"},
};

/* A problem and what was found. */
typedef struct solved {
    lmn_costs costs;
    size_t n_files;
    size_t *first_level; /* [n_files + 1] where the levels of each file begin; owned */
    size_t *levels;      /* owned */
    lmn_cost_answer answer;
} solved;

static lmn_status parse_norm(const char *norm, bool *takes_roots_out, lmn_error *err)
{
    *takes_roots_out = strcmp(norm, "l2") == 0;
    if (!*takes_roots_out && strcmp(norm, "l2sq") != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE, "option '--norm': '%s' is neither l2sq nor l2",
                             norm);
    }
    return LMN_OK;
}

static lmn_status solve(const allocate_options *options, bool takes_roots, solved *s,
                        lmn_error *err)
{
    const lmn_costs *costs = &s->costs;
    const size_t buckets = (size_t)options->buckets;
    s->levels = lmn_alloc(costs->n_layers, sizeof *s->levels, err);
    void *scratch =
        lmn_alloc(lmn_cost_table_scratch_bytes(costs->n_layers, costs->n_levels, buckets), 1, err);
    if (s->levels == NULL || scratch == NULL) {
        lmn_free(scratch);
        return LMN_ERR_MEMORY;
    }
    const lmn_cost_table table = {.n_layers = costs->n_layers,
                                  .n_levels = costs->n_levels,
                                  .bytes = costs->bytes,
                                  .error = costs->error,
                                  .static_level = costs->static_level};
    const lmn_cost_limits limits = {
        .alpha = options->alpha, .buckets = buckets, .takes_roots = takes_roots};
    const lmn_status status =
        lmn_cost_table_solve(&table, &limits, scratch, s->levels, &s->answer, err);
    lmn_free(scratch);
    return status;
}

/* ---- the answer ---- */

/* Whose levels a level is one of. */
static size_t file_of(const solved *s, size_t level)
{
    size_t file = 0;
    while (level >= s->first_level[file + 1]) {
        file++;
    }
    return file;
}

typedef size_t (*layer_number)(const solved *s, size_t level);

static size_t joined_level(const solved *s, size_t level)
{
    (void)s;
    return level;
}

static size_t level_of_file(const solved *s, size_t level)
{
    return level - s->first_level[file_of(s, level)];
}

/* A number of each layer; null where nothing was found. NULL when memory is short. */
static json_t *numbers_json(const solved *s, layer_number number)
{
    if (!s->answer.is_feasible) {
        return json_null();
    }
    json_t *list = json_array();
    for (size_t i = 0; i < s->costs.n_layers; i++) {
        json_t *item = json_integer((json_int_t)number(s, s->levels[i]));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What was not found is null. NULL when memory is short. */
static json_t *answer_json(const solved *s)
{
    const lmn_cost_answer *a = &s->answer;
    const bool found = a->is_feasible;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:f, s:f, s:b}", "levels",
                     numbers_json(s, joined_level), "file", numbers_json(s, file_of), "file_level",
                     numbers_json(s, level_of_file), "total_bytes",
                     found ? json_integer((json_int_t)a->bytes) : json_null(), "total_error",
                     found ? json_real(a->error) : json_null(), "budget", a->budget, "static_bytes",
                     (json_int_t)a->static_bytes, "static_error", a->static_error, "least_error",
                     a->least_error, "feasible", (int)found);
}

static lmn_status dump(const json_t *json, FILE *file, const char *name, lmn_error *err)
{
    const bool is_written = json_dumpf(json, file, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) == 0 &&
                            fputc('\n', file) != EOF && fflush(file) == 0;
    return is_written ? LMN_OK : lmn_error_set(err, LMN_ERR_IO, "cannot write to %s", name);
}

static lmn_status write_file(const json_t *json, const char *path, lmn_error *err)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        char reason[128];
        return lmn_error_set(err, LMN_ERR_IO, "cannot create '%s': %s", path,
                             strerror_r(errno, reason, sizeof reason) == 0 ? reason : "?");
    }
    lmn_status status = dump(json, file, path, err);
    if (fclose(file) != 0 && status == LMN_OK) {
        status = lmn_error_set(err, LMN_ERR_IO, "cannot write to %s", path);
    }
    return status;
}

static void print_words(console *c, const solved *s)
{
    const lmn_cost_answer *a = &s->answer;
    console_answer(c, "%5s  %6s  %6s  %6s  %14s  %s", "layer", "static", "file", "level", "bytes",
                   "error");
    for (size_t i = 0; i < s->costs.n_layers; i++) {
        const size_t cell = i * s->costs.n_levels + s->levels[i];
        console_answer(c, "%5zu  %6zu  %6zu  %6zu  %14llu  %.6g", i, s->costs.static_level[i],
                       file_of(s, s->levels[i]), level_of_file(s, s->levels[i]),
                       (unsigned long long)s->costs.bytes[cell], s->costs.error[cell]);
    }
    console_answer(c,
                   "%llu bytes, %s; error %.6g of a budget of %.6g (static levels: %llu bytes, "
                   "error %.6g)",
                   (unsigned long long)a->bytes, text_bytes(a->bytes).data, a->error, a->budget,
                   (unsigned long long)a->static_bytes, a->static_error);
}

static lmn_status report(console *c, const allocate_options *options, const solved *s,
                         lmn_error *err)
{
    json_t *json = answer_json(s);
    if (json == NULL) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "out of memory while writing JSON");
    }
    lmn_status status = LMN_OK;
    if (options->wants_json && c->rank == 0) {
        status = dump(json, stdout, "standard output", err);
    } else if (s->answer.is_feasible) {
        print_words(c, s);
    }
    if (status == LMN_OK && options->out != NULL && c->rank == 0) {
        status = write_file(json, options->out, err);
    }
    json_decref(json);
    if (status == LMN_OK && !s->answer.is_feasible) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "no levels keep the budget of %.9g: errors add up to %.9g at least; "
                               "take --alpha %.9g or more",
                               s->answer.budget, s->answer.least_error,
                               s->answer.least_error / s->answer.static_error);
    }
    return status;
}

/* All files in one table: each brings further levels. */
static lmn_status read_files(const allocate_options *options, const option_words *words, solved *s,
                             lmn_error *err)
{
    s->n_files = words->count;
    s->first_level = lmn_alloc(words->count + 1, sizeof *s->first_level, err);
    lmn_status status = s->first_level == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t i = 0; i < words->count && status == LMN_OK; i++) {
        lmn_costs one = {0};
        status = lmn_costs_read(words->words[i], options->decision, &one, err);
        if (status == LMN_OK && i > 0) {
            status = lmn_costs_join(&s->costs, &one, err);
            lmn_costs_free(&one);
        } else if (status == LMN_OK) {
            s->costs = one;
        }
        s->first_level[i + 1] = s->costs.n_levels;
    }
    return status;
}

static lmn_status allocate(console *c, const allocate_options *options, const option_words *words,
                           lmn_error *err)
{
    solved s = {0};
    bool takes_roots = false;
    lmn_status status = parse_norm(options->norm, &takes_roots, err);
    if (status == LMN_OK) {
        status = read_files(options, words, &s, err);
    }
    if (status == LMN_OK) {
        status = solve(options, takes_roots, &s, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", words->words[0]);
        }
    }
    if (status == LMN_OK) {
        status = report(c, options, &s, err);
    }
    lmn_free(s.levels);
    lmn_free(s.first_level);
    lmn_costs_free(&s.costs);
    return status;
}

static exit_code run(int argc, char **argv)
{
    allocate_options options = {0};
    const option_table table = {
        .command = "lamina allocate",
        .arguments = "COSTS.h5...",
        .summary = "Choose one level for each layer: fewest bytes within an error budget. A file "
                   "holds /bytes and /error (layers x levels) and /static_level (layers), or the "
                   "results of a run. Several files mix their levels; static levels are those of "
                   "the first.",
        .details = "The answer keeps the budget, and is never larger than the static levels where "
                   "those keep it. Without levels that keep it, `feasible` is false and the exit "
                   "code is 1.",
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
        status = allocate(&c, &options, &words, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
    }
    return session_exit_code(status);
}

const command command_allocate = {
    .path = "allocate", .summary = "choose levels from a table of costs", .run = run};
