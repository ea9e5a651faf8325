/*
 * Threads of the compute room: how many, and which one is asking.
 *
 * OpenMP's and those of OpenBLAS are set together. Without OpenMP there is one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"
#include "lamina/plan.h"

#include <cblas.h>
#ifdef _OPENMP
#include <omp.h>
#endif

void lmn_compute_set_threads(int threads)
{
    const int count = threads > 0 ? threads : 1;
    openblas_set_num_threads(count);
#ifdef _OPENMP
    omp_set_num_threads(count);
#endif
}

size_t lmn__thread_count(void)
{
#ifdef _OPENMP
    return (size_t)omp_get_max_threads();
#else
    return 1;
#endif
}

size_t lmn__thread_index(void)
{
#ifdef _OPENMP
    return (size_t)omp_get_thread_num();
#else
    return 0;
#endif
}
