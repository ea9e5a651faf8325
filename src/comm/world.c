/*
 * The world: its communicators and where its ranks run.
 *
 * Creation alternates between local steps, which may fail on one rank, and collective ones; after
 * each comes an agreement, so that all ranks leave at the same place. The world gets the duplicated
 * communicator only when all ranks have memory for it: destroying is collective from there on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/world.h"

#include "comm_internal.h"
#include "lamina/memory.h"
#include "mpi_error_internal.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>

int lmn__to_int(size_t count)
{
    assert(count <= (size_t)INT_MAX);
    return (int)count;
}

size_t lmn__part(const lmn_world *world, size_t remaining)
{
    return remaining < world->limits.part ? remaining : world->limits.part;
}

/* What would make MPI abort the process instead of returning an error. */
static lmn_status check_communicator(MPI_Comm comm, lmn_error *err)
{
    int is_initialized = 0;
    int is_finalized = 0;
    if (MPI_Initialized(&is_initialized) != MPI_SUCCESS ||
        MPI_Finalized(&is_finalized) != MPI_SUCCESS || is_initialized == 0 || is_finalized != 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot create a world: MPI is not running; call MPI_Init first");
    }
    if (comm == MPI_COMM_NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot create a world of MPI_COMM_NULL; only ranks that belong to "
                             "the communicator may call");
    }
    int is_inter = 0;
    const lmn_status status = lmn__mpi_check(MPI_Comm_test_inter(comm, &is_inter), err,
                                             "tell the kind of the world's communicator");
    if (status == LMN_OK && is_inter != 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot create a world of an intercommunicator; merge it first with "
                             "MPI_Intercomm_merge");
    }
    return status;
}

static lmn_status return_errors(MPI_Comm comm, lmn_error *err)
{
    return lmn__mpi_check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), err,
                          "make a communicator return its errors");
}

static void free_comm(MPI_Comm *comm, const lmn_logger *log)
{
    lmn_error err = lmn_error_none();
    if (*comm != MPI_COMM_NULL &&
        lmn__mpi_check(MPI_Comm_free(comm), &err, "free a communicator") != LMN_OK) {
        lmn_log_write(log, LMN_LOG_WARN, "%s", err.message);
    }
}

static lmn_status duplicate(MPI_Comm comm, MPI_Comm *duplicate_out, lmn_error *err)
{
    MPI_Comm own = MPI_COMM_NULL;
    lmn_status status =
        lmn__mpi_check(MPI_Comm_dup(comm, &own), err, "duplicate the world's communicator");
    if (status != LMN_OK) {
        return status;
    }
    status = return_errors(own, err);
    if (status != LMN_OK) {
        free_comm(&own, NULL);
        return status;
    }
    *duplicate_out = own;
    return LMN_OK;
}

static const lmn_activity beginning = {.text = "the beginning", .waits = false};

const lmn_activity *lmn_world_note(lmn_world *world, const lmn_activity *activity)
{
    (void)atomic_fetch_add_explicit(&world->notes.ticks, 1, memory_order_relaxed);
    return atomic_exchange_explicit(&world->notes.activity, activity, memory_order_relaxed);
}

void lmn_world_note_step(lmn_world *world, uint64_t step)
{
    atomic_store_explicit(&world->notes.step, step, memory_order_relaxed);
}

static lmn_status world_alloc(const lmn_logger *log, lmn_world **world_out, lmn_error *err)
{
    lmn_world *world = lmn_alloc(1, sizeof *world, err);
    if (world == NULL) {
        return LMN_ERR_MEMORY;
    }
    world->comm = MPI_COMM_NULL;
    world->node_comm = MPI_COMM_NULL;
    world->leader_comm = MPI_COMM_NULL;
    world->log = log;
    (void)lmn_world_note(world, &beginning);
    world->limits = (lmn__limits){.part = LMN__PART_LIMIT,
                                  .doubling_bytes = LMN__DOUBLING_BYTES,
                                  .segment = LMN__SEGMENT_BYTES,
                                  .window = LMN__WINDOW};
    world->next_tag = LMN__TAG_WORLD + 1;
    world->term = lmn_alloc(LMN__SUM_COUNT, sizeof *world->term, err);
    if (world->term == NULL) {
        lmn_world_destroy(world);
        return LMN_ERR_MEMORY;
    }
    *world_out = world;
    return LMN_OK;
}

/* MPI attaches the limit to MPI_COMM_WORLD; 32767 is what the standard promises at least. */
static lmn_status find_tag_max(lmn_world *world, lmn_error *err)
{
    const int *value = NULL;
    int is_set = 0;
    const lmn_status status =
        lmn__mpi_check(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &value, &is_set), err,
                       "ask for the largest tag");
    world->tag_max = status == LMN_OK && is_set != 0 ? *value : SHRT_MAX;
    return status;
}

static lmn_status find_ranks(MPI_Comm comm, int *rank_out, int *size_out, lmn_error *err)
{
    const lmn_status status =
        lmn__mpi_check(MPI_Comm_rank(comm, rank_out), err, "ask for the rank");
    if (status != LMN_OK) {
        return status;
    }
    return lmn__mpi_check(MPI_Comm_size(comm, size_out), err, "ask for the number of ranks");
}

/* Ranks that can share memory; ordered as in the world, so that node rank 0 is the lowest. */
static lmn_status join_node(lmn_world *world, int node_color, lmn_error *err)
{
    lmn_placement *place = &world->placement;
    lmn_status status =
        lmn__mpi_check(MPI_Comm_split_type(world->comm, MPI_COMM_TYPE_SHARED, world->rank,
                                           MPI_INFO_NULL, &world->node_comm),
                       err, "group the ranks of each node");
    if (status == LMN_OK && node_color != LMN__REAL_NODES) {
        MPI_Comm whole = world->node_comm;
        world->node_comm = MPI_COMM_NULL;
        status = lmn__mpi_check(MPI_Comm_split(whole, node_color, world->rank, &world->node_comm),
                                err, "divide the ranks of a node");
        free_comm(&whole, world->log);
    }
    if (status == LMN_OK) {
        status = return_errors(world->node_comm, err);
    }
    if (status == LMN_OK) {
        status = find_ranks(world->node_comm, &place->node_rank, &place->node_size, err);
    }
    return lmn_agree(world, status, err);
}

static lmn_status join_leaders(lmn_world *world, lmn_error *err)
{
    lmn_placement *place = &world->placement;
    const int color = place->node_rank == 0 ? 0 : MPI_UNDEFINED;
    lmn_status status =
        lmn__mpi_check(MPI_Comm_split(world->comm, color, world->rank, &world->leader_comm), err,
                       "group the leaders of the nodes");
    if (status == LMN_OK && world->leader_comm != MPI_COMM_NULL) {
        status = return_errors(world->leader_comm, err);
        if (status == LMN_OK) {
            status = find_ranks(world->leader_comm, &place->node, &place->node_count, err);
        }
    }
    return lmn_agree(world, status, err);
}

/* The leader's rank among leaders numbers the node. */
static lmn_status number_nodes(lmn_world *world, lmn_error *err)
{
    lmn_placement *place = &world->placement;
    int number[] = {place->node, place->node_count};
    const lmn_status status = lmn__mpi_check(MPI_Bcast(number, 2, MPI_INT, 0, world->node_comm),
                                             err, "broadcast the number of the node");
    place->node = number[0];
    place->node_count = number[1];
    return lmn_agree(world, status, err);
}

static lmn_status world_connect(lmn_world *world, int node_color, lmn_error *err)
{
    lmn_status status = find_ranks(world->comm, &world->rank, &world->size, err);
    if (status == LMN_OK) {
        status = find_tag_max(world, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = join_node(world, node_color, err);
    }
    if (status == LMN_OK) {
        status = join_leaders(world, err);
    }
    if (status == LMN_OK) {
        status = number_nodes(world, err);
    }
    if (status == LMN_OK) {
        world->placement.rank = world->rank;
        lmn__placement_probe(&world->placement);
    }
    return status;
}

lmn_status lmn__world_create_split(MPI_Comm comm, const lmn_logger *log, int node_color,
                                   lmn_world **world_out, lmn_error *err)
{
    lmn_status status = check_communicator(comm, err);
    if (status != LMN_OK) {
        return status;
    }
    MPI_Comm own = MPI_COMM_NULL;
    status = duplicate(comm, &own, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_world *world = NULL;
    status = world_alloc(log, &world, err); /* local: may fail on one rank */
    status = lmn__agree_on(own, NULL, status, err);
    if (status != LMN_OK || world == NULL) {
        lmn_world_destroy(world);
        free_comm(&own, log);
        return status;
    }
    world->comm = own;
    status = world_connect(world, node_color, err);
    if (status != LMN_OK) {
        lmn_world_destroy(world);
        return status;
    }
    if (world->rank == 0) {
        lmn_log_write(log, LMN_LOG_DEBUG, "world: ranks %d, nodes %d", world->size,
                      world->placement.node_count);
    }
    *world_out = world;
    return LMN_OK;
}

lmn_status lmn_world_create_fortran(MPI_Fint comm, const lmn_logger *log, lmn_world **world_out,
                                    lmn_error *err)
{
    return lmn_world_create(MPI_Comm_f2c(comm), log, world_out, err);
}

lmn_status lmn_world_create(MPI_Comm comm, const lmn_logger *log, lmn_world **world_out,
                            lmn_error *err)
{
    return lmn__world_create_split(comm, log, LMN__REAL_NODES, world_out, err);
}

/* The same on all ranks: the outcome, whatever single nodes look like. */
static lmn_status check_leaders(lmn_world *world, int node_rank, lmn_error *err)
{
    lmn_status status =
        lmn_world_check_same(world, "the node rank of leaders", (uint64_t)node_rank, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_placement *place = &world->placement;
    if (node_rank < 0 || node_rank >= place->node_size) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "cannot make a world of node rank %d: node %d (%s) has %d ranks",
                               node_rank, place->node, place->host, place->node_size);
    }
    return lmn_agree(world, status, err);
}

lmn_status lmn_world_create_leaders(lmn_world *world, int node_rank, lmn_world **leaders_out,
                                    lmn_error *err)
{
    const lmn_placement *place = &world->placement;
    const int color = place->node_rank == node_rank ? 0 : MPI_UNDEFINED;
    lmn_world *leaders = NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    lmn_status status = check_leaders(world, node_rank, err);
    if (status != LMN_OK) {
        return status;
    }
    status = lmn__mpi_check(MPI_Comm_split(world->comm, color, place->node, &comm), err,
                            "group one rank of every node");
    status = lmn_agree(world, status, err);
    if (status == LMN_OK && comm != MPI_COMM_NULL) {
        status = lmn__world_create_split(comm, world->log, place->node, &leaders, err);
    }
    status = lmn_agree(world, status, err);
    free_comm(&comm, world->log);
    if (status != LMN_OK) {
        lmn_world_destroy(leaders);
        return status;
    }
    if (leaders != NULL) {
        leaders->limits = world->limits;
    }
    *leaders_out = leaders;
    return LMN_OK;
}

lmn_status lmn_world_poll(lmn_world *world, lmn_error *err)
{
    int is_there = 0;
    (void)sched_yield(); /* what is waited for may need this core */
    return lmn__mpi_check(
        MPI_Iprobe(MPI_ANY_SOURCE, LMN__TAG_WORLD, world->comm, &is_there, MPI_STATUS_IGNORE), err,
        "move messages on");
}

void lmn_world_destroy(lmn_world *world)
{
    if (world == NULL) {
        return;
    }
    assert(world->running == NULL);
    free_comm(&world->leader_comm, world->log);
    free_comm(&world->node_comm, world->log);
    free_comm(&world->comm, world->log);
    lmn_free(world->term);
    lmn_free(world);
}

int lmn_world_rank(const lmn_world *world)
{
    return world->rank;
}

int lmn_world_size(const lmn_world *world)
{
    return world->size;
}

const lmn_logger *lmn_world_log(const lmn_world *world)
{
    return world->log;
}

MPI_Comm lmn_world_comm(const lmn_world *world)
{
    return world->comm;
}

MPI_Comm lmn_world_node_comm(const lmn_world *world)
{
    return world->node_comm;
}

MPI_Comm lmn_world_leader_comm(const lmn_world *world)
{
    return world->leader_comm;
}

const lmn_placement *lmn_world_placement(const lmn_world *world)
{
    return &world->placement;
}

lmn_status lmn_world_gather_placements(lmn_world *world, lmn_placement *placements_out,
                                       lmn_error *err)
{
    const lmn_status status =
        lmn_world_gather(world, &world->placement, sizeof world->placement, placements_out, err);
    return lmn_agree(world, status, err);
}
