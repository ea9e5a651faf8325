/*
 * Preparation of the ops that a plan runs: choice of kernels, library objects, workspaces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_internal.h"

lmn_status lmn__plan_prepare(lmn_plan *plan, lmn_error *err)
{
    for (size_t position = 0; position < plan->n_nodes; position++) {
        lmn__group *group = &plan->groups[plan->order[position]->index];
        const lmn__op *op = group->first->op;
        if (op->prepare != NULL) {
            const lmn_status status = op->prepare(group->first, &group->prepared, err);
            if (status != LMN_OK) {
                lmn_error_add_context(err, "plan: %s of shape %s", op->name,
                                      lmn__shape_text(&group->first->shape).text);
                return status;
            }
        } else if (op->workspace_bytes != NULL) {
            group->prepared.workspace_bytes = op->workspace_bytes(group->first);
        }
    }
    return LMN_OK;
}

void lmn__plan_release(lmn_plan *plan)
{
    for (size_t i = 0; i < plan->n_tensors; i++) {
        lmn__group *group = &plan->groups[i];
        if (group->prepared.state != NULL && group->first->op->release != NULL) {
            group->first->op->release(group->prepared.state);
        }
    }
}
