/*
 * A checkpoint before its data: attributes, empty arrays at fixed places, and room on the disk.
 *
 * Rank 0 makes it alone with serial HDF5. The arrays are contiguous and allocated early, so HDF5
 * says where each begins, and every rank can write its part there without HDF5 (checkpoint_fill.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "files_internal.h"
#include "h5_output_internal.h"

#include <hdf5_hl.h>

/* place_out  where its data begins in the file; the array has none when it is empty */
static lmn_status write_array(hid_t file, const lmn__state_array *array, int size,
                              uint64_t *place_out, lmn_error *err)
{
    const lmn__h5_shape shape = lmn__state_file_shape(array, (uint64_t)size);
    const bool is_per_rank = array->kind == LMN_STATE_PER_RANK;
    const char *kind = lmn__state_kind_name(array->kind);
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status = lmn__h5_create_array(file, array->name, lmn__state_file_type(array->type),
                                             &shape, array->unit, &dataset, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "distribution", kind, err);
    }
    if (status == LMN_OK && is_per_rank && H5DSset_label(dataset, 0, "rank") < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot label '%s'", array->name);
    }
    if (status == LMN_OK && lmn__h5_elements(&shape) > 0) {
        const haddr_t place = H5Dget_offset(dataset);
        *place_out = place;
        if (place == HADDR_UNDEF) {
            status = lmn__h5_error(err, LMN_ERR_IO, "'%s' has no place in the file", array->name);
        }
    }
    lmn__h5_close(dataset);
    return status;
}

static lmn_status write_content(hid_t file, const lmn_state *state, uint64_t step, int size,
                                uint64_t *places_out, lmn_error *err)
{
    lmn_status status = lmn__h5_write_kind(file, LMN_FILE_CHECKPOINT, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_u64(file, "step", step, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_u64(file, "ranks", (uint64_t)size, err);
    }
    if (status == LMN_OK && state->layout != NULL) {
        status = lmn__h5_write_text(file, "hierarchy", state->layout, err);
    }
    if (status == LMN_OK && state->layout != NULL) {
        status = lmn__h5_write_u64(file, "workers", state->workers, err);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; status == LMN_OK && i < state->numbers.count; i++) {
        status = lmn__h5_write_u64(file, numbers[i].name, *numbers[i].value, err);
    }
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; status == LMN_OK && i < state->texts.count; i++) {
        status = lmn__h5_write_text(file, texts[i].name, texts[i].value, err);
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; status == LMN_OK && i < state->arrays.count; i++) {
        status = write_array(file, &arrays[i], size, &places_out[i], err);
    }
    return status;
}

lmn_status lmn__checkpoint_create(const char *part, const lmn_state *state, uint64_t step, int size,
                                  uint64_t *places_out, lmn_error *err)
{
    lmn__h5_output output = LMN__H5_OUTPUT_NONE;
    lmn_status status = lmn__h5_output_create(&output, part, LMN__SEAL_BYTES, err);
    if (status == LMN_OK) {
        status = write_content(output.file, state, step, size, places_out + 1, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&output, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_length_of(part, &places_out[0], err);
    }
    if (status == LMN_OK) {
        status = lmn__file_reserve(part, places_out[0], err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&output);
    }
    return status;
}
