/*
 * The console.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The rank that a launcher put into the environment, for messages before MPI is there. */
static const char *launcher_rank_text(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                        "SLURM_PROCID"};
    const char *text = NULL;
    for (size_t i = 0; text == NULL && i < sizeof names / sizeof names[0]; i++) {
        /* Before any thread exists. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        text = getenv(names[i]);
    }
    return text;
}

static int launcher_rank(void)
{
    const char *text = launcher_rank_text();
    return text == NULL ? 0 : (int)strtol(text, NULL, 10);
}

/* Launchers give their ranks pipes and copy what comes out of them to their own stderr: there, the
   terminal is the launcher's. */
static bool launcher_has_terminal(void)
{
    if (launcher_rank_text() == NULL) {
        return false;
    }
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/fd/2", (long)getppid());
    const int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    const bool is_terminal = isatty(fd) == 1;
    (void)close(fd);
    return is_terminal;
}

console console_make(bool is_quiet)
{
    return (console){.rank = launcher_rank(),
                     .is_quiet = is_quiet,
                     .is_terminal = isatty(STDERR_FILENO) == 1 || launcher_has_terminal()};
}

static void clear_line(console *c)
{
    if (c->line_is_open) {
        (void)fputs("\r\033[K", stderr);
        c->line_is_open = false;
    }
}

static bool is_silent(const console *c)
{
    return c->is_quiet || c->rank != 0;
}

void console_say(console *c, const char *format, ...)
{
    if (is_silent(c)) {
        return;
    }
    clear_line(c);
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

void console_rewrite(console *c, const char *line)
{
    if (is_silent(c)) {
        return;
    }
    (void)fprintf(stderr, "\r\033[K%s", line);
    (void)fflush(stderr);
    c->line_is_open = true;
}

void console_answer(console *c, const char *format, ...)
{
    if (is_silent(c)) {
        return;
    }
    clear_line(c);
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stdout, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stdout);
}

void console_error(console *c, const lmn_error *err)
{
    if (c->rank != 0) {
        return;
    }
    clear_line(c);
    if (err->rank > 0) {
        (void)fprintf(stderr, "lamina: rank %d: %s\n", err->rank, err->message);
    } else {
        (void)fprintf(stderr, "lamina: %s\n", err->message);
    }
}

void console_error_of_rank(console *c, const lmn_error *err)
{
    clear_line(c);
    (void)fprintf(stderr, "lamina: rank %d: %s\n", c->rank, err->message);
}

static void write_log(void *user, lmn_log_level level, const char *line)
{
    console *c = user;
    if (c->rank != 0) {
        (void)fprintf(stderr, "lamina: rank %d: %s: %s\n", c->rank, lmn_log_level_name(level),
                      line);
        return;
    }
    clear_line(c);
    if (level <= LMN_LOG_WARN) {
        (void)fprintf(stderr, "lamina: %s: %s\n", lmn_log_level_name(level), line);
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
}

lmn_logger console_logger(console *c)
{
    lmn_log_level level = LMN_LOG_INFO;
    if (c->is_quiet) {
        level = LMN_LOG_ERROR;
    } else if (c->rank != 0) {
        level = LMN_LOG_WARN;
    }
    return (lmn_logger){.level = level, .write = write_log, .user = c};
}
