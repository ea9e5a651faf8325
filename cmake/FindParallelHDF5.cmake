# Find HDF5 built with MPI; gives the target ParallelHDF5::ParallelHDF5 and ParallelHDF5_LIBRARIES.
#
# Debian keeps the serial and the MPI builds side by side and describes each to pkg-config; elsewhere
# CMake's own module asks the compiler wrapper. Used by the build and by the installed package.
#
# SPDX-License-Identifier: Apache-2.0
include(FindPackageHandleStandardArgs)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
    pkg_search_module(LAMINA_HDF5 QUIET IMPORTED_TARGET GLOBAL
                      hdf5-openmpi hdf5-mpich hdf5-mpi hdf5)
endif()
if(LAMINA_HDF5_FOUND)
    set(ParallelHDF5_TARGET PkgConfig::LAMINA_HDF5)
    set(ParallelHDF5_LIBRARIES ${LAMINA_HDF5_LINK_LIBRARIES})
    set(ParallelHDF5_VERSION ${LAMINA_HDF5_VERSION})
else()
    set(HDF5_PREFER_PARALLEL ON)
    find_package(HDF5 QUIET COMPONENTS C)
    if(HDF5_FOUND)
        set(ParallelHDF5_TARGET hdf5::hdf5)
        set(ParallelHDF5_LIBRARIES ${HDF5_C_LIBRARIES})
        set(ParallelHDF5_VERSION ${HDF5_VERSION})
    endif()
endif()

if(ParallelHDF5_TARGET)
    get_target_property(ParallelHDF5_INCLUDE_DIRS ${ParallelHDF5_TARGET}
                        INTERFACE_INCLUDE_DIRECTORIES)
    find_file(ParallelHDF5_CONFIG_HEADER NAMES H5pubconf.h H5pubconf-64.h
              PATHS ${ParallelHDF5_INCLUDE_DIRS} NO_DEFAULT_PATH)
    mark_as_advanced(ParallelHDF5_CONFIG_HEADER)
    if(ParallelHDF5_CONFIG_HEADER)
        file(STRINGS ${ParallelHDF5_CONFIG_HEADER} ParallelHDF5_HAVE_PARALLEL
             REGEX "#define[ \t]+H5_HAVE_PARALLEL[ \t]+1")
    endif()
endif()

# Dimension scales and labels live in the high-level library, which lies beside the other.
foreach(library IN LISTS ParallelHDF5_LIBRARIES)
    cmake_path(GET library PARENT_PATH ParallelHDF5_folder)
    list(APPEND ParallelHDF5_FOLDERS ${ParallelHDF5_folder})
endforeach()
find_library(ParallelHDF5_HL_LIBRARY NAMES hdf5_hl HINTS ${ParallelHDF5_FOLDERS} NO_DEFAULT_PATH)
mark_as_advanced(ParallelHDF5_HL_LIBRARY)
if(ParallelHDF5_HL_LIBRARY)
    list(PREPEND ParallelHDF5_LIBRARIES ${ParallelHDF5_HL_LIBRARY})
endif()

set(ParallelHDF5_reason
    "The HDF5 library must be built with MPI (H5_HAVE_PARALLEL). Debian: libhdf5-openmpi-dev.")
find_package_handle_standard_args(
    ParallelHDF5 REQUIRED_VARS ParallelHDF5_TARGET ParallelHDF5_HL_LIBRARY ParallelHDF5_HAVE_PARALLEL
    VERSION_VAR ParallelHDF5_VERSION
    REASON_FAILURE_MESSAGE "${ParallelHDF5_reason}")

if(ParallelHDF5_FOUND AND NOT TARGET ParallelHDF5::ParallelHDF5)
    add_library(ParallelHDF5::ParallelHDF5 INTERFACE IMPORTED GLOBAL)
    target_link_libraries(ParallelHDF5::ParallelHDF5 INTERFACE ${ParallelHDF5_HL_LIBRARY}
                                                             ${ParallelHDF5_TARGET})
endif()
