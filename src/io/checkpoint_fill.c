/*
 * A rank's part of a checkpoint: its bytes to their places in the file, hashed on the way.
 *
 * HDF5 has said where the arrays are, and contiguous arrays are nothing but their elements in
 * row-major order; so every rank writes its part with plain writes, at any time and from any
 * thread, while MPI and HDF5 do other things. What of the replicated arrays a rank writes is cut at
 * blocks of the seal, through all arrays at once. Most blocks then belong to one rank, which hashes
 * them as it writes them; the rest is read back and hashed once all ranks have written.
 *
 * Between arrays are HDF5's own bytes, which rank 0 has written and nobody changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "files_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Elements go into the file as they lie in memory, and the file says little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checkpoints need a little-endian host");

/* The disk works on so many bytes while we write as many behind them. Before we go on these must
   have left, and memory forgets them: a checkpoint then takes no memory from the files that
   training reads, and writing into the same few pages again and again costs a third of the
   processor time of ever new ones. */
#define WINDOW_BYTES ((uint64_t)32 << 20)

/* Pieces that an array is cut into at most: others' before, one's own, others' after. */
enum { PIECES_PER_ARRAY = 3 };

/* Where an array is, bytes of the file. */
typedef struct place {
    uint64_t first, end;
    const lmn__state_array *array;
} place;

/* ---- who writes what ---- */

static int by_first(const void *a, const void *b)
{
    const uint64_t left = ((const place *)a)->first;
    const uint64_t right = ((const place *)b)->first;
    return (left > right) - (left < right);
}

/* Arrays that are not empty, in the order of the file; returns how many. */
static size_t sort_places(const lmn_state *state, const uint64_t *firsts, int size, place *places)
{
    const lmn__state_array *arrays = lmn__state_arrays(state);
    size_t count = 0;
    for (size_t i = 0; i < state->arrays.count; i++) {
        const lmn__h5_shape shape = lmn__state_file_shape(&arrays[i], (uint64_t)size);
        const uint64_t bytes = lmn__h5_elements(&shape) * lmn__state_type_bytes(arrays[i].type);
        if (bytes > 0) {
            places[count++] =
                (place){.first = firsts[i], .end = firsts[i] + bytes, .array = &arrays[i]};
        }
    }
    qsort(places, count, sizeof *places, by_first);
    return count;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t block_first(const lmn__blocks *blocks, size_t block)
{
    return LMN__SEAL_BYTES + (uint64_t)block * blocks->bytes;
}

static uint64_t block_end(const lmn__blocks *blocks, size_t block)
{
    return least(block_first(blocks, block) + blocks->bytes, blocks->length);
}

/* Rank `rank` writes what is replicated from here on up to where `rank` + 1 begins: a block's
   beginning with rank / size of all replicated bytes before it, about. */
static uint64_t share_first(const place *places, size_t count, const lmn__blocks *blocks, int rank,
                            int size)
{
    if (rank == size) {
        return blocks->length;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total +=
            places[i].array->kind == LMN_STATE_REPLICATED ? places[i].end - places[i].first : 0;
    }
    uint64_t left = (uint64_t)lmn_partition((size_t)total, (size_t)size, (size_t)rank).first;
    for (size_t i = 0; i < count && rank > 0; i++) {
        const uint64_t bytes = places[i].end - places[i].first;
        if (places[i].array->kind != LMN_STATE_REPLICATED) {
            continue;
        }
        if (left < bytes) {
            const uint64_t behind_seal = places[i].first + left - LMN__SEAL_BYTES;
            return LMN__SEAL_BYTES + behind_seal / blocks->bytes * blocks->bytes;
        }
        left -= bytes;
    }
    return rank == 0 ? 0 : blocks->length;
}

/* Which bytes of the file at `at` this rank writes, and where they begin in memory. */
static lmn__piece own_piece(const place *at, uint64_t share, uint64_t share_end, int rank)
{
    const lmn__state_array *array = at->array;
    const uint64_t bytes = array->count * lmn__state_type_bytes(array->type);
    const unsigned char *data = array->data;
    if (array->kind == LMN_STATE_REPLICATED) {
        const uint64_t first = least(largest(at->first, share), at->end);
        const uint64_t end = largest(first, least(at->end, share_end));
        return (lmn__piece){.first = first, .end = end, .data = data + (first - at->first)};
    }
    const uint64_t skipped = array->kind == LMN_STATE_SLICED
                                 ? array->first * lmn__state_type_bytes(array->type)
                                 : (uint64_t)rank * bytes;
    return (lmn__piece){
        .first = at->first + skipped, .end = at->first + skipped + bytes, .data = data};
}

static void add_piece(lmn__image *image, lmn__piece piece)
{
    if (piece.first < piece.end) {
        image->pieces[image->n_pieces++] = piece;
    }
}

static void cut_into_pieces(lmn__image *image, const place *places, size_t count, int rank,
                            int size)
{
    const uint64_t share = share_first(places, count, &image->blocks, rank, size);
    const uint64_t share_end = share_first(places, count, &image->blocks, rank + 1, size);
    for (size_t i = 0; i < count; i++) {
        const lmn__piece own = own_piece(&places[i], share, share_end, rank);
        add_piece(image, (lmn__piece){.first = places[i].first, .end = own.first});
        add_piece(image, own);
        add_piece(image, (lmn__piece){.first = own.end, .end = places[i].end});
    }
}

lmn_status lmn__image_create(const char *path, const lmn_state *state, const uint64_t *places,
                             int rank, int size, lmn__image *image_out, lmn_error *err)
{
    const size_t n_arrays = state->arrays.count;
    lmn__image *image = image_out;
    *image = (lmn__image){.path = path, .blocks = lmn__seal_blocks(places[0])};
    place *sorted = lmn_alloc(n_arrays, sizeof *sorted, err);
    image->pieces = lmn_alloc(n_arrays, PIECES_PER_ARRAY * sizeof *image->pieces, err);
    image->hashes = lmn_alloc(image->blocks.count, 2 * sizeof *image->hashes, err);
    image->block = lmn_alloc(image->blocks.bytes, 1, err);
    lmn_status status = LMN_ERR_MEMORY;
    if (sorted != NULL && image->pieces != NULL && image->hashes != NULL && image->block != NULL) {
        const size_t count = sort_places(state, places + 1, size, sorted);
        cut_into_pieces(image, sorted, count, rank, size);
        status = LMN_OK;
    }
    lmn_free(sorted);
    return status;
}

void lmn__image_destroy(lmn__image *image)
{
    lmn_free(image->pieces);
    lmn_free(image->hashes);
    lmn_free(image->block);
    *image = (lmn__image){0};
}

uint64_t lmn__image_bytes(const lmn__image *image)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < image->n_pieces; i++) {
        const lmn__piece *piece = &image->pieces[i];
        bytes += piece->data != NULL ? piece->end - piece->first : 0;
    }
    return bytes;
}

void lmn__image_copy(lmn__image *image, unsigned char *memory)
{
    unsigned char *to = memory;
    for (size_t i = 0; i < image->n_pieces; i++) {
        lmn__piece *piece = &image->pieces[i];
        const size_t bytes = (size_t)(piece->end - piece->first);
        if (piece->data != NULL) {
            memcpy(to, piece->data, bytes);
            piece->data = to;
            to += bytes;
        }
    }
}

/* ---- writing ---- */

/* A part of the file that is on its way from memory to the disk. */
typedef struct window {
    uint64_t first, end;
    uint64_t bytes;    /* that this rank wrote between them */
    bool is_read_back; /* some of it soon, to be hashed */
} window;

/* The file on its way. */
typedef struct filling {
    const lmn__image *image;
    int fd;
    size_t next;           /* the first piece that ends behind what was done */
    window before, latest; /* before is being written by the disk, latest by us */
} filling;

static lmn_status say_unwritten(const filling *f, int code, lmn_error *err)
{
    return code == 0 ? LMN_OK : lmn__io_error(err, code, "cannot write '%s'", f->image->path);
}

static int end_window(const filling *f, const window *w)
{
    return w->bytes == 0
               ? 0
               : lmn__file_end_flush(f->fd, w->first, w->end - w->first, !w->is_read_back);
}

/* is_whole  of a block that nobody reads back */
static lmn_status put(filling *f, uint64_t first, const unsigned char *data, size_t bytes,
                      bool is_whole, lmn_error *err)
{
    int code = lmn__file_write_at(f->fd, first, data, bytes);
    window *w = &f->latest;
    w->first = w->bytes == 0 ? first : w->first;
    w->end = first + bytes;
    w->bytes += bytes;
    w->is_read_back = w->is_read_back || !is_whole;
    if (code == 0 && w->bytes >= WINDOW_BYTES) {
        lmn__file_start_flush(f->fd, w->first, w->end - w->first);
        code = end_window(f, &f->before);
        f->before = f->latest;
        f->latest = (window){0};
    }
    return say_unwritten(f, code, err);
}

/* What the pieces in a block are: none of this rank's, all of them, or some. */
typedef struct content {
    size_t first, end; /* pieces that reach into it */
    bool has_own, has_foreign;
} content;

static content look_into(filling *f, uint64_t first, uint64_t end)
{
    const lmn__image *image = f->image;
    while (f->next < image->n_pieces && image->pieces[f->next].end <= first) {
        f->next++;
    }
    content found = {.first = f->next, .end = f->next};
    for (; found.end < image->n_pieces && image->pieces[found.end].first < end; found.end++) {
        const bool is_own = image->pieces[found.end].data != NULL;
        found.has_own = found.has_own || is_own;
        found.has_foreign = found.has_foreign || !is_own;
    }
    return found;
}

/* Write the parts of a block that are this rank's, each alone. */
static lmn_status put_own_parts(filling *f, const content *in, uint64_t first, uint64_t end,
                                lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = in->first; i < in->end && status == LMN_OK; i++) {
        const lmn__piece *piece = &f->image->pieces[i];
        const uint64_t from = largest(piece->first, first);
        const uint64_t to = least(piece->end, end);
        if (piece->data != NULL) {
            status =
                put(f, from, piece->data + (from - piece->first), (size_t)(to - from), false, err);
        }
    }
    return status;
}

/* Put a block together from this rank's pieces and HDF5's bytes between them. */
static lmn_status assemble(const filling *f, const content *in, uint64_t first, uint64_t end,
                           lmn_error *err)
{
    const lmn__image *image = f->image;
    uint64_t at = first;
    lmn_status status = LMN_OK;
    for (size_t i = in->first; i <= in->end && status == LMN_OK; i++) {
        const bool is_last = i == in->end;
        const uint64_t from = is_last ? end : largest(image->pieces[i].first, first);
        if (from > at) {
            status = lmn__file_read_at(f->fd, image->path, at, image->block + (at - first),
                                       (size_t)(from - at), err);
        }
        if (is_last) {
            break;
        }
        const lmn__piece *piece = &image->pieces[i];
        at = least(piece->end, end);
        memcpy(image->block + (from - first), piece->data + (from - piece->first),
               (size_t)(at - from));
    }
    return status;
}

/* Write a block that is all this rank's but for HDF5's bytes, and remember its hash. */
static lmn_status put_whole(filling *f, const content *in, size_t block, lmn_error *err)
{
    const lmn__image *image = f->image;
    const uint64_t first = block_first(&image->blocks, block);
    const uint64_t end = block_end(&image->blocks, block);
    const lmn__piece *piece = &image->pieces[in->first];
    const bool is_one_piece =
        in->end - in->first == 1 && piece->first <= first && piece->end >= end;
    lmn_status status = is_one_piece ? LMN_OK : assemble(f, in, first, end, err);
    const unsigned char *bytes = is_one_piece ? piece->data + (first - piece->first) : image->block;
    if (status == LMN_OK) {
        image->hashes[block] = lmn_hash64(bytes, (size_t)(end - first), 0);
        image->hashes[image->blocks.count + block] = 1;
        status = put(f, first, bytes, (size_t)(end - first), true, err);
    }
    return status;
}

static bool is_cancelled(const atomic_bool *cancelled)
{
    return cancelled != NULL && atomic_load(cancelled);
}

static lmn_status put_all(filling *f, const atomic_bool *cancelled, lmn_error *err)
{
    const lmn__blocks *blocks = &f->image->blocks;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < blocks->count && status == LMN_OK; i++) {
        const uint64_t first = block_first(blocks, i);
        const uint64_t end = block_end(blocks, i);
        const content in = look_into(f, first, end);
        if (is_cancelled(cancelled)) {
            return LMN_OK;
        }
        if (in.has_own && in.has_foreign) {
            status = put_own_parts(f, &in, first, end, err);
        } else if (in.has_own) {
            status = put_whole(f, &in, i, err);
        }
    }
    return status;
}

lmn_status lmn__image_fill(const lmn__image *image, const atomic_bool *cancelled, lmn_error *err)
{
    filling f = {.image = image, .fd = open(image->path, O_RDWR | O_CLOEXEC)};
    if (f.fd < 0) {
        return lmn__io_error(err, errno, "cannot open '%s' for writing", image->path);
    }
    lmn_status status = put_all(&f, cancelled, err);
    if (status == LMN_OK && !is_cancelled(cancelled) && fsync(f.fd) != 0) {
        status = lmn__io_error(err, errno, "cannot flush '%s' to the disk", image->path);
    } else if (status == LMN_OK) {
        const int code = end_window(&f, &f.before);
        status = say_unwritten(&f, code != 0 ? code : end_window(&f, &f.latest), err);
    }
    if (close(f.fd) != 0 && status == LMN_OK) {
        status = lmn__io_error(err, errno, "cannot write '%s'", image->path);
    }
    return status;
}

/* ---- reading back ---- */

static lmn_status hash_block(const lmn__image *image, int fd, size_t block, lmn_error *err)
{
    const uint64_t first = block_first(&image->blocks, block);
    const size_t bytes = (size_t)(block_end(&image->blocks, block) - first);
    const lmn_status status = lmn__file_read_at(fd, image->path, first, image->block, bytes, err);
    if (status == LMN_OK) {
        image->hashes[block] = lmn_hash64(image->block, bytes, 0);
    }
    return status;
}

lmn_status lmn__image_hash_rest(const lmn__image *image, int rank, int size,
                                const atomic_bool *cancelled, lmn_error *err)
{
    const uint64_t *known = image->hashes + image->blocks.count;
    size_t n_rest = 0;
    for (size_t i = 0; i < image->blocks.count; i++) {
        n_rest += known[i] == 0 ? 1 : 0;
    }
    const lmn_range mine = lmn_partition(n_rest, (size_t)size, (size_t)rank);
    int fd = -1;
    lmn_status status = mine.count > 0 ? lmn__file_open_read(image->path, &fd, err) : LMN_OK;
    size_t rest = 0;
    for (size_t i = 0; i < image->blocks.count && status == LMN_OK; i++) {
        if (known[i] != 0) {
            continue;
        }
        if (rest >= mine.first && rest < mine.first + mine.count && !is_cancelled(cancelled)) {
            status = hash_block(image, fd, i, err);
        }
        rest++;
    }
    lmn__file_close(fd);
    return status;
}
