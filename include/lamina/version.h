/*
 * The version of the library.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_VERSION_H
#define LAMINA_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define LMN_VERSION_MAJOR 0
#define LMN_VERSION_MINOR 1
#define LMN_VERSION_PATCH 0

/** "0.1.0": of the library that runs, which a shared library may answer otherwise than the macros.
 */
const char *lmn_version(void);

/** What the library was built with, one line: compiler, MPI, HDF5, BLAS. */
const char *lmn_build_description(void);

#ifdef __cplusplus
}
#endif

#endif
