/*
 * Messages of all workers to all ranks.
 *
 * In front of each message stand its length in bytes, and behind it zeros up to a multiple of 8. A
 * worker whose numbers are not finite sends the length NOTHING, so that all ranks learn of it in
 * the same exchange.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"

#include <limits.h>
#include <string.h>

#define NOTHING UINT64_MAX
#define HEADER  sizeof(uint64_t)

static size_t padded(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static lmn_status take_memory(lmn__convex_exchange *exchange, size_t outbox, lmn_error *err)
{
    exchange->outbox = lmn_alloc(outbox, 1, err);
    exchange->messages = lmn_alloc(exchange->workers, sizeof *exchange->messages, err);
    exchange->bytes = lmn_alloc(exchange->workers, sizeof *exchange->bytes, err);
    return exchange->outbox == NULL || exchange->messages == NULL || exchange->bytes == NULL
               ? LMN_ERR_MEMORY
               : LMN_OK;
}

lmn_status lmn__convex_exchange_create(lmn_world *world, size_t workers, size_t capacity,
                                       lmn__convex_exchange *exchange_out, lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(world);
    lmn__convex_exchange exchange = {
        .world = world,
        .workers = workers,
        .own = lmn_partition(workers, size, (size_t)lmn_world_rank(world)),
        .capacity = padded(capacity)};
    const size_t most = (workers + size - 1) / size;
    if (exchange.capacity > (size_t)INT_MAX / most - HEADER) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "messages of up to %zu bytes from each of %zu workers on one rank are "
                             "more than 2 GiB; use more ranks",
                             exchange.capacity, most);
    }
    const size_t outbox = most * (HEADER + exchange.capacity);
    lmn_status status = lmn_agree(world, take_memory(&exchange, outbox, err), err);
    if (status == LMN_OK) {
        status = lmn_allgatherv_create(world, outbox, &exchange.allgatherv, err);
    }
    if (status != LMN_OK) {
        lmn__convex_exchange_destroy(&exchange);
        return status;
    }
    *exchange_out = exchange;
    return LMN_OK;
}

void lmn__convex_exchange_destroy(lmn__convex_exchange *exchange)
{
    lmn_collective_destroy(exchange->allgatherv);
    lmn_free(exchange->outbox);
    lmn_free(exchange->messages);
    lmn_free(exchange->bytes);
    *exchange = (lmn__convex_exchange){0};
}

void lmn__convex_exchange_begin(lmn__convex_exchange *exchange)
{
    exchange->outbox_bytes = 0;
}

unsigned char *lmn__convex_exchange_slot(lmn__convex_exchange *exchange)
{
    return exchange->outbox + exchange->outbox_bytes + HEADER;
}

static void put_header(lmn__convex_exchange *exchange, uint64_t bytes)
{
    memcpy(exchange->outbox + exchange->outbox_bytes, &bytes, HEADER);
    exchange->outbox_bytes += HEADER;
}

void lmn__convex_exchange_put(lmn__convex_exchange *exchange, size_t bytes)
{
    put_header(exchange, bytes);
    memset(exchange->outbox + exchange->outbox_bytes + bytes, 0, padded(bytes) - bytes);
    exchange->outbox_bytes += padded(bytes);
}

void lmn__convex_exchange_put_nothing(lmn__convex_exchange *exchange)
{
    put_header(exchange, NOTHING);
}

/* The next message of what a rank sent, which begins at *offset. */
static lmn_status take_message(lmn__convex_exchange *exchange, size_t worker,
                               const unsigned char *inbox, size_t total, size_t *offset,
                               lmn_error *err)
{
    uint64_t bytes = 0;
    bool is_whole = total - *offset >= HEADER;
    if (is_whole) {
        memcpy(&bytes, inbox + *offset, HEADER);
        *offset += HEADER;
        is_whole = bytes == NOTHING ||
                   (bytes <= exchange->capacity && padded((size_t)bytes) <= total - *offset);
    }
    if (!is_whole) {
        return lmn_error_set(err, LMN_ERR_MESSAGE, "the message of worker %zu is cut off", worker);
    }
    const bool is_silent = bytes == NOTHING;
    exchange->messages[worker] = is_silent ? NULL : inbox + *offset;
    exchange->bytes[worker] = is_silent ? 0 : (size_t)bytes;
    *offset += padded(exchange->bytes[worker]);
    return LMN_OK;
}

static lmn_status open_messages(lmn__convex_exchange *exchange, int rank, lmn_error *err)
{
    size_t total = 0;
    size_t offset = 0;
    const unsigned char *inbox = lmn_allgatherv_message(exchange->allgatherv, rank, &total);
    const lmn_range range =
        lmn_partition(exchange->workers, (size_t)lmn_world_size(exchange->world), (size_t)rank);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < range.count && status == LMN_OK; i++) {
        status = take_message(exchange, range.first + i, inbox, total, &offset, err);
    }
    return status;
}

lmn_status lmn__convex_exchange_gather(lmn__convex_exchange *exchange, size_t *silent_out,
                                       lmn_error *err)
{
    lmn_status status =
        lmn_allgatherv_start(exchange->allgatherv, exchange->outbox, exchange->outbox_bytes, err);
    if (status == LMN_OK) {
        status = lmn_collective_wait(exchange->allgatherv, err);
    }
    const int size = lmn_world_size(exchange->world);
    for (int rank = 0; rank < size && status == LMN_OK; rank++) {
        status = open_messages(exchange, rank, err);
    }
    size_t silent = 0;
    while (status == LMN_OK && silent < exchange->workers && exchange->messages[silent] != NULL) {
        silent++;
    }
    *silent_out = silent;
    return status;
}
