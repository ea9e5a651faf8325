/*
 * Convolution by oneDNN.
 *
 * Inputs and outputs are described as they lie, NHWC. Weights are handed over in the layout that
 * oneDNN likes best and reordered at every call, since training changes them at every step: with
 * our own layout its fast kernels refuse. The batch is cut into pieces whose results stay in the
 * second-level cache, so that the epilogue finds them there.
 *
 * Everything is created once; a run sets addresses and executes. Scratch memory is the caller's.
 * oneDNN 2.6: https://oneapi-src.github.io/oneDNN/v2.6/
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/conv_internal.h"
#include "lamina/memory.h"

#include <dnnl.h>

/* Result of one piece of the batch. */
static const size_t PIECE_BYTES = (size_t)512 * 1024;

/* One primitive and the memories of its arguments; NULL where there is none. */
typedef struct onednn_conv {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t convolution;
    dnnl_primitive_t reorder; /* weights into or out of oneDNN's layout; NULL: they agree */
    dnnl_memory_t in, out;    /* x and y, or their gradients, of one piece */
    dnnl_memory_t weights;    /* as the convolution wants them */
    dnnl_memory_t plain;      /* as Lamina has them */
    dnnl_memory_t scratch;
    size_t weights_bytes, scratch_bytes;
    size_t piece; /* images */
    lmn__conv_direction direction;
} onednn_conv;

static lmn_status check(dnnl_status_t status, const char *what, lmn_error *err)
{
    if (status == dnnl_success) {
        return LMN_OK;
    }
    const bool is_memory = status == dnnl_out_of_memory;
    return lmn_error_set(err, is_memory ? LMN_ERR_MEMORY : LMN_ERR_UNSUPPORTED,
                         "oneDNN refuses to %s (its status is %d)", what, (int)status);
}

/* The descriptors of the arguments of one piece. */
typedef struct descriptors {
    dnnl_memory_desc_t in, out, weights, plain;
    dnnl_dims_t strides, pads_before, pads_after;
} descriptors;

static dnnl_status_t describe(const lmn__conv *conv, size_t piece, descriptors *d)
{
    const dnnl_dim_t n = (dnnl_dim_t)piece;
    const dnnl_dim_t c = (dnnl_dim_t)conv->c;
    const dnnl_dim_t k = (dnnl_dim_t)conv->k;
    const lmn_window *w = &conv->window;
    const dnnl_dims_t in = {n, c, (dnnl_dim_t)conv->h, (dnnl_dim_t)conv->w};
    const dnnl_dims_t out = {n, k, (dnnl_dim_t)conv->oh, (dnnl_dim_t)conv->ow};
    const dnnl_dims_t weights = {k, c, (dnnl_dim_t)conv->kh, (dnnl_dim_t)conv->kw};
    d->strides[0] = (dnnl_dim_t)w->stride_h;
    d->strides[1] = (dnnl_dim_t)w->stride_w;
    d->pads_before[0] = (dnnl_dim_t)w->pad_top;
    d->pads_before[1] = (dnnl_dim_t)w->pad_left;
    d->pads_after[0] = (dnnl_dim_t)w->pad_bottom;
    d->pads_after[1] = (dnnl_dim_t)w->pad_right;
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(&d->in, 4, in, dnnl_f32, dnnl_nhwc);
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&d->out, 4, out, dnnl_f32, dnnl_nhwc);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_desc_init_by_tag(&d->plain, 4, weights, dnnl_f32, dnnl_hwio);
    }
    if (status == dnnl_success) {
        status =
            dnnl_memory_desc_init_by_tag(&d->weights, 4, weights, dnnl_f32, dnnl_format_tag_any);
    }
    return status;
}

/* The gradients are described with the forward convolution as a hint. */
static dnnl_status_t create_description(const onednn_conv *state, const descriptors *d,
                                        const_dnnl_primitive_attr_t attributes,
                                        dnnl_primitive_desc_t *description_out)
{
    dnnl_convolution_desc_t forward;
    dnnl_status_t status = dnnl_convolution_forward_desc_init(
        &forward, dnnl_forward_training, dnnl_convolution_direct, &d->in, &d->weights, NULL,
        &d->out, d->strides, d->pads_before, d->pads_after);
    if (status != dnnl_success || state->direction == LMN__CONV_FORWARD) {
        return status != dnnl_success ? status
                                      : dnnl_primitive_desc_create(description_out, &forward,
                                                                   attributes, state->engine, NULL);
    }
    dnnl_primitive_desc_t hint = NULL;
    status = dnnl_primitive_desc_create(&hint, &forward, NULL, state->engine, NULL);
    if (status != dnnl_success) {
        return status;
    }
    dnnl_convolution_desc_t backward;
    if (state->direction == LMN__CONV_INPUT_GRAD) {
        status = dnnl_convolution_backward_data_desc_init(&backward, dnnl_convolution_direct,
                                                          &d->in, &d->weights, &d->out, d->strides,
                                                          d->pads_before, d->pads_after);
    } else {
        status = dnnl_convolution_backward_weights_desc_init(
            &backward, dnnl_convolution_direct, &d->in, &d->weights, NULL, &d->out, d->strides,
            d->pads_before, d->pads_after);
    }
    if (status == dnnl_success) {
        status =
            dnnl_primitive_desc_create(description_out, &backward, attributes, state->engine, hint);
    }
    (void)dnnl_primitive_desc_destroy(hint);
    return status;
}

static dnnl_status_t create_memory(const onednn_conv *state, const dnnl_memory_desc_t *desc,
                                   dnnl_memory_t *memory_out)
{
    return dnnl_memory_create(memory_out, desc, state->engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t create_reorder(onednn_conv *state)
{
    const dnnl_memory_desc_t *plain = NULL;
    const dnnl_memory_desc_t *weights = NULL;
    (void)dnnl_memory_get_memory_desc(state->plain, &plain);
    (void)dnnl_memory_get_memory_desc(state->weights, &weights);
    if (dnnl_memory_desc_equal(plain, weights)) {
        return dnnl_success;
    }
    const bool is_out = state->direction == LMN__CONV_WEIGHT_GRAD;
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&description, is_out ? weights : plain, state->engine,
                                           is_out ? plain : weights, state->engine, NULL);
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&state->reorder, description);
        (void)dnnl_primitive_desc_destroy(description);
    }
    return status;
}

/* Everything that the description of the convolution decides. */
static dnnl_status_t create_parts(onednn_conv *state, const descriptors *d,
                                  const_dnnl_primitive_desc_t description)
{
    const bool is_grad = state->direction == LMN__CONV_WEIGHT_GRAD;
    const dnnl_memory_desc_t *weights = dnnl_primitive_desc_query_md(
        description, is_grad ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    state->weights_bytes = dnnl_memory_desc_get_size(weights);
    state->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    dnnl_status_t status = dnnl_primitive_create(&state->convolution, description);
    if (status == dnnl_success) {
        status = create_memory(state, &d->in, &state->in);
    }
    if (status == dnnl_success) {
        status = create_memory(state, &d->out, &state->out);
    }
    if (status == dnnl_success) {
        status = create_memory(state, &d->plain, &state->plain);
    }
    if (status == dnnl_success) {
        status = create_memory(state, weights, &state->weights);
    }
    if (status == dnnl_success) {
        status = create_memory(state, scratch, &state->scratch);
    }
    return status == dnnl_success ? create_reorder(state) : status;
}

static dnnl_status_t create(onednn_conv *state, const lmn__conv *conv)
{
    descriptors d;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status = dnnl_engine_create(&state->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&state->stream, state->engine, dnnl_stream_default_flags);
    }
    if (status == dnnl_success) {
        status = describe(conv, state->piece, &d);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(&attributes);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    }
    if (status == dnnl_success) {
        status = create_description(state, &d, attributes, &description);
    }
    if (status == dnnl_success) {
        status = create_parts(state, &d, description);
        (void)dnnl_primitive_desc_destroy(description);
    }
    (void)dnnl_primitive_attr_destroy(attributes);
    return status;
}

static void release(void *memory)
{
    onednn_conv *state = memory;
    if (state == NULL) {
        return;
    }
    (void)dnnl_primitive_destroy(state->convolution);
    (void)dnnl_primitive_destroy(state->reorder);
    (void)dnnl_memory_destroy(state->in);
    (void)dnnl_memory_destroy(state->out);
    (void)dnnl_memory_destroy(state->weights);
    (void)dnnl_memory_destroy(state->plain);
    (void)dnnl_memory_destroy(state->scratch);
    (void)dnnl_stream_destroy(state->stream);
    (void)dnnl_engine_destroy(state->engine);
    lmn_free(state);
}

/* The largest divisor of the batch whose result stays in cache; a weight gradient needs them all.
 */
static size_t choose_piece(const lmn__conv *conv, lmn__conv_direction direction)
{
    const size_t image = direction == LMN__CONV_FORWARD ? conv->oh * conv->ow * conv->k
                                                        : conv->h * conv->w * conv->c;
    if (direction == LMN__CONV_WEIGHT_GRAD) {
        return conv->batch;
    }
    size_t piece = PIECE_BYTES / (image * sizeof(float));
    piece = piece > conv->batch ? conv->batch : piece;
    while (piece > 1 && conv->batch % piece != 0) {
        piece--;
    }
    return piece > 0 ? piece : 1;
}

static bool supports(const lmn__conv *conv, lmn__conv_direction direction)
{
    (void)conv;
    (void)direction;
    return true;
}

static lmn_status prepare(const lmn__conv *conv, lmn__conv_direction direction, void **state_out,
                          size_t *workspace_bytes_out, lmn_error *err)
{
    onednn_conv *state = lmn_alloc(1, sizeof *state, err);
    if (state == NULL) {
        return LMN_ERR_MEMORY;
    }
    state->direction = direction;
    state->piece = choose_piece(conv, direction);
    const lmn_status status = check(create(state, conv), "prepare a convolution", err);
    if (status != LMN_OK) {
        release(state);
        return status;
    }
    *state_out = state;
    *workspace_bytes_out = lmn_align_up(state->weights_bytes) + lmn_align_up(state->scratch_bytes);
    return LMN_OK;
}

static dnnl_status_t run_reorder(const onednn_conv *state)
{
    const bool is_out = state->direction == LMN__CONV_WEIGHT_GRAD;
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, is_out ? state->weights : state->plain},
                                         {DNNL_ARG_TO, is_out ? state->plain : state->weights}};
    return state->reorder == NULL
               ? dnnl_success
               : dnnl_primitive_execute(state->reorder, state->stream, 2, arguments);
}

/* oneDNN takes the address of what it only reads as if it wrote there. */
static dnnl_status_t set_address(dnnl_memory_t memory, const void *values)
{
    const union {
        const void *given;
        void *taken;
    } address = {.given = values};
    return dnnl_memory_set_data_handle(memory, address.taken);
}

/* in, out: of one piece. */
static dnnl_status_t run_piece(const onednn_conv *state, const float *in, const float *out)
{
    static const int names[3][3] = {
        [LMN__CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
        [LMN__CONV_INPUT_GRAD] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        [LMN__CONV_WEIGHT_GRAD] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    const int *name = names[state->direction];
    const dnnl_exec_arg_t arguments[] = {{name[0], state->in},
                                         {name[1], state->weights},
                                         {name[2], state->out},
                                         {DNNL_ARG_SCRATCHPAD, state->scratch}};
    dnnl_status_t status = set_address(state->in, in);
    if (status == dnnl_success) {
        status = set_address(state->out, out);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_execute(state->convolution, state->stream, 4, arguments);
    }
    return status;
}

/* The result, or its gradient in the input, piece by piece. */
static dnnl_status_t run_pieces(const onednn_conv *state, const lmn__conv *conv,
                                const lmn__conv_call *call)
{
    const size_t in_count = state->piece * conv->h * conv->w * conv->c;
    const size_t out_count = state->piece * conv->oh * conv->ow * conv->k;
    const bool is_forward = state->direction == LMN__CONV_FORWARD;
    const float *in = is_forward ? call->a : call->result;
    const float *out = is_forward ? call->result : call->a;
    const size_t count = is_forward ? out_count : in_count;
    dnnl_status_t status = run_reorder(state);
    for (size_t i = 0; i < conv->batch / state->piece && status == dnnl_success; i++) {
        status = run_piece(state, in + i * in_count, out + i * out_count);
        lmn__conv_finish(call, i * count, count);
    }
    return status;
}

static lmn_status run(const lmn__conv *conv, lmn__conv_direction direction,
                      const void *state_memory, const lmn__conv_call *call, lmn_error *err)
{
    const onednn_conv *state = state_memory;
    const bool is_weight_grad = direction == LMN__CONV_WEIGHT_GRAD;
    const float *plain = is_weight_grad ? call->result : call->b;
    char *workspace = call->workspace;
    const void *weights = state->reorder != NULL ? call->workspace : plain;
    dnnl_status_t status = set_address(state->plain, plain);
    if (status == dnnl_success) {
        status = set_address(state->weights, weights);
    }
    if (status == dnnl_success) {
        status = set_address(state->scratch, workspace + lmn_align_up(state->weights_bytes));
    }
    if (status == dnnl_success && is_weight_grad) {
        status = run_piece(state, call->a, call->b);
        status = status == dnnl_success ? run_reorder(state) : status;
    } else if (status == dnnl_success) {
        status = run_pieces(state, conv, call);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(state->stream);
    }
    return check(status, "run a convolution", err);
}

const lmn__conv_backend lmn__conv_onednn = {
    .name = "onednn", .supports = supports, .prepare = prepare, .run = run, .release = release};
