# Everything that Lamina needs, found or refused with the name of the Debian package that has it.
#
# SPDX-License-Identifier: Apache-2.0

# lamina_require(name debian-packages): stop when find_package(name) has found nothing.
function(lamina_require name debian_packages)
    if(NOT ${name}_FOUND)
        message(FATAL_ERROR "Lamina needs ${name}, which was not found. "
                            "On Debian or Ubuntu: apt-get install ${debian_packages}")
    endif()
endfunction()

# lamina_require_module(PREFIX debian-packages pkg-config-module): target PkgConfig::PREFIX.
function(lamina_require_module prefix debian_packages module)
    pkg_check_modules(${prefix} QUIET IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${prefix}_FOUND)
        message(FATAL_ERROR "Lamina needs ${module}, which pkg-config does not find. "
                            "On Debian or Ubuntu: apt-get install ${debian_packages}")
    endif()
endfunction()

find_package(PkgConfig QUIET)
lamina_require(PkgConfig pkg-config)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads QUIET)
lamina_require(Threads build-essential)
set(MPI_DETERMINE_LIBRARY_VERSION ON)
find_package(MPI QUIET COMPONENTS C)
lamina_require(MPI "libopenmpi-dev openmpi-bin (or libmpich-dev mpich)")
find_package(ZLIB QUIET)
lamina_require(ZLIB zlib1g-dev)
find_package(ParallelHDF5 QUIET)
if(ParallelHDF5_of_another_mpi AND NOT ParallelHDF5_FOUND)
    message(FATAL_ERROR "Lamina needs an HDF5 that is built with the MPI found here. "
                        "${ParallelHDF5_of_another_mpi} Set HDF5_ROOT to the right one, or choose the "
                        "MPI with MPI_EXECUTABLE_SUFFIX (.mpich, .openmpi), MPI_HOME or MPI_C_COMPILER. "
                        "On Debian or Ubuntu: apt-get install libhdf5-openmpi-dev (or "
                        "libhdf5-mpich-dev)")
endif()
lamina_require(ParallelHDF5 "libhdf5-openmpi-dev (or libhdf5-mpich-dev)")
lamina_require_module(LAMINA_HWLOC libhwloc-dev hwloc)
lamina_require_module(LAMINA_XXHASH libxxhash-dev libxxhash)
lamina_require_module(LAMINA_OPENBLAS libopenblas-dev openblas)
lamina_require_module(LAMINA_JANSSON libjansson-dev jansson)
# What makes Lamina faster and is not needed.
find_package(OpenMP QUIET COMPONENTS C)
option(LAMINA_ONEDNN "Use oneDNN where it is found" ON)
set(LAMINA_HAVE_ONEDNN OFF)
if(LAMINA_ONEDNN)
    find_package(OneDNN 2.6 QUIET)
    if(OneDNN_FOUND)
        set(LAMINA_HAVE_ONEDNN ON)
    endif()
endif()
if(LAMINA_BUILD_TESTS)
    lamina_require_module(LAMINA_CMOCKA libcmocka-dev cmocka)
endif()
