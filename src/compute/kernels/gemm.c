/*
 * Matrix products through OpenBLAS.
 *
 * The one place where sizes become BLAS integers. Op constructors refuse extents beyond INT_MAX
 * (lmn__gemm_accepts), so that the conversion here cannot fail at run time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"

#include <assert.h>
#include <limits.h>

#include <cblas.h>

bool lmn__gemm_accepts(size_t extent)
{
    return extent <= (size_t)INT_MAX;
}

static int blas_int(size_t extent)
{
    assert(lmn__gemm_accepts(extent));
    return (int)extent;
}

void lmn__gemm(size_t m, size_t n, size_t k, lmn__matrix a, lmn__matrix b, bool accumulate,
               float *c)
{
    cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
                b.transposed ? CblasTrans : CblasNoTrans, blas_int(m), blas_int(n), blas_int(k),
                1.0F, a.data, blas_int(a.row_stride), b.data, blas_int(b.row_stride),
                accumulate ? 1.0F : 0.0F, c, blas_int(n));
}
