/*
 * Sessions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#define THREADS_MAX 1024

exit_code session_exit_code(lmn_status status)
{
    switch (status) {
    case LMN_OK:
        return EXIT_CODE_DONE;
    case LMN_ERR_USAGE:
        return EXIT_CODE_USAGE;
    case LMN_ERR_COMM:
        return EXIT_CODE_LOST;
    default:
        return EXIT_CODE_FAILED;
    }
}

/* MPI cannot be relied on any more: say so from here and end the job. */
static exit_code abort_job(console *c, const lmn_error *err)
{
    const exit_code code = session_exit_code(err->status);
    console_error_of_rank(c, err);
    (void)MPI_Abort(MPI_COMM_WORLD, (int)code);
    return code;
}

exit_code session_run(console *c, lmn_status status, const lmn_error *cause, session_fn work,
                      void *user)
{
    int provided = 0;
    (void)MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    const lmn_logger log = console_logger(c);
    lmn_world *world = NULL;
    lmn_error err = *cause;
    lmn_error world_error = lmn_error_none();
    const lmn_status created = lmn_world_create(MPI_COMM_WORLD, &log, &world, &world_error);
    if (created != LMN_OK) {
        return abort_job(c, &world_error);
    }
    status = lmn_agree(world, status, &err);
    if (status == LMN_OK) {
        status = work(world, user, &err);
    }
    if (status == LMN_ERR_COMM || status == LMN_ERR_MESSAGE) {
        return abort_job(c, &err);
    }
    lmn_world_destroy(world);
    if (status != LMN_OK) {
        console_error(c, &err);
    }
    (void)MPI_Finalize();
    return session_exit_code(status);
}

/* Ranks that may run on the very cores that this rank may run on, itself included: at least 1. */
static int count_sharing(const lmn_placement *all, int size, const lmn_placement *own)
{
    int n_sharing = 1;
    for (int i = 0; i < size; i++) {
        if (all[i].rank != own->rank && all[i].node == own->node &&
            strcmp(all[i].cpus, own->cpus) == 0) {
            n_sharing++;
        }
    }
    return n_sharing;
}

static lmn_status share_cores(lmn_world *world, int *threads_out, lmn_error *err)
{
    const lmn_placement *own = lmn_world_placement(world);
    const int size = lmn_world_size(world);
    lmn_placement *all = lmn_alloc((size_t)size, sizeof *all, err);
    lmn_status status = lmn_agree(world, all == NULL ? LMN_ERR_MEMORY : LMN_OK, err);
    if (status != LMN_OK || all == NULL) {
        lmn_free(all);
        return status;
    }
    status = lmn_world_gather_placements(world, all, err);
    if (status == LMN_OK) {
        status = lmn_world_broadcast(world, all, (size_t)size * sizeof *all, 0, err);
    }
    if (status == LMN_OK) {
        const int threads = own->core_count / count_sharing(all, size, own);
        *threads_out = threads < 1 ? 1 : threads;
    }
    lmn_free(all);
    return status;
}

lmn_status session_parse_threads(lmn_world *world, const char *text, int *threads_out,
                                 lmn_error *err)
{
    if (strcmp(text, "auto") == 0) {
        return share_cores(world, threads_out, err);
    }
    char *end = NULL;
    errno = 0;
    const long threads = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || threads < 1 || threads > THREADS_MAX) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --threads: '%s' is neither auto nor a number from 1 to %d",
                             text, THREADS_MAX);
    }
    *threads_out = (int)threads;
    return LMN_OK;
}
