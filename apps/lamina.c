/*
 * `lamina`: the program. Finds the command that the first words name and runs it.
 *
 * A new application is a file with a `const command` and a line in the table here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/lamina.h"

#include "command.h"
#include "console.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const command *const commands[] = {
    &command_data_import_idx,    &command_data_import_cifar,
    &command_data_import_libsvm, &command_data_import_numpy,
    &command_data_import_csv,    &command_data_import_text,
    &command_train_vision,       &command_train_text,
    &command_train_convex,       &command_eval,
    &command_generate,           &command_plan,
    &command_allocate,           &command_checkpoint_verify,
    &command_checkpoint_diff,    &command_checkpoint_prune,
    &command_checkpoint_export,  &command_checkpoint_import,
    &command_results_merge,      &command_inspect,
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])
#define WORD_BYTES 32

static bool is_option(const char *word, const char *name, const char *short_name)
{
    return strcmp(word, name) == 0 || strcmp(word, short_name) == 0;
}

static void print_version(void)
{
    (void)printf("lamina %s\n%s\n", lmn_version(), lmn_build_description());
}

/* All commands whose path starts with `prefix`, which may be "". */
static void print_commands(const char *prefix)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strncmp(commands[i]->path, prefix, strlen(prefix)) == 0) {
            (void)printf("  lamina %-18s %s\n", commands[i]->path, commands[i]->summary);
        }
    }
}

static void print_help(const char *prefix)
{
    (void)printf("Usage: lamina %s%sCOMMAND [OPTION...]\n\n", prefix, prefix[0] == '\0' ? "" : " ");
    (void)printf("Distributed training with compressed gradients over MPI.\n\n");
    print_commands(prefix);
    (void)printf(
        "\n`lamina COMMAND --help` lists the options of a command; `lamina --version` says "
        "how\nthis program was built. Commands that train and evaluate run under mpirun "
        "or srun.\n");
}

/* How many leading words of a path argv holds from index 1 on. */
static int count_matching(const char *path, int argc, char **argv)
{
    int n_words = 0;
    while (*path != '\0' && n_words + 1 < argc) {
        const size_t length = strcspn(path, " ");
        const char *word = argv[n_words + 1];
        if (strlen(word) != length || strncmp(path, word, length) != 0) {
            break;
        }
        path += length;
        path += *path == ' ' ? 1 : 0;
        n_words++;
    }
    return n_words;
}

static int count_words(const char *path)
{
    int n_words = 1;
    for (; *path != '\0'; path++) {
        n_words += *path == ' ' ? 1 : 0;
    }
    return n_words;
}

/* Word `index` of a path. */
static void copy_word(const char *path, int index, char word_out[WORD_BYTES])
{
    for (int i = 0; i < index; i++) {
        path += strcspn(path, " ") + 1;
    }
    (void)snprintf(word_out, WORD_BYTES, "%.*s", (int)strcspn(path, " "), path);
}

/* The words that may follow the n_matching first ones of argv; none twice. */
static size_t list_next_words(int n_matching, int argc, char **argv,
                              char words_out[N_COMMANDS][WORD_BYTES])
{
    size_t n_known = 0;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (count_matching(commands[i]->path, argc, argv) < n_matching) {
            continue;
        }
        copy_word(commands[i]->path, n_matching, words_out[n_known]);
        bool is_new = true;
        for (size_t k = 0; k < n_known && is_new; k++) {
            is_new = strcmp(words_out[k], words_out[n_known]) != 0;
        }
        n_known += is_new ? 1 : 0;
    }
    return n_known;
}

/* No command has that path: help if it was asked for, else an error with the nearest words. */
static exit_code refuse(int n_matching, int argc, char **argv)
{
    char prefix[128] = "";
    for (int i = 1; i <= n_matching; i++) {
        const size_t used = strlen(prefix);
        (void)snprintf(prefix + used, sizeof prefix - used, "%s%s", i == 1 ? "" : " ", argv[i]);
    }
    console c = console_make(false);
    const char *word = n_matching + 1 < argc ? argv[n_matching + 1] : NULL;
    if (word != NULL && is_option(word, "--help", "-h")) {
        if (c.rank == 0) {
            print_help(prefix);
        }
        return EXIT_CODE_DONE;
    }
    char words[N_COMMANDS][WORD_BYTES];
    const char *known[N_COMMANDS];
    const size_t n_known = list_next_words(n_matching, argc, argv, words);
    for (size_t i = 0; i < n_known; i++) {
        known[i] = words[i];
    }
    lmn_error err = lmn_error_none();
    if (word == NULL) {
        (void)lmn_error_set(&err, LMN_ERR_USAGE,
                            "a command is missing; `lamina --help` lists them");
    } else {
        (void)lmn_spec_unknown("command", word, known, n_known, &err);
    }
    if (n_matching > 0) {
        lmn_error_add_context(&err, "after '%s'", prefix);
    }
    console_error(&c, &err);
    return EXIT_CODE_USAGE;
}

/* An answer that could not be written, for instance to a full disk, is a failure. */
static int finish(exit_code code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return (int)code;
    }
    console c = console_make(false);
    lmn_error err = lmn_error_none();
    (void)lmn_error_set(&err, LMN_ERR_IO, "cannot write to standard output");
    console_error(&c, &err);
    return code == EXIT_CODE_DONE ? EXIT_CODE_FAILED : (int)code;
}

int main(int argc, char **argv)
{
    if (argc > 1 && is_option(argv[1], "--version", "-V")) {
        if (console_make(false).rank == 0) {
            print_version();
        }
        return finish(EXIT_CODE_DONE);
    }
    int n_matching = 0;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const int n_words = count_matching(commands[i]->path, argc, argv);
        if (n_words == count_words(commands[i]->path)) {
            char name[128];
            (void)snprintf(name, sizeof name, "lamina %s", commands[i]->path);
            argv[n_words] = name;
            return finish(commands[i]->run(argc - n_words, argv + n_words));
        }
        n_matching = n_words > n_matching ? n_words : n_matching;
    }
    return finish(refuse(n_matching, argc, argv));
}
