/*
 * Options: from rows of a table to argp, and from words to members of a struct.
 *
 * argp does the walking through argv and the layout of --help, and stays silent otherwise: every
 * refusal becomes an lmn_error here, because under mpirun only one rank may print it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "options.h"

#include "option_value.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_BYTES 512
#define KEY_FIRST  256 /* argp key of row 0; below are the characters of short names */
#define KEY_HELP   (KEY_FIRST + OPTION_ROWS_MAX)

/* What argp needs while it parses or prints. */
typedef struct parse {
    const option_table *table;
    size_t n_options;
    bound_option options[OPTION_ROWS_MAX];
    bool was_given[OPTION_ROWS_MAX];
    int keys[OPTION_ROWS_MAX];
    size_t n_argp;
    struct argp_option argp_options[2 * OPTION_ROWS_MAX + 2]; /* with headings, --help, the end */
    char help[OPTION_ROWS_MAX][HELP_BYTES];
    option_words words;
    lmn_error error; /* the first */
} parse;

static lmn_status assign_environment(parse *p, lmn_error *err)
{
    for (size_t i = 0; i < p->n_options; i++) {
        const bound_option *o = &p->options[i];
        if (o->row->environment == NULL) {
            continue;
        }
        /* Read before any thread exists. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        const char *text = getenv(o->row->environment);
        if (text == NULL || text[0] == '\0') {
            continue;
        }
        const lmn_status status = option_assign(o, text, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "environment variable %s", o->row->environment);
            return status;
        }
        p->was_given[i] = true;
    }
    return LMN_OK;
}

/* The known option that `word`, "--name" or "--name=value", means; NULL when none or several. */
static const bound_option *find_option(const parse *p, const char *word)
{
    const size_t length = strcspn(word, "=");
    const bound_option *found = NULL;
    size_t n_found = 0;
    for (size_t i = 0; i < p->n_options; i++) {
        const char *name = p->options[i].row->name;
        if (strncmp(name, word, length) == 0) {
            if (name[length] == '\0') {
                return &p->options[i];
            }
            found = &p->options[i];
            n_found++;
        }
    }
    return n_found == 1 ? found : NULL;
}

static lmn_status unknown_option(const parse *p, const char *word, lmn_error *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "--%.*s", (int)strcspn(word, "="), word);
    char known_text[OPTION_ROWS_MAX][48];
    const char *known[OPTION_ROWS_MAX + 1];
    for (size_t i = 0; i < p->n_options; i++) {
        (void)snprintf(known_text[i], sizeof known_text[i], "--%s", p->options[i].row->name);
        known[i] = known_text[i];
    }
    known[p->n_options] = "--help";
    return lmn_spec_unknown("option", name, known, p->n_options + 1, err);
}

/* Why argp refused the word before state->next. */
static lmn_status refuse_word(const parse *p, const struct argp_state *state, lmn_error *err)
{
    const char *word = state->argv[state->next - 1];
    if (strncmp(word, "--", 2) != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' is not an option, or lacks its value; `%s --help` lists them",
                             word, p->table->command);
    }
    const bound_option *o = find_option(p, word + 2);
    if (o == NULL) {
        return unknown_option(p, word + 2, err);
    }
    if (o->row->type == OPTION_FLAG) {
        return lmn_error_set(err, LMN_ERR_USAGE, "option --%s takes no value", o->row->name);
    }
    return lmn_error_set(err, LMN_ERR_USAGE, "option --%s needs a value: --%s %s", o->row->name,
                         o->row->name, o->row->argument);
}

static error_t take_option(parse *p, size_t index, const char *text)
{
    const bound_option *o = &p->options[index];
    const lmn_status status = option_assign(o, text, &p->error);
    if (status != LMN_OK) {
        lmn_error_add_context(&p->error, "option --%s", o->row->name);
        return EINVAL;
    }
    p->was_given[index] = true;
    return 0;
}

static error_t take_word(parse *p, const struct argp_state *state, const char *word)
{
    if (p->table->arguments == NULL) {
        (void)lmn_error_set(&p->error, LMN_ERR_USAGE, "'%s' is one word too many; see `%s --help`",
                            word, p->table->command);
        return EINVAL;
    }
    /* argp has moved the words behind the options, so the rest of argv is words. */
    p->words.words = &state->argv[state->next - 1];
    p->words.count = (size_t)state->argc - (size_t)state->next + 1;
    return 0;
}

static error_t take(int key, char *text, struct argp_state *state)
{
    parse *p = state->input;
    if (key == KEY_HELP) {
        p->words.wants_help = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        const error_t result = take_word(p, state, text);
        state->next = state->argc;
        return result;
    }
    if (key == ARGP_KEY_ERROR && p->error.status == LMN_OK) {
        (void)refuse_word(p, state, &p->error);
        return 0;
    }
    for (size_t i = 0; i < p->n_options; i++) {
        if (key == p->keys[i]) {
            return take_option(p, i, text);
        }
    }
    return ARGP_ERR_UNKNOWN;
}

/* "samples of a step (default 128; LAMINA_BATCH)" */
static void format_help(const option_row *row, char *text)
{
    const char *parts[3] = {NULL, NULL, NULL};
    char initial[128];
    size_t n_parts = 0;
    if (row->is_required) {
        parts[n_parts++] = "required";
    }
    if (row->initial != NULL) {
        (void)snprintf(initial, sizeof initial, "default %s%s%s", row->initial,
                       row->unit == NULL ? "" : " ", row->unit == NULL ? "" : row->unit);
        parts[n_parts++] = initial;
    }
    if (row->environment != NULL) {
        parts[n_parts++] = row->environment;
    }
    size_t used = (size_t)snprintf(text, HELP_BYTES, "%s", row->help);
    for (size_t i = 0; i < n_parts && used < HELP_BYTES; i++) {
        used += (size_t)snprintf(text + used, HELP_BYTES - used, "%s%s%s", i == 0 ? " (" : "; ",
                                 parts[i], i + 1 == n_parts ? ")" : "");
    }
}

static void add_option(parse *p, const option_row *row, void *values)
{
    const size_t i = p->n_options++;
    p->options[i] = (bound_option){.row = row, .values = values};
    format_help(row, p->help[i]);
    p->keys[i] = row->short_name != 0 ? row->short_name : KEY_FIRST + (int)i;
    if (row->heading != NULL) {
        p->argp_options[p->n_argp++] = (struct argp_option){.doc = row->heading};
    }
    p->argp_options[p->n_argp++] = (struct argp_option){
        .name = row->name, .key = p->keys[i], .arg = row->argument, .doc = p->help[i]};
}

static void parse_init(parse *p, const option_table *table)
{
    memset(p, 0, sizeof *p);
    p->table = table;
    for (size_t s = 0; s < table->n_sets; s++) {
        for (size_t i = 0; i < table->sets[s].n_rows; i++) {
            add_option(p, &table->sets[s].rows[i], table->sets[s].values);
        }
    }
    p->argp_options[p->n_argp++] = (struct argp_option){
        .name = "help", .key = KEY_HELP, .doc = "print this page", .group = -1};
}

/* The page before and after the options, as argp wants it: parted by a vertical tab. */
static struct argp make_argp(const parse *p, char *page, size_t capacity)
{
    (void)snprintf(page, capacity, "%s\v%s", p->table->summary,
                   p->table->details == NULL ? "" : p->table->details);
    return (struct argp){
        .options = p->argp_options, .parser = take, .args_doc = p->table->arguments, .doc = page};
}

static lmn_status check_required(const parse *p, lmn_error *err)
{
    for (size_t i = 0; i < p->n_options; i++) {
        const option_row *row = p->options[i].row;
        if (row->is_required && !p->was_given[i]) {
            return lmn_error_set(err, LMN_ERR_USAGE, "option --%s %s is missing; see `%s --help`",
                                 row->name, row->argument, p->table->command);
        }
    }
    const char *arguments = p->table->arguments;
    if (arguments != NULL && arguments[0] != '[' && p->words.count == 0) {
        return lmn_error_set(err, LMN_ERR_USAGE, "%s is missing; see `%s --help`",
                             p->table->arguments, p->table->command);
    }
    return LMN_OK;
}

lmn_status options_parse(const option_table *table, int argc, char **argv, option_words *words_out,
                         lmn_error *err)
{
    parse p;
    parse_init(&p, table);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < p.n_options && status == LMN_OK; i++) {
        status = option_assign_initial(&p.options[i], err);
    }
    if (status == LMN_OK) {
        status = assign_environment(&p, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    char page[4096];
    const struct argp argp = make_argp(&p, page, sizeof page);
    const unsigned flags = ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT;
    /* No thread exists yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const error_t failed = argp_parse(&argp, argc, argv, flags, NULL, &p);
    if (failed != 0) {
        return lmn_error_set(err, failed == ENOMEM ? LMN_ERR_MEMORY : LMN_ERR_USAGE, "%s",
                             p.error.status != LMN_OK ? p.error.message
                                                      : "out of memory while reading options");
    }
    status = p.words.wants_help ? LMN_OK : check_required(&p, err);
    if (status == LMN_OK) {
        *words_out = p.words;
    }
    return status;
}

void options_print_help(const option_table *table)
{
    parse p;
    parse_init(&p, table);
    char page[4096];
    const struct argp argp = make_argp(&p, page, sizeof page);
    char name[64];
    (void)snprintf(name, sizeof name, "%s", table->command);
    /* The only thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    argp_help(&argp, stdout, ARGP_HELP_LONG | ARGP_HELP_USAGE | ARGP_HELP_DOC, name);
}

void options_format(const option_table *table, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "%s", table->command);
    for (size_t s = 0; s < table->n_sets; s++) {
        for (size_t i = 0; i < table->sets[s].n_rows && used < capacity; i++) {
            const bound_option o = {&table->sets[s].rows[i], table->sets[s].values};
            used += (size_t)option_format(&o, text + used, capacity - used);
        }
    }
}
