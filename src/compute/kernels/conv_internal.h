/*
 * Convolution behind one interface: what to compute, and the backends that compute it.
 *
 * A convolution has three directions: the result, and its gradients in the input and in the weight.
 * Each backend is one file with one table; conv.c chooses among them, once for each node of a plan,
 * by shape and machine only, so that the same machine always gives the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CONV_INTERNAL_H
#define LAMINA_CONV_INTERNAL_H

#include "compute_internal.h"
#include "kernels_internal.h"

typedef enum lmn__conv_direction {
    LMN__CONV_FORWARD = 0,    /* x, weight -> y */
    LMN__CONV_INPUT_GRAD = 1, /* dy, weight -> dx */
    LMN__CONV_WEIGHT_GRAD = 2 /* x, dy -> dweight; takes no epilogue */
} lmn__conv_direction;

/** One execution. Arrays are whole, 64-byte aligned and do not overlap. */
typedef struct lmn__conv_call {
    const float *a, *b; /* the operands, in the order given with the direction */
    float *result;
    void *workspace;               /* of the bytes that the plan asked for */
    const lmn__epilogue *epilogue; /* done to each element of the result once */
} lmn__conv_call;

typedef struct lmn__conv_backend {
    const char *name; /* "im2col" */

    bool (*supports)(const lmn__conv *conv, lmn__conv_direction direction);

    /**
     * Create what is needed besides the extents. state may stay NULL. Errors: LMN_ERR_MEMORY;
     * LMN_ERR_UNSUPPORTED when the library behind it refuses: the next backend is then asked.
     */
    lmn_status (*prepare)(const lmn__conv *conv, lmn__conv_direction direction, void **state_out,
                          size_t *workspace_bytes_out, lmn_error *err);
    lmn_status (*run)(const lmn__conv *conv, lmn__conv_direction direction, const void *state,
                      const lmn__conv_call *call, lmn_error *err);
    void (*release)(void *state); /* NULL: no state */
} lmn__conv_backend;

extern const lmn__conv_backend lmn__conv_im2col;
extern const lmn__conv_backend lmn__conv_winograd;
extern const lmn__conv_backend lmn__conv_onednn; /* defined where oneDNN was found */

/** A convolution that is ready to run. */
typedef struct lmn__conv_plan {
    const lmn__conv_backend *backend;
    lmn__conv conv;
    lmn__conv_direction direction;
    void *state; /* the backend's */
    size_t workspace_bytes;
} lmn__conv_plan;

/**
 * Choose a backend and prepare it.
 * backend  NULL: the best for these extents; else this one, which must support them
 * Errors: LMN_ERR_MEMORY.
 */
lmn_status lmn__conv_plan_create(const lmn__conv *conv, lmn__conv_direction direction,
                                 const lmn__conv_backend *backend, lmn__conv_plan **plan_out,
                                 lmn_error *err) LMN_NODISCARD;
lmn_status lmn__conv_plan_run(const lmn__conv_plan *plan, const lmn__conv_call *call,
                              lmn_error *err) LMN_NODISCARD;
void lmn__conv_plan_destroy(lmn__conv_plan *plan); /* NULL is allowed */

/** Apply the epilogue, if there is one, to result elements first .. first + count - 1 in place. */
void lmn__conv_finish(const lmn__conv_call *call, size_t first, size_t count);

#endif
