/*
 * Batch norm, with running statistics, rows without a sample, and statistics of all ranks.
 *
 * Bound by memory, so passes over the data count. Forward there are two: batch_statistics reads x,
 * batch_norm reads x and writes y. Backward there are two as well: batch_norm_sums reads x and dy
 * for the gradients of scale and shift, and batch_norm_grad turns dy into dx, which needs the same
 * sums because the statistics depend on x. Further derivatives go through compositions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/norm_internal.h"
#include "lamina/memory.h"
#include "ops_internal.h"

#include <math.h>
#include <string.h>

static size_t channels_of(const lmn_tensor *x)
{
    return x->shape.dims[x->shape.n_dims - 1];
}

/* Rows of channels in one sample. */
static size_t sample_rows(const lmn_tensor *x)
{
    size_t rows = 1;
    for (size_t i = 1; i + 1 < x->shape.n_dims; i++) {
        rows *= x->shape.dims[i];
    }
    return rows;
}

/*
 * The next run of samples that count, as rows, from sample *next on; false when there is none.
 * weights  [samples] or NULL
 */
static bool next_rows(const lmn_tensor *x, const float *weights, size_t *next, lmn__rows *rows_out)
{
    const size_t n = x->shape.dims[0];
    size_t first = *next;
    while (first < n && weights != NULL && weights[first] == 0.0F) {
        first++;
    }
    size_t end = first;
    while (end < n && (weights == NULL || weights[end] != 0.0F)) {
        end++;
    }
    *next = end;
    *rows_out =
        (lmn__rows){.first = first * sample_rows(x), .count = (end - first) * sample_rows(x)};
    return end > first;
}

static size_t count_rows(const lmn_tensor *x, const float *weights)
{
    size_t count = 0;
    size_t next = 0;
    lmn__rows rows;
    while (next_rows(x, weights, &next, &rows)) {
        count += rows.count;
    }
    return count;
}

/* Add up values over the ranks, where the run has several. */
static lmn_status sum_ranks(const lmn__node_run *node_run, double *values, size_t n)
{
    const lmn_run *run = node_run->run;
    return node_run->node->attributes.synchronised && run->sum_ranks != NULL
               ? run->sum_ranks(run->user, values, n, node_run->err)
               : LMN_OK;
}

static bool asks_ranks(const lmn_tensor *node)
{
    return node->attributes.synchronised;
}

/* ---- batch_statistics(x, running, weights?) ---- */

/*
 * From this rank's sums and squares to those of all: squares about the common mean. Two sums over
 * ranks, as the second needs the result of the first.
 * values  [2 C + 1]: sums, squares, rows
 */
static lmn_status merge_ranks(const lmn__node_run *node_run, size_t c, double *values)
{
    double *sums = values;
    double *squares = values + c;
    const double own_rows = values[2 * c];
    /* Turn squares about the own mean into squares about the common one. */
    double *own_sums = values + 2 * c + 1;
    memcpy(own_sums, sums, c * sizeof *sums);
    own_sums[c] = own_rows;
    lmn_status status = sum_ranks(node_run, own_sums, c + 1);
    if (status != LMN_OK) {
        return status;
    }
    const double rows = own_sums[c];
    for (size_t i = 0; i < c && own_rows > 0.0; i++) {
        const double apart = sums[i] / own_rows - own_sums[i] / rows;
        squares[i] += own_rows * apart * apart;
    }
    memcpy(sums, own_sums, c * sizeof *sums);
    values[2 * c] = rows;
    return sum_ranks(node_run, squares, c);
}

static lmn_status run_statistics(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    const size_t c = channels_of(x);
    float *statistics = node_run->output;
    if (!node_run->run->training) {
        memcpy(statistics, node_run->inputs[1], 2 * c * sizeof *statistics);
        return LMN_OK;
    }
    const float *weights = node_run->node->n_inputs > 2 ? node_run->inputs[2] : NULL;
    double *values = node_run->workspace;
    memset(values, 0, (2 * c + 1) * sizeof *values);
    size_t n = 0;
    size_t next = 0;
    lmn__rows rows;
    while (next_rows(x, weights, &next, &rows)) {
        lmn__add_moments(rows, c, node_run->inputs[0], n, values, values + c);
        n += rows.count;
    }
    values[2 * c] = (double)n;
    const lmn_status status =
        node_run->node->attributes.synchronised ? merge_ranks(node_run, c, values) : LMN_OK;
    const double total = values[2 * c];
    for (size_t i = 0; i < c; i++) {
        statistics[i] = total > 0.0 ? (float)(values[i] / total) : 0.0F;
        statistics[c + i] = total > 0.0 ? (float)(values[c + i] / total) : 1.0F;
    }
    return status;
}

static size_t statistics_workspace(const lmn_tensor *node)
{
    return (3 * channels_of(node->inputs[0]) + 2) * sizeof(double);
}

static const lmn__op statistics_op = {.name = "batch_statistics",
                                      .no_gradient = true,
                                      .asks_ranks = asks_ranks,
                                      .run = run_statistics,
                                      .workspace_bytes = statistics_workspace};

const lmn_tensor *lmn_batch_statistics(lmn_graph *graph, const lmn_tensor *x,
                                       const lmn_tensor *weights, const lmn_tensor *running,
                                       bool synchronised)
{
    const lmn_tensor *const inputs[] = {x, running, weights};
    const size_t n = weights != NULL ? 3 : 2;
    if (!lmn__inputs_fit(graph, &statistics_op, inputs, n)) {
        return NULL;
    }
    const bool has_rows = x->shape.n_dims >= 2;
    const lmn_shape shape = {.n_dims = 2, .dims = {2, has_rows ? channels_of(x) : 0}};
    const lmn_shape samples = {.n_dims = 1, .dims = {has_rows ? x->shape.dims[0] : 0}};
    if (!has_rows || !lmn_shape_equal(&running->shape, &shape) ||
        (weights != NULL && !lmn_shape_equal(&weights->shape, &samples))) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "batch_statistics: x %s needs samples first and channels last, "
                               "running statistics [2, channels], not %s, and a weight for each "
                               "sample",
                               lmn__shape_text(&x->shape).text,
                               lmn__shape_text(&running->shape).text);
    }
    const lmn__attributes attributes = {.synchronised = synchronised};
    return lmn__tensor_new(graph, &statistics_op, inputs, n, shape, LMN_F32, &attributes);
}

/* ---- compositions: the same with elementary ops, in training ---- */

/* 1 for rows that count, else 0, in a shape that broadcasts to x; NULL: all count. */
static const lmn_tensor *row_mask(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *weights)
{
    if (weights == NULL) {
        return NULL;
    }
    lmn_shape shape = x->shape;
    for (size_t i = 1; i < shape.n_dims; i++) {
        shape.dims[i] = 1;
    }
    const lmn_tensor *ones = lmn_constant(graph, 1.0F, weights->shape);
    const lmn_tensor *size = lmn_mul(graph, weights, weights); /* weights may be negative */
    return lmn_reshape(graph, lmn_gate(graph, ones, size), shape);
}

/* The mean over the rows that count, [1, ..., C]. */
static const lmn_tensor *mean_of_rows(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *mask)
{
    const unsigned rows = (1U << (x->shape.n_dims - 1)) - 1U;
    if (mask == NULL) {
        return lmn_reduce_mean(graph, x, rows, true);
    }
    const lmn_tensor *sum = lmn_reduce_sum(graph, lmn_mul(graph, x, mask), rows, true);
    const lmn_tensor *n = lmn_reduce_sum(graph, mask, LMN_ALL_AXES, false);
    return lmn_div(graph, sum, lmn_scale(graph, n, (float)sample_rows(x)));
}

/* The normalised x, and the deviation that it was divided by. */
static const lmn_tensor *normalised(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *mask,
                                    float epsilon, const lmn_tensor **deviation_out)
{
    const lmn_tensor *centred = lmn_sub(graph, x, mean_of_rows(graph, x, mask));
    const lmn_tensor *variance = mean_of_rows(graph, lmn_mul(graph, centred, centred), mask);
    const lmn_tensor *offset = lmn_constant(graph, epsilon, (lmn_shape){.n_dims = 0});
    *deviation_out = lmn_sqrt(graph, lmn_add(graph, variance, offset));
    return lmn_div(graph, centred, *deviation_out);
}

/* ---- batch_norm_sums(x, dy, statistics, weights?): [2, C] ---- */

static lmn_status run_sums(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    const size_t c = channels_of(x);
    const float *statistics = node_run->inputs[2];
    const float *weights = node_run->node->n_inputs > 3 ? node_run->inputs[3] : NULL;
    double *values = node_run->workspace;
    float *sums = node_run->output;
    memset(values, 0, 2 * c * sizeof *values);
    size_t next = 0;
    lmn__rows rows;
    while (next_rows(x, weights, &next, &rows)) {
        lmn__add_products(rows, c, node_run->inputs[0], node_run->inputs[1], statistics, values,
                          values + c);
    }
    for (size_t i = 0; i < c; i++) {
        const double variance = (double)statistics[c + i];
        sums[i] = (float)values[i];
        sums[c + i] =
            (float)(values[c + i] / sqrt(variance + (double)node_run->node->attributes.scalar));
    }
    return LMN_OK;
}

static size_t sums_workspace(const lmn_tensor *node)
{
    return 2 * channels_of(node->inputs[0]) * sizeof(double);
}

static const lmn_tensor *weights_of_sums(const lmn_tensor *node)
{
    return node->n_inputs > 3 ? node->inputs[3] : NULL;
}

static const lmn_tensor *compose_sums(lmn_graph *graph, const lmn_tensor *node)
{
    const lmn_tensor *x = node->inputs[0];
    const unsigned rows = (1U << (x->shape.n_dims - 1)) - 1U;
    const lmn_tensor *mask = row_mask(graph, x, weights_of_sums(node));
    const lmn_tensor *deviation = NULL;
    const lmn_tensor *unit = normalised(graph, x, mask, node->attributes.scalar, &deviation);
    const lmn_tensor *dy = mask == NULL ? node->inputs[1] : lmn_mul(graph, node->inputs[1], mask);
    const lmn_shape row = {.n_dims = 2, .dims = {1, channels_of(x)}};
    const lmn_tensor *const parts[] = {
        lmn_reshape(graph, lmn_reduce_sum(graph, dy, rows, false), row),
        lmn_reshape(graph, lmn_reduce_sum(graph, lmn_mul(graph, dy, unit), rows, false), row)};
    return lmn_concat(graph, parts, 2, 0);
}

static const lmn__op sums_op = {.name = "batch_norm_sums",
                                .compose = compose_sums,
                                .run = run_sums,
                                .workspace_bytes = sums_workspace};

/* `norm` is a batch_norm node; the sums serve three of its operands. */
static const lmn_tensor *sums_of(lmn_graph *graph, const lmn_tensor *norm, const lmn_tensor *dy)
{
    const lmn_tensor *statistics = norm->inputs[1];
    const lmn_tensor *weights = statistics->n_inputs > 2 ? statistics->inputs[2] : NULL;
    const lmn_tensor *const inputs[] = {norm->inputs[0], dy, statistics, weights};
    const size_t n = weights != NULL ? 4 : 3;
    const lmn_tensor *known = lmn__tensor_find(graph, &sums_op, inputs, n);
    if (known != NULL) {
        return known;
    }
    if (!lmn__inputs_fit(graph, &sums_op, inputs, n)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &sums_op, inputs, n, statistics->shape, LMN_F32,
                           &norm->attributes);
}

/* ---- batch_norm_grad(x, dy, statistics, scale, sums, weights?): the gradient in x ---- */

/* The per-channel numbers of lmn__normalise_rows_grad, [C] each. */
typedef struct grad_factors {
    float *factor, *offset, *slope;
} grad_factors;

static lmn_status find_grad_factors(const lmn__node_run *node_run, size_t n_rows,
                                    grad_factors *factors_out)
{
    const lmn_tensor *node = node_run->node;
    const size_t c = channels_of(node);
    const float *variance = (const float *)node_run->inputs[2] + c;
    const float *scale = node_run->inputs[3];
    const float *sums = node_run->inputs[4];
    double *values = node_run->workspace; /* [2 C + 1], then the factors */
    void *rest = values + 2 * c + 1;
    grad_factors f = {.factor = rest};
    f.offset = f.factor + c;
    f.slope = f.offset + c;
    for (size_t i = 0; i < 2 * c; i++) {
        values[i] = (double)sums[i];
    }
    values[2 * c] = (double)n_rows;
    /* When not training statistics are constant: no sums, on any rank. */
    const bool training = node_run->run->training;
    const lmn_status status = training ? sum_ranks(node_run, values, 2 * c + 1) : LMN_OK;
    const double share = training && values[2 * c] > 0.0 ? 1.0 / values[2 * c] : 0.0;
    for (size_t i = 0; i < c; i++) {
        const double unit = 1.0 / sqrt((double)variance[i] + (double)node->attributes.scalar);
        f.factor[i] = (float)(unit * (double)scale[i]);
        f.offset[i] = (float)(values[i] * share);
        f.slope[i] = (float)(values[c + i] * share * unit);
    }
    *factors_out = f;
    return status;
}

/* Values that are handled before the epilogue looks at them. */
static const size_t PIECE = 4096;

/* The rows, and the epilogue piece by piece. */
static void write_grad(const lmn__node_run *node_run, lmn__rows rows, const grad_factors *f)
{
    const size_t c = channels_of(node_run->node);
    const float *x = node_run->inputs[0];
    const float *dy = node_run->inputs[1];
    float *dx = node_run->output;
    const size_t step = PIECE / c + 1;
    const size_t end = rows.first + rows.count;
#pragma omp parallel for schedule(static)
    for (size_t row = rows.first; row < end; row += step) {
        const size_t n = end - row < step ? end - row : step;
        lmn__normalise_rows_grad(n, c, x + row * c, dy + row * c, node_run->inputs[2], f->factor,
                                 f->offset, f->slope, dx + row * c);
        lmn__epilogue_apply(node_run->epilogue, row * c, n * c, dx + row * c);
    }
}

static lmn_status run_grad(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    const size_t c = channels_of(x);
    const float *weights = node_run->node->n_inputs > 5 ? node_run->inputs[5] : NULL;
    grad_factors factors;
    const lmn_status status = find_grad_factors(node_run, count_rows(x, weights), &factors);
    size_t next = 0;
    size_t done = 0; /* rows */
    lmn__rows rows;
    while (status == LMN_OK && next_rows(x, weights, &next, &rows)) {
        /* Rows before this run hold no sample. */
        memset((float *)node_run->output + done * c, 0, (rows.first - done) * c * sizeof(float));
        lmn__epilogue_apply(node_run->epilogue, done * c, (rows.first - done) * c,
                            (float *)node_run->output + done * c);
        write_grad(node_run, rows, &factors);
        done = rows.first + rows.count;
    }
    const size_t left = lmn_shape_count(&x->shape) - done * c;
    float *rest = (float *)node_run->output + done * c;
    memset(rest, 0, left * sizeof *rest);
    lmn__epilogue_apply(node_run->epilogue, done * c, left, rest);
    return status;
}

static size_t grad_workspace(const lmn_tensor *node)
{
    const size_t c = channels_of(node);
    return (2 * c + 1) * sizeof(double) + 3 * c * sizeof(float);
}

/* scale / deviation (dy - mean(dy) - n mean(dy n)) for the normalised n, over rows that count. */
static const lmn_tensor *compose_grad(lmn_graph *graph, const lmn_tensor *node)
{
    const lmn_tensor *x = node->inputs[0];
    const lmn_tensor *dy = node->inputs[1];
    const lmn_tensor *mask = row_mask(graph, x, node->n_inputs > 5 ? node->inputs[5] : NULL);
    const lmn_tensor *deviation = NULL;
    const lmn_tensor *unit = normalised(graph, x, mask, node->attributes.scalar, &deviation);
    const lmn_tensor *mean = mean_of_rows(graph, dy, mask);
    const lmn_tensor *product = mean_of_rows(graph, lmn_mul(graph, dy, unit), mask);
    const lmn_tensor *rest =
        lmn_sub(graph, lmn_sub(graph, dy, mean), lmn_mul(graph, unit, product));
    const lmn_tensor *dx = lmn_mul(graph, rest, lmn_div(graph, node->inputs[3], deviation));
    return mask == NULL ? dx : lmn_mul(graph, dx, mask);
}

static unsigned grad_overwrites(const lmn_tensor *node)
{
    (void)node;
    return 2U; /* dy */
}

static const lmn__op grad_op = {.name = "batch_norm_grad",
                                .compose = compose_grad,
                                .asks_ranks = asks_ranks,
                                .takes_epilogue = true,
                                .run = run_grad,
                                .workspace_bytes = grad_workspace,
                                .may_overwrite = grad_overwrites};

/* ---- batch_norm(x, statistics, scale, shift) ---- */

static lmn_status run_batch_norm(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const size_t c = channels_of(node);
    const size_t n_rows = lmn_shape_count(&node->shape) / c;
    const float *x = node_run->inputs[0];
    const float *mean = node_run->inputs[1];
    const float *scale = node_run->inputs[2];
    float *factor = node_run->workspace;
    float *y = node_run->output;
    for (size_t i = 0; i < c; i++) {
        const double variance = (double)mean[c + i];
        factor[i] = (float)((double)scale[i] / sqrt(variance + (double)node->attributes.scalar));
    }
    const size_t step = PIECE / c + 1;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row += step) {
        const size_t n = n_rows - row < step ? n_rows - row : step;
        lmn__normalise_rows(n, c, x + row * c, mean, factor, node_run->inputs[3], y + row * c);
        lmn__epilogue_apply(node_run->epilogue, row * c, n * c, y + row * c);
    }
    return LMN_OK;
}

static size_t batch_norm_workspace(const lmn_tensor *node)
{
    return channels_of(node) * sizeof(float);
}

static const lmn_tensor *vjp_batch_norm(lmn_graph *graph, const lmn_tensor *node,
                                        const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *sums = sums_of(graph, node, grad);
    if (sums == NULL || input == 1) {
        return NULL;
    }
    if (input > 1) {
        const size_t row = input == 2 ? 1 : 0; /* scale, shift */
        return lmn_reshape(graph, lmn_slice(graph, sums, 0, row, 1), node->inputs[input]->shape);
    }
    const lmn_tensor *statistics = node->inputs[1];
    const lmn_tensor *weights = statistics->n_inputs > 2 ? statistics->inputs[2] : NULL;
    const lmn_tensor *const inputs[] = {node->inputs[0], grad, statistics,
                                        node->inputs[2], sums, weights};
    const size_t n = weights != NULL ? 6 : 5;
    if (!lmn__inputs_fit(graph, &grad_op, inputs, n)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &grad_op, inputs, n, node->shape, LMN_F32, &node->attributes);
}

static const lmn__op batch_norm_op = {.name = "batch_norm",
                                      .vjp = vjp_batch_norm,
                                      .takes_epilogue = true,
                                      .run = run_batch_norm,
                                      .workspace_bytes = batch_norm_workspace};

const lmn_tensor *lmn_batch_norm(lmn_graph *graph, const lmn_tensor *x,
                                 const lmn_tensor *statistics, const lmn_tensor *scale,
                                 const lmn_tensor *shift, float epsilon)
{
    const lmn_tensor *const inputs[] = {x, statistics, scale, shift};
    if (!lmn__inputs_fit(graph, &batch_norm_op, inputs, 4)) {
        return NULL;
    }
    if (statistics->op != &statistics_op || statistics->inputs[0] != x) {
        return lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                               "batch_norm: the statistics do not come from batch_statistics of "
                               "the same x");
    }
    const lmn_shape row = {.n_dims = 1, .dims = {channels_of(x)}};
    if (!lmn_shape_equal(&scale->shape, &row) || !lmn_shape_equal(&shift->shape, &row)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "batch_norm: scale %s and shift %s are not those of the channels "
                               "of %s",
                               lmn__shape_text(&scale->shape).text,
                               lmn__shape_text(&shift->shape).text,
                               lmn__shape_text(&x->shape).text);
    }
    const lmn__attributes attributes = {.scalar = epsilon,
                                        .synchronised = statistics->attributes.synchronised};
    return lmn__tensor_new(graph, &batch_norm_op, inputs, 4, x->shape, LMN_F32, &attributes);
}
