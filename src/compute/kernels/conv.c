/*
 * Choice among the backends of convolution.
 *
 * Measured on one core, f32, NHWC (docs/performance.md): Winograd's kernels are about twice as fast
 * as oneDNN's direct ones wherever they apply, with AVX-512 and without, from 16 channels on.
 * im2col computes everything that nothing else does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conv_internal.h"
#include "lamina/memory.h"

/* Backends in the order in which they are tried. */
#define N_BACKENDS_MAX 3
static size_t list_backends(const lmn__conv *conv, lmn__conv_direction direction,
                            const lmn__conv_backend *list[N_BACKENDS_MAX])
{
    size_t n = 0;
    if (lmn__conv_winograd.supports(conv, direction)) {
        list[n++] = &lmn__conv_winograd;
    }
#ifdef LMN__HAVE_ONEDNN
    if (lmn__conv_onednn.supports(conv, direction)) {
        list[n++] = &lmn__conv_onednn;
    }
#endif
    list[n++] = &lmn__conv_im2col;
    return n;
}

static lmn_status prepare(lmn__conv_plan *plan, const lmn__conv_backend *backend, lmn_error *err)
{
    const lmn_status status =
        backend->prepare(&plan->conv, plan->direction, &plan->state, &plan->workspace_bytes, err);
    if (status == LMN_OK) {
        plan->backend = backend;
    }
    return status;
}

lmn_status lmn__conv_plan_create(const lmn__conv *conv, lmn__conv_direction direction,
                                 const lmn__conv_backend *backend, lmn__conv_plan **plan_out,
                                 lmn_error *err)
{
    lmn__conv_plan *plan = lmn_alloc(1, sizeof *plan, err);
    if (plan == NULL) {
        return LMN_ERR_MEMORY;
    }
    plan->conv = *conv;
    plan->direction = direction;
    const lmn__conv_backend *list[N_BACKENDS_MAX] = {backend};
    const size_t n = backend != NULL ? 1 : list_backends(conv, direction, list);
    lmn_status status = LMN_ERR_UNSUPPORTED;
    for (size_t i = 0; i < n && status == LMN_ERR_UNSUPPORTED; i++) {
        status = prepare(plan, list[i], err);
    }
    if (status != LMN_OK) {
        lmn_free(plan);
        return status;
    }
    *plan_out = plan;
    return LMN_OK;
}

lmn_status lmn__conv_plan_run(const lmn__conv_plan *plan, const lmn__conv_call *call,
                              lmn_error *err)
{
    return plan->backend->run(&plan->conv, plan->direction, plan->state, call, err);
}

void lmn__conv_plan_destroy(lmn__conv_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    if (plan->backend->release != NULL) {
        plan->backend->release(plan->state);
    }
    lmn_free(plan);
}

void lmn__conv_finish(const lmn__conv_call *call, size_t first, size_t count)
{
    if (call->epilogue != NULL) {
        lmn__epilogue_apply(call->epilogue, first, count, call->result + first);
    }
}
