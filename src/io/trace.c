/*
 * Traces: noting spans, and writing those of all ranks into one file.
 *
 * Rank 0 writes; the others send it their spans one rank after the other, so it never holds more
 * than those of one rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/trace.h"

#include "files_internal.h"
#include "lamina/clock.h"
#include "lamina/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

enum { NAME_BYTES = 32, TAG = 0 };

/* Sent as bytes: ranks of one run are programs of one build. */
typedef struct span {
    char name[NAME_BYTES];
    double start, end;
    uint64_t step;
    int64_t lane;
} span;

struct lmn_trace {
    size_t count;
    size_t capacity;
    size_t dropped;
    span spans[];
};

lmn_status lmn_trace_create(size_t capacity, lmn_trace **trace_out, lmn_error *err)
{
    lmn_trace *trace = NULL;
    if (capacity <= (SIZE_MAX - sizeof *trace) / sizeof trace->spans[0]) {
        trace = lmn_alloc(1, sizeof *trace + capacity * sizeof trace->spans[0], err);
    }
    if (trace == NULL) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "no memory for a trace of %zu spans", capacity);
    }
    trace->capacity = capacity;
    *trace_out = trace;
    return LMN_OK;
}

void lmn_trace_destroy(lmn_trace *trace)
{
    lmn_free(trace);
}

void lmn_trace_add(lmn_trace *trace, const char *name, int lane, uint64_t step, double start,
                   double end)
{
    if (trace == NULL) {
        return;
    }
    if (trace->count == trace->capacity) {
        trace->dropped++;
        return;
    }
    span *s = &trace->spans[trace->count++];
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    s->lane = lane;
    s->step = step;
    s->start = start;
    s->end = end;
}

size_t lmn_trace_count(const lmn_trace *trace)
{
    return trace->count;
}

size_t lmn_trace_dropped(const lmn_trace *trace)
{
    return trace->dropped;
}

static lmn_status check(int code, lmn_error *err)
{
    return code == MPI_SUCCESS
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_COMM, "MPI failed while a trace was put together");
}

/* The file under way. After an error nothing more is written, but rank 0 goes on taking part. */
typedef struct writer {
    FILE *file;
    int error; /* errno of the first failure */
    bool is_first;
    double origin; /* on rank 0's clock */
} writer;

static void write_failed(writer *w)
{
    w->error = w->error != 0 ? w->error : errno != 0 ? errno : EIO;
}

/* Names come from the program's own code and hold nothing that JSON would have to escape. */
static void write_span(writer *w, const span *s, int rank)
{
    if (w->error != 0) {
        return;
    }
    const int written = fprintf(
        w->file,
        "%s\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":%lld,\"ts\":%.3f,"
        "\"dur\":%.3f,\"args\":{\"step\":%llu}}",
        w->is_first ? "" : ",", s->name, rank, (long long)s->lane, 1e6 * (s->start - w->origin),
        1e6 * (s->end - s->start), (unsigned long long)s->step);
    w->is_first = false;
    if (written < 0) {
        write_failed(w);
    }
}

static void write_process_name(writer *w, int rank)
{
    if (w->error != 0) {
        return;
    }
    const int written = fprintf(w->file,
                                "%s\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,"
                                "\"args\":{\"name\":\"rank %d\"}}",
                                w->is_first ? "" : ",", rank, rank);
    w->is_first = false;
    if (written < 0) {
        write_failed(w);
    }
}

/* Shifted to rank 0's clock. */
static span shifted(const span *s, double offset)
{
    span moved = *s;
    moved.start += offset;
    moved.end += offset;
    return moved;
}

static lmn_status send_spans(MPI_Comm comm, const lmn_trace *trace, double offset, lmn_error *err)
{
    const uint64_t count = trace->count;
    lmn_status status = check(MPI_Send(&count, 1, MPI_UINT64_T, 0, TAG, comm), err);
    for (size_t i = 0; i < trace->count && status == LMN_OK; i++) {
        const span s = shifted(&trace->spans[i], offset);
        status = check(MPI_Send(&s, (int)sizeof s, MPI_BYTE, 0, TAG, comm), err);
    }
    return status;
}

static lmn_status receive_spans(MPI_Comm comm, int rank, writer *w, lmn_error *err)
{
    uint64_t count = 0;
    lmn_status status =
        check(MPI_Recv(&count, 1, MPI_UINT64_T, rank, TAG, comm, MPI_STATUS_IGNORE), err);
    if (status == LMN_OK) {
        write_process_name(w, rank);
    }
    for (uint64_t i = 0; i < count && status == LMN_OK; i++) {
        span s;
        status =
            check(MPI_Recv(&s, (int)sizeof s, MPI_BYTE, rank, TAG, comm, MPI_STATUS_IGNORE), err);
        if (status == LMN_OK) {
            write_span(w, &s, rank);
        }
    }
    return status;
}

static void open_file(writer *w, const char *path)
{
    errno = 0;
    w->file = fopen(path, "w");
    if (w->file == NULL || fprintf(w->file, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[") < 0) {
        write_failed(w);
    }
}

static lmn_status close_file(writer *w, const char *path, lmn_error *err)
{
    if (w->file != NULL) {
        if (w->error == 0 && fprintf(w->file, "\n]}\n") < 0) {
            write_failed(w);
        }
        if (fclose(w->file) != 0) {
            write_failed(w);
        }
    }
    return w->error == 0 ? LMN_OK
                         : lmn__io_error(err, w->error, "cannot write the trace '%s'", path);
}

static lmn_status collect(lmn_world *world, writer *w, lmn_error *err)
{
    MPI_Comm comm = lmn_world_comm(world);
    lmn_status status = LMN_OK;
    for (int rank = 1; rank < lmn_world_size(world) && status == LMN_OK; rank++) {
        status = receive_spans(comm, rank, w, err);
    }
    return status;
}

static double earliest(const lmn_trace *trace)
{
    double start = trace->count > 0 ? trace->spans[0].start : lmn_clock_seconds();
    for (size_t i = 1; i < trace->count; i++) {
        start = trace->spans[i].start < start ? trace->spans[i].start : start;
    }
    return start;
}

/* On rank 0. */
static lmn_status write_all(lmn_world *world, const lmn_trace *trace, const char *path,
                            lmn_error *err)
{
    writer w = {.is_first = true, .origin = earliest(trace)};
    open_file(&w, path);
    write_process_name(&w, 0);
    for (size_t i = 0; i < trace->count; i++) {
        write_span(&w, &trace->spans[i], 0);
    }
    const lmn_status status = collect(world, &w, err);
    const lmn_status closed = close_file(&w, path, status == LMN_OK ? err : NULL);
    return status == LMN_OK ? closed : status;
}

lmn_status lmn_trace_write(lmn_world *world, const lmn_trace *trace, const char *path,
                           lmn_error *err)
{
    lmn_clock_offset offset;
    lmn_status status = lmn_world_compare_clocks(world, &offset, err);
    if (status != LMN_OK) {
        return status;
    }
    if (lmn_world_rank(world) == 0) {
        status = write_all(world, trace, path, err);
    } else {
        status = send_spans(lmn_world_comm(world), trace, offset.seconds, err);
    }
    return status == LMN_ERR_COMM ? status : lmn_agree(world, status, err);
}
