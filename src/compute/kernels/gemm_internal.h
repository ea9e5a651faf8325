/*
 * Matrix products that are planned once and run every step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_GEMM_INTERNAL_H
#define LAMINA_GEMM_INTERNAL_H

#include "compute_internal.h"
#include "kernels_internal.h"

/** The product of matrices of given extents. */
typedef struct lmn__gemm_plan lmn__gemm_plan;

/** One execution: c = op(a) op(b), [m, k] x [k, n] -> dense [m, n]. */
typedef struct lmn__gemm_call {
    lmn__matrix a, b;
    float *c;
    void *workspace;               /* of the bytes that the plan asks for */
    const lmn__epilogue *epilogue; /* done to each element of the result once */
} lmn__gemm_call;

/** Choose how to compute it, for the threads that there are now. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__gemm_plan_create(size_t m, size_t n, size_t k, lmn__gemm_plan **plan_out,
                                 lmn_error *err) LMN_NODISCARD;
void lmn__gemm_plan_destroy(lmn__gemm_plan *plan); /* NULL is allowed */

/** "packed" or "openblas". */
const char *lmn__gemm_plan_kernel(const lmn__gemm_plan *plan);
size_t lmn__gemm_plan_workspace(const lmn__gemm_plan *plan);

void lmn__gemm_plan_run(const lmn__gemm_plan *plan, const lmn__gemm_call *call);

#endif
