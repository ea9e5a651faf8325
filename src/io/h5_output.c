/*
 * An HDF5 file being written by one process: a file driver that keeps errors to itself.
 *
 * The driver is the plain POSIX one with a difference: when the file system refuses a write (full
 * disk, quota, broken device), it notes the error number and reports success, so that HDF5 closes
 * the file in order. What was written is then worthless and is removed. Reads of what could not be
 * written give zeros.
 *
 * The driver is registered for each file and removed with it, so nothing global remains.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "h5_output_internal.h"
#include "lamina/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

/* Files end below 2^62 bytes, so that offsets fit off_t with room to add a length. */
#define ADDRESS_MAX ((haddr_t)1 << 62)

/* What the access property list carries to the driver. */
typedef struct output_access {
    int *code; /* borrowed from the lmn__h5_output */
} output_access;

typedef struct output_file {
    H5FD_t head; /* must be first: HDF5 sees only this */
    int fd;
    int *code;
    haddr_t allocated; /* end of what HDF5 has given out, bytes */
    haddr_t end;       /* end of the file as HDF5 believes it to be */
} output_file;

static void note(const output_file *file, int code)
{
    if (code != 0 && *file->code == 0) {
        *file->code = code;
    }
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t properties, haddr_t limit)
{
    (void)limit;
    const output_access *access = H5Pget_driver_info(properties);
    output_file *file = access == NULL ? NULL : lmn_alloc(1, sizeof *file, NULL);
    if (file == NULL) {
        return NULL;
    }
    const int create = (flags & H5F_ACC_TRUNC) != 0 ? O_CREAT | O_TRUNC : 0;
    file->code = access->code;
    file->fd = open(name, O_RDWR | O_CLOEXEC | create, 0666);
    struct stat info;
    if (file->fd < 0 || fstat(file->fd, &info) != 0) {
        note(file, errno);
        lmn__file_close(file->fd);
        lmn_free(file);
        return NULL;
    }
    file->end = (haddr_t)info.st_size;
    return &file->head;
}

static herr_t driver_close(H5FD_t *head)
{
    output_file *file = (output_file *)head;
    if (close(file->fd) != 0) {
        note(file, errno);
    }
    lmn_free(file);
    return 0;
}

static herr_t driver_query(const H5FD_t *head, unsigned long *flags)
{
    (void)head;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *head, H5FD_mem_t type)
{
    (void)type;
    return ((const output_file *)head)->allocated;
}

static herr_t driver_set_eoa(H5FD_t *head, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((output_file *)head)->allocated = address;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *head, H5FD_mem_t type)
{
    (void)type;
    return ((const output_file *)head)->end;
}

static herr_t driver_read(H5FD_t *head, H5FD_mem_t type, hid_t properties, haddr_t address,
                          size_t bytes, void *buffer)
{
    (void)type;
    (void)properties;
    const output_file *file = (const output_file *)head;
    unsigned char *to = buffer;
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got = pread(file->fd, to + done, bytes - done, (off_t)(address + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            note(file, got < 0 ? errno : 0);
            break;
        }
        done += (size_t)got;
    }
    memset(to + done, 0, bytes - done);
    return 0;
}

static herr_t driver_write(H5FD_t *head, H5FD_mem_t type, hid_t properties, haddr_t address,
                           size_t bytes, const void *buffer)
{
    (void)type;
    (void)properties;
    output_file *file = (output_file *)head;
    if (*file->code == 0) {
        note(file, lmn__file_write_at(file->fd, address, buffer, bytes));
    }
    file->end = address + bytes > file->end ? address + bytes : file->end;
    return 0;
}

static herr_t driver_truncate(H5FD_t *head, hid_t properties, hbool_t closing)
{
    (void)properties;
    (void)closing;
    output_file *file = (output_file *)head;
    if (file->end != file->allocated) {
        note(file, ftruncate(file->fd, (off_t)file->allocated) != 0 ? errno : 0);
        file->end = file->allocated;
    }
    return 0;
}

/* A copy for each registration: HDF5 keeps its own. */
static H5FD_class_t driver_class(void)
{
    return (H5FD_class_t)
    {
#if H5_VERSION_GE(1, 13, 0)
        .version = H5FD_CLASS_VERSION, .value = (H5FD_class_value_t)510,
#endif
        .name = "lamina_output", .maxaddr = ADDRESS_MAX, .fc_degree = H5F_CLOSE_STRONG,
        .fapl_size = sizeof(output_access), .open = driver_open, .close = driver_close,
        .query = driver_query, .get_eoa = driver_get_eoa, .set_eoa = driver_set_eoa,
        .get_eof = driver_get_eof, .read = driver_read, .write = driver_write,
        .truncate = driver_truncate, .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
}

/* An access property list with a driver that reports to `output`. */
static hid_t output_access_list(lmn__h5_output *output)
{
    const H5FD_class_t driver = driver_class();
    output->driver = H5FDregister(&driver);
    const output_access access = {.code = &output->code};
    const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (H5Pset_driver(list, output->driver, &access) < 0 ||
        H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0) {
        lmn__h5_close(list);
        return H5I_INVALID_HID;
    }
    return list;
}

static lmn_status output_begin(lmn__h5_output *output, const char *part, lmn_error *err)
{
    *output = (lmn__h5_output)LMN__H5_OUTPUT_NONE;
    return lmn__path_format(output->part, err, "%s", part);
}

static lmn_status output_opened(lmn__h5_output *output, const char *verb, lmn_error *err)
{
    if (output->file >= 0 && output->code == 0) {
        return LMN_OK;
    }
    const lmn_status status =
        output->code != 0 ? lmn__io_error(err, output->code, "cannot %s '%s'", verb, output->part)
                          : lmn__h5_error(err, LMN_ERR_IO, "cannot %s '%s'", verb, output->part);
    lmn__h5_output_discard(output);
    return status;
}

lmn_status lmn__h5_output_create(lmn__h5_output *output, const char *part, hsize_t user_block,
                                 lmn_error *err)
{
    const lmn_status status = output_begin(output, part, err);
    if (status != LMN_OK) {
        return status;
    }
    const hid_t access = output_access_list(output);
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    /* Without times the same content gives the same bytes. */
    if (H5Pset_userblock(creation, user_block) >= 0 &&
        H5Pset_obj_track_times(creation, false) >= 0) {
        output->file = H5Fcreate(part, H5F_ACC_TRUNC, creation, access);
    }
    lmn__h5_close(creation);
    lmn__h5_close(access);
    return output_opened(output, "create", err);
}

lmn_status lmn__h5_output_open(lmn__h5_output *output, const char *part, lmn_error *err)
{
    const lmn_status status = output_begin(output, part, err);
    if (status != LMN_OK) {
        return status;
    }
    const hid_t access = output_access_list(output);
    output->file = H5Fopen(part, H5F_ACC_RDWR, access);
    lmn__h5_close(access);
    return output_opened(output, "change", err);
}

/* Close the file and the driver; true when HDF5 had nothing to object. */
static bool output_close(lmn__h5_output *output)
{
    bool is_good = true;
    if (output->file >= 0) {
        is_good = H5Fclose(output->file) >= 0;
        output->file = H5I_INVALID_HID;
    }
    if (output->driver >= 0) {
        (void)H5FDunregister(output->driver);
        output->driver = H5I_INVALID_HID;
    }
    return is_good;
}

lmn_status lmn__h5_output_check(const lmn__h5_output *output, lmn_error *err)
{
    return output->code == 0 ? LMN_OK
                             : lmn__io_error(err, output->code, "cannot write '%s'", output->part);
}

lmn_status lmn__h5_output_finish(lmn__h5_output *output, lmn_error *err)
{
    const bool is_good = output_close(output);
    lmn_status status = lmn__h5_output_check(output, err);
    if (status == LMN_OK && !is_good) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s'", output->part);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(output);
    }
    return status;
}

void lmn__h5_output_discard(lmn__h5_output *output)
{
    (void)output_close(output);
    if (output->part[0] != '\0') {
        (void)unlink(output->part);
        output->part[0] = '\0';
    }
}
