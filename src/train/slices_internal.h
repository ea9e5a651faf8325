/*
 * How the layers of a bucket are cut into slices, one for each rank.
 *
 * Layers are cut into grains, the elements that a compressor encodes together (lmn_compressor_grain
 * in lamina/compressor.h), grains are numbered through the bucket, and every rank owns a run of
 * them. The cut does not depend on levels, so that what an owner remembers of its slice stays its
 * own. A slice is a row of parts of layers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SLICES_INTERNAL_H
#define LAMINA_SLICES_INTERNAL_H

#include "exchange_internal.h"
#include "message_internal.h"

typedef struct lmn__part {
    lmn__layer *layer; /* borrowed */
    size_t first, count;
    size_t offset; /* of its first element in the slice */
} lmn__part;

typedef struct lmn__slices {
    size_t n_parts;
    lmn__part *parts;   /* [n_parts] owned; in the order of grains */
    size_t *first_part; /* [ranks + 1] owned; slice j is parts first_part[j] .. [j + 1] - 1 */
    size_t count;       /* elements of the largest slice */
} lmn__slices;

/** Cut the layers of a bucket that may travel so. Local. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__slices_create(lmn_reducer *reducer, const lmn__bucket *bucket,
                              lmn__slices *slices_out, lmn_error *err) LMN_NODISCARD;
void lmn__slices_free(lmn__slices *slices);

/** Bytes of a part in a message of this step, with padding; 0 when its layer travels another way.
 */
size_t lmn__part_message_bytes(const lmn_reducer *reducer, const lmn__part *part);

/** A part of a message as the compressor sees it. */
lmn_decode_job lmn__part_message(const lmn_reducer *reducer, const lmn__part *part,
                                 const unsigned char *payload);

/**
 * Write the payload of one part and its padding. The random numbers are those of `rank`;
 * LMN_STREAM_ALL_RANKS encodes without the compressor's memory.
 * Errors: LMN_ERR_NONFINITE, naming the layer; those of lmn_compressor_encode.
 */
lmn_status lmn__part_encode(const lmn_reducer *reducer, const lmn__part *part,
                            const lmn_source *source, unsigned rank, unsigned char *payload,
                            lmn_error *err) LMN_NODISCARD;

/**
 * Whether the message of `rank` about slice `slice` is whole. LMN_ERR_MESSAGE, naming rank and
 * layer; LMN_ERR_NONFINITE when it says that the mean is not finite.
 */
lmn_status lmn__slice_check(const lmn_reducer *reducer, const lmn__slices *slices, int rank,
                            int slice, lmn__content content, const unsigned char *message,
                            size_t bytes, lmn_error *err) LMN_NODISCARD;

/** What the owner of a slice keeps; [slices->count] each, owned. */
typedef struct lmn__slice_owner {
    const lmn_reducer *reducer; /* borrowed */
    const lmn__slices *slices;  /* borrowed */
    bool is_shadow;             /* of a bucket that another rank leads: memory is borrowed */
    float *mean;                /* D of this step */
    float *tracked;             /* h; NULL unless the mechanism tracks */
    float *error;               /* E; NULL without error feedback */
} lmn__slice_owner;

/** Errors: LMN_ERR_MEMORY; what was taken is still to be freed. */
lmn_status lmn__slice_owner_create(const lmn_reducer *reducer, const lmn__slices *slices,
                                   lmn__slice_owner *owner_out, lmn_error *err) LMN_NODISCARD;
/** What stands for an owner in this rank's checkpoints where another rank leads the bucket. */
void lmn__slice_owner_shadow(const lmn_reducer *reducer, const lmn__slices *slices,
                             lmn__slice_owner *owner_out);
void lmn__slice_owner_free(lmn__slice_owner *owner);

/**
 * Average the checked messages of all ranks about this rank's slice and write the owner's message.
 * Returns its bytes; 0 after an error of the compressor.
 */
size_t lmn__slice_owner_encode(lmn__slice_owner *owner, const lmn_collective *scatter,
                               unsigned char *message, lmn_error *err);

/** The step counts. When the estimates of all layers are there. */
void lmn__slice_owner_commit(lmn__slice_owner *owner);

/** The owner of this rank's slice and what carries the means, for tests. */
const lmn__slice_owner *lmn__sliced_owner(const lmn__exchange *exchange);
const lmn_collective *lmn__sliced_gather(const lmn__exchange *exchange);

/** Take over what lies of h, elements first .. first + count - 1 of a layer, in the slice. */
void lmn__slice_owner_set_mean(lmn__slice_owner *owner, const lmn__layer *layer, size_t first,
                               size_t count, const float *mean);

/** E and h of a layer, each rank its part. */
lmn_status lmn__slice_owner_add_state(const lmn__slice_owner *owner, const lmn__layer *layer,
                                      lmn_state *state, lmn_error *err);

#endif
