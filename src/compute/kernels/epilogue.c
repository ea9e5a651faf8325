/*
 * Elementwise steps at the end of another op, on values that are still in cache.
 *
 * The steps run one after the other over a piece that stays in the first-level cache. They are the
 * kernels of the ops that they stand for, so fused and unfused plans agree to the bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"
#include "kernels_internal.h"

/* Elements of a piece: 16 KiB. A row that is longer is a piece of its own. */
static const size_t PIECE = 4096;

static void apply_step(const lmn__epilogue_step *step, size_t first, size_t n, size_t n_columns,
                       float *values)
{
    switch (step->kind) {
    case LMN__STEP_ADD:
        lmn__row_add(n, values, 1, step->operand + first, 1, values);
        break;
    case LMN__STEP_ADD_ROW:
        for (size_t i = 0; i < n; i += n_columns) {
            lmn__row_add(n_columns, values + i, 1, step->operand, 1, values + i);
        }
        break;
    case LMN__STEP_RELU:
        lmn__kernel_relu(n, values, values);
        break;
    case LMN__STEP_GATE:
        lmn__kernel_gate(n, values, step->operand + first, values);
        break;
    case LMN__STEP_GELU:
        lmn__kernel_gelu(n, values, values);
        break;
    case LMN__STEP_GELU_GRAD:
        lmn__kernel_gelu_grad(n, step->operand + first, values, values);
        break;
    case LMN__STEP_SCALE:
    default:
        lmn__kernel_scale(n, values, step->scalar, values);
        break;
    }
}

void lmn__epilogue_apply(const lmn__epilogue *epilogue, size_t first, size_t count, float *values)
{
    if (epilogue->n_steps == 0) {
        return;
    }
    const size_t columns = epilogue->n_columns;
    const size_t piece = columns < PIECE ? PIECE / columns * columns : columns;
#pragma omp parallel for schedule(static) if (count > LMN__PARALLEL_COUNT)
    for (size_t done = 0; done < count; done += piece) {
        const size_t n = count - done < piece ? count - done : piece;
        for (size_t i = 0; i < epilogue->n_steps; i++) {
            apply_step(&epilogue->steps[i], first + done, n, columns, values + done);
        }
    }
}
