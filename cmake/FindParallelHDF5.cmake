# Find HDF5 built with the MPI that was found; gives the target ParallelHDF5::ParallelHDF5 and
# ParallelHDF5_LIBRARIES. To be called after find_package(MPI).
#
# A program that has two MPIs, its own and that of its HDF5, links and then crashes, so HDF5 is taken
# only when it needs the library that MPI_C_LIBRARIES has. Where several are side by side, as on Debian,
# that chooses. With HDF5_ROOT set, as modules of clusters set it, CMake's own module looks there;
# otherwise pkg-config is asked first. Used by the build and by the installed package.
#
# SPDX-License-Identifier: Apache-2.0
include(FindPackageHandleStandardArgs)

# lamina_shared_names(OUT TAG library...): sonames of MPIs that the libraries have (TAG SONAME) or need
# (TAG NEEDED). Nothing for static libraries, and where there is no readelf.
function(lamina_shared_names out tag)
    set(names "")
    foreach(library IN LISTS ARGN)
        if(CMAKE_READELF AND EXISTS "${library}")
            execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic ERROR_QUIET)
            string(REGEX MATCHALL "\\(${tag}\\)[^\n]*\\[libmpi[^]\n]*\\]" lines "${dynamic}")
            list(TRANSFORM lines REPLACE ".*\\[(.*)\\]" "\\1")
            list(APPEND names ${lines})
        endif()
    endforeach()
    list(REMOVE_DUPLICATES names)
    set(${out} "${names}" PARENT_SCOPE)
endfunction()

# lamina_is_of_this_mpi(OUT library...): whether these libraries of HDF5 need no other MPI. What cannot
# be told passes.
function(lamina_is_of_this_mpi out)
    lamina_shared_names(needed NEEDED ${ARGN})
    lamina_shared_names(have SONAME ${MPI_C_LIBRARIES})
    set(is_ours TRUE)
    if(needed AND have)
        set(is_ours FALSE)
        foreach(name IN LISTS needed)
            if(name IN_LIST have)
                set(is_ours TRUE)
            endif()
        endforeach()
    endif()
    set(${out} ${is_ours} PARENT_SCOPE)
    if(NOT is_ours)
        list(JOIN ARGN " " libraries)
        set(ParallelHDF5_of_another_mpi
            "${libraries} needs ${needed}, and the MPI found is ${have}." PARENT_SCOPE)
    endif()
endfunction()

set(ParallelHDF5_TARGET "")
set(ParallelHDF5_LIBRARIES "")
set(ParallelHDF5_of_another_mpi "")
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND AND NOT HDF5_ROOT AND NOT DEFINED ENV{HDF5_ROOT})
    foreach(module IN ITEMS hdf5-openmpi hdf5-mpich hdf5-mpi hdf5)
        string(MAKE_C_IDENTIFIER "LAMINA_${module}" prefix)
        pkg_check_modules(${prefix} QUIET IMPORTED_TARGET GLOBAL ${module})
        set(is_ours FALSE)
        if(${prefix}_FOUND)
            set(libraries ${${prefix}_LINK_LIBRARIES})
            list(FILTER libraries INCLUDE REGEX "hdf5[^/]*$")
            lamina_is_of_this_mpi(is_ours ${libraries})
        endif()
        if(is_ours)
            set(ParallelHDF5_TARGET PkgConfig::${prefix})
            set(ParallelHDF5_LIBRARIES ${${prefix}_LINK_LIBRARIES})
            set(ParallelHDF5_VERSION ${${prefix}_VERSION})
            break()
        endif()
    endforeach()
endif()
if(NOT ParallelHDF5_TARGET)
    set(HDF5_PREFER_PARALLEL ON)
    find_package(HDF5 QUIET COMPONENTS C)
    if(HDF5_FOUND)
        lamina_is_of_this_mpi(is_ours ${HDF5_C_LIBRARIES})
    endif()
    if(HDF5_FOUND AND is_ours)
        set(ParallelHDF5_TARGET hdf5::hdf5)
        set(ParallelHDF5_LIBRARIES ${HDF5_C_LIBRARIES})
        set(ParallelHDF5_VERSION ${HDF5_VERSION})
    endif()
endif()

# Nothing of this is cached, since another MPI in the same build folder means another HDF5.
set(ParallelHDF5_HAVE_PARALLEL "")
if(ParallelHDF5_TARGET)
    get_target_property(ParallelHDF5_INCLUDE_DIRS ${ParallelHDF5_TARGET}
                        INTERFACE_INCLUDE_DIRECTORIES)
    find_file(ParallelHDF5_CONFIG_HEADER NAMES H5pubconf.h H5pubconf-64.h
              PATHS ${ParallelHDF5_INCLUDE_DIRS} NO_DEFAULT_PATH NO_CACHE)
    if(ParallelHDF5_CONFIG_HEADER)
        file(STRINGS ${ParallelHDF5_CONFIG_HEADER} ParallelHDF5_HAVE_PARALLEL
             REGEX "#define[ \t]+H5_HAVE_PARALLEL[ \t]+1")
    endif()
endif()

# Dimension scales and labels live in the high-level library, which lies beside the other.
set(ParallelHDF5_FOLDERS "")
foreach(library IN LISTS ParallelHDF5_LIBRARIES)
    cmake_path(GET library PARENT_PATH ParallelHDF5_folder)
    list(APPEND ParallelHDF5_FOLDERS ${ParallelHDF5_folder})
endforeach()
find_library(ParallelHDF5_HL_LIBRARY NAMES hdf5_hl HINTS ${ParallelHDF5_FOLDERS} NO_DEFAULT_PATH
                                                                                 NO_CACHE)
if(ParallelHDF5_HL_LIBRARY)
    list(PREPEND ParallelHDF5_LIBRARIES ${ParallelHDF5_HL_LIBRARY})
endif()

string(CONCAT ParallelHDF5_reason
              "The HDF5 library must be built with MPI (H5_HAVE_PARALLEL), and with the same one. "
              "Debian: libhdf5-openmpi-dev or libhdf5-mpich-dev. Elsewhere: set HDF5_ROOT. "
              "${ParallelHDF5_of_another_mpi}")
find_package_handle_standard_args(
    ParallelHDF5 REQUIRED_VARS ParallelHDF5_TARGET ParallelHDF5_HL_LIBRARY ParallelHDF5_HAVE_PARALLEL
    VERSION_VAR ParallelHDF5_VERSION
    REASON_FAILURE_MESSAGE "${ParallelHDF5_reason}")

if(ParallelHDF5_FOUND AND NOT TARGET ParallelHDF5::ParallelHDF5)
    add_library(ParallelHDF5::ParallelHDF5 INTERFACE IMPORTED GLOBAL)
    target_link_libraries(ParallelHDF5::ParallelHDF5 INTERFACE ${ParallelHDF5_HL_LIBRARY}
                                                             ${ParallelHDF5_TARGET})
endif()
