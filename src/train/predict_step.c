/*
 * Predictions from a profile: what an allocator would choose on a link, and how long a step takes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "predict_internal.h"

#include <math.h>
#include <string.h>

const char *lmn_chooser_name(lmn_chooser chooser)
{
    static const char *const names[LMN_CHOOSER_COUNT] = {"dense", "uniform", "lgreco", "time"};
    return (size_t)chooser < LMN_CHOOSER_COUNT ? names[chooser] : "unknown";
}

size_t lmn_profile_layer_count(const lmn_profile *profile)
{
    return profile->learner.n_layers;
}

lmn_link lmn_profile_link(const lmn_profile *profile)
{
    return profile->reducer->timing->link;
}

double lmn_profile_compute(const lmn_profile *profile)
{
    return profile->reducer->timing->medians[LMN__TIME_COMPUTE];
}

double lmn_profile_update(const lmn_profile *profile)
{
    return profile->reducer->timing->medians[LMN__TIME_UPDATE];
}

void lmn_profile_level_format(const lmn_profile *profile, size_t level, char *text, size_t capacity)
{
    lmn_compressor_level_format(profile->reducer->compressor, level, text, capacity);
}

lmn_predicted_latency lmn_profile_latency(lmn_profile *profile, const lmn_link *link, int size)
{
    const lmn_cost_timings timings = lmn__timing_tables(profile->reducer, link, size);
    lmn_predicted_latency latency = {.dense = timings.latency[0]};
    for (size_t kind = 1; kind < LMN_TIME_KINDS; kind++) {
        latency.compressed = fmax(latency.compressed, timings.latency[kind]);
    }
    return latency;
}

/* Bytes of all layers and levels among `size` ranks, by layer, and the uniform levels. */
static void fill_bytes(lmn_profile *profile, int size)
{
    const lmn_reducer *reducer = profile->reducer;
    const size_t n_levels = reducer->timing->n_levels;
    size_t *uniform = profile->levels + reducer->n_layers;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        for (size_t level = 0; level < n_levels; level++) {
            profile->bytes[i * n_levels + level] =
                lmn__timing_bytes(reducer, layer, level, size < 2 ? 2 : size);
        }
        uniform[i] = layer->small ? 0 : lmn_compressor_static_level(reducer->compressor);
    }
}

/* Levels by layer into profile->levels. */
static lmn_status choose(lmn_profile *profile, lmn_chooser chooser, const lmn_cost_timings *timings,
                         lmn_error *err)
{
    const lmn_reducer *reducer = profile->reducer;
    const size_t n = reducer->n_layers;
    memset(profile->levels, 0, n * sizeof *profile->levels);
    if (chooser == LMN_CHOOSER_UNIFORM) {
        memcpy(profile->levels, profile->levels + n, n * sizeof *profile->levels);
    }
    if (profile->choosers[chooser] == NULL) {
        return LMN_OK;
    }
    const lmn_cost_table table = {.n_layers = n,
                                  .n_levels = reducer->timing->n_levels,
                                  .bytes = profile->bytes,
                                  .error = reducer->curves,
                                  .energy = reducer->energies,
                                  .static_level = profile->levels + n,
                                  .timings = timings};
    lmn_allocation_report report;
    return lmn_allocator_decide(profile->choosers[chooser], &table, profile->levels, &report, err);
}

/* Bytes by place: packed entries take less than the most that they may take. */
static void place_bytes(lmn_profile *profile, size_t layer, size_t place)
{
    const lmn__timing *timing = profile->reducer->timing;
    const size_t n_levels = timing->n_levels;
    const uint64_t *from = profile->bytes + layer * n_levels;
    uint64_t *to = profile->bytes + (profile->learner.n_layers + place) * n_levels;
    for (size_t level = 0; level < n_levels; level++) {
        const double share = timing->share[layer * n_levels + level];
        const bool is_packed = from[level] < from[0] && share > 0.0;
        to[level] = is_packed ? (uint64_t)(share * (double)from[level]) : from[level];
    }
}

/* The rows of the tables in the order of the link, and levels that are no smaller than dense as
 * dense ones. */
static lmn_time_problem arrange(lmn_profile *profile, const lmn_cost_timings *timings)
{
    const size_t n = timings->order == NULL ? 0 : profile->learner.n_layers;
    const size_t n_levels = profile->reducer->timing->n_levels;
    const size_t cells = n * n_levels;
    const size_t row = n_levels * sizeof(double);
    double *tables = profile->tables;
    for (size_t place = 0; place < n; place++) {
        const size_t from = timings->order[place] * n_levels;
        const size_t to = place * n_levels;
        const size_t layer = timings->order[place];
        profile->bucket[place] = timings->bucket[layer];
        profile->ready[place] = timings->ready[layer];
        memcpy(tables + to, timings->encode + from, row);
        memcpy(tables + cells + to, timings->decode + from, row);
        memcpy(tables + 2 * cells + to, timings->wire + from, row);
        memcpy(tables + 3 * cells + to, profile->reducer->curves + from, row);
        place_bytes(profile, layer, place);
        const size_t level = profile->levels[layer];
        profile->levels[2 * n + place] =
            profile->bytes[from + level] < profile->bytes[from] ? level : 0;
    }
    return (lmn_time_problem){.n_layers = n,
                              .n_levels = n_levels,
                              .bucket = profile->bucket,
                              .ready = profile->ready,
                              .encode = tables,
                              .decode = tables + cells,
                              .wire = tables + 2 * cells,
                              .error = tables + 3 * cells,
                              .bytes = profile->bytes + cells,
                              .kind = timings->kind,
                              .compute = timings->compute,
                              .update = timings->update};
}

static void list_layers(const lmn_profile *profile, const lmn_time_problem *problem,
                        const size_t *order, int size, lmn_predicted_layer *layers_out)
{
    const size_t *levels = profile->levels + 2 * problem->n_layers;
    for (size_t place = 0; place < problem->n_layers; place++) {
        const lmn__layer *layer = &profile->reducer->layers[order[place]];
        const size_t cell = place * problem->n_levels + levels[place];
        layers_out[place] =
            (lmn_predicted_layer){.name = layer->name,
                                  .count = layer->count,
                                  .bucket = problem->bucket[place],
                                  .level = levels[place],
                                  .bytes = size < 2 ? 0 : problem->bytes[cell] / (uint64_t)size,
                                  .ready = problem->ready[place],
                                  .encode = problem->encode[cell],
                                  .wire = problem->wire[cell],
                                  .decode = problem->decode[cell]};
    }
}

lmn_status lmn_profile_predict(lmn_profile *profile, const lmn_link *link, int size,
                               lmn_chooser chooser, lmn_time_prediction *prediction_out,
                               lmn_predicted_layer *layers_out, lmn_error *err)
{
    if (size < 1 || (size_t)chooser >= LMN_CHOOSER_COUNT) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "cannot predict a step of %d ranks", size);
    }
    const lmn_cost_timings timings = lmn__timing_tables(profile->reducer, link, size);
    fill_bytes(profile, size);
    const lmn_status status = choose(profile, chooser, &timings, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_time_problem problem = arrange(profile, &timings);
    *prediction_out = lmn_time_predict(&problem, profile->levels + 2 * problem.n_layers);
    if (layers_out != NULL) {
        list_layers(profile, &problem, timings.order, size, layers_out);
    }
    return LMN_OK;
}
