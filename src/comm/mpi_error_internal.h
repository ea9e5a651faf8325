/*
 * From MPI return codes to statuses: the one place that does it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MPI_ERROR_INTERNAL_H
#define LAMINA_MPI_ERROR_INTERNAL_H

#include "lamina/status.h"

/**
 * LMN_OK for MPI_SUCCESS; otherwise LMN_ERR_COMM with "cannot <what was being done>: <MPI's text>".
 * format  what was being done, in the infinitive: "send %zu bytes to rank %d"
 */
lmn_status lmn__mpi_check(int code, lmn_error *err, const char *format, ...)
    LMN_PRINTF(3, 4) LMN_NODISCARD;

#endif
