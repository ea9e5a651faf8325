/*
 * Shards: every sample on exactly one rank, cut as each split says, and read in the order of a
 * rank's own. No MPI: one process works out the shards of all ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_check.h"
#include "io/shard_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "lamina/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT     211
#define CLASSES   5
#define RANKS_MAX 7

typedef struct fixture {
    dataset_place place;
    lmn_dataset *dataset; /* vectors of one column, which is the number of the sample */
    int32_t labels[COUNT];
} fixture;

/* Unequal classes in no order; class 3 has no samples. */
static int32_t label_of(size_t sample)
{
    static const int32_t labels[] = {0, 0, 0, 1, 2, 2, 4};
    return labels[sample * 5 % 7];
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->place.directory);
    path_join(f->place.path, f->place.directory, "dataset.h5");
    float values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (float)i;
        f->labels[i] = label_of(i);
    }
    const hsize_t dims[] = {COUNT, 1};
    const hid_t file = dataset_file_create(f->place.path, "vectors");
    dataset_file_put(file, "/train/vectors", H5T_NATIVE_FLOAT, 2, dims, values);
    dataset_put(file, 0, "labels", H5T_NATIVE_INT32, COUNT, f->labels);
    dataset_file_put(file, "/test/vectors", H5T_NATIVE_FLOAT, 2, dims, values);
    dataset_put(file, 1, "labels", H5T_NATIVE_INT32, COUNT, f->labels);
    H5Fclose(file);
    f->dataset = dataset_load(&f->place);
    assert_int_equal(lmn_dataset_get_info(f->dataset)->n_classes, CLASSES);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    lmn_dataset_close(f->dataset);
    scratch_remove(f->place.directory);
    free(f);
    return 0;
}

static const char *const splits[] = {"label", "contiguous", "dirichlet", "dirichlet:alpha=0.001",
                                     "dirichlet:alpha=1e6"};
enum { N_SPLITS = sizeof splits / sizeof splits[0] };

static lmn_sharding parse(const char *spec)
{
    lmn_sharding sharding = {0};
    lmn_error err = lmn_error_none();
    if (lmn_sharding_parse(spec, &sharding, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return sharding;
}

static lmn_shard create(const fixture *f, const char *spec, uint64_t seed, int rank, int size)
{
    const lmn_sharding sharding = parse(spec);
    lmn_shard shard = {0};
    lmn_error err = lmn_error_none();
    if (lmn_shard_create(f->dataset, &sharding, seed, rank, size, &shard, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(shard.rank, rank);
    return shard;
}

static uint64_t sample_of(const lmn_shard *shard, uint64_t i)
{
    return shard->samples == NULL ? shard->first + i : shard->samples[i];
}

/* ---- what is in them ---- */

/* Which rank each sample is with; fails unless it is exactly one, and shards are as large as they
   must be. */
static void find_owners(const fixture *f, const char *spec, uint64_t seed, int size,
                        int owners[COUNT])
{
    uint64_t hash = 0;
    for (size_t i = 0; i < COUNT; i++) {
        owners[i] = -1;
    }
    for (int rank = 0; rank < size; rank++) {
        lmn_shard shard = create(f, spec, seed, rank, size);
        assert_int_equal(shard.count, lmn_partition(COUNT, (size_t)size, (size_t)rank).count);
        assert_true(rank == 0 || shard.hash == hash);
        hash = shard.hash;
        for (uint64_t i = 0; i < shard.count; i++) {
            assert_int_equal(owners[sample_of(&shard, i)], -1);
            owners[sample_of(&shard, i)] = rank;
        }
        lmn_shard_destroy(&shard);
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(owners[i] >= 0);
    }
}

static void shard_every_sample_is_on_exactly_one_rank(void **state)
{
    int owners[COUNT];
    for (size_t split = 0; split < N_SPLITS; split++) {
        for (int size = 1; size <= RANKS_MAX; size++) {
            find_owners(*state, splits[split], 1, size, owners);
        }
        find_owners(*state, splits[split], 2, COUNT, owners);
    }
}

/* Samples of a smaller label, and those of the same one that come before it in the file. */
static size_t place_in_order(const fixture *f, size_t sample)
{
    size_t place = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const bool is_before = f->labels[i] == f->labels[sample] && i < sample;
        place += f->labels[i] < f->labels[sample] || is_before ? 1 : 0;
    }
    return place;
}

static void shard_by_label_is_the_sorted_order_cut(void **state)
{
    const fixture *f = *state;
    for (int size = 1; size <= RANKS_MAX; size++) {
        int owners[COUNT];
        find_owners(f, "label", 1, size, owners);
        for (size_t i = 0; i < COUNT; i++) {
            const lmn_range part = lmn_partition(COUNT, (size_t)size, (size_t)owners[i]);
            const size_t place = place_in_order(f, i);
            assert_true(place >= part.first && place < part.first + part.count);
        }
    }
}

static void shard_contiguous_is_the_order_of_the_file_cut(void **state)
{
    int owners[COUNT];
    find_owners(*state, "contiguous", 1, 4, owners);
    for (size_t i = 0; i < COUNT; i++) {
        const lmn_range part = lmn_partition(COUNT, 4, (size_t)owners[i]);
        assert_true(i >= part.first && i < part.first + part.count);
    }
}

static void shard_histograms_count_the_samples_of_each_class(void **state)
{
    const fixture *f = *state;
    for (size_t split = 0; split < N_SPLITS; split++) {
        for (int size = 1; size <= RANKS_MAX; size++) {
            const lmn_sharding sharding = parse(splits[split]);
            int owners[COUNT];
            uint64_t counted[RANKS_MAX * CLASSES] = {0};
            uint64_t told[RANKS_MAX * CLASSES];
            find_owners(f, splits[split], 9, size, owners);
            for (size_t i = 0; i < COUNT; i++) {
                counted[owners[i] * CLASSES + f->labels[i]]++;
            }
            assert_int_equal(lmn_shard_histograms(f->dataset, &sharding, 9, size, told, NULL),
                             LMN_OK);
            assert_memory_equal(told, counted, (size_t)size * CLASSES * sizeof *told);
        }
    }
}

static void shard_dirichlet_follows_the_seed(void **state)
{
    int first[COUNT];
    int again[COUNT];
    int other[COUNT];
    find_owners(*state, "dirichlet", 5, 4, first);
    find_owners(*state, "dirichlet", 5, 4, again);
    find_owners(*state, "dirichlet", 6, 4, other);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

/* ---- shares of the classes ---- */

enum { DEAL_CLASSES = 10, DEAL_EACH = 1000, DEAL_RANKS = 20 };

static lmn__dirichlet deal_create(double alpha, uint64_t seed, const uint64_t *total,
                                  size_t n_classes, size_t size)
{
    lmn__dirichlet deal;
    assert_int_equal(lmn__dirichlet_create(&deal, alpha, seed, total, n_classes, size, NULL),
                     LMN_OK);
    return deal;
}

/* Of the first rank, whose classes cannot run out: share m of each class, variance
   m (1 - m) / (alpha C + 1). */
static void check_moments(double alpha)
{
    enum { DRAWS = 2000 };
    uint64_t total[DEAL_CLASSES];
    double sum = 0.0;
    double squares = 0.0;
    for (size_t c = 0; c < DEAL_CLASSES; c++) {
        total[c] = DEAL_EACH;
    }
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        lmn__dirichlet deal = deal_create(alpha, seed, total, DEAL_CLASSES, DEAL_RANKS);
        lmn__dirichlet_take(&deal);
        for (size_t c = 0; c < DEAL_CLASSES; c++) {
            const double share = (double)deal.given[c] / 500.0;
            sum += c == 3 ? share : 0.0;
            squares += (share - 0.1) * (share - 0.1);
        }
        lmn__dirichlet_destroy(&deal);
    }
    const double variance = 0.1 * 0.9 / (alpha * DEAL_CLASSES + 1.0);
    const double found = squares / (DRAWS * DEAL_CLASSES);
    /* Five standard deviations of the mean; the variance's own spread is some per cent. */
    assert_true(fabs(sum / DRAWS - 0.1) < 5.0 * sqrt(variance / DRAWS));
    if (fabs(found / variance - 1.0) > 0.1) {
        fail_msg("alpha %g: variance %g, expected %g", alpha, found, variance);
    }
}

static void dirichlet_shares_have_mean_and_variance_of_the_distribution(void **state)
{
    (void)state;
    check_moments(0.05);
    check_moments(0.3);
    check_moments(1.0);
    check_moments(7.0);
}

static void dirichlet_large_alpha_gives_all_ranks_the_shares_of_the_dataset(void **state)
{
    (void)state;
    const uint64_t total[] = {8000, 4000, 0, 400};
    lmn__dirichlet deal = deal_create(1e6, 3, total, 4, 4);
    for (int rank = 0; rank < 4; rank++) {
        lmn__dirichlet_take(&deal);
        for (size_t c = 0; c < 4; c++) {
            assert_true(fabs((double)deal.given[c] - (double)total[c] / 4.0) <= 25.0);
        }
    }
    lmn__dirichlet_destroy(&deal);
}

static void dirichlet_small_alpha_gives_the_first_ranks_one_class_each(void **state)
{
    (void)state;
    const uint64_t total[] = {1000, 1000, 1000, 1000};
    lmn__dirichlet deal = deal_create(0.001, 3, total, 4, 8);
    lmn__dirichlet_take(&deal);
    uint64_t largest = 0;
    for (size_t c = 0; c < 4; c++) {
        largest = deal.given[c] > largest ? deal.given[c] : largest;
    }
    assert_int_equal(largest, 500);
    lmn__dirichlet_destroy(&deal);
}

/* Every class is used up, and every rank has its number, whatever the shares. */
static void dirichlet_thousands_of_ranks_use_every_sample(void **state)
{
    (void)state;
    enum { MANY = 4096, MANY_CLASSES = 50 };
    static const double alphas[] = {1e-3, 0.3, 1e6};
    uint64_t total[MANY_CLASSES];
    uint64_t count = 0;
    for (size_t c = 0; c < MANY_CLASSES; c++) {
        total[c] = 37 * c * c;
        count += total[c];
    }
    for (size_t a = 0; a < sizeof alphas / sizeof alphas[0]; a++) {
        lmn__dirichlet deal = deal_create(alphas[a], 11, total, MANY_CLASSES, MANY);
        for (size_t rank = 0; rank < MANY; rank++) {
            uint64_t given = 0;
            lmn__dirichlet_take(&deal);
            for (size_t c = 0; c < MANY_CLASSES; c++) {
                assert_true(deal.given[c] <= total[c] - deal.taken[c]);
                given += deal.given[c];
            }
            assert_int_equal(given, lmn_partition((size_t)count, MANY, rank).count);
        }
        for (size_t c = 0; c < MANY_CLASSES; c++) {
            assert_int_equal(deal.taken[c] + deal.given[c], total[c]);
        }
        lmn__dirichlet_destroy(&deal);
    }
}

/* ---- reading ---- */

static lmn_reader *open_reader(const fixture *f, const lmn_shard *shard, size_t global_batch,
                               int size, uint64_t first_batch)
{
    const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                        .shuffle = true,
                                        .seed = 4,
                                        .global_batch = global_batch,
                                        .rank = (int)shard->rank,
                                        .size = size,
                                        .first_batch = first_batch,
                                        .read_ahead = 2,
                                        .shard = shard};
    lmn_reader *reader = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reader_create(f->dataset, &options, &reader, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reader;
}

/* The next `n` samples that the reader meets. */
static void read_samples(const fixture *f, lmn_reader *reader, size_t n, size_t *samples)
{
    size_t filled = 0;
    while (filled < n) {
        lmn_batch batch;
        assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
        const float *values = batch.fields[0];
        const int32_t *labels = batch.fields[1];
        for (size_t i = 0; i < batch.valid && filled < n; i++) {
            samples[filled] = (size_t)values[i];
            assert_int_equal(labels[i], f->labels[samples[filled]]);
            filled++;
        }
    }
}

/* Batches of 10 over 3 ranks: parts of 3, 3 and 4. */
static void reader_of_a_shard_meets_each_of_its_samples_once_an_epoch(void **state)
{
    const fixture *f = *state;
    for (size_t split = 0; split < N_SPLITS; split++) {
        for (int rank = 0; rank < 3; rank++) {
            lmn_shard shard = create(f, splits[split], 4, rank, 3);
            lmn_reader *reader = open_reader(f, &shard, 10, 3, 0);
            const size_t n = (size_t)shard.count;
            size_t samples[2 * COUNT];
            unsigned met[COUNT] = {0};
            read_samples(f, reader, 2 * n, samples);
            for (size_t i = 0; i < 2 * n; i++) {
                assert_int_equal(met[samples[i]], i / n);
                met[samples[i]]++;
            }
            for (uint64_t i = 0; i < shard.count; i++) {
                assert_int_equal(met[sample_of(&shard, i)], 2);
            }
            assert_memory_not_equal(samples, samples + n, n * sizeof *samples);
            lmn_reader_destroy(reader);
            lmn_shard_destroy(&shard);
        }
    }
}

static void reader_of_a_shard_begun_later_goes_on_where_an_earlier_one_was(void **state)
{
    const fixture *f = *state;
    enum { TOGETHER = 3 * 40 };
    lmn_shard shard = create(f, "dirichlet", 4, 1, 3);
    lmn_reader *whole = open_reader(f, &shard, 9, 3, 0);
    size_t samples[TOGETHER];
    size_t late[TOGETHER];
    read_samples(f, whole, TOGETHER, samples);
    lmn_reader *later = open_reader(f, &shard, 9, 3, 30);
    read_samples(f, later, 30, late);
    assert_memory_equal(late, samples + 90, 30 * sizeof *late);
    lmn_reader_destroy(whole);
    lmn_reader_destroy(later);
    lmn_shard_destroy(&shard);
}

/* Shards of the same size are not gone through in step. */
static void reader_of_each_shard_has_an_order_of_its_own(void **state)
{
    const fixture *f = *state;
    size_t places[2][10];
    for (int rank = 0; rank < 2; rank++) {
        lmn_shard shard = create(f, "contiguous", 4, rank, 2);
        lmn_reader *reader = open_reader(f, &shard, 2, 2, 0);
        read_samples(f, reader, 10, places[rank]);
        for (size_t i = 0; i < 10; i++) {
            places[rank][i] -= (size_t)shard.first;
        }
        lmn_reader_destroy(reader);
        lmn_shard_destroy(&shard);
    }
    assert_memory_not_equal(places[0], places[1], sizeof places[0]);
}

static void reader_of_another_ranks_shard_is_refused(void **state)
{
    const fixture *f = *state;
    lmn_shard shard = create(f, "label", 4, 1, 2);
    lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                  .shuffle = true,
                                  .global_batch = 4,
                                  .size = 2,
                                  .read_ahead = 1,
                                  .shard = &shard};
    lmn_reader *reader = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "shard"));
    options.rank = 1;
    options.shuffle = false;
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_ARGUMENT);
    assert_null(reader);
    lmn_shard_destroy(&shard);
}

/* ---- text ---- */

/* 64 tokens in windows of 4: 15 windows, shifted by less than one in each epoch. */
static void reader_of_text_meets_only_windows_of_its_part(void **state)
{
    fixture f = *(const fixture *)*state;
    unsigned char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)i;
    }
    text_dataset_write(f.place.path, bytes, sizeof bytes, bytes, 10);
    f.dataset = dataset_load(&f.place);
    assert_int_equal(lmn_dataset_set_context(f.dataset, 4, NULL), LMN_OK);
    for (int rank = 0; rank < 2; rank++) {
        lmn_shard shard = create(&f, "contiguous", 4, rank, 2);
        assert_int_equal(shard.count, 7 + rank);
        lmn_reader *reader = open_reader(&f, &shard, 2, 2, 0);
        unsigned met[15] = {0};
        for (uint64_t i = 0; i < 3 * shard.count; i++) {
            lmn_batch batch;
            assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
            met[*(const int32_t *)batch.fields[0] / 4]++;
        }
        for (uint64_t window = 0; window < 15; window++) {
            const bool is_mine = window >= shard.first && window < shard.first + shard.count;
            assert_int_equal(met[window], is_mine ? 3 : 0);
        }
        lmn_reader_destroy(reader);
        lmn_shard_destroy(&shard);
    }
    lmn_dataset_close(f.dataset);
}

/* ---- what is refused ---- */

static void refused(const lmn_dataset *dataset, const char *spec, int size, const char *words)
{
    const lmn_sharding sharding = parse(spec);
    lmn_shard shard = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_shard_create(dataset, &sharding, 1, 0, size, &shard, &err),
                     LMN_ERR_ARGUMENT);
    if (strstr(err.message, words) == NULL) {
        fail_msg("'%s' is not in '%s'", words, err.message);
    }
    assert_null(shard.samples);
}

static void shard_of_data_that_the_split_is_not_for_is_refused(void **state)
{
    const fixture *f = *state;
    refused(f->dataset, "label", COUNT + 1, "use fewer ranks");
    refused(f->dataset, "iid", 2, "no shards");
    const unsigned char bytes[] = "eight of these make no sentence";
    text_dataset_write(f->place.path, bytes, sizeof bytes, bytes, sizeof bytes);
    lmn_dataset *text = dataset_load(&f->place);
    assert_int_equal(lmn_dataset_set_context(text, 4, NULL), LMN_OK);
    refused(text, "label", 2, "text, which has none: use contiguous");
    refused(text, "dirichlet", 2, "text");
    const lmn_sharding contiguous = parse("contiguous");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_shard_histograms(text, &contiguous, 1, 2, NULL, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "no labels"));
    lmn_dataset_close(text);
}

static void sharding_parse_wrong_specs_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words;
    } wrong[] = {{"lable", "'label'"},
                 {"", "name"},
                 {"iid:alpha=1", "alpha"},
                 {"label:alpha=1", "alpha"},
                 {"dirichlet:alfa=1", "alpha"},
                 {"dirichlet:alpha=0", "alpha"},
                 {"dirichlet:alpha=0.0009", "alpha"},
                 {"dirichlet:alpha=1.1e6", "alpha"},
                 {"dirichlet:alpha=nan", "alpha"},
                 {"dirichlet:alpha=", "alpha"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lmn_sharding sharding;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_sharding_parse(wrong[i].spec, &sharding, &err), LMN_ERR_USAGE);
        if (strstr(err.message, wrong[i].words) == NULL) {
            fail_msg("'%s' is not in '%s'", wrong[i].words, err.message);
        }
    }
    assert_float_equal(parse("dirichlet").alpha, 0.5, 0.0);
    assert_float_equal(parse("dirichlet:alpha=0.001").alpha, 0.001, 0.0);
    assert_int_equal(parse("iid").kind, LMN_SHARDING_IID);
    assert_string_equal(lmn_sharding_entry(LMN_SHARDING_CONTIGUOUS)->name, "contiguous");
    assert_null(lmn_sharding_entry(LMN_SHARDING_CONTIGUOUS + 1));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(shard_every_sample_is_on_exactly_one_rank),
        CASE(shard_by_label_is_the_sorted_order_cut),
        CASE(shard_contiguous_is_the_order_of_the_file_cut),
        CASE(shard_histograms_count_the_samples_of_each_class),
        CASE(shard_dirichlet_follows_the_seed),
        CASE(dirichlet_shares_have_mean_and_variance_of_the_distribution),
        CASE(dirichlet_large_alpha_gives_all_ranks_the_shares_of_the_dataset),
        CASE(dirichlet_small_alpha_gives_the_first_ranks_one_class_each),
        CASE(dirichlet_thousands_of_ranks_use_every_sample),
        CASE(reader_of_a_shard_meets_each_of_its_samples_once_an_epoch),
        CASE(reader_of_a_shard_begun_later_goes_on_where_an_earlier_one_was),
        CASE(reader_of_each_shard_has_an_order_of_its_own),
        CASE(reader_of_another_ranks_shard_is_refused),
        CASE(reader_of_text_meets_only_windows_of_its_part),
        CASE(shard_of_data_that_the_split_is_not_for_is_refused),
        CASE(sharding_parse_wrong_specs_are_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
