/*
 * Measuring which allreduce is fastest for which size.
 *
 * All algorithms run at each size, from small to large; the slowest rank's median counts, which all
 * ranks know, so all of them go on alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/clock.h"
#include "lamina/memory.h"

#include <string.h>

#define ROUNDS_MAX 15
/* Seconds that one algorithm may take at one size, if one round does not take longer. */
#define SECONDS_EACH 0.1
/* From here on an algorithm that takes this many times the best is tried no more. */
#define GIVE_UP_BYTES  ((size_t)65536)
#define GIVE_UP_FACTOR 2.0
/* What an algorithm must save to replace the default. */
#define GAIN 0.95

typedef struct tuner {
    lmn_world *world;
    const lmn_allreduce_tuning *tuning;
    lmn_collective *allreduces[LMN_ALLREDUCE_ALGORITHM_COUNT]; /* owned; NULL when given up */
    float *send;                                               /* [largest_bytes / 4] owned */
    float *recv;                                               /* [largest_bytes / 4] owned */
    double round_seconds;                                      /* of the last best, 0 at first */
    lmn_allreduce_table table;
} tuner;

static lmn_status check_tuning(const lmn_allreduce_tuning *tuning, lmn_error *err)
{
    if (tuning->largest_bytes < lmn_allreduce_table_bytes(0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot tune with vectors of up to %zu bytes: the smallest size that "
                             "is measured has %zu",
                             tuning->largest_bytes, lmn_allreduce_table_bytes(0));
    }
    return LMN_OK;
}

/* How many sizes of the table are measured. */
static int count_sizes(const lmn_allreduce_tuning *tuning)
{
    int n_sizes = 0;
    while (n_sizes < LMN_ALLREDUCE_SIZES &&
           lmn_allreduce_table_bytes(n_sizes) <= tuning->largest_bytes) {
        ++n_sizes;
    }
    return n_sizes;
}

static lmn_status take_memory(tuner *self, size_t count, lmn_error *err)
{
    self->send = lmn_alloc(count, sizeof(float), err);
    self->recv = lmn_alloc(count, sizeof(float), err);
    return self->send != NULL && self->recv != NULL ? LMN_OK : LMN_ERR_MEMORY;
}

/* One allreduce for each algorithm, by a table that knows no other. */
static lmn_status create_all(tuner *self, size_t count, lmn_error *err)
{
    lmn_world *world = self->world;
    lmn_status status = LMN_OK;
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT && status == LMN_OK; ++i) {
        lmn_allreduce_table_fill(&world->table, (lmn_allreduce_algorithm)i);
        world->has_table = true;
        status =
            lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, count, &self->allreduces[i], err);
    }
    return status;
}

static void give_up(tuner *self, int algorithm)
{
    lmn_collective_destroy(self->allreduces[algorithm]);
    self->allreduces[algorithm] = NULL;
}

static lmn_status time_round(tuner *self, lmn_collective *allreduce, size_t count,
                             double *seconds_out, lmn_error *err)
{
    lmn_status status = lmn_agree(self->world, LMN_OK, err);
    const double start = lmn_clock_seconds();
    if (status == LMN_OK) {
        status = lmn_allreduce_start(allreduce, self->send, self->recv, count, 1.0F, err);
    }
    if (status == LMN_OK) {
        status = lmn_collective_wait(allreduce, err);
    }
    *seconds_out = lmn_clock_seconds() - start;
    return status;
}

static double median_of(double *values, int count)
{
    for (int i = 1; i < count; ++i) {
        const double value = values[i];
        int place = i;
        for (; place > 0 && values[place - 1] > value; --place) {
            values[place] = values[place - 1];
        }
        values[place] = value;
    }
    return values[count / 2];
}

static int count_rounds(const tuner *self)
{
    const double rounds =
        self->round_seconds > 0.0 ? SECONDS_EACH / self->round_seconds : ROUNDS_MAX;
    if (rounds < 1.0) {
        return 1;
    }
    return rounds < ROUNDS_MAX ? (int)rounds : ROUNDS_MAX;
}

/* The slowest rank's median over rounds, the first of which only warms up when there are more. */
static lmn_status time_algorithm(tuner *self, lmn_collective *allreduce, size_t count,
                                 double *seconds_out, lmn_error *err)
{
    double seconds[ROUNDS_MAX + 1] = {0.0};
    const int n_rounds = count_rounds(self);
    const int n_warm = n_rounds > 1 ? 1 : 0;
    for (int i = 0; i < n_warm + n_rounds; ++i) {
        const lmn_status status = time_round(self, allreduce, count, &seconds[i], err);
        if (status != LMN_OK) {
            return status;
        }
    }
    uint64_t nanoseconds = lmn_clock_nanoseconds(median_of(seconds + n_warm, n_rounds)) + 1;
    const lmn_status status = lmn_world_max_u64(self->world, &nanoseconds, 1, err);
    *seconds_out = (double)nanoseconds * 1e-9;
    return status;
}

/* The fastest measured at a size; the default unless another is clearly faster. */
static lmn_allreduce_algorithm fastest(const tuner *self, int size, bool with_mpi)
{
    const double *seconds = self->table.seconds[size];
    const bool is_small = lmn_allreduce_table_bytes(size) <= self->world->limits.doubling_bytes;
    const lmn_allreduce_algorithm usual = is_small ? LMN_ALLREDUCE_DOUBLING : LMN_ALLREDUCE_DIRECT;
    lmn_allreduce_algorithm best = usual;
    double bound = seconds[usual] > 0.0 ? GAIN * seconds[usual] : 0.0;
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT; ++i) {
        const bool may = i != LMN_ALLREDUCE_MPI || with_mpi;
        if (may && seconds[i] > 0.0 && (bound == 0.0 || seconds[i] < bound)) {
            best = (lmn_allreduce_algorithm)i;
            bound = seconds[i];
        }
    }
    return best;
}

static lmn_status measure_size(tuner *self, int size, lmn_error *err)
{
    const size_t bytes = lmn_allreduce_table_bytes(size);
    double *seconds = self->table.seconds[size];
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT; ++i) {
        if (self->allreduces[i] == NULL) {
            continue;
        }
        const lmn_status status =
            time_algorithm(self, self->allreduces[i], bytes / sizeof(float), &seconds[i], err);
        if (status != LMN_OK) {
            return status;
        }
    }
    self->table.sums[size] = fastest(self, size, self->tuning->allow_mpi);
    self->table.exact[size] = fastest(self, size, true);
    self->round_seconds = seconds[fastest(self, size, true)];
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT; ++i) {
        const bool is_slow = seconds[i] > GIVE_UP_FACTOR * self->round_seconds;
        if (i != LMN_ALLREDUCE_DIRECT && is_slow && bytes >= GIVE_UP_BYTES) {
            give_up(self, i);
        }
    }
    return LMN_OK;
}

static lmn_status measure_all(tuner *self, lmn_error *err)
{
    const int n_sizes = count_sizes(self->tuning);
    for (int size = 0; size < n_sizes; ++size) {
        const lmn_status status = measure_size(self, size, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    for (int size = n_sizes; size < LMN_ALLREDUCE_SIZES; ++size) {
        self->table.sums[size] = self->table.sums[n_sizes - 1];
        self->table.exact[size] = self->table.exact[n_sizes - 1];
    }
    return LMN_OK;
}

static lmn_status tune(tuner *self, lmn_error *err)
{
    lmn_world *world = self->world;
    const size_t count = lmn_allreduce_table_bytes(count_sizes(self->tuning) - 1) / sizeof(float);
    lmn_status status = lmn_agree(world, take_memory(self, count, err), err);
    if (status == LMN_OK) {
        const bool had_table = world->has_table;
        const lmn_allreduce_table table = world->table;
        status = create_all(self, count, err);
        world->has_table = had_table;
        world->table = table;
    }
    if (status == LMN_OK) {
        status = measure_all(self, err);
    }
    for (int i = 0; i < LMN_ALLREDUCE_ALGORITHM_COUNT; ++i) {
        give_up(self, i);
    }
    lmn_free(self->send);
    lmn_free(self->recv);
    return status;
}

lmn_status lmn_allreduce_tune(lmn_world *world, const lmn_allreduce_tuning *tuning,
                              lmn_allreduce_table *table_out, lmn_error *err)
{
    tuner self = {.world = world, .tuning = tuning};
    lmn_status status = lmn_agree(world, check_tuning(tuning, err), err);
    if (status == LMN_OK) {
        const uint64_t what = (uint64_t)count_sizes(tuning) * 2 + (tuning->allow_mpi ? 1 : 0);
        status = lmn_world_check_same(world, "the allreduce tuning", what, err);
    }
    if (status == LMN_OK) {
        status = tune(&self, err);
    }
    if (status == LMN_OK) {
        status = lmn_allreduce_set_table(world, &self.table, err);
    }
    if (status == LMN_OK && table_out != NULL) {
        *table_out = self.table;
    }
    return status;
}
