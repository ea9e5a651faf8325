/*
 * A training step makes no heap allocation after warm-up.
 *
 * This program puts itself before the C library's allocator and counts the calls that come from its
 * own text, which the library is linked into. MPI, HDF5 and BLAS are not counted: what they keep in
 * reserve is theirs. Sanitizers put themselves in the same place, so the test is skipped under
 * them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "training.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <mpi.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#endif

/* The reader's thread allocates, or does not, beside the main one. */
static atomic_size_t *allocation_count(void)
{
    static atomic_size_t count = 0;
    return &count;
}

#if defined(__GLIBC__) && !defined(UNDER_SANITIZER)
#define COUNTS_ALLOCATIONS 1

/* The ends of the program's text, from the linker, and the allocator of glibc under its own names.
   NOLINTBEGIN(*-reserved-identifier,cert-dcl*,*-naming,*-parameter-name) */
extern const char __executable_start[];
extern const char __etext[];
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void count_call(const void *caller)
{
    const uintptr_t address = (uintptr_t)caller;
    if (address >= (uintptr_t)__executable_start && address < (uintptr_t)__etext) {
        atomic_fetch_add(allocation_count(), 1);
    }
}

void *malloc(size_t size)
{
    count_call(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    count_call(__builtin_return_address(0));
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    count_call(__builtin_return_address(0));
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count_call(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory_out, size_t alignment, size_t size)
{
    count_call(__builtin_return_address(0));
    void *memory = __libc_memalign(alignment, size);
    if (memory == NULL) {
        return ENOMEM;
    }
    *memory_out = memory;
    return 0;
}
/* NOLINTEND(*-reserved-identifier,cert-dcl*,*-naming,*-parameter-name) */
#endif

enum { STEPS = 24, WARM_UP = 6 };

/* Asked once in every step, on every rank: so it sees the count of the steps in between. */
typedef struct observer {
    size_t asked;
    size_t counts[STEPS];
} observer;

static bool observe(void *user)
{
    observer *seen = user;
    seen->counts[seen->asked++] = atomic_load(allocation_count());
    return false;
}

static void check_steps(const training *t, const char *compress, const char *feedback,
                        const char *allocate, const char *optimizer)
{
    char path[TEST_PATH_BYTES];
    training_path(t, "run.h5", path);
    observer seen = {0};
    lmn_trainer_options options = training_options(STEPS);
    options.reducer.compress = compress;
    options.reducer.feedback = feedback;
    options.reducer.allocate = allocate;
    options.optimizer = optimizer;
    options.results_path = path;
    options.evaluate_every = 1000;
    options.should_stop = observe;
    options.user = &seen;
    const size_t before = atomic_load(allocation_count());
    (void)training_run(t, &options);
    assert_int_equal(seen.asked, STEPS);
    assert_true(seen.counts[0] > before); /* the counter counts: making a trainer allocates */
    assert_int_equal(seen.counts[STEPS - 1] - seen.counts[WARM_UP], 0);
}

static void trainer_run_after_warm_up_allocates_nothing(void **state)
{
#ifndef COUNTS_ALLOCATIONS
    (void)state;
    (void)check_steps;
    skip();
#else
    /* Levels are decided anew several times while it is counted. */
    check_steps(*state, "topk:density=0.05", "econtrol", "lgreco:every=5,window=3",
                "sgd:momentum=0.9");
    check_steps(*state, "topk:density=0.05", "ef21", "uniform", "adamw");
    check_steps(*state, "dense", "none", "uniform", "sgd");
    check_steps(*state, "quant:bits=4", "econtrol", "lgreco:every=5,window=3", "sgd");
    check_steps(*state, "randk:density=0.05", "ec", "uniform", "sgd");
    check_steps(*state, "int", "ef21", "uniform", "sgd");
    check_steps(*state, "lowrank:rank=2", "ec", "lgreco:every=5,window=3", "sgd");
#endif
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_after_warm_up_allocates_nothing),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}
