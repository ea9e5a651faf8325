/*
 * The loops of all mechanisms in f64: for problems that are solved to the last digit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#define REAL                         double
#define TILE                         lmn_feedback_tile_f64
#define LOOPS_STORE(to, from, count) (void)memcpy((to), (from), (count) * sizeof *(to))
#include "loops_template.h"

const lmn__feedback_loops_f64 lmn__feedback_loops_f64_portable = {.form = form, .advance = advance};
