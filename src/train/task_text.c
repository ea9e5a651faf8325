/*
 * The task of foretelling text: each token from those before it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/loss.h"
#include "lamina/model.h"
#include "lamina/ops.h"
#include "lamina/task.h"

#include <math.h>

/* x of any shape as one axis of `count`. */
static const lmn_tensor *flatten(lmn_graph *graph, const lmn_tensor *x, size_t count)
{
    return lmn_reshape(graph, x, (lmn_shape){.n_dims = 1, .dims = {count}});
}

/* The weight of a row shared out among its tokens: [rows] -> [rows * context]. */
static const lmn_tensor *share_weights(lmn_graph *graph, const lmn_tensor *weights, size_t rows,
                                       size_t context)
{
    const lmn_tensor *share = lmn_scale(graph, weights, 1.0F / (float)context);
    share = lmn_reshape(graph, share, (lmn_shape){.n_dims = 2, .dims = {rows, 1}});
    share = lmn_broadcast_to(graph, share, (lmn_shape){.n_dims = 2, .dims = {rows, context}});
    return flatten(graph, share, rows * context);
}

static lmn_status build_text(const void *user, lmn_graph *graph, size_t rows,
                             lmn_task_graph *task_out, lmn_error *err)
{
    const lmn_text_task *text = user;
    const lmn_field *field = lmn_dataset_info_field(&text->data, "tokens");
    if (field == NULL || field->n_dims != 1) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "the dataset does not hold text");
    }
    const size_t context = field->dims[0];
    const size_t n_tokens = text->data.n_classes;
    const lmn_shape shape = {.n_dims = 2, .dims = {rows, context}};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    const lmn_tensor *tokens = lmn_input(graph, "tokens", LMN_I32, shape);
    const lmn_tensor *targets = lmn_input(graph, "targets", LMN_I32, shape);
    const lmn_tensor *weights = lmn_input(graph, "weights", LMN_F32, row_shape);
    const lmn_model_input input = {.values = tokens, .weights = weights, .n_classes = n_tokens};
    const lmn_tensor *logits = NULL;
    lmn_status status = lmn_model_build(text->model, graph, &input, &logits, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_shape flat = {.n_dims = 2, .dims = {rows * context, n_tokens}};
    logits = lmn_reshape(graph, logits, flat);
    const lmn_tensor *labels = flatten(graph, targets, rows * context);
    const lmn_tensor *shares = share_weights(graph, weights, rows, context);
    const lmn_task_graph task = {
        .n_inputs = 2,
        .inputs = {tokens, targets},
        .weights = weights,
        .loss = lmn_weighted_cross_entropy(graph, logits, labels, shares),
        .hits = lmn_weighted_hits(graph, logits, labels, shares),
    };
    status = lmn_graph_status(graph, err);
    if (status == LMN_OK) {
        *task_out = task;
    }
    return status;
}

/* A token stands for text_bytes / text_tokens bytes on average. */
static double bits_per_byte(const void *user, lmn_split split, double loss)
{
    const lmn_dataset_info *data = &((const lmn_text_task *)user)->data;
    return loss / log(2.0) * (double)data->text_tokens[split] / (double)data->text_bytes[split];
}

static double perplexity(const void *user, lmn_split split, double loss)
{
    (void)user;
    (void)split;
    return exp(loss);
}

static const lmn_metric metrics[] = {
    {"bits_per_byte", "bit", "loss in bits for each byte of the text", bits_per_byte},
    {"perplexity", "1", "exp of the loss: as uncertain as among so many tokens", perplexity},
};

lmn_task lmn_text_task_get(const lmn_text_task *text)
{
    return (lmn_task){.build = build_text,
                      .user = text,
                      .n_metrics = sizeof metrics / sizeof metrics[0],
                      .metrics = metrics};
}
