/*
 * Memory that the ranks of one node share.
 *
 * A shared window of MPI-3 is open for its whole life (lock_all), in the unified memory model, in
 * which loads and stores of all ranks meet in the same memory. MPI asks for MPI_Win_sync on both
 * sides of whatever tells one rank that another has written. What tells it here is an atomic flag,
 * stored with release and loaded with acquire order. Flags have cache lines of their own, so that
 * looking at one does not slow down who writes beside it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "arithmetic_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "lamina/node.h"
#include "mpi_error_internal.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* f32 that are summed over all ranks before the next: stays in the L1 cache. */
#define BLOCK_COUNT 2048

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "flags are shared between processes");

/* A flag and the rest of its cache line. */
typedef struct flag_line {
    _Alignas(LMN_ALIGNMENT) _Atomic uint64_t epoch;
} flag_line;

/* What this rank knows of the segment of one rank. */
typedef struct segment {
    flag_line *flags;    /* [n_flags] */
    unsigned char *data; /* [bytes] */
    size_t bytes;
} segment;

struct lmn_node_memory {
    lmn_world *world; /* borrowed */
    MPI_Win window;
    bool is_locked;
    size_t n_flags;
    int n_ranks;
    segment *segments; /* [n_ranks] owned; the memory is the window's */
};

static lmn_status check_model(lmn_node_memory *memory, lmn_error *err)
{
    const int *model = NULL;
    int is_set = 0;
    lmn_status status =
        lmn__mpi_check(MPI_Win_get_attr(memory->window, MPI_WIN_MODEL, &model, &is_set), err,
                       "ask for the memory model of a shared window");
    if (status == LMN_OK && (is_set == 0 || *model != MPI_WIN_UNIFIED)) {
        status = lmn_error_set(err, LMN_ERR_UNSUPPORTED,
                               "cannot share memory inside a node: this MPI has no unified memory "
                               "model; use --hierarchy flat");
    }
    return status;
}

/* Bytes of this rank's part of the window: room to align, flags, data. 0 when too large. */
static size_t window_bytes(size_t bytes, size_t n_flags)
{
    const size_t limit = SIZE_MAX / 4;
    if (bytes > limit || n_flags > limit / sizeof(flag_line)) {
        return 0;
    }
    return LMN_ALIGNMENT + n_flags * sizeof(flag_line) + lmn_align_up(bytes);
}

static lmn_status allocate(lmn_node_memory *memory, size_t bytes, lmn_error *err)
{
    /* Segments on pages of their own may lie near the cores of their ranks. */
    MPI_Info info = MPI_INFO_NULL;
    lmn_status status = lmn__mpi_check(MPI_Info_create(&info), err, "describe a shared window");
    if (status == LMN_OK) {
        status = lmn__mpi_check(MPI_Info_set(info, "alloc_shared_noncontig", "true"), err,
                                "describe a shared window");
    }
    void *base = NULL;
    if (status == LMN_OK) {
        status = lmn__mpi_check(
            MPI_Win_allocate_shared((MPI_Aint)window_bytes(bytes, memory->n_flags), 1, info,
                                    memory->world->node_comm, (void *)&base, &memory->window),
            err, "share %zu bytes inside the node", bytes);
    }
    if (info != MPI_INFO_NULL) {
        (void)MPI_Info_free(&info);
    }
    if (status == LMN_OK) {
        status = lmn__mpi_check(MPI_Win_set_errhandler(memory->window, MPI_ERRORS_RETURN), err,
                                "make a window return its errors");
    }
    return status;
}

/* The data follows the flags; pages lie alike in all processes, and so do aligned addresses. */
static void *aligned(void *base)
{
    const uintptr_t address = (uintptr_t)base;
    return (unsigned char *)base + (LMN_ALIGNMENT - address % LMN_ALIGNMENT) % LMN_ALIGNMENT;
}

static lmn_status find_segments(lmn_node_memory *memory, size_t bytes, lmn_error *err)
{
    uint64_t own = bytes;
    for (int rank = 0; rank < memory->n_ranks; ++rank) {
        segment *found = &memory->segments[rank];
        MPI_Aint window_size = 0;
        int unit = 0;
        void *base = NULL;
        const lmn_status status = lmn__mpi_check(
            MPI_Win_shared_query(memory->window, rank, &window_size, &unit, (void *)&base), err,
            "find the shared memory of node rank %d", rank);
        if (status != LMN_OK) {
            return status;
        }
        found->flags = aligned(base);
        found->data = (unsigned char *)(found->flags + memory->n_flags);
    }
    segment *mine = &memory->segments[memory->world->placement.node_rank];
    mine->bytes = own;
    for (size_t i = 0; i < memory->n_flags; ++i) {
        atomic_init(&mine->flags[i].epoch, 0);
    }
    if (bytes > 0) {
        memset(mine->data, 0, bytes);
    }
    return LMN_OK;
}

static lmn_status open_window(lmn_node_memory *memory, lmn_error *err)
{
    const lmn_status status = lmn__mpi_check(MPI_Win_lock_all(MPI_MODE_NOCHECK, memory->window),
                                             err, "open the node's shared memory");
    memory->is_locked = status == LMN_OK;
    return status;
}

/* Everyone's size, and with it the promise that flags and data are cleared. */
static lmn_status exchange_sizes(lmn_node_memory *memory, lmn_error *err)
{
    lmn_world *world = memory->world;
    (void)MPI_Win_sync(memory->window);
    for (int rank = 0; rank < memory->n_ranks; ++rank) {
        uint64_t bytes = memory->segments[rank].bytes;
        const lmn_status status =
            lmn__mpi_check(MPI_Bcast(&bytes, 1, MPI_UINT64_T, rank, world->node_comm), err,
                           "broadcast the size of a shared segment");
        if (status != LMN_OK) {
            return status;
        }
        memory->segments[rank].bytes = (size_t)bytes;
    }
    (void)MPI_Win_sync(memory->window);
    return LMN_OK;
}

static lmn_status memory_alloc(lmn_world *world, size_t bytes, size_t n_flags,
                               lmn_node_memory **memory_out, lmn_error *err)
{
    if (window_bytes(bytes, n_flags) == 0) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "cannot share %zu bytes and %zu flags: too many",
                             bytes, n_flags);
    }
    lmn_node_memory *memory = lmn_alloc(1, sizeof *memory, err);
    if (memory == NULL) {
        return LMN_ERR_MEMORY;
    }
    memory->world = world;
    memory->window = MPI_WIN_NULL;
    memory->n_flags = n_flags;
    memory->n_ranks = world->placement.node_size;
    memory->segments = lmn_alloc((size_t)memory->n_ranks, sizeof *memory->segments, err);
    if (memory->segments == NULL) {
        lmn_free(memory);
        return LMN_ERR_MEMORY;
    }
    *memory_out = memory;
    return LMN_OK;
}

/* Each step is collective in the node; the whole world agrees on each. */
static lmn_status connect(lmn_node_memory *memory, size_t bytes, lmn_error *err)
{
    lmn_world *world = memory->world;
    lmn_status status = lmn__agree_on(world->node_comm, NULL, allocate(memory, bytes, err), err);
    if (status != LMN_OK) {
        /* Freeing waits for all ranks of the node, and not all of them have a window. */
        memory->window = MPI_WIN_NULL;
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, check_model(memory, err), err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, find_segments(memory, bytes, err), err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, open_window(memory, err), err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, exchange_sizes(memory, err), err);
    }
    return status;
}

lmn_status lmn_node_memory_create(lmn_world *world, size_t bytes, size_t n_flags,
                                  lmn_node_memory **memory_out, lmn_error *err)
{
    lmn_node_memory *memory = NULL;
    lmn_status status = memory_alloc(world, bytes, n_flags, &memory, err); /* local */
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, "the number of shared flags", n_flags, err);
    }
    if (status != LMN_OK || memory == NULL) {
        if (memory != NULL) {
            lmn_free(memory->segments);
        }
        lmn_free(memory);
        return status;
    }
    status = connect(memory, bytes, err);
    if (status != LMN_OK) {
        lmn_node_memory_destroy(memory);
        return status;
    }
    *memory_out = memory;
    return LMN_OK;
}

void lmn_node_memory_destroy(lmn_node_memory *memory)
{
    if (memory == NULL) {
        return;
    }
    if (memory->is_locked) {
        (void)MPI_Win_unlock_all(memory->window);
    }
    if (memory->window != MPI_WIN_NULL) {
        (void)MPI_Win_free(&memory->window);
    }
    lmn_free(memory->segments);
    lmn_free(memory);
}

void *lmn_node_memory_segment(const lmn_node_memory *memory, int node_rank)
{
    assert(node_rank >= 0 && node_rank < memory->n_ranks);
    return memory->segments[node_rank].data;
}

size_t lmn_node_memory_bytes(const lmn_node_memory *memory, int node_rank)
{
    assert(node_rank >= 0 && node_rank < memory->n_ranks);
    return memory->segments[node_rank].bytes;
}

void lmn_node_memory_announce(lmn_node_memory *memory, size_t flag, uint64_t epoch)
{
    assert(flag < memory->n_flags);
    segment *mine = &memory->segments[memory->world->placement.node_rank];
    assert(epoch >= atomic_load_explicit(&mine->flags[flag].epoch, memory_order_relaxed));
    (void)MPI_Win_sync(memory->window);
    atomic_store_explicit(&mine->flags[flag].epoch, epoch, memory_order_release);
}

bool lmn_node_memory_is_announced(const lmn_node_memory *memory, int node_rank, size_t flag,
                                  uint64_t epoch)
{
    assert(flag < memory->n_flags && node_rank >= 0 && node_rank < memory->n_ranks);
    const segment *theirs = &memory->segments[node_rank];
    if (atomic_load_explicit(&theirs->flags[flag].epoch, memory_order_acquire) < epoch) {
        return false;
    }
    (void)MPI_Win_sync(memory->window);
    return true;
}

bool lmn_node_memory_all_announced(const lmn_node_memory *memory, size_t flag, uint64_t epoch)
{
    for (int rank = 0; rank < memory->n_ranks; ++rank) {
        if (!lmn_node_memory_is_announced(memory, rank, flag, epoch)) {
            return false;
        }
    }
    return true;
}

static const float *numbers_of(const lmn_node_memory *memory, int node_rank, size_t first)
{
    const void *data = memory->segments[node_rank].data;
    return (const float *)data + first;
}

void lmn_node_memory_sum_f32(const lmn_node_memory *memory, size_t first, size_t count, float *sum)
{
    const lmn__arithmetic *arithmetic = lmn__arithmetic_of(LMN_REDUCTION_SUM_F32);
    for (size_t done = 0; done < count; done += BLOCK_COUNT) {
        const size_t block = count - done < BLOCK_COUNT ? count - done : BLOCK_COUNT;
        const float *lowest = numbers_of(memory, 0, first + done);
        if (sum + done != lowest) {
            arithmetic->take(sum + done, lowest, block);
        }
        for (int rank = 1; rank < memory->n_ranks; ++rank) {
            arithmetic->add(sum + done, numbers_of(memory, rank, first + done), block);
        }
    }
}
