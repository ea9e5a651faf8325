/*
 * Exchanges in which every rank owns a region of each layer and adds up what all ranks have there.
 *
 * Each rank cuts its entries of a layer into the regions of their owners and sends each owner its
 * part (lmn_alltoallv). The owner adds the parts in rank order and publishes what came of it to all
 * (lmn_allgatherv). What regions are, what is published and what becomes of it is a rule: merge
 * (exchange_merge.c) or balanced (exchange_balanced.c).
 *
 * A rank that has nothing honest to say sends empty messages, and so does an owner that could not
 * add up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_OWNERS_INTERNAL_H
#define LAMINA_OWNERS_INTERNAL_H

#include "exchange_internal.h"
#include "lamina/sparse.h"
#include "message_internal.h"

/** How a part says what is in a region. */
typedef enum lmn__part_form {
    LMN__PART_ENTRIES, /* a message of lamina/sparse.h; no bytes at all without entries */
    LMN__PART_WHOLE    /* every element of the region, f32 */
} lmn__part_form;

/** The head of each layer's part of a message; the payload follows, padded with zeros to 8 bytes.
 */
typedef struct lmn__part_header {
    uint32_t layer;
    uint32_t form;  /* lmn__part_form */
    uint32_t bytes; /* of the payload */
    uint32_t note;  /* what the rule has to say beside */
} lmn__part_header;

/** Numbers that a rule may keep for a layer. */
#define LMN__OWNED_STATE 4

typedef struct lmn__owned_layer {
    lmn__layer *layer; /* borrowed */
    uint64_t *starts;  /* [ranks + 1] owned; region j is elements starts[j] .. starts[j + 1] - 1 */
    size_t capacity;   /* entries that this rank can have */
    /* This rank's entries in this step. */
    size_t n;
    uint32_t *indices; /* [capacity] owned, ascending */
    float *values;     /* [capacity] owned */
    lmn_sparse_values format;
    uint64_t state[LMN__OWNED_STATE]; /* the rule's, zero at first */
} lmn__owned_layer;

typedef struct lmn__owners lmn__owners;

/** A received part. */
typedef struct lmn__received_part {
    lmn__part_header head;
    lmn_range range;
    const unsigned char *payload;
} lmn__received_part;

/** A rule; constant. Functions that may be NULL are said to be. */
typedef struct lmn__owners_rule {
    const lmn__exchange_kind *kind;
    bool tells_late; /* what was sent is known in the commit only: the encoder tells no entries */
    size_t (*region_max)(const lmn_reducer *reducer, const lmn__layer *layer); /* elements */
    /** Entries that an owner may publish. */
    size_t (*published_max)(const lmn_reducer *reducer, const lmn__layer *layer);
    /** What this rank notes for an owner. NULL: 0. */
    uint32_t (*note)(const lmn__owners *self, const lmn__owned_layer *owned, int owner);
    /** What elements of the region hold before messages are added to them. NULL: 0. */
    const float *(*base)(const lmn__owned_layer *owned);
    /**
     * Write what the owner publishes: part->form, bytes and note. The sum's entries are taken out
     * into indices and values. notes is the sum of what ranks noted.
     * Returns false when a number is not finite.
     */
    bool (*publish)(const lmn__owners *self, const lmn__owned_layer *owned, lmn_sparse_sum *sum,
                    uint64_t notes, lmn__part_header *part, unsigned char *payload);
    /** Whether a published part, which is whole, can be from this step. NULL: always. */
    bool (*check)(const lmn__owned_layer *owned, int owner, const lmn__part_header *part);
    /** The estimate and the rule's own state. parts [ranks] in the order of owners */
    void (*commit)(lmn__owners *self, lmn__owned_layer *owned, const lmn__received_part *parts);
} lmn__owners_rule;

typedef enum lmn__owners_phase {
    LMN__OWNERS_IDLE,
    LMN__OWNERS_SCATTER,
    LMN__OWNERS_GATHER
} //
lmn__owners_phase;

struct lmn__owners {
    lmn__exchange head;
    const lmn__owners_rule *rule;
    size_t n_layers;
    lmn__owned_layer *layers; /* [n_layers] owned; those that may be compressed */
    size_t message_capacity;  /* bytes of what a rank sends to one owner */
    size_t sum_capacity;      /* bytes of what an owner sends to all */
    unsigned char *messages;  /* owned; one for each owner, one behind the other */
    size_t *offsets;          /* [ranks + 1] owned; where they begin */
    unsigned char *sums;      /* [sum_capacity] owned; what this owner publishes */
    unsigned char *payload;   /* owned; the compressor's message for a layer */
    size_t payload_capacity;
    size_t *cursors;           /* [ranks] owned; of the next part in each message */
    lmn__received_part *parts; /* [ranks] owned */
    lmn_collective *scatter, *gather;
    lmn__owners_phase phase;
    lmn_error failure; /* what was wrong with a message to this owner */
};

/* owners.c: what the functions of both kinds call. */
lmn_status lmn__owners_create(const lmn__owners_rule *rule, lmn_reducer *reducer,
                              lmn__bucket *bucket, lmn__exchange **exchange_out,
                              lmn_error *err) LMN_NODISCARD;
lmn_status lmn__owners_connect(lmn__exchange *exchange, lmn_error *err) LMN_NODISCARD;
lmn_status lmn__owners_encode(lmn__exchange *exchange, lmn_error *err) LMN_NODISCARD;
lmn_status lmn__owners_start(lmn__exchange *exchange, bool silent, lmn_error *err) LMN_NODISCARD;
lmn_status lmn__owners_progress(lmn__exchange *exchange, lmn_error *err) LMN_NODISCARD;
lmn_status lmn__owners_check(const lmn__exchange *exchange, lmn_error *err) LMN_NODISCARD;
void lmn__owners_commit(lmn__exchange *exchange);
uint64_t lmn__owners_bytes_sent(const lmn__exchange *exchange);
void lmn__owners_destroy(lmn__exchange *exchange);

/** lmn_reducer.scratch as the rule's functions may use it: lists of entries, behind the sum. */
typedef struct lmn__owners_lists {
    void *sum;         /* of a region */
    uint32_t *indices; /* [lmn__owners_list_max] */
    float *values;
} lmn__owners_lists;

size_t lmn__owners_scratch_bytes(const lmn__owners_rule *rule, const lmn_reducer *reducer,
                                 const lmn__layer *layer);
lmn__owners_lists lmn__owners_lists_of(const lmn__owners_rule *rule, const lmn_reducer *reducer,
                                       const lmn__layer *layer);

/** The most entries that a layer's message holds at any level that it may have. */
size_t lmn__most_entries(const lmn_reducer *reducer, const lmn__layer *layer);

/** The estimate that a layer's exchange writes. */
float *lmn__layer_estimate(const lmn__layer *layer);

/* owners_message.c */
/** The part at an offset of a checked message. */
lmn__received_part lmn__owners_part_at(const lmn__owned_layer *owned, int owner,
                                       const unsigned char *message, size_t offset);

/** A part's entries; of 0 bytes it has none, and is no message. */
lmn_sparse_message lmn__part_message_of(const lmn__received_part *part);

/**
 * Whether the message of `rank` about the regions of `owner` is whole. LMN_ERR_MESSAGE, naming rank
 * and layer; LMN_ERR_NONFINITE when it says that a sum is not finite.
 */
lmn_status lmn__owners_check_message(const lmn__owners *self, int rank, int owner,
                                     lmn__content content, const unsigned char *message,
                                     size_t bytes, lmn_error *err) LMN_NODISCARD;

/** Predictions of wire_bytes: what all ranks send to owners, and owners' entries to all. */
uint64_t lmn__owners_scatter_bytes(const lmn_compressor *compressor, int size,
                                   lmn_layer_shape shape, size_t level);
uint64_t lmn__owners_publish_bytes(int size, lmn_layer_shape shape, size_t entries);

/** Elements that some rank sends when ranks choose `entries` of `count` independently. */
size_t lmn__expected_union(size_t entries, size_t count, int size);

#endif
