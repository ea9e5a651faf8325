/*
 * The watch's thread: it sends where its rank stands, and judges.
 *
 * A rank sends a beat, and the next one when rank 0 has answered; so nothing piles up on the way to
 * one that is stopped. Rank 0 judges: who has not been heard from for too long, whose connection
 * ended without a farewell, and, when all are heard from but no note was made anywhere for too
 * long, who is not waiting for others. The other ranks judge rank 0 alone. Whoever finds the run
 * over tells the others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/watch.h"

#include "lamina/clock.h"
#include "lamina/memory.h"
#include "watch_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Beats within the time that is allowed, and their spacing at most. */
enum { BEATS = 10, MISSED = 3, NAMED_MAX = 4 };
static const double BEAT_S = 1.0;
/* A rank that has ended may have said why, and its launcher may be ending us already. */
static const double GRACE_S = 1.0;
/* A rank that is asked to end may have a second left. */
static const double LOOK_S = 0.25;
/* How long a rank may be silent then. */
static const double SILENT_S = 5.0;

/* What is known of another rank. */
typedef struct subject {
    lmn__line line;
    lmn__letter last; /* its last beat */
    double heard_at;
    double lost_at; /* when the line ended; 0: it did not */
    bool has_left;  /* in order */
} subject;

struct lmn_watch {
    lmn_world *world; /* borrowed; its notes are read */
    lmn_watch_options options;
    uint64_t token;
    size_t n_subjects;     /* other ranks: all on rank 0, rank 0 elsewhere */
    subject *subjects;     /* [n_subjects] owned */
    struct pollfd *polls;  /* [n_subjects + 1] owned; the last is the pipe */
    lmn_placement *places; /* [size] owned, of all ranks */
    double interval;       /* between beats */
    double beaten_at;      /* when the last one left */
    double moved_at;       /* when a rank last made a note */
    uint64_t own_ticks;    /* at that time */
    int stop[2];           /* a pipe that destroy writes to */
    bool has_thread;
    pthread_t thread;
};

static int rank_of(const lmn_watch *watch, size_t index)
{
    return watch->world->rank == 0 ? (int)index + 1 : 0;
}

static lmn__letter own_letter(const lmn_watch *watch, lmn__letter_kind kind)
{
    lmn__notes *notes = &watch->world->notes;
    const lmn_activity *activity = atomic_load(&notes->activity);
    lmn__letter letter = {.token = watch->token,
                          .ticks = atomic_load(&notes->ticks),
                          .step = atomic_load(&notes->step),
                          .kind = kind,
                          .rank = watch->world->rank,
                          .waits = activity->waits ? 1 : 0};
    (void)snprintf(letter.text, sizeof letter.text, "%s", activity->text);
    return letter;
}

/* ---- verdicts ---- */

static const char *host_of(const lmn_watch *watch, int rank)
{
    return watch->places[rank].host;
}

/* Append to a text that may be full. */
static void LMN_PRINTF(2, 3) add(char text[LMN__WATCH_TEXT_BYTES], const char *format, ...)
{
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + used, LMN__WATCH_TEXT_BYTES - used, format, arguments);
    va_end(arguments);
}

static void add_position(char *text, const lmn__letter *letter)
{
    add(text, "%s in step %" PRIu64, letter->text[0] == '\0' ? "nothing" : letter->text,
        letter->step);
}

/* How long a rank may be silent. */
static double patience(const lmn_watch *watch)
{
    const lmn_watch_options *options = &watch->options;
    const bool must_end = options->must_end != NULL && options->must_end(options->user);
    return must_end ? fmin(0.5 * options->seconds, SILENT_S) : options->seconds;
}

/* "rank 2 on h3 ... : last at X in step 7" for each subject that is late, and how many there are.
 */
static int describe_silent(const lmn_watch *watch, double now, char *text)
{
    const double limit = patience(watch);
    int n_late = 0;
    for (size_t i = 0; i < watch->n_subjects; i++) {
        const subject *s = &watch->subjects[i];
        const bool is_lost = s->lost_at > 0.0 && now - s->lost_at > GRACE_S;
        const bool is_silent = now - s->heard_at > limit;
        if (s->has_left || !(is_lost || is_silent)) {
            continue;
        }
        if (++n_late > NAMED_MAX) {
            continue;
        }
        add(text, "%srank %d on %s ", n_late > 1 ? "; " : "", rank_of(watch, i),
            host_of(watch, rank_of(watch, i)));
        if (is_lost) {
            add(text, "has ended");
        } else {
            add(text, "has not been heard from for %.1f s", now - s->heard_at);
        }
        add(text, ", last at ");
        add_position(text, &s->last);
    }
    if (n_late > NAMED_MAX) {
        add(text, "; and %d more", n_late - NAMED_MAX);
    }
    return n_late;
}

/* All are heard from, and nobody gets on: those that do not wait for others are what they wait for;
   if all wait, those that are furthest behind. */
static void describe_stall(const lmn_watch *watch, double now, char *text)
{
    const lmn__letter own = own_letter(watch, LMN__LETTER_BEAT);
    uint64_t least = own.ticks;
    bool all_wait = own.waits != 0;
    for (size_t i = 0; i < watch->n_subjects; i++) {
        const lmn__letter *last = &watch->subjects[i].last;
        least = last->ticks < least ? last->ticks : least;
        all_wait = all_wait && last->waits != 0;
    }
    add(text, "no rank has got on for %.1f s", now - watch->moved_at);
    int n_named = 0;
    for (size_t i = 0; i <= watch->n_subjects; i++) {
        const lmn__letter *at = i == 0 ? &own : &watch->subjects[i - 1].last;
        const int rank = i == 0 ? 0 : rank_of(watch, i - 1);
        const bool is_late = all_wait ? at->ticks == least : at->waits == 0;
        if (is_late && n_named++ < NAMED_MAX) {
            add(text, "; rank %d on %s is at ", rank, host_of(watch, rank));
            add_position(text, at);
        }
    }
}

/* ---- the thread ---- */

static void take_beat(lmn_watch *watch, subject *s, double now)
{
    s->heard_at = now;
    if (s->last.ticks != s->line.incoming.ticks) {
        watch->moved_at = now;
    }
    s->last = s->line.incoming;
    if (watch->world->rank == 0) {
        const lmn__letter answer = own_letter(watch, LMN__LETTER_BEAT);
        lmn__line_send(&s->line, &answer);
    }
}

/* Read what has come from one rank; true when it says that the run is over. */
static bool listen_to(lmn_watch *watch, subject *s, double now)
{
    while (lmn__line_receive(&s->line)) {
        const lmn__letter *letter = &s->line.incoming;
        if (letter->token != watch->token) {
            continue;
        }
        if (letter->kind == LMN__LETTER_STALL) {
            watch->options.on_stall(watch->options.user, letter->text, false);
            return true;
        }
        if (letter->kind == LMN__LETTER_BYE) {
            s->has_left = true;
            lmn__line_close(&s->line);
        } else {
            take_beat(watch, s, now);
        }
    }
    if (s->line.fd < 0 && !s->has_left && s->lost_at <= 0.0) {
        s->lost_at = now;
    }
    return false;
}

static void tell_all(lmn_watch *watch, const lmn__letter *letter)
{
    for (size_t i = 0; i < watch->n_subjects; i++) {
        lmn__line_send(&watch->subjects[i].line, letter);
    }
}

/* Whether all have been heard from just now. One that has not may be what the others wait for: it
   will speak, or be silent for too long. */
static bool are_all_heard(const lmn_watch *watch, double now)
{
    for (size_t i = 0; i < watch->n_subjects; i++) {
        const subject *s = &watch->subjects[i];
        if (!s->has_left && now - s->heard_at > MISSED * watch->interval) {
            return false;
        }
    }
    return true;
}

/* Whether the run is over, by what this rank knows. */
static bool judge(lmn_watch *watch, double now)
{
    lmn__letter letter = own_letter(watch, LMN__LETTER_STALL);
    if (letter.ticks != watch->own_ticks) {
        watch->own_ticks = letter.ticks;
        watch->moved_at = now;
    }
    char *text = letter.text;
    text[0] = '\0';
    const lmn__letter own = own_letter(watch, LMN__LETTER_BEAT);
    if (describe_silent(watch, now, text) > 0) {
        add(text, "; rank %d on %s is at ", watch->world->rank, host_of(watch, watch->world->rank));
        add_position(text, &own);
    } else if (watch->world->rank == 0 && now - watch->moved_at > watch->options.seconds &&
               are_all_heard(watch, now)) {
        describe_stall(watch, now, text);
    } else {
        return false;
    }
    tell_all(watch, &letter);
    watch->options.on_stall(watch->options.user, text, true);
    return true;
}

/* This process was stopped itself, or had no processor: what was silent meanwhile is not late. */
static void forgive(lmn_watch *watch, double now)
{
    watch->moved_at = now;
    for (size_t i = 0; i < watch->n_subjects; i++) {
        watch->subjects[i].heard_at = now;
    }
}

/* A rank sends the next beat when the last one was answered. */
static void beat(lmn_watch *watch, double now)
{
    const bool is_due = now - watch->beaten_at >= watch->interval;
    if (watch->world->rank != 0 && is_due && watch->subjects[0].heard_at >= watch->beaten_at) {
        const lmn__letter letter = own_letter(watch, LMN__LETTER_BEAT);
        watch->beaten_at = now;
        lmn__line_send(&watch->subjects[0].line, &letter);
    }
}

/* Wait for letters, the next beat, or the end; whether it is the end. */
static bool wait_for_letters(lmn_watch *watch)
{
    for (size_t i = 0; i < watch->n_subjects; i++) {
        watch->polls[i] = (struct pollfd){.fd = watch->subjects[i].line.fd, .events = POLLIN};
    }
    watch->polls[watch->n_subjects] = (struct pollfd){.fd = watch->stop[0], .events = POLLIN};
    const int interval_ms = 1 + (int)(fmin(watch->interval, LOOK_S) * 1e3);
    return poll(watch->polls, watch->n_subjects + 1, interval_ms) > 0 &&
           watch->polls[watch->n_subjects].revents != 0;
}

static void *keep_watch(void *user)
{
    lmn_watch *watch = user;
    double before = lmn_clock_seconds();
    bool is_over = false;
    while (!is_over) {
        if (wait_for_letters(watch)) {
            const lmn__letter bye = own_letter(watch, LMN__LETTER_BYE);
            tell_all(watch, &bye);
            return NULL;
        }
        const double now = lmn_clock_seconds();
        if (now - before > fmax(0.5 * watch->options.seconds, 2.0 * watch->interval)) {
            forgive(watch, now);
        }
        before = now;
        for (size_t i = 0; i < watch->n_subjects && !is_over; i++) {
            is_over = listen_to(watch, &watch->subjects[i], now);
        }
        beat(watch, now);
        is_over = is_over || judge(watch, now);
    }
    return NULL;
}

/* ---- from start to end ---- */

/* Signals are for the application's own threads. */
static lmn_status start_thread(lmn_watch *watch, lmn_error *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    watch->has_thread = pthread_create(&watch->thread, NULL, keep_watch, watch) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return watch->has_thread
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_MEMORY, "cannot create a thread for the watch");
}

static lmn_status watch_alloc(lmn_world *world, const lmn_watch_options *options,
                              lmn_watch **watch_out, lmn_error *err)
{
    lmn_watch *watch = lmn_alloc(1, sizeof *watch, err);
    if (watch == NULL) {
        return LMN_ERR_MEMORY;
    }
    watch->world = world;
    watch->options = *options;
    watch->interval = fmin(options->seconds / BEATS, BEAT_S);
    watch->n_subjects = world->rank == 0 ? (size_t)world->size - 1 : 1;
    watch->stop[0] = -1;
    watch->stop[1] = -1;
    watch->subjects = lmn_alloc(watch->n_subjects, sizeof *watch->subjects, err);
    watch->polls = lmn_alloc(watch->n_subjects + 1, sizeof *watch->polls, err);
    watch->places = lmn_alloc((size_t)world->size, sizeof *watch->places, err);
    for (size_t i = 0; watch->subjects != NULL && i < watch->n_subjects; i++) {
        watch->subjects[i].line.fd = -1;
    }
    *watch_out = watch;
    if (watch->subjects == NULL || watch->polls == NULL || watch->places == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (pipe(watch->stop) != 0) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "cannot create a pipe for the watch");
    }
    (void)fcntl(watch->stop[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(watch->stop[1], F_SETFD, FD_CLOEXEC);
    return LMN_OK;
}

/* Lines by rank, as connecting wants them, to subjects. */
static lmn_status connect_subjects(lmn_watch *watch, lmn_error *err)
{
    const size_t n = watch->world->rank == 0 ? (size_t)watch->world->size : 1;
    lmn__line *lines = lmn_alloc(n, sizeof *lines, err);
    lmn_status status = lmn_agree(watch->world, lines == NULL ? LMN_ERR_MEMORY : LMN_OK, err);
    if (status != LMN_OK || lines == NULL) {
        lmn_free(lines);
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        lines[i].fd = -1;
    }
    status = lmn__lines_connect(watch->world, lines, &watch->token, err);
    const double now = lmn_clock_seconds();
    for (size_t i = 0; i < watch->n_subjects; i++) {
        watch->subjects[i].line.fd = lines[watch->world->rank == 0 ? i + 1 : 0].fd;
        watch->subjects[i].heard_at = now;
    }
    watch->moved_at = now;
    lmn_free(lines);
    return status;
}

lmn_status lmn_watch_create(lmn_world *world, const lmn_watch_options *options,
                            lmn_watch **watch_out, lmn_error *err)
{
    lmn_watch *watch = NULL;
    *watch_out = NULL;
    if (world->size == 1) {
        return LMN_OK;
    }
    lmn_status status = lmn_agree(world, watch_alloc(world, options, &watch, err), err);
    if (status != LMN_OK || watch == NULL) {
        lmn_watch_destroy(watch);
        return status;
    }
    status = lmn_world_gather_placements(world, watch->places, err);
    if (status == LMN_OK) {
        const size_t bytes = (size_t)world->size * sizeof *watch->places;
        status = lmn_world_broadcast(world, watch->places, bytes, 0, err);
    }
    if (status == LMN_OK) {
        status = connect_subjects(watch, err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, start_thread(watch, err), err);
    }
    if (status != LMN_OK) {
        lmn_watch_destroy(watch);
        return status;
    }
    *watch_out = watch;
    return LMN_OK;
}

void lmn_watch_destroy(lmn_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    if (watch->has_thread) {
        (void)!write(watch->stop[1], "", 1);
        (void)pthread_join(watch->thread, NULL);
    }
    for (size_t i = 0; watch->subjects != NULL && i < watch->n_subjects; i++) {
        lmn__line_close(&watch->subjects[i].line);
    }
    for (size_t i = 0; i < 2; i++) {
        if (watch->stop[i] >= 0) {
            (void)close(watch->stop[i]);
        }
    }
    lmn_free(watch->places);
    lmn_free(watch->polls);
    lmn_free(watch->subjects);
    lmn_free(watch);
}
