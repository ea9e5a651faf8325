/*
 * From MPI return codes to statuses: the one place that does it.
 *
 * Nothing is formatted unless the call failed, so checks may stand inside loops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mpi_error_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#define DOING_BYTES 256

/* Some MPIs tell in lines what went through which function; a message is one line. */
static void join_lines(char *text)
{
    for (char *end = strchr(text, '\n'); end != NULL; end = strchr(end, '\n')) {
        *end = ' ';
    }
}

lmn_status lmn__mpi_check(int code, lmn_error *err, const char *format, ...)
{
    if (code == MPI_SUCCESS) {
        return LMN_OK;
    }
    char doing[DOING_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(doing, sizeof doing, format, arguments);
    va_end(arguments);
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(code, reason, &length) != MPI_SUCCESS || length == 0) {
        (void)snprintf(reason, sizeof reason, "MPI error %d", code);
    }
    join_lines(reason);
    return lmn_error_set(err, LMN_ERR_COMM, "cannot %s: %s", doing, reason);
}
