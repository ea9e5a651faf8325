/*
 * A step of the reducer: open, hand over, move on, finish.
 *
 * Buckets leave in their fixed order, each as soon as it and all before it are complete. The last
 * one carries the small layers, the verdict and the caller's scalars; it leaves in finish, because
 * until then a rank may still have something to say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "node_internal.h"
#include "timing_internal.h"

#include <assert.h>
#include <string.h>

static uint64_t bytes_sent(const lmn_reducer *reducer)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        for (size_t e = 0; e < lmn__bucket_driven(bucket); e++) {
            bytes += bucket->exchanges[e]->kind->bytes_sent(bucket->exchanges[e]);
        }
    }
    return bytes;
}

void lmn_reducer_set_trace(lmn_reducer *reducer, lmn_trace *trace)
{
    reducer->trace = trace;
}

lmn_status lmn_reducer_begin(lmn_reducer *reducer, uint64_t step, lmn_error *err)
{
    if (reducer->open) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "step %llu is still open: finish it before step %llu begins",
                             (unsigned long long)reducer->step, (unsigned long long)step);
    }
    reducer->open = true;
    reducer->step = step;
    reducer->next_bucket = 0;
    reducer->nonfinite = false;
    reducer->failure = LMN_OK;
    reducer->seconds_encode = 0.0;
    reducer->seconds_decode = 0.0;
    reducer->seconds_progress = 0.0;
    reducer->n_under_way = 0;
    reducer->times = (lmn_step_times){.ready_at = 0.0};
    reducer->bytes_before = bytes_sent(reducer);
    memset(reducer->scalars, 0, sizeof reducer->scalars);
    lmn__node_begin(reducer);
    lmn__reducer_set_travel_levels(reducer);
    lmn__timing_begin(reducer);
    lmn__watch_begin(reducer);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->layers[i].ready = false;
        reducer->layers[i].message_bytes = 0;
    }
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        reducer->buckets[i].pending = reducer->buckets[i].layer_count;
        reducer->buckets[i].started = false;
    }
    return LMN_OK;
}

static void record_failure(lmn_reducer *reducer, lmn_status status, const lmn_error *cause)
{
    if (reducer->failure != LMN_OK) {
        return;
    }
    reducer->failure = status;
    reducer->failure_error = cause != NULL ? *cause : lmn_error_none();
    if (cause == NULL) {
        (void)lmn_error_set(&reducer->failure_error, status, "%s", lmn_status_text(status));
    }
}

static void note_nonfinite(lmn_reducer *reducer, const lmn_error *cause)
{
    if (reducer->failure == LMN_OK) {
        reducer->failure_error = *cause;
    }
    reducer->nonfinite = true;
}

/* What this rank cannot say honestly it does not say; the verdict discards the step. */
static bool is_silent(const lmn_reducer *reducer)
{
    return reducer->failure != LMN_OK || reducer->nonfinite;
}

static void encode_bucket(lmn_reducer *reducer, const lmn__bucket *bucket)
{
    const double start = lmn_clock_seconds();
    if (!is_silent(reducer)) {
        lmn__node_sum(reducer, bucket);
    }
    for (size_t e = 0; e < lmn__bucket_driven(bucket) && !is_silent(reducer); e++) {
        lmn_error cause = lmn_error_none();
        const lmn_status status = bucket->exchanges[e]->kind->encode(bucket->exchanges[e], &cause);
        if (status == LMN_ERR_NONFINITE) {
            note_nonfinite(reducer, &cause);
        } else if (status != LMN_OK) {
            record_failure(reducer, status, &cause);
        }
    }
    const double end = lmn_clock_seconds();
    reducer->seconds_encode += end - start;
    lmn_trace_add(reducer->trace, "encode", LMN_TRACE_LANE_WORK, reducer->step, start, end);
}

static float *verdict_of(const lmn__bucket *last, float *region)
{
    return region + last->dense_count - last->n_extra;
}

static void write_verdict(const lmn_reducer *reducer, const lmn__bucket *last)
{
    float *const verdict = verdict_of(last, last->vectors);
    verdict[LMN__VERDICT_NONFINITE] = reducer->nonfinite ? 1.0F : 0.0F;
    verdict[LMN__VERDICT_FAILED] = reducer->failure != LMN_OK ? 1.0F : 0.0F;
    memcpy(verdict + LMN__VERDICT_COUNT, reducer->scalars, reducer->n_scalars * sizeof *verdict);
    lmn__watch_write(reducer, verdict + LMN__VERDICT_COUNT + reducer->n_scalars);
}

static lmn_status start_bucket(lmn_reducer *reducer, lmn__bucket *bucket, lmn_error *err)
{
    if (!bucket->leads) {
        return LMN_OK;
    }
    if (!is_silent(reducer)) {
        lmn__timing_encode(reducer, bucket);
    }
    encode_bucket(reducer, bucket);
    if (bucket->n_extra > 0) {
        write_verdict(reducer, bucket);
    }
    bucket->started = true;
    bucket->is_under_way = true;
    bucket->started_at = lmn_clock_seconds();
    if (reducer->n_under_way++ == 0) {
        reducer->under_way_since = bucket->started_at;
    }
    lmn_status status = LMN_OK;
    for (size_t e = 0; e < bucket->n_exchanges && status == LMN_OK; e++) {
        status = bucket->exchanges[e]->kind->start(bucket->exchanges[e], is_silent(reducer), err);
    }
    return status;
}

/* Also one that another rank leads: there is nothing to wait for. */
static bool can_start(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    return !bucket->leads || (bucket->pending == 0 && lmn__node_is_complete(reducer, bucket));
}

/* The last bucket stays for lmn_reducer_finish. */
static lmn_status start_complete_buckets(lmn_reducer *reducer, lmn_error *err)
{
    while (reducer->next_bucket + 1 < reducer->n_buckets &&
           can_start(reducer, &reducer->buckets[reducer->next_bucket])) {
        lmn__bucket *bucket = &reducer->buckets[reducer->next_bucket++];
        const lmn_status status = start_bucket(reducer, bucket, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

/* Takes note of what ends all that is collective. */
static lmn_status noted(lmn_reducer *reducer, lmn_status status)
{
    reducer->is_broken = reducer->is_broken || status == LMN_ERR_COMM;
    return status;
}

lmn_status lmn_reducer_ready(lmn_reducer *reducer, size_t layer, const float *gradient,
                             lmn_error *err)
{
    if (!reducer->open || layer >= reducer->n_layers || reducer->layers[layer].ready) {
        const char *why = !reducer->open ? "no step is open" : "not a layer, or handed over before";
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "gradient of layer %zu refused: %s", layer,
                             why);
    }
    lmn__layer *found = &reducer->layers[layer];
    if (gradient == NULL) {
        memset(found->own, 0, found->count * sizeof *gradient);
    } else if (gradient != found->own) {
        memcpy(found->own, gradient, found->count * sizeof *gradient);
    }
    found->ready = true;
    lmn__timing_ready(reducer, layer);
    lmn__bucket *bucket = &reducer->buckets[found->bucket];
    if (--bucket->pending == 0) {
        lmn__node_announce(reducer, bucket);
    }
    return noted(reducer, start_complete_buckets(reducer, err));
}

/* Whatever this rank has, it is all that the others get. */
static void complete_all(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->layers[i].ready = true;
    }
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        reducer->buckets[i].pending = 0;
        lmn__node_announce(reducer, &reducer->buckets[i]);
    }
}

lmn_status lmn_reducer_fail(lmn_reducer *reducer, lmn_status status, const lmn_error *cause,
                            lmn_error *err)
{
    assert(reducer->open && status != LMN_OK);
    record_failure(reducer, status, cause);
    complete_all(reducer);
    return noted(reducer, start_complete_buckets(reducer, err));
}

void lmn_reducer_set_scalar(lmn_reducer *reducer, size_t index, float value)
{
    assert(reducer->open && index < reducer->n_scalars);
    reducer->scalars[index] = value;
}

static lmn_status progress_bucket(const lmn__bucket *bucket, lmn_error *err)
{
    lmn_status all = LMN_OK;
    for (size_t e = 0; e < lmn__bucket_driven(bucket) && bucket->started; e++) {
        const lmn_status status = bucket->exchanges[e]->kind->progress(bucket->exchanges[e], err);
        if (status < LMN_OK) {
            return status;
        }
        all = status == LMN_IN_PROGRESS ? status : all;
    }
    return all;
}

static void note_finished(lmn_reducer *reducer, lmn__bucket *bucket)
{
    const int lane = 1 + (int)(bucket - reducer->buckets);
    const double now = lmn_clock_seconds();
    bucket->is_under_way = false;
    if (--reducer->n_under_way == 0) {
        reducer->times.seconds_flight += now - reducer->under_way_since;
    }
    lmn_trace_add(reducer->trace, "exchange", lane, reducer->step, bucket->started_at, now);
}

/* LMN_IN_PROGRESS while any started bucket is under way. */
static lmn_status progress_all(lmn_reducer *reducer, lmn_error *err)
{
    lmn_status all = LMN_OK;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        lmn__bucket *bucket = &reducer->buckets[i];
        const lmn_status status = progress_bucket(bucket, err);
        if (status < LMN_OK) {
            return status;
        }
        if (status == LMN_OK && bucket->is_under_way) {
            note_finished(reducer, bucket);
        }
        all = status == LMN_IN_PROGRESS ? status : all;
    }
    return all;
}

static lmn_status move_on(lmn_reducer *reducer, lmn_error *err)
{
    const lmn_status status = progress_all(reducer, err);
    if (status < LMN_OK || !reducer->open) {
        return noted(reducer, status < LMN_OK ? status : LMN_OK);
    }
    /* With two levels other ranks of the node may have completed one. */
    return noted(reducer, start_complete_buckets(reducer, err));
}

lmn_status lmn_reducer_progress(lmn_reducer *reducer, lmn_error *err)
{
    const double begin = lmn_clock_seconds();
    const double encode_before = reducer->seconds_encode;
    const lmn_status status = move_on(reducer, err);
    reducer->seconds_progress +=
        lmn_clock_seconds() - begin - (reducer->seconds_encode - encode_before);
    return status;
}

static void fail_if_incomplete(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (!reducer->layers[i].ready) {
            lmn_error cause = lmn_error_none();
            const lmn_status status =
                lmn_error_set(&cause, LMN_ERR_ARGUMENT,
                              "the gradient of layer '%s' was not handed over in step %llu",
                              reducer->layers[i].name, (unsigned long long)reducer->step);
            record_failure(reducer, status, &cause);
            complete_all(reducer);
            return;
        }
    }
}

/* All buckets but the last: those that this rank leads wait for the other ranks of the node. */
static lmn_status start_rest(lmn_reducer *reducer, lmn_error *err)
{
    lmn_status status = start_complete_buckets(reducer, err);
    while (status == LMN_OK && reducer->next_bucket + 1 < reducer->n_buckets) {
        status = lmn_reducer_progress(reducer, err);
        if (status == LMN_OK) {
            status = lmn_world_poll(reducer->world, err);
        }
    }
    return status;
}

static const lmn_activity exchanging = {.text = "the exchange of gradients", .waits = true};
static const lmn_activity combining = {.text = "combining gradients", .waits = false};

static lmn_status exchange(lmn_reducer *reducer, lmn_error *err)
{
    (void)lmn_world_note(reducer->world, &exchanging);
    fail_if_incomplete(reducer);
    lmn_status status = start_rest(reducer, err);
    if (status == LMN_OK) {
        status = start_bucket(reducer, &reducer->buckets[reducer->next_bucket++], err);
    }
    while (status == LMN_OK) {
        status = progress_all(reducer, err);
        if (status == LMN_OK) {
            return LMN_OK;
        }
        status = status == LMN_IN_PROGRESS ? LMN_OK : status;
    }
    return status;
}

static lmn_status check_bucket(const lmn__bucket *bucket, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t e = 0; e < lmn__bucket_driven(bucket) && status == LMN_OK; e++) {
        const lmn__exchange *exchange = bucket->exchanges[e];
        status = exchange->kind->check == NULL ? LMN_OK : exchange->kind->check(exchange, err);
    }
    return status;
}

/* What arrived may still be unfit: a mean that overflows, which all ranks find alike, skips the
 * step. */
static lmn_status check_messages(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    lmn_status status = LMN_OK;
    lmn_error cause = lmn_error_none();
    size_t bucket = 0;
    while (bucket < reducer->n_buckets && status == LMN_OK) {
        status = check_bucket(&reducer->buckets[bucket++], &cause);
    }
    cause.status = status;
    const lmn_status agreed = lmn__node_agree(reducer, bucket, &cause, err);
    if (agreed != LMN_OK) {
        return agreed;
    }
    status = cause.status;
    if (status == LMN_ERR_NONFINITE) {
        report->applied = false;
        memcpy(report->reason, cause.message, sizeof report->reason - 1);
        return LMN_OK;
    }
    if (status != LMN_OK && err != NULL) {
        *err = cause;
    }
    return status;
}

static uint64_t dense_bytes(const lmn_reducer *reducer)
{
    uint64_t all_ranks = 0;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        size_t count = 0;
        for (size_t place = 0; place < bucket->layer_count; place++) {
            count += reducer->layers[reducer->order[bucket->first_layer + place]].count;
        }
        all_ranks += lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, reducer->size, count);
    }
    const uint64_t size = (uint64_t)reducer->size;
    return all_ranks / size + ((uint64_t)reducer->rank < all_ranks % size ? 1 : 0);
}

/* What the last bucket says of the whole step; on trouble the ranks settle on one message. */
static lmn_status take_verdict(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    const lmn__bucket *last = &reducer->buckets[reducer->n_buckets - 1];
    const float *verdict = verdict_of(last, last->averages);
    memcpy(report->scalars, verdict + LMN__VERDICT_COUNT, reducer->n_scalars * sizeof(float));
    lmn__watch_read(reducer, verdict + LMN__VERDICT_COUNT + reducer->n_scalars);
    const bool failed = verdict[LMN__VERDICT_FAILED] != 0.0F;
    report->applied = !failed && verdict[LMN__VERDICT_NONFINITE] == 0.0F;
    if (report->applied) {
        return LMN_OK;
    }
    lmn_error cause = reducer->failure_error;
    const lmn_status skipped = reducer->nonfinite ? LMN_ERR_NONFINITE : LMN_OK;
    const lmn_status status =
        lmn_agree(reducer->world, failed ? reducer->failure : skipped, &cause);
    if (!failed && status == LMN_ERR_NONFINITE) {
        memcpy(report->reason, cause.message, sizeof report->reason - 1);
        return LMN_OK;
    }
    if (err != NULL) {
        *err = cause;
    }
    return status;
}

lmn_step_times lmn_reducer_step_times(const lmn_reducer *reducer)
{
    return reducer->times;
}

lmn_status lmn_reducer_finish(lmn_reducer *reducer, lmn_step_report *report_out, lmn_error *err)
{
    if (!reducer->open) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "no step is open: begin one before finishing");
    }
    lmn_step_report report = {.applied = false};
    const double start = lmn_clock_seconds();
    reducer->times.ready_at = start;
    const double worked_before = reducer->seconds_encode + reducer->seconds_decode;
    lmn__timing_computed(reducer);
    lmn_status status = exchange(reducer, err);
    const double arrived = lmn_clock_seconds();
    (void)lmn_world_note(reducer->world, &combining);
    lmn_trace_add(reducer->trace, "wait", LMN_TRACE_LANE_WORK, reducer->step, start, arrived);
    reducer->open = false;
    report.seconds_encode = reducer->seconds_encode;
    report.seconds_decode = reducer->seconds_decode;
    report.seconds_wait =
        arrived - start - (report.seconds_encode + report.seconds_decode - worked_before);
    report.bytes_sent = bytes_sent(reducer) - reducer->bytes_before;
    report.bytes_dense = dense_bytes(reducer);
    if (status == LMN_OK) {
        status = take_verdict(reducer, &report, err);
    }
    if (status == LMN_OK && report.applied) {
        status = check_messages(reducer, &report, err);
    }
    if (status == LMN_OK && report.applied) {
        lmn__reducer_commit(reducer);
        const double committed = lmn_clock_seconds();
        lmn_trace_add(reducer->trace, "combine", LMN_TRACE_LANE_WORK, reducer->step, arrived,
                      committed);
        status = lmn__drift_settle(reducer, &report, err);
        if (status == LMN_OK) {
            status = lmn__node_settle(reducer, err);
        }
        report.seconds_decode += committed - arrived;
        report.seconds_wait += lmn_clock_seconds() - committed;
    }
    if (status == LMN_OK) {
        reducer->last_applied = report.applied;
        lmn__timing_finished(reducer, &report);
    }
    /* Also after a skipped step: what was observed before it would be stale at the next decision.
     */
    if (status == LMN_OK && lmn__reducer_adjusts(reducer)) {
        status = lmn__reducer_adjust(reducer, &report, err);
    }
    if (status == LMN_OK) {
        *report_out = report;
    }
    return noted(reducer, status);
}
