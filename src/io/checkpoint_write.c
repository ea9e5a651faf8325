/*
 * Writing a checkpoint: create, fill, hash, name; at once or while training goes on.
 *
 * Rank 0 creates the file with empty arrays (checkpoint_create.c). The rest is three jobs, each of
 * which a rank does alone and without MPI and HDF5: to write its part and hash what it can, to hash
 * its share of what is left, and, on rank 0, to seal the file and give it its name. Between two
 * jobs the ranks meet and agree. A checkpoint in the background does its jobs in a thread, from a
 * copy, and the ranks meet when the caller knows that all are through with theirs; one that is not
 * does them on the spot. So both write the same bytes. After a failure rank 0 removes the part.
 *
 * The thread is started for a job and joined at its end, so that nothing is shared in between but
 * the words "done" and "cancelled".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "files_internal.h"
#include "lamina/clock.h"
#include "lamina/log.h"
#include "lamina/memory.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

typedef enum phase { PHASE_NONE, PHASE_FILL, PHASE_HASH, PHASE_NAME } phase;

struct lmn_checkpoint_writer {
    lmn_world *world; /* borrowed */
    char directory[LMN_PATH_BYTES];
    /* Of the checkpoint that is being written, the same on all ranks but for the image. */
    phase phase;
    bool in_background;
    uint64_t step;
    size_t keep;
    char part[LMN_PATH_BYTES], path[LMN_PATH_BYTES];
    lmn__image image;
    lmn__seal seal; /* rank 0 */
    /* The copy that is written in the background; kept for the next one. */
    unsigned char *copy; /* [copy_bytes] owned */
    uint64_t copy_bytes;
    /* The job. */
    bool has_thread;
    pthread_t thread;
    atomic_bool is_done, is_cancelled;
    lmn_status status; /* what became of it */
    lmn_error error;
    double job_seconds; /* processor time that the thread used */
    lmn_error notice;   /* old checkpoints that could not be removed */
    /* Seconds that this checkpoint has cost so far, and the last complete one in all. */
    double spent, cost;
};

static const lmn_activity writing = {.text = "writing a checkpoint", .waits = false};

static bool is_first(const lmn_checkpoint_writer *writer)
{
    return lmn_world_rank(writer->world) == 0;
}

/* ---- jobs ---- */

/* Rank 0: put the seal into the file, give it its name, and let older ones go. */
static lmn_status seal_and_name(lmn_checkpoint_writer *writer, lmn_error *err)
{
    const lmn__seal *seal = &writer->seal;
    lmn_status status = lmn__file_patch(writer->part, 0, seal->bytes, sizeof seal->bytes, err);
    if (status == LMN_OK) {
        status = lmn__file_publish(writer->part, writer->path, err);
    }
    if (status == LMN_OK) {
        (void)lmn__checkpoint_prune(writer->directory, writer->step, writer->keep, &writer->notice);
    }
    return status;
}

static lmn_status do_phase(lmn_checkpoint_writer *writer, lmn_error *err)
{
    const atomic_bool *cancelled = &writer->is_cancelled;
    switch (writer->phase) {
    case PHASE_FILL:
        return lmn__image_fill(&writer->image, cancelled, err);
    case PHASE_HASH:
        return lmn__image_hash_rest(&writer->image, lmn_world_rank(writer->world),
                                    lmn_world_size(writer->world), cancelled, err);
    case PHASE_NAME:
        return is_first(writer) ? seal_and_name(writer, err) : LMN_OK;
    default:
        return LMN_OK;
    }
}

static void do_job(lmn_checkpoint_writer *writer)
{
    writer->error = lmn_error_none();
    writer->status = do_phase(writer, &writer->error);
    atomic_store(&writer->is_done, true);
}

static double thread_seconds(void)
{
    struct timespec used = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static void *do_job_in_thread(void *user)
{
    lmn_checkpoint_writer *writer = user;
    do_job(writer);
    /* Where no core is idle the steps lose what the thread computes. */
    writer->job_seconds = thread_seconds();
    return NULL;
}

/* In a thread, or at once; where there can be no thread, too, which is slow and not wrong. */
static void start_job(lmn_checkpoint_writer *writer)
{
    atomic_store(&writer->is_done, false);
    const bool has_work = writer->phase != PHASE_NAME || is_first(writer);
    if (writer->in_background && has_work) {
        /* Signals are for the threads that know what to do with them. */
        sigset_t all;
        sigset_t before;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        writer->has_thread = pthread_create(&writer->thread, NULL, do_job_in_thread, writer) == 0;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (!writer->has_thread) {
        do_job(writer);
    }
}

static void await_job(lmn_checkpoint_writer *writer)
{
    if (writer->has_thread) {
        (void)pthread_join(writer->thread, NULL);
        writer->has_thread = false;
        writer->spent += writer->job_seconds;
    }
}

/* ---- from one phase to the next ---- */

/* A directory that is gone explains what went wrong in it. */
static lmn_status explain(const lmn_checkpoint_writer *writer, lmn_status status, lmn_error *err)
{
    if (status != LMN_ERR_IO || lmn__directory_exists(writer->directory)) {
        return status;
    }
    return lmn_error_set(err, LMN_ERR_IO,
                         "the checkpoint directory '%s' is gone: it was removed, renamed or "
                         "unmounted while the run went on; bring it back and resume from what it "
                         "holds, or begin in another one",
                         writer->directory);
}

static void close_image(lmn_checkpoint_writer *writer)
{
    lmn__image_destroy(&writer->image);
    writer->phase = PHASE_NONE;
}

static void abandon(lmn_checkpoint_writer *writer)
{
    close_image(writer);
    if (is_first(writer)) {
        (void)unlink(writer->part);
    }
}

/* Put the hashes of all ranks together. Afterwards rank 0 has them, and all know which are known.
   Collective. */
static lmn_status gather_hashes(lmn_checkpoint_writer *writer, bool *complete_out, lmn_error *err)
{
    const lmn__image *image = &writer->image;
    const size_t count = image->blocks.count;
    const size_t halves = writer->phase == PHASE_FILL ? 2 : 1;
    const lmn_status status = lmn_world_sum_u64(writer->world, image->hashes, halves * count, err);
    bool is_complete = true;
    for (size_t i = 0; i < count; i++) {
        is_complete = is_complete && image->hashes[count + i] == 1;
        image->hashes[i] = is_first(writer) ? image->hashes[i] : 0;
    }
    *complete_out = is_complete || writer->phase == PHASE_HASH;
    return status;
}

/* All ranks have done their job well. Collective; what it returns is not agreed on. */
static lmn_status enter_next(lmn_checkpoint_writer *writer, lmn_error *err)
{
    if (writer->phase == PHASE_NAME) {
        close_image(writer);
        writer->cost = writer->spent;
        if (writer->notice.status != LMN_OK) {
            lmn_log_write(lmn_world_log(writer->world), LMN_LOG_WARN, "old checkpoints stay: %s",
                          writer->notice.message);
        }
        return LMN_OK;
    }
    bool is_complete = false;
    lmn_status status = gather_hashes(writer, &is_complete, err);
    if (status == LMN_OK && is_complete && is_first(writer)) {
        status = lmn__seal_make(&writer->image.blocks, writer->image.hashes, &writer->seal, err);
    }
    if (status == LMN_OK) {
        writer->phase = is_complete ? PHASE_NAME : PHASE_HASH;
        start_job(writer);
    }
    return status;
}

lmn_status lmn_checkpoint_advance(lmn_checkpoint_writer *writer, lmn_error *err)
{
    if (writer->phase == PHASE_NONE) {
        return LMN_OK;
    }
    const double start = lmn_clock_seconds();
    const lmn_activity *before = lmn_world_note(writer->world, &writing);
    await_job(writer);
    lmn_error cause = writer->error;
    lmn_status status = explain(writer, writer->status, &cause);
    status = lmn_agree(writer->world, status, &cause);
    if (status == LMN_OK) {
        status = enter_next(writer, &cause);
        status = status == LMN_ERR_COMM ? status : lmn_agree(writer->world, status, &cause);
    }
    if (status != LMN_OK) {
        await_job(writer);
        abandon(writer);
    }
    if (status != LMN_OK && err != NULL) {
        *err = cause;
    }
    (void)lmn_world_note(writer->world, before);
    writer->spent += lmn_clock_seconds() - start;
    return status;
}

lmn_status lmn_checkpoint_finish(lmn_checkpoint_writer *writer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    while (status == LMN_OK && writer->phase != PHASE_NONE) {
        status = lmn_checkpoint_advance(writer, err);
    }
    return status;
}

/* ---- begin ---- */

/* Rank 0. */
static lmn_status create_part(lmn_checkpoint_writer *writer, const lmn_state *state,
                              uint64_t *places_out, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    lmn__checkpoint_remove_parts(writer->directory);
    const lmn_status status = lmn__checkpoint_create(
        writer->part, state, writer->step, lmn_world_size(writer->world), places_out, err);
    lmn__h5_quiet_end(&quiet);
    return explain(writer, status, err);
}

/* Local: whether this rank sees the file that rank 0 made. */
static lmn_status check_shared(const lmn_checkpoint_writer *writer, uint64_t bytes, lmn_error *err)
{
    uint64_t seen = 0;
    const lmn_status status = lmn__file_length_of(writer->part, &seen, NULL);
    if (status == LMN_OK && seen == bytes) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_IO,
                         "the checkpoint directory '%s' is not the same on all ranks; use one on a "
                         "file system that all of them share",
                         writer->directory);
}

/* Local: take a copy of what this rank writes. */
static lmn_status take_copy(lmn_checkpoint_writer *writer, lmn_error *err)
{
    const uint64_t bytes = lmn__image_bytes(&writer->image);
    if (bytes > writer->copy_bytes) {
        lmn_free(writer->copy);
        writer->copy_bytes = 0;
        writer->copy = lmn_alloc((size_t)bytes, 1, err);
        if (writer->copy == NULL) {
            return LMN_ERR_MEMORY;
        }
        writer->copy_bytes = bytes;
    }
    lmn__image_copy(&writer->image, writer->copy);
    return LMN_OK;
}

/* Local: everything up to the first job. */
static lmn_status prepare(lmn_checkpoint_writer *writer, const lmn_state *state,
                          const uint64_t *places, lmn_error *err)
{
    lmn_status status = check_shared(writer, places[0], err);
    if (status == LMN_OK) {
        status = lmn__image_create(writer->part, state, places, lmn_world_rank(writer->world),
                                   lmn_world_size(writer->world), &writer->image, err);
    }
    return status == LMN_OK && writer->in_background ? take_copy(writer, err) : status;
}

/* Collective, and agreed on; leaves cleaning up to the caller.
 * places  [1 + arrays] */
static lmn_status open_part(lmn_checkpoint_writer *writer, const lmn_state *state, uint64_t *places,
                            lmn_error *err)
{
    lmn_status status = LMN_OK;
    if (is_first(writer)) {
        status = create_part(writer, state, places, err);
    }
    status = lmn_agree(writer->world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_broadcast(writer->world, places,
                                     (1 + state->arrays.count) * sizeof *places, 0, err);
    }
    return status == LMN_OK ? lmn_agree(writer->world, prepare(writer, state, places, err), err)
                            : status;
}

static lmn_status name_files(lmn_checkpoint_writer *writer, uint64_t step, lmn_error *err)
{
    const lmn_status status = lmn__checkpoint_part(writer->part, writer->directory, step, err);
    return status == LMN_OK ? lmn__checkpoint_path(writer->path, writer->directory, step, err)
                            : status;
}

/* Collective, nothing being written. */
static lmn_status begin(lmn_checkpoint_writer *writer, uint64_t step, const lmn_state *state,
                        lmn_error *err)
{
    lmn_status status = lmn_world_check_same(writer->world, "the list of state to write",
                                             lmn__state_hash(state, step), err);
    if (status != LMN_OK) {
        return status;
    }
    uint64_t *places = lmn_alloc(1 + state->arrays.count, sizeof *places, err);
    status = places == NULL ? LMN_ERR_MEMORY : name_files(writer, step, err);
    status = lmn_agree(writer->world, status, err);
    if (status == LMN_OK && places != NULL) {
        status = open_part(writer, state, places, err);
        if (status != LMN_OK) {
            abandon(writer);
        }
    }
    lmn_free(places);
    return status;
}

lmn_status lmn_checkpoint_begin(lmn_checkpoint_writer *writer, uint64_t step,
                                const lmn_state *state, size_t keep, bool background,
                                lmn_error *err)
{
    lmn_status status = lmn_checkpoint_finish(writer, err);
    if (status != LMN_OK) {
        return status;
    }
    const double start = lmn_clock_seconds();
    const lmn_activity *before = lmn_world_note(writer->world, &writing);
    writer->in_background = background;
    writer->step = step;
    writer->keep = keep;
    writer->spent = 0.0;
    writer->notice = lmn_error_none();
    status = begin(writer, step, state, err);
    if (status == LMN_OK) {
        writer->phase = PHASE_FILL;
        start_job(writer);
        writer->spent += lmn_clock_seconds() - start;
    }
    (void)lmn_world_note(writer->world, before);
    return status == LMN_OK && !background ? lmn_checkpoint_finish(writer, err) : status;
}

bool lmn_checkpoint_is_open(const lmn_checkpoint_writer *writer)
{
    return writer->phase != PHASE_NONE;
}

bool lmn_checkpoint_is_ready(const lmn_checkpoint_writer *writer)
{
    return writer->phase != PHASE_NONE && atomic_load(&writer->is_done);
}

double lmn_checkpoint_cost(const lmn_checkpoint_writer *writer)
{
    return writer->cost;
}

/* ---- the writer ---- */

static lmn_status make_directory(const lmn_world *world, lmn_checkpoint_writer *writer,
                                 const char *directory, lmn_error *err)
{
    const lmn_status status = lmn__path_format(writer->directory, err, "%s", directory);
    return status == LMN_OK && lmn_world_rank(world) == 0 ? lmn__directory_create(directory, err)
                                                          : status;
}

lmn_status lmn_checkpoint_writer_create(lmn_world *world, const char *directory,
                                        lmn_checkpoint_writer **writer_out, lmn_error *err)
{
    lmn_checkpoint_writer *writer = lmn_alloc(1, sizeof *writer, err);
    lmn_status status = LMN_ERR_MEMORY;
    if (writer != NULL) {
        writer->world = world;
        status = make_directory(world, writer, directory, err);
    }
    status = lmn_agree(world, status, err);
    if (status != LMN_OK) {
        lmn_free(writer);
        return status;
    }
    *writer_out = writer;
    return LMN_OK;
}

void lmn_checkpoint_writer_destroy(lmn_checkpoint_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    atomic_store(&writer->is_cancelled, true);
    await_job(writer);
    if (writer->phase != PHASE_NONE) {
        abandon(writer);
    }
    lmn_free(writer->copy);
    lmn_free(writer);
}

lmn_status lmn_checkpoint_write(lmn_world *world, const char *directory, uint64_t step,
                                const lmn_state *state, size_t keep, lmn_error *err)
{
    lmn_checkpoint_writer *writer = NULL;
    lmn_status status = lmn_checkpoint_writer_create(world, directory, &writer, err);
    if (status == LMN_OK) {
        status = lmn_checkpoint_begin(writer, step, state, keep, false, err);
    }
    lmn_checkpoint_writer_destroy(writer);
    return status;
}
