/*
 * Who waited for whom, as the results of a run know it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"
#include "waiting_text.h"

#include <stdio.h>
#include <string.h>

enum {
    RANKS,
    STEPS,
    STEP_SECONDS,
    SECONDS,
    RANK,
    RANK_STEPS,
    RANK_SECONDS,
    DELIVERED,
    MEASURED,
    N_NUMBERS
};

static const char *const names[N_NUMBERS] = {[RANKS] = "ranks",
                                             [STEPS] = "wait_steps",
                                             [STEP_SECONDS] = "wait_step_seconds",
                                             [SECONDS] = "wait_seconds",
                                             [RANK] = "late_rank",
                                             [RANK_STEPS] = "late_steps",
                                             [RANK_SECONDS] = "late_seconds",
                                             [DELIVERED] = "link_bytes_per_s",
                                             [MEASURED] = "link_measured_bytes_per_s"};

/* Attributes of /summary; zeros where a file has none. */
typedef struct found_waiting {
    double numbers[N_NUMBERS];
    char host[LMN_HOST_BYTES];
} found_waiting;

static lmn_status take_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    found_waiting *found = user;
    if (value->type == LMN_VALUE_TEXT) {
        if (strcmp(value->name, "late_host") == 0) {
            (void)snprintf(found->host, sizeof found->host, "%s", value->text);
        }
        return LMN_OK;
    }
    for (size_t i = 0; i < N_NUMBERS; i++) {
        if (strcmp(value->name, names[i]) == 0) {
            found->numbers[i] = value->type == LMN_VALUE_U64 ? (double)value->u64 : value->f64;
        }
    }
    return LMN_OK;
}

lmn_status inspect_print_waiting(const lmn_file *file, lmn_error *err)
{
    found_waiting found = {.host = ""};
    const double *numbers = found.numbers;
    const lmn_status status =
        lmn_file_visit_attributes(file, "/summary", take_attribute, &found, err);
    lmn_waiting waiting = {.steps = (uint64_t)numbers[STEPS],
                           .step_seconds = numbers[STEP_SECONDS],
                           .rank = numbers[RANKS] > 1.0 ? (int)numbers[RANK] : -1,
                           .rank_steps = (uint64_t)numbers[RANK_STEPS],
                           .rank_seconds = numbers[RANK_SECONDS],
                           .seconds = numbers[SECONDS],
                           .delivered = numbers[DELIVERED],
                           .measured = numbers[MEASURED]};
    memcpy(waiting.host, found.host, sizeof waiting.host);
    const waiting_text text = waiting_text_make(&waiting);
    if (status == LMN_OK && text.ranks[0] != '\0') {
        (void)printf("  %s\n", text.ranks);
    }
    if (status == LMN_OK && text.link[0] != '\0') {
        (void)printf("  %s\n", text.link);
    }
    return status;
}
