/*
 * What a plan will compute, for people.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PLAN_REPORT_H
#define LAMINA_PLAN_REPORT_H

#include "console.h"
#include "lamina/plan.h"

/** One line for each node of a step, in the order in which they run, then the totals. On rank 0. */
void plan_report_print(console *c, const lmn_plan *plan);

#endif
