/*
 * Dropout: a product with a random mask.
 *
 * The mask is an op of its own without operands, so forward and backward multiply by the same
 * tensor and derivatives of any order follow from those of the product. A mask element is a
 * function of (seed, step, the mask's place in the graph, the element's place in the global batch);
 * two dropouts of a graph therefore differ, and ranks may share a batch in any way.
 *
 * Method: N. Srivastava et al., JMLR 15 (2014) 1929-1958.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"
#include "ops_internal.h"

/* Words drawn at a time. */
#define CHUNK 256

/* A stream holds this many words; masks of larger batches repeat. */
static const uint64_t STREAM_WORDS = UINT64_C(1) << 34;

static uint64_t smallest(uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

/* mask [n] = kept where the stream's words from `first` on reach the threshold, else 0. */
static void fill_mask(const lmn_stream *stream, uint64_t first, size_t n, float rate, float *mask)
{
    const float kept = 1.0F / (1.0F - rate);
    const double threshold = (double)rate * 0x1p32;
    uint32_t words[CHUNK];
    for (size_t done = 0; done < n;) {
        const uint64_t word = (first + done) % STREAM_WORDS;
        const size_t count = (size_t)smallest(n - done, CHUNK, STREAM_WORDS - word);
        lmn_stream_u32(stream, word, count, words);
        for (size_t i = 0; i < count; i++) {
            mask[done + i] = (double)words[i] < threshold ? 0.0F : kept;
        }
        done += count;
    }
}

static lmn_status run_mask(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn_run *run = node_run->run;
    const size_t n = lmn_shape_count(&node->shape);
    const size_t rows = node->shape.n_dims > 0 ? node->shape.dims[0] : 1;
    float *mask = node_run->output;
    if (!run->training) {
        for (size_t i = 0; i < n; i++) {
            mask[i] = 1.0F;
        }
        return LMN_OK;
    }
    const lmn_stream stream = {
        .seed = run->seed,
        .layer = (uint32_t)node->index,
        .step = (uint32_t)run->step,
        .purpose = LMN_STREAM_DROPOUT,
        .rank = LMN_STREAM_ALL_RANKS,
    };
    fill_mask(&stream, run->first_row * (n / rows), n, node->attributes.scalar, mask);
    return LMN_OK;
}

static const lmn__op mask_op = {.name = "dropout_mask", .no_gradient = true, .run = run_mask};

const lmn_tensor *lmn_dropout(lmn_graph *graph, const lmn_tensor *x, float rate)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &mask_op, inputs, 1)) {
        return NULL;
    }
    if (!(rate >= 0.0F && rate < 1.0F)) {
        return lmn__graph_fail(graph, LMN_ERR_ARGUMENT,
                               "dropout: rate %g is not at least 0 and below 1", (double)rate);
    }
    const lmn__attributes attributes = {.scalar = rate};
    const lmn_tensor *mask =
        lmn__tensor_new(graph, &mask_op, NULL, 0, x->shape, LMN_F32, &attributes);
    return lmn_mul(graph, x, mask);
}
