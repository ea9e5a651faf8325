/*
 * A plan for people and as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_facts.h"
#include "text.h"

#include <stdio.h>

#include <jansson.h>

static void print_layers(console *c, const plan_facts *facts)
{
    console_answer(c, "%-28s %10s %6s %-20s %10s %9s %9s %9s %9s", "layer", "elements", "bucket",
                   "level", "sent", "ready ms", "encode", "wire", "decode");
    for (size_t i = 0; i < facts->n_layers; i++) {
        const lmn_predicted_layer *layer = &facts->layers[i];
        char level[64];
        lmn_profile_level_format(facts->profile, layer->level, level, sizeof level);
        console_answer(c, "%-28s %10zu %6zu %-20s %10s %9.3f %9.3f %9.3f %9.3f", layer->name,
                       layer->count, layer->bucket, level, text_bytes(layer->bytes).data,
                       1e3 * layer->ready, 1e3 * layer->encode, 1e3 * layer->wire,
                       1e3 * layer->decode);
    }
}

static void print_choosers(console *c, const plan_facts *facts)
{
    console_answer(c, "%s", "");
    console_answer(c, "%-8s %12s %10s %10s %10s %12s %14s", "levels by", "step ms", "encode",
                   "link ends", "decode", "sent a rank", "than dense");
    const double dense = facts->row.by[LMN_CHOOSER_DENSE].seconds;
    for (lmn_chooser who = 0; who < LMN_CHOOSER_COUNT; who++) {
        const lmn_time_prediction *p = &facts->row.by[who];
        const uint64_t bytes = facts->row.size < 2 ? 0 : p->bytes / (uint64_t)facts->row.size;
        console_answer(c, "%-9s %12.3f %10.3f %10.3f %10.3f %12s %9.2fx", lmn_chooser_name(who),
                       1e3 * p->seconds, 1e3 * p->encode, 1e3 * p->link, 1e3 * p->decode,
                       text_bytes(bytes).data, dense / p->seconds);
    }
}

static void print_curve(console *c, const plan_facts *facts)
{
    console_answer(c, "%s", "");
    console_answer(c, "%6s %6s %12s %12s %12s %12s  %s", "ranks", "nodes", "dense ms", "uniform",
                   "lgreco", "time", "efficiency of time");
    for (size_t i = 0; i < facts->n_sizes; i++) {
        const plan_row *row = &facts->curve[i];
        const lmn_time_prediction *by = row->by;
        console_answer(c, "%6d %6d %12.3f %12.3f %12.3f %12.3f  %.0f %%", row->ranks, row->nodes,
                       1e3 * by[LMN_CHOOSER_DENSE].seconds, 1e3 * by[LMN_CHOOSER_UNIFORM].seconds,
                       1e3 * by[LMN_CHOOSER_LGRECO].seconds, 1e3 * by[LMN_CHOOSER_TIME].seconds,
                       100.0 * (facts->compute + facts->update) / by[LMN_CHOOSER_TIME].seconds);
    }
}

void plan_print(console *c, const plan_facts *facts)
{
    const plan_options *o = facts->options;
    console_answer(c, "%s, %llu samples a rank, %s, %s", o->model, (unsigned long long)o->batch,
                   o->compress, o->feedback);
    console_answer(
        c,
        "%d ranks on %d nodes; link %s: %.3g us a message, %.3g Gbit/s, %.3g us from one "
        "message to the next",
        facts->row.ranks, facts->row.nodes, facts->is_measured ? "measured" : "as stated",
        1e6 * facts->link.sum.latency,
        facts->link.sum.per_byte > 0.0 ? 8e-9 / facts->link.sum.per_byte : 0.0,
        1e6 * facts->link.gap);
    console_answer(c, "forward and backward %.3f ms, update %.3f ms", 1e3 * facts->compute,
                   1e3 * facts->update);
    console_answer(c, "%s", "");
    console_answer(c, "layers in the order in which they are sent, levels by %s:",
                   lmn_chooser_name(facts->shown));
    print_layers(c, facts);
    print_choosers(c, facts);
    print_curve(c, facts);
}

/* ------------------------------------------------------------------ JSON */

static json_t *prediction_of(const lmn_time_prediction *p, int size)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:I}", "seconds", p->seconds, "encode_seconds",
                     p->encode, "link_seconds", p->link, "decode_seconds", p->decode, "error",
                     p->error, "bytes_a_rank",
                     (json_int_t)(size < 2 ? 0 : p->bytes / (uint64_t)size));
}

static json_t *row_of(const plan_row *row)
{
    json_t *object = json_pack("{s:i, s:i}", "ranks", row->ranks, "nodes", row->nodes);
    for (lmn_chooser who = 0; who < LMN_CHOOSER_COUNT && object != NULL; who++) {
        (void)json_object_set_new(object, lmn_chooser_name(who),
                                  prediction_of(&row->by[who], row->size));
    }
    return object;
}

static json_t *layers_of(const plan_facts *facts)
{
    json_t *all = json_array();
    for (size_t i = 0; i < facts->n_layers; i++) {
        const lmn_predicted_layer *layer = &facts->layers[i];
        char level[64];
        lmn_profile_level_format(facts->profile, layer->level, level, sizeof level);
        (void)json_array_append_new(
            all,
            json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:f, s:f, s:f, s:f}", "name", layer->name,
                      "elements", (json_int_t)layer->count, "bucket", (json_int_t)layer->bucket,
                      "level", (json_int_t)layer->level, "level_text", level, "bytes_a_rank",
                      (json_int_t)layer->bytes, "ready_seconds", layer->ready, "encode_seconds",
                      layer->encode, "wire_seconds", layer->wire, "decode_seconds", layer->decode));
    }
    return all;
}

static json_t *link_of(const plan_facts *facts)
{
    return json_pack("{s:b, s:f, s:f, s:f, s:f, s:f}", "measured", facts->is_measured,
                     "sum_latency_seconds", facts->link.sum.latency, "sum_seconds_per_byte",
                     facts->link.sum.per_byte, "gather_latency_seconds", facts->link.gather.latency,
                     "gather_seconds_per_byte", facts->link.gather.per_byte, "gap_seconds",
                     facts->link.gap);
}

static json_t *latency_of(const plan_facts *facts)
{
    return json_pack("{s:f, s:f}", "dense", facts->latency.dense, "compressed",
                     facts->latency.compressed);
}

lmn_status plan_print_json(const plan_facts *facts, lmn_error *err)
{
    json_t *curve = json_array();
    for (size_t i = 0; i < facts->n_sizes; i++) {
        (void)json_array_append_new(curve, row_of(&facts->curve[i]));
    }
    const plan_options *o = facts->options;
    json_t *all =
        json_pack("{s:s, s:I, s:s, s:s, s:o, s:f, s:f, s:s, s:o, s:o, s:o, s:o}", "model", o->model,
                  "batch", (json_int_t)o->batch, "compress", o->compress, "feedback", o->feedback,
                  "link", link_of(facts), "compute_seconds", facts->compute, "update_seconds",
                  facts->update, "levels_by", lmn_chooser_name(facts->shown), "layers",
                  layers_of(facts), "bucket_latency_seconds", latency_of(facts), "predicted",
                  row_of(&facts->row), "scaling", curve);
    const bool is_written =
        all != NULL && json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0;
    json_decref(all);
    if (!is_written) {
        return lmn_error_set(err, LMN_ERR_IO, "cannot write the plan as JSON to standard output");
    }
    (void)putchar('\n');
    return LMN_OK;
}
