/*
 * Reading batches ahead of time.
 *
 * A thread fills a ring of read_ahead + 1 slots: while the caller works on one, the others wait or
 * are being filled. Position p of the endless sequence of samples is element p mod N of the
 * permutation of epoch p / N; batch b is the positions b * G .. b * G + G - 1, and each rank takes
 * its part of them. A rank with a shard has a sequence of its own, over the samples of the shard,
 * and takes as many of them for each batch as its part of the batch is long. How samples are read
 * is the business of the dataset's store.
 *
 * Slots pass between the two threads by counters under a mutex; the content of a slot belongs to
 * exactly one of them at any time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/clock.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "lamina/random.h"
#include "lamina/shard.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

typedef struct slot {
    lmn_batch batch;
    void *fields[LMN_FIELDS_MAX]; /* [rows, ...] owned by the arena */
    lmn_status status;
    lmn_error err; /* what the thread met */
} slot;

struct lmn_reader {
    const lmn_dataset *dataset; /* borrowed */
    lmn_reader_options options;
    size_t rows;          /* capacity of a batch */
    lmn_range mine;       /* rows of this rank in a full global batch */
    uint64_t batch_count; /* UINT64_MAX: without end */

    lmn_arena *arena;       /* owned: all buffers */
    slot *slots;            /* [n_slots] */
    size_t n_slots;         /* read_ahead + 1 */
    uint64_t *samples;      /* [rows] of the batch being fetched; the thread's */
    uint64_t *epochs;       /* [rows] in which they are met; the thread's */
    unsigned char *scratch; /* for the store; the thread's */
    lmn_augment augment;
    bool is_augmented;

    pthread_t thread;
    bool has_thread;
    bool has_locks;
    pthread_mutex_t lock; /* guards the four below */
    pthread_cond_t changed;
    uint64_t filled; /* slots that the thread has finished; slot i is number i mod n_slots */
    uint64_t freed;  /* slots that the caller has given back */
    bool is_done;    /* no more will be filled */
    bool must_stop;

    bool holds_slot; /* the caller's: the last batch is still in use */
    uint64_t taken;  /* the caller's: slots handed out */
    double waited_s; /* the caller's */
};

/* ---- the thread's side ---- */

static uint64_t split_count(const lmn_reader *reader)
{
    if (reader->options.shard != NULL) {
        return reader->options.shard->count;
    }
    return lmn__dataset_count(reader->dataset, reader->options.split, reader->options.shuffle);
}

/* The next samples of this rank's own sequence. */
static size_t choose_of_shard(lmn_reader *reader, uint64_t batch)
{
    const lmn_shard *shard = reader->options.shard;
    const uint64_t first = (batch - shard->first_batch) * reader->mine.count;
    for (size_t i = 0; i < reader->mine.count; i++) {
        reader->samples[i] =
            lmn_shard_sample(shard, reader->options.seed, first + i, &reader->epochs[i]);
    }
    return reader->mine.count;
}

/* Which samples this rank takes of a batch; returns how many. */
static size_t choose_samples(lmn_reader *reader, uint64_t batch)
{
    if (reader->options.shard != NULL) {
        return choose_of_shard(reader, batch);
    }
    const uint64_t count = split_count(reader);
    const uint64_t first = batch * reader->options.global_batch + reader->mine.first;
    if (!reader->options.shuffle) {
        const uint64_t left = first < count ? count - first : 0;
        const size_t valid = left < reader->mine.count ? (size_t)left : reader->mine.count;
        for (size_t i = 0; i < valid; i++) {
            reader->samples[i] = first + i;
            reader->epochs[i] = 0;
        }
        return valid;
    }
    for (size_t i = 0; i < reader->mine.count; i++) {
        const uint64_t position = first + i;
        reader->epochs[i] = position / count;
        reader->samples[i] =
            lmn_permute(reader->options.seed, position / count, position % count, count);
    }
    return reader->mine.count;
}

static void fill_slot(lmn_reader *reader, slot *to, uint64_t batch)
{
    const lmn_dataset *dataset = reader->dataset;
    lmn__rows rows = {
        .split = reader->options.split,
        .count = reader->rows,
        .valid = choose_samples(reader, batch),
        .samples = reader->samples,
        .epochs = reader->epochs,
        .shuffle = reader->options.shuffle,
        .seed = reader->options.seed,
        .augment = reader->is_augmented ? &reader->augment : NULL,
        .scratch = reader->scratch,
    };
    to->batch =
        (lmn_batch){.rows = reader->rows, .valid = rows.valid, .first_row = reader->mine.first};
    for (size_t i = 0; i < dataset->info.n_fields; i++) {
        rows.fields[i] = to->fields[i];
        to->batch.fields[i] = to->fields[i];
    }
    to->status = dataset->store->read(dataset, &rows, &to->err);
}

/* Wait for a free slot; false when there is nothing more to do. */
static bool wait_for_room(lmn_reader *reader)
{
    (void)pthread_mutex_lock(&reader->lock);
    while (!reader->must_stop && reader->filled - reader->freed >= reader->n_slots) {
        (void)pthread_cond_wait(&reader->changed, &reader->lock);
    }
    const bool goes_on = !reader->must_stop;
    (void)pthread_mutex_unlock(&reader->lock);
    return goes_on;
}

static void announce(lmn_reader *reader, bool has_filled, bool is_done)
{
    (void)pthread_mutex_lock(&reader->lock);
    reader->filled += has_filled ? 1 : 0;
    reader->is_done = is_done;
    (void)pthread_cond_broadcast(&reader->changed);
    (void)pthread_mutex_unlock(&reader->lock);
}

static void *read_ahead(void *user)
{
    lmn_reader *reader = user;
    bool is_good = true;
    for (uint64_t i = 0; is_good && i + reader->options.first_batch < reader->batch_count; i++) {
        if (!wait_for_room(reader)) {
            return NULL;
        }
        slot *to = &reader->slots[i % reader->n_slots];
        fill_slot(reader, to, i + reader->options.first_batch);
        is_good = to->status == LMN_OK;
        announce(reader, true, false);
    }
    announce(reader, false, true);
    return NULL;
}

/* ---- the caller's side ---- */

static lmn_status check_options(const lmn_dataset *dataset, const lmn_reader_options *options,
                                lmn_error *err)
{
    if (options->size < 1 || options->rank < 0 || options->rank >= options->size) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "there is no rank %d of %d", options->rank,
                             options->size);
    }
    if (options->global_batch < (size_t)options->size) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a batch of %zu samples is smaller than the %d ranks that share it; "
                             "use a larger batch or fewer ranks",
                             options->global_batch, options->size);
    }
    if (dataset->info.sample_count[options->split] == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has no %s split", dataset->path,
                             lmn__split_name(options->split));
    }
    if (lmn__dataset_count(dataset, options->split, options->shuffle) == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the %s split of '%s' is too short to be shuffled",
                             lmn__split_name(options->split), dataset->path);
    }
    if (options->shard != NULL &&
        (!options->shuffle || options->shard->rank != (uint64_t)options->rank)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a shard is read by the rank that it belongs to, and shuffled");
    }
    if (options->read_ahead < 1) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "read-ahead must be at least 1 batch");
    }
    return LMN_OK;
}

static void set_sizes(lmn_reader *reader)
{
    const lmn_reader_options *options = &reader->options;
    const size_t size = (size_t)options->size;
    reader->rows = options->global_batch / size + (options->global_batch % size > 0 ? 1 : 0);
    reader->mine = lmn_partition(options->global_batch, size, (size_t)options->rank);
    reader->n_slots = options->read_ahead + 1;
    const uint64_t count = split_count(reader);
    reader->batch_count = options->shuffle ? UINT64_MAX
                                           : count / options->global_batch +
                                                 (count % options->global_batch > 0 ? 1 : 0);
}

/* Of one row of a field. */
static size_t field_bytes(const lmn_field *field)
{
    size_t bytes = lmn_dtype_bytes(field->dtype);
    for (size_t i = 0; i < field->n_dims; i++) {
        bytes *= field->dims[i];
    }
    return bytes;
}

/* All memory of the reader in one piece. */
static lmn_status take_memory(lmn_reader *reader, lmn_error *err)
{
    const lmn_dataset *dataset = reader->dataset;
    const lmn_dataset_info *info = &dataset->info;
    size_t row_bytes = 2 * sizeof(uint64_t);
    for (size_t i = 0; i < info->n_fields; i++) {
        row_bytes += field_bytes(&info->fields[i]);
    }
    const size_t limit = SIZE_MAX / 16;
    if (reader->rows > limit / row_bytes ||
        reader->n_slots >
            limit / (reader->rows * row_bytes + sizeof(slot) + (size_t)8 * LMN_ALIGNMENT)) {
        return lmn_error_set(err, LMN_ERR_MEMORY,
                             "no memory for %zu batches of %zu samples; use a smaller batch",
                             reader->n_slots, reader->rows);
    }
    const size_t scratch = dataset->store->scratch_bytes(dataset, reader->rows);
    size_t slot_bytes = 0;
    for (size_t i = 0; i < info->n_fields; i++) {
        slot_bytes += lmn_align_up(reader->rows * field_bytes(&info->fields[i]));
    }
    const size_t bytes = reader->n_slots * slot_bytes +
                         lmn_align_up(reader->n_slots * sizeof(slot)) +
                         2 * lmn_align_up(reader->rows * sizeof(uint64_t)) + lmn_align_up(scratch);
    const lmn_status status = lmn_arena_create(bytes, &reader->arena, err);
    if (status != LMN_OK) {
        return status;
    }
    reader->slots = lmn_arena_take(reader->arena, reader->n_slots, sizeof(slot));
    reader->samples = lmn_arena_take(reader->arena, reader->rows, sizeof(uint64_t));
    reader->epochs = lmn_arena_take(reader->arena, reader->rows, sizeof(uint64_t));
    reader->scratch = lmn_arena_take(reader->arena, scratch, 1);
    for (size_t i = 0; i < reader->n_slots; i++) {
        for (size_t k = 0; k < info->n_fields; k++) {
            reader->slots[i].fields[k] =
                lmn_arena_take(reader->arena, reader->rows, field_bytes(&info->fields[k]));
        }
    }
    return LMN_OK;
}

/* Signals are for the application's own threads. */
static lmn_status start_thread(lmn_reader *reader, lmn_error *err)
{
    if (pthread_mutex_init(&reader->lock, NULL) != 0) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "cannot create a lock for the reader");
    }
    if (pthread_cond_init(&reader->changed, NULL) != 0) {
        (void)pthread_mutex_destroy(&reader->lock);
        return lmn_error_set(err, LMN_ERR_MEMORY, "cannot create a lock for the reader");
    }
    reader->has_locks = true;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    reader->has_thread = pthread_create(&reader->thread, NULL, read_ahead, reader) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reader->has_thread
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_MEMORY, "cannot create a thread for the reader");
}

static lmn_status take_augment(lmn_reader *reader, const char *spec, lmn_error *err)
{
    if (spec == NULL) {
        return LMN_OK;
    }
    const lmn_status status = lmn_augment_parse(spec, &reader->augment, err);
    const lmn_augment *augment = &reader->augment;
    reader->is_augmented = augment->pad > 0 || augment->flip > 0 || augment->cutout > 0;
    if (status == LMN_OK && reader->is_augmented &&
        reader->dataset->info.kind != LMN_DATASET_IMAGES) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' changes images, and the samples of '%s' are none; leave out the "
                             "augmentation",
                             spec, reader->dataset->path);
    }
    return status;
}

lmn_status lmn_reader_create(const lmn_dataset *dataset, const lmn_reader_options *options,
                             lmn_reader **reader_out, lmn_error *err)
{
    lmn_status status = check_options(dataset, options, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_reader *reader = lmn_alloc(1, sizeof *reader, err);
    if (reader == NULL) {
        return LMN_ERR_MEMORY;
    }
    reader->dataset = dataset;
    reader->options = *options;
    reader->options.augment = NULL; /* the caller's */
    set_sizes(reader);
    status = take_augment(reader, options->augment, err);
    if (status == LMN_OK) {
        status = take_memory(reader, err);
    }
    if (status == LMN_OK) {
        status = start_thread(reader, err);
    }
    if (status != LMN_OK) {
        lmn_reader_destroy(reader);
        return status;
    }
    *reader_out = reader;
    return LMN_OK;
}

void lmn_reader_destroy(lmn_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->has_thread) {
        (void)pthread_mutex_lock(&reader->lock);
        reader->must_stop = true;
        (void)pthread_cond_broadcast(&reader->changed);
        (void)pthread_mutex_unlock(&reader->lock);
        (void)pthread_join(reader->thread, NULL);
    }
    if (reader->has_locks) {
        (void)pthread_cond_destroy(&reader->changed);
        (void)pthread_mutex_destroy(&reader->lock);
    }
    lmn_arena_destroy(reader->arena);
    lmn_free(reader);
}

uint64_t lmn_reader_batch_count(const lmn_reader *reader)
{
    return reader->batch_count;
}

/* Give back the slot in use and wait for the next; NULL when there is none. */
static const slot *next_slot(lmn_reader *reader)
{
    (void)pthread_mutex_lock(&reader->lock);
    if (reader->holds_slot) {
        reader->freed++;
        reader->holds_slot = false;
        (void)pthread_cond_broadcast(&reader->changed);
    }
    if (reader->filled <= reader->taken && !reader->is_done) {
        const double start = lmn_clock_seconds();
        while (reader->filled <= reader->taken && !reader->is_done) {
            (void)pthread_cond_wait(&reader->changed, &reader->lock);
        }
        reader->waited_s += lmn_clock_seconds() - start;
    }
    const bool has_next = reader->filled > reader->taken;
    (void)pthread_mutex_unlock(&reader->lock);
    return has_next ? &reader->slots[reader->taken % reader->n_slots] : NULL;
}

lmn_status lmn_reader_next(lmn_reader *reader, lmn_batch *batch_out, lmn_error *err)
{
    const slot *next = next_slot(reader);
    if (next == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the split has %" PRIu64 " batches and all of them were read",
                             reader->batch_count);
    }
    if (next->status != LMN_OK) {
        /* The slot stays, so that asking again gives the same error. */
        return lmn_error_set(err, next->status, "%s", next->err.message);
    }
    reader->taken++;
    reader->holds_slot = true;
    *batch_out = next->batch;
    return LMN_OK;
}

double lmn_reader_waited_seconds(const lmn_reader *reader)
{
    return reader->waited_s;
}
