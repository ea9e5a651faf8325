/*
 * The exchange in rounds: numbers that are reduced by allreduces, one round after the other.
 *
 * The numbers of all layers of the bucket that one reduction serves lie side by side, so a round
 * costs one allreduce for each kind of reduction in it, however many layers there are. Reduced
 * numbers are the same on all ranks, and so is what is decoded from them.
 *
 * v is formed into memory, where it stays until the commit: only after the last round is it known
 * what was sent of it. A rank that has nothing honest to say takes part with zeros.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"
#include "lamina/clock.h"

#include <string.h>

#define ROUNDS_MAX 2
#define REDUCTIONS ((size_t)LMN_REDUCTION_SUM_BF16 + 1)
/* Elements whose states are advanced together: they fit the nearest cache. */
#define TILE ((size_t)4096)

/* Numbers of one reduction in one round. */
typedef struct channel {
    lmn_collective *allreduce; /* NULL when no level has such numbers */
    size_t capacity;           /* numbers */
    size_t count;              /* of this step, with padding between layers */
    unsigned char *own;        /* owned; what this rank puts in */
    unsigned char *numbers;    /* owned; the outcome */
} channel;

typedef struct rounds_layer {
    lmn__layer *layer;  /* borrowed */
    lmn_rounds_job job; /* of this step; scratch is owned */
} rounds_layer;

typedef struct rounds_exchange {
    lmn__exchange head;
    size_t n_layers;
    rounds_layer *layers; /* [n_layers] owned; those that may be compressed */
    channel channels[ROUNDS_MAX][REDUCTIONS];
    size_t round; /* under way; ROUNDS_MAX when there is none */
    bool silent;
} rounds_exchange;

static size_t bytes_in_memory(size_t reduction)
{
    switch (reduction) {
    case LMN_REDUCTION_SUM_I8:
        return sizeof(int8_t);
    case LMN_REDUCTION_SUM_I16:
        return sizeof(int16_t);
    default:
        return sizeof(float);
    }
}

static size_t bytes_on_wire(size_t reduction)
{
    return reduction == LMN_REDUCTION_SUM_BF16 ? sizeof(uint16_t) : bytes_in_memory(reduction);
}

/* Numbers of a layer with the padding behind them, so that the next begins aligned. */
static size_t padded(lmn_round round)
{
    const size_t bytes = bytes_in_memory(round.reduction);
    return lmn_align_up(round.count * bytes) / bytes;
}

/* ------------------------------------------------------------------ creation */

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    return 2 * (uint64_t)(size - 1) * lmn_compressor_payload_bytes(compressor, level, shape);
}

/* Room for what a level puts into each channel, at even and at odd steps. */
static void add_level(const lmn_compressor *compressor, lmn_layer_shape shape, size_t level,
                      size_t most[ROUNDS_MAX][REDUCTIONS])
{
    for (size_t round = 0; round < lmn_compressor_round_count(compressor, level); round++) {
        for (uint64_t step = 0; step < 2; step++) {
            const lmn_round r = lmn_compressor_round(compressor, level, shape, round, step);
            size_t *const room = &most[round][r.reduction];
            *room = padded(r) > *room ? padded(r) : *room;
        }
    }
}

static void add_capacities(rounds_exchange *self, const lmn__layer *layer)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    size_t most[ROUNDS_MAX][REDUCTIONS] = {{0}};
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        if (lmn__may_travel_at(reducer, layer, level, LMN_COMBINE_ROUNDS)) {
            add_level(reducer->compressor, shape, level, most);
        }
    }
    for (size_t round = 0; round < ROUNDS_MAX; round++) {
        for (size_t r = 0; r < REDUCTIONS; r++) {
            self->channels[round][r].capacity += most[round][r];
        }
    }
}

static lmn_status take_channel(channel *c, size_t reduction, lmn_error *err)
{
    if (c->capacity == 0) {
        return LMN_OK;
    }
    c->own = lmn_alloc(c->capacity, bytes_in_memory(reduction), err);
    c->numbers = lmn_alloc(c->capacity, bytes_in_memory(reduction), err);
    return c->own == NULL || c->numbers == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

static lmn_status take_channels(rounds_exchange *self, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < ROUNDS_MAX * REDUCTIONS && status == LMN_OK; i++) {
        status = take_channel(&self->channels[i / REDUCTIONS][i % REDUCTIONS], i % REDUCTIONS, err);
    }
    return status;
}

static lmn_status take_layers(rounds_exchange *self, lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn__bucket *bucket = self->head.bucket;
    self->layers = lmn_alloc(bucket->layer_count, sizeof *self->layers, err);
    if (self->layers == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = lmn__bucket_layer(&self->head, place);
        if (!lmn__may_travel_by(reducer, layer, LMN_COMBINE_ROUNDS)) {
            continue;
        }
        rounds_layer *entry = &self->layers[self->n_layers++];
        entry->layer = layer;
        entry->job.scratch = lmn_alloc(
            lmn_compressor_scratch_bytes(reducer->compressor, lmn__layer_shape(layer)), 1, err);
        if (entry->job.scratch == NULL) {
            return LMN_ERR_MEMORY;
        }
        add_capacities(self, layer);
    }
    return LMN_OK;
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    if (!bucket->leads || !lmn__bucket_may_travel_by(reducer, bucket, LMN_COMBINE_ROUNDS)) {
        return LMN_OK;
    }
    rounds_exchange *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->head = (lmn__exchange){&lmn__exchange_rounds, reducer, bucket};
    *exchange_out = &self->head;
    self->round = ROUNDS_MAX;
    const lmn_status status = take_layers(self, err);
    return status == LMN_OK ? take_channels(self, err) : status;
}

static lmn_status connect(lmn__exchange *exchange, lmn_error *err)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < ROUNDS_MAX * REDUCTIONS && status == LMN_OK; i++) {
        channel *c = &self->channels[i / REDUCTIONS][i % REDUCTIONS];
        if (c->capacity > 0) {
            status =
                lmn_allreduce_create(exchange->reducer->team.world, (lmn_reduction)(i % REDUCTIONS),
                                     c->capacity, &c->allreduce, err);
        }
    }
    return status;
}

/* ------------------------------------------------------------------ encoding */

/* The place of a layer's numbers in a round, with zeros behind them. */
static void place_round(rounds_exchange *self, rounds_layer *entry, size_t round)
{
    const lmn_rounds_job *job = &entry->job;
    const lmn_round r = lmn_compressor_round(self->head.reducer->compressor, job->level, job->shape,
                                             round, job->step);
    channel *c = &self->channels[round][r.reduction];
    const size_t bytes = bytes_in_memory(r.reduction);
    unsigned char *const own = c->own + c->count * bytes;
    entry->job.own[round] = own;
    entry->job.numbers[round] = c->numbers + c->count * bytes;
    memset(own + r.count * bytes, 0, (padded(r) - r.count) * bytes);
    entry->layer->message_bytes += r.count * bytes_on_wire(r.reduction);
    c->count += padded(r);
}

static void place_layer(rounds_exchange *self, rounds_layer *entry)
{
    const lmn_reducer *reducer = self->head.reducer;
    lmn__layer *layer = entry->layer;
    entry->job.level = layer->travel_level;
    entry->job.shape = lmn__layer_shape(layer);
    entry->job.n_ranks = reducer->team.size;
    entry->job.step = layer->compressed_steps;
    entry->job.stream = lmn__layer_stream(reducer, layer, LMN_STREAM_ALL_RANKS);
    entry->job.vector = layer->vector;
    entry->job.memory = layer->shared_memory;
    layer->message_bytes = 0;
    const size_t n_rounds = lmn_compressor_round_count(reducer->compressor, layer->travel_level);
    for (size_t round = 0; round < n_rounds; round++) {
        place_round(self, entry, round);
    }
}

static void lay_out(rounds_exchange *self)
{
    for (size_t i = 0; i < ROUNDS_MAX * REDUCTIONS; i++) {
        self->channels[i / REDUCTIONS][i % REDUCTIONS].count = 0;
    }
    for (size_t i = 0; i < self->n_layers; i++) {
        if (lmn__carries(&self->head, self->layers[i].layer)) {
            place_layer(self, &self->layers[i]);
        }
    }
}

static void encode_round(const rounds_exchange *self, size_t round)
{
    const lmn_compressor *compressor = self->head.reducer->compressor;
    for (size_t i = 0; i < self->n_layers; i++) {
        const lmn_rounds_job *job = &self->layers[i].job;
        if (lmn__carries(&self->head, self->layers[i].layer) &&
            round < lmn_compressor_round_count(compressor, job->level)) {
            lmn_compressor_round_encode(compressor, job, round);
        }
    }
}

static lmn_status encode(lmn__exchange *exchange, lmn_error *err)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    lay_out(self);
    for (size_t i = 0; i < self->n_layers; i++) {
        lmn__layer *layer = self->layers[i].layer;
        if (lmn__carries(exchange, layer) && !lmn__layer_form_vector(layer)) {
            return lmn__nonfinite(exchange->reducer, layer, err);
        }
    }
    encode_round(self, 0);
    return LMN_OK;
}

/* ------------------------------------------------------------------ rounds */

static lmn_status start_round(rounds_exchange *self, size_t round, lmn_error *err)
{
    lmn_status status = LMN_OK;
    self->round = round;
    for (size_t r = 0; r < REDUCTIONS && status == LMN_OK; r++) {
        const channel *c = &self->channels[round][r];
        if (c->count == 0) {
            continue;
        }
        if (self->silent) {
            memset(c->own, 0, c->count * bytes_in_memory(r));
        }
        status = lmn_allreduce_start(c->allreduce, c->own, c->numbers, c->count, 1.0F, err);
    }
    return status;
}

static lmn_status start(lmn__exchange *exchange, bool silent, lmn_error *err)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    self->round = ROUNDS_MAX;
    if (lmn__carried_count(exchange) == 0) {
        return LMN_OK;
    }
    self->silent = silent;
    if (silent) {
        lay_out(self);
    }
    return start_round(self, 0, err);
}

static lmn_status progress_round(const rounds_exchange *self, lmn_error *err)
{
    lmn_status all = LMN_OK;
    for (size_t r = 0; r < REDUCTIONS; r++) {
        const channel *c = &self->channels[self->round][r];
        const lmn_status status =
            c->count == 0 ? LMN_OK : lmn_collective_progress(c->allreduce, err);
        if (status < LMN_OK) {
            return status;
        }
        all = status == LMN_IN_PROGRESS ? status : all;
    }
    return all;
}

static bool has_round(const rounds_exchange *self, size_t round)
{
    bool found = false;
    for (size_t r = 0; r < REDUCTIONS && round < ROUNDS_MAX; r++) {
        found = found || self->channels[round][r].count > 0;
    }
    return found;
}

static lmn_status progress(lmn__exchange *exchange, lmn_error *err)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    lmn_status status = LMN_OK;
    while (self->round < ROUNDS_MAX && status == LMN_OK) {
        status = progress_round(self, err);
        if (status != LMN_OK) {
            break;
        }
        if (!has_round(self, self->round + 1)) {
            self->round = ROUNDS_MAX;
            break;
        }
        const double begin = lmn_clock_seconds();
        if (!self->silent) {
            encode_round(self, self->round + 1);
        }
        exchange->reducer->seconds_encode += lmn_clock_seconds() - begin;
        status = start_round(self, self->round + 1, err);
    }
    return status;
}

/* ------------------------------------------------------------------ the outcome */

/* Vectors were finite, but sums of what comes of them may not be. The same on all ranks. */
static lmn_status check_round(const rounds_exchange *self, const rounds_layer *entry, size_t round,
                              lmn_error *err)
{
    const lmn_rounds_job *job = &entry->job;
    const lmn_round r = lmn_compressor_round(self->head.reducer->compressor, job->level, job->shape,
                                             round, job->step);
    if (r.reduction == LMN_REDUCTION_SUM_I8 || r.reduction == LMN_REDUCTION_SUM_I16 ||
        lmn__is_finite_vector(job->numbers[round], r.count)) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_NONFINITE,
                         "mean gradient of layer '%s' is not finite in step %llu",
                         entry->layer->name, (unsigned long long)self->head.reducer->step);
}

static lmn_status check(const lmn__exchange *exchange, lmn_error *err)
{
    const rounds_exchange *self = (const rounds_exchange *)exchange;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < self->n_layers && status == LMN_OK; i++) {
        const rounds_layer *entry = &self->layers[i];
        const size_t n_rounds =
            lmn__carries(exchange, entry->layer)
                ? lmn_compressor_round_count(exchange->reducer->compressor, entry->job.level)
                : 0;
        for (size_t round = 0; round < n_rounds && status == LMN_OK; round++) {
            status = check_round(self, entry, round, err);
        }
    }
    return status;
}

static void advance_states(const lmn_compressor *compressor, const rounds_layer *entry)
{
    lmn__layer *layer = entry->layer;
    if (lmn_feedback_state_count(layer->feedback) == 0) {
        return;
    }
#pragma omp parallel for schedule(static) if (layer->count >= LMN__SHARED_COUNT)
    for (size_t first = 0; first < layer->count; first += LMN__LAYER_TILE) {
        float sent[LMN__LAYER_TILE];
        const size_t rest = layer->count - first;
        const size_t count = rest < LMN__LAYER_TILE ? rest : LMN__LAYER_TILE;
        lmn_compressor_rounds_sent(compressor, &entry->job, first, count, sent);
        lmn__watch_tile(layer, first, count, layer->vector + first, sent);
        lmn__layer_advance(layer, first, count, layer->vector + first, sent);
    }
}

static void commit_layer(const lmn_compressor *compressor, rounds_layer *entry)
{
    lmn__layer *layer = entry->layer;
    float *const sum = layer->tracked != NULL ? layer->tracked : layer->average;
    if (layer->tracked == NULL) {
        memset(sum, 0, layer->count * sizeof *sum);
    }
    lmn_compressor_rounds_decode_add(compressor, &entry->job, 1.0F, sum);
    advance_states(compressor, entry);
    lmn_compressor_rounds_commit(compressor, &entry->job);
}

static void commit(lmn__exchange *exchange)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    for (size_t i = 0; i < self->n_layers; i++) {
        if (lmn__carries(exchange, self->layers[i].layer)) {
            commit_layer(exchange->reducer->compressor, &self->layers[i]);
        }
    }
}

static uint64_t bytes_sent(const lmn__exchange *exchange)
{
    const rounds_exchange *self = (const rounds_exchange *)exchange;
    uint64_t bytes = 0;
    for (size_t i = 0; i < ROUNDS_MAX * REDUCTIONS; i++) {
        const channel *c = &self->channels[i / REDUCTIONS][i % REDUCTIONS];
        bytes += c->allreduce == NULL ? 0 : lmn_collective_bytes_sent(c->allreduce);
    }
    return bytes;
}

static void destroy(lmn__exchange *exchange)
{
    rounds_exchange *self = (rounds_exchange *)exchange;
    for (size_t i = 0; i < ROUNDS_MAX * REDUCTIONS; i++) {
        const channel *c = &self->channels[i / REDUCTIONS][i % REDUCTIONS];
        lmn_collective_destroy(c->allreduce);
        lmn_free(c->own);
        lmn_free(c->numbers);
    }
    for (size_t i = 0; i < self->n_layers; i++) {
        lmn_free(self->layers[i].job.scratch);
    }
    lmn_free(self->layers);
    lmn_free(self);
}

const lmn__exchange_kind lmn__exchange_rounds = {.combine = LMN_COMBINE_ROUNDS,
                                                 .needs_vectors = true,
                                                 .counts_steps = true,
                                                 .wire_bytes = wire_bytes,
                                                 .create = create,
                                                 .connect = connect,
                                                 .encode = encode,
                                                 .start = start,
                                                 .progress = progress,
                                                 .check = check,
                                                 .commit = commit,
                                                 .bytes_sent = bytes_sent,
                                                 .destroy = destroy};
