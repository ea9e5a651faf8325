/*
 * What the reducer promises, for every compressor with every error mechanism of the registries.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/compressor.h"
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/slices_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 5 };

typedef struct subject {
    lmn_world *world;
    int rank, size;
    const char *compress, *feedback;
} subject;

typedef void (*property)(const subject *s);

/* Every spec of a compressor with every spec of a mechanism. */
static void for_all(property holds)
{
    lmn_world *world = check_new_world();
    subject s = {.world = world, .rank = lmn_world_rank(world), .size = lmn_world_size(world)};
    for (size_t i = 0; (s.compress = check_compressor_spec(i)) != NULL; i++) {
        for (size_t j = 0; (s.feedback = check_feedback_spec(j)) != NULL; j++) {
            holds(&s);
        }
    }
    lmn_world_destroy(world);
}

static lmn_reducer *new_reducer(const subject *s)
{
    return check_new_reducer(s->world, s->compress, s->feedback, "uniform");
}

static bool has_error_state(const lmn_reducer *reducer, size_t *index)
{
    const size_t n_states = lmn_feedback_state_count(reducer->feedback);
    for (size_t i = 0; i < n_states; i++) {
        if (strcmp(lmn_feedback_state_name(reducer->feedback, i), "error") == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

/* The owner of slices of a layer's bucket; NULL when it has none. */
static const lmn__slice_owner *owner_of(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__bucket *bucket = &reducer->buckets[layer->bucket];
    for (size_t e = 0; e < bucket->n_exchanges; e++) {
        if (bucket->exchanges[e]->kind == &lmn__exchange_sliced) {
            return lmn__sliced_owner(bucket->exchanges[e]);
        }
    }
    return NULL;
}

/* to [count of the layer] += what this rank's slice holds of the layer */
static void add_slice(const lmn_reducer *reducer, const lmn__layer *layer, bool errors, double *to)
{
    const lmn__slice_owner *owner = owner_of(reducer, layer);
    const float *values = owner == NULL ? NULL : errors ? owner->error : owner->tracked;
    if (values == NULL) {
        return;
    }
    const size_t end = owner->slices->first_part[reducer->rank + 1];
    for (size_t p = owner->slices->first_part[reducer->rank]; p < end; p++) {
        const lmn__part *part = &owner->slices->parts[p];
        for (size_t i = 0; i < part->count && part->layer == layer; i++) {
            to[part->first + i] += (double)values[part->offset + i];
        }
    }
}

/* Mean over ranks of a state, plus where asked the errors of the second encoding. To be freed. */
static double *mean_state(const subject *s, const lmn_reducer *reducer, size_t layer, size_t index,
                          bool with_slices)
{
    const lmn__layer *found = &reducer->layers[layer];
    double *mean = calloc(found->count, sizeof *mean);
    assert_non_null(mean);
    for (size_t i = 0; i < found->count; i++) {
        mean[i] = (double)found->state[index][i] / s->size;
    }
    if (with_slices) {
        add_slice(reducer, found, true, mean);
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(s->world, mean, found->count, &err), LMN_OK);
    return mean;
}

/* The magnitudes that rounding errors of a step are measured by. */
static void add_magnitudes(const subject *s, const lmn_reducer *reducer, size_t layer, double *size)
{
    const lmn__layer *found = &reducer->layers[layer];
    double *mean = calloc(found->count, sizeof *mean);
    assert_non_null(mean);
    for (size_t index = 0; index < lmn_feedback_state_count(reducer->feedback); index++) {
        for (size_t i = 0; i < found->count; i++) {
            mean[i] += fabs((double)found->state[index][i]) / s->size;
        }
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(s->world, mean, found->count, &err), LMN_OK);
    for (size_t i = 0; i < found->count; i++) {
        size[i] += mean[i] + fabs((double)lmn_reducer_estimate(reducer, layer)[i]);
    }
    free(mean);
}

static void add_step(const subject *s, const lmn_reducer *reducer, size_t layer, uint64_t step,
                     double *sum, double *size)
{
    double *mean = check_mean_gradient(s->size, layer, step);
    for (size_t i = 0; i < check_counts[layer]; i++) {
        sum[i] += mean[i] - (double)lmn_reducer_estimate(reducer, layer)[i];
    }
    free(mean);
    add_magnitudes(s, reducer, layer, size);
}

/* missing, of vectors of such a size, is what the errors hold. */
static void assert_owed(const subject *s, uint64_t step, const double *missing, const double *size,
                        const double *errors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fabs(missing[i] - errors[i]) > 3e-6 * (1.0 + size[i])) {
            fail_msg("%s with %s, step %d, element %zu: %g is missing, errors are %g", s->compress,
                     s->feedback, (int)step, i, missing[i], errors[i]);
        }
    }
}

/* h, wherever it is kept, is the mean of the h_i up to rounding. */
static void assert_mean_is_kept(const subject *s, const lmn_reducer *reducer, size_t layer)
{
    const lmn__layer *found = &reducer->layers[layer];
    double *mean = mean_state(s, reducer, layer, 0, false);
    double *kept = calloc(found->count, sizeof *kept);
    assert_non_null(kept);
    add_slice(reducer, found, false, kept);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(s->world, kept, found->count, &err), LMN_OK);
    for (size_t i = 0; i < found->count; i++) {
        const double h = found->tracked != NULL ? (double)found->tracked[i] : kept[i];
        assert_true(fabs(h - mean[i]) <= 1e-4 * (1.0 + fabs(h)));
    }
    free(mean);
    free(kept);
}

/* The sum of u, plus the mean error, plus what second encodings left out, is the sum of mean g. */
static void identities_hold(const subject *s)
{
    const size_t layer = 2;
    size_t error = 0;
    lmn_reducer *reducer =
        check_new_reducer(s->world, s->compress, s->feedback, "lgreco:warmup=1,every=2,window=1");
    double *sum = calloc(check_counts[layer], sizeof *sum);
    double *size = calloc(check_counts[layer], sizeof *size);
    assert_non_null(sum);
    assert_non_null(size);
    for (uint64_t step = 0; step < STEPS; step++) {
        const lmn_step_report report = check_run_step(reducer, s->world, step);
        if (!report.applied) {
            fail_msg("%s with %s: %s", s->compress, s->feedback, report.reason);
        }
        check_same_everywhere(s->world, check_estimate_hash(reducer));
        add_step(s, reducer, layer, step, sum, size);
        if (has_error_state(reducer, &error)) {
            double *errors = mean_state(s, reducer, layer, error, true);
            assert_owed(s, step, sum, size, errors, check_counts[layer]);
            free(errors);
        }
        if (lmn_feedback_tracks(reducer->feedback)) {
            assert_mean_is_kept(s, reducer, layer);
        }
    }
    free(sum);
    free(size);
    lmn_reducer_destroy(reducer);
}

static void finish_estimates_are_identical_everywhere_and_nothing_is_lost(void **state)
{
    (void)state;
    for_all(identities_hold);
}

static void poison(const subject *s, lmn_reducer *reducer, uint64_t step, size_t layer)
{
    lmn_error err = lmn_error_none();
    const int last = s->size - 1;
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(s->rank, i, step, gradient);
        if (i == layer && s->rank == last) {
            gradient[check_counts[i] - 1] = layer % 2 == 0 ? NAN : -INFINITY;
        }
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
    char expected[96];
    (void)snprintf(expected, sizeof expected, "'%s' holds NaN or infinity on rank %d in step %d",
                   check_layers[layer].name, last, (int)step);
    assert_non_null(strstr(report.reason, expected));
}

/* A step that is skipped leaves every byte as it was, and the next one goes as if it had never
 * been. */
static void skipped_steps_leave_no_trace(const subject *s)
{
    lmn_reducer *reducer = new_reducer(s);
    lmn_reducer *twin = new_reducer(s);
    for (uint64_t step = 0; step < 2; step++) {
        (void)check_run_step(reducer, s->world, step);
        (void)check_run_step(twin, s->world, step);
        const uint64_t before = check_state_hash(reducer);
        poison(s, reducer, step, (step + 1) % CHECK_LAYERS);
        assert_true(check_state_hash(reducer) == before);
        assert_true(check_state_hash(twin) == before);
        check_same_everywhere(s->world, check_estimate_hash(twin));
    }
    (void)check_run_step(reducer, s->world, 9);
    (void)check_run_step(twin, s->world, 9);
    assert_true(check_estimate_hash(reducer) == check_estimate_hash(twin));
    lmn_reducer_destroy(reducer);
    lmn_reducer_destroy(twin);
}

static void finish_skipped_step_leaves_every_byte_of_state(void **state)
{
    (void)state;
    for_all(skipped_steps_leave_no_trace);
}

/* After any number of steps, so that states are in either of their places. */
static void resumed_is_the_same(const subject *s)
{
    for (uint64_t saved = 1; saved <= 2; saved++) {
        lmn_reducer *first = new_reducer(s);
        lmn_reducer *second = new_reducer(s);
        for (uint64_t step = 0; step < saved; step++) {
            (void)check_run_step(first, s->world, step);
        }
        (void)check_run_step(second, s->world, 77); /* it has something to forget */
        check_copy_state(first, second);
        for (uint64_t step = saved; step < saved + 2; step++) {
            (void)check_run_step(first, s->world, step);
            (void)check_run_step(second, s->world, step);
            assert_true(check_estimate_hash(first) == check_estimate_hash(second));
        }
        assert_true(check_state_hash(first) == check_state_hash(second));
        lmn_reducer_destroy(first);
        lmn_reducer_destroy(second);
    }
}

static void restored_reducer_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    for_all(resumed_is_the_same);
}

/* Payload is what the plan predicts, up to headers, padding and verdicts, and to allreduces of few
 * numbers, which send more in fewer messages. */
static void bytes_are_predicted(const subject *s)
{
    lmn_reducer *reducer = new_reducer(s);
    uint64_t expected = 0;
    (void)check_run_step(reducer, s->world, 0); /* may be dense */
    const lmn_step_report report = check_run_step(reducer, s->world, 1);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (!layer->small) {
            expected +=
                lmn__reducer_wire_bytes(reducer, lmn__layer_shape(layer), layer->travel_level);
        }
    }
    uint64_t sent = report.bytes_sent;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_u64(s->world, &sent, 1, &err), LMN_OK);
    const uint64_t peers = (uint64_t)s->size * (uint64_t)(s->size - 1);
    if (s->size == 1) {
        assert_true(sent == 0);
    } else if (sent > 2 * expected + peers * 1400 || 2 * sent < expected) {
        fail_msg("%s with %s: %llu bytes sent, %llu predicted", s->compress, s->feedback,
                 (unsigned long long)sent, (unsigned long long)expected);
    }
    lmn_reducer_destroy(reducer);
}

static void finish_sends_about_what_the_plan_predicts(void **state)
{
    (void)state;
    for_all(bytes_are_predicted);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_estimates_are_identical_everywhere_and_nothing_is_lost),
        cmocka_unit_test(finish_skipped_step_leaves_every_byte_of_state),
        cmocka_unit_test(restored_reducer_goes_on_to_the_same_bits),
        cmocka_unit_test(finish_sends_about_what_the_plan_predicts),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
