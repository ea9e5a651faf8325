/*
 * Settings of a training run: the options that all training applications have.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_TRAIN_SETTINGS_H
#define LAMINA_APPS_TRAIN_SETTINGS_H

#include "lamina/lamina.h"
#include "options.h"

/** A default of an application that differs from the common one. */
typedef struct train_default {
    const char *name;    /* of the option */
    const char *initial; /* as it would be typed */
} train_default;

typedef struct train_settings {
    const char *data;
    double epochs;
    uint64_t steps;
    const char *max_time;
    uint64_t batch;
    const char *optimizer;
    double lr;
    const char *schedule;
    const char *compress;
    const char *feedback;
    const char *allocate;
    const char *collective;
    const char *hierarchy;
    const char *split;
    uint64_t seed;
    const char *out;
    const char *checkpoint_dir;
    const char *checkpoint_every;
    const char *mtbf;
    bool checkpoint_async;
    uint64_t keep;
    bool resume;
    const char *init;
    uint64_t evaluate_every;
    uint64_t verify_every;
    const char *nonfinite;
    const char *stall_timeout;
    const char *trace;
    uint64_t trace_step;
    bool measure_link;
    const char *threads;
    uint64_t memory_bytes;
    uint64_t bucket_bytes;
    uint64_t dense_below;
    bool plan_only;
    bool is_quiet;
} train_settings;

/**
 * The rows that fill `settings`, with defaults [n_defaults] in place of the common ones.
 * rows  [OPTION_ROWS_MAX] of the caller's, which the set borrows
 */
option_set train_settings_rows(train_settings *settings, const train_default *defaults,
                               size_t n_defaults, option_row *rows_out);

/**
 * Trainer options from settings; texts are borrowed from them.
 * Errors: LMN_ERR_USAGE (options that make no sense together).
 */
lmn_status train_settings_apply(const train_settings *settings, lmn_trainer_options *options_out,
                                lmn_error *err) LMN_NODISCARD;

#endif
