/*
 * What `lamina plan` is asked about, and what it finds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_PLAN_FACTS_H
#define LAMINA_APPS_PLAN_FACTS_H

#include "console.h"
#include "lamina/lamina.h"

enum { PLAN_TEXT_BYTES = 512, PLAN_SIZES_MAX = 12 };

typedef struct plan_options {
    const char *model;
    const char *data;
    const char *shape;
    uint64_t classes;
    uint64_t ranks;
    uint64_t nodes;
    uint64_t batch;
    const char *link;
    const char *compress;
    const char *feedback;
    const char *collective;
    const char *optimizer;
    const char *show;
    double alpha;
    double compute_ms;
    uint64_t bucket_bytes;
    uint64_t steps;
    uint64_t seed;
    const char *threads;
    bool wants_json;
} plan_options;

/** What is computed. */
typedef struct plan_task {
    lmn_dataset_info info;
    union {
        lmn_vision_task vision;
        lmn_text_task text;
    } model; /* what the task is about */
    lmn_task task;
} plan_task;

/** What a results file says in place of options. */
typedef struct plan_run {
    char model[PLAN_TEXT_BYTES], compress[PLAN_TEXT_BYTES], feedback[PLAN_TEXT_BYTES];
    char collective[PLAN_TEXT_BYTES], optimizer[PLAN_TEXT_BYTES], data[PLAN_TEXT_BYTES];
} plan_run;

/** The four predictions for one number of ranks. */
typedef struct plan_row {
    int ranks, nodes;
    int size; /* that exchange: nodes where each has several ranks */
    lmn_time_prediction by[LMN_CHOOSER_COUNT];
} plan_row;

typedef struct plan_facts {
    const plan_options *options;
    lmn_link link;
    bool is_measured;       /* the link */
    double compute, update; /* seconds */
    plan_row row;           /* of the ranks that were asked about */
    size_t n_sizes;         /* of the curve */
    plan_row curve[PLAN_SIZES_MAX];
    lmn_chooser shown; /* whose layers these are: */
    size_t n_layers;
    lmn_predicted_layer *layers; /* [n_layers] */
    lmn_predicted_latency latency;
    const lmn_profile *profile; /* to say levels in words */
} plan_facts;

/** Take from a results file what was not asked otherwise: texts stay in run_out. */
lmn_status plan_read_run(const char *path, plan_options *options, plan_run *run_out,
                         lmn_error *err) LMN_NODISCARD;

/** The model, and samples from `dataset`; where it is NULL, random ones as the options say. Local.
 *  Texts of the options and the dataset are borrowed, and the task stays where it is. */
lmn_status plan_make_task(const plan_options *options, lmn_dataset *dataset, plan_task *task_out,
                          lmn_error *err) LMN_NODISCARD;

void plan_print(console *c, const plan_facts *facts);
lmn_status plan_print_json(const plan_facts *facts, lmn_error *err) LMN_NODISCARD;

#endif
