# Find oneDNN; gives the target OneDNN::OneDNN.
#
# By header and library, not by oneDNN's own package file: that of a build with OpenCL ends the
# configuration of whoever has no OpenCL, and Lamina uses oneDNN on processors only. Used by the build
# and by the installed package.
#
# SPDX-License-Identifier: Apache-2.0
include(FindPackageHandleStandardArgs)
find_path(OneDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h)
find_library(OneDNN_LIBRARY dnnl)
mark_as_advanced(OneDNN_INCLUDE_DIR OneDNN_LIBRARY)

if(OneDNN_INCLUDE_DIR)
    set(OneDNN_VERSION "")
    file(STRINGS ${OneDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h OneDNN_lines
         REGEX "#define[ \t]+DNNL_VERSION_(MAJOR|MINOR|PATCH)[ \t]")
    foreach(line IN LISTS OneDNN_lines)
        string(REGEX MATCH "[0-9]+$" OneDNN_number "${line}")
        string(APPEND OneDNN_VERSION ".${OneDNN_number}")
    endforeach()
    string(REGEX REPLACE "^\\." "" OneDNN_VERSION "${OneDNN_VERSION}")
endif()

find_package_handle_standard_args(OneDNN REQUIRED_VARS OneDNN_LIBRARY OneDNN_INCLUDE_DIR
                                  VERSION_VAR OneDNN_VERSION)

if(OneDNN_FOUND AND NOT TARGET OneDNN::OneDNN)
    add_library(OneDNN::OneDNN UNKNOWN IMPORTED GLOBAL)
    set_target_properties(OneDNN::OneDNN PROPERTIES
                          IMPORTED_LOCATION ${OneDNN_LIBRARY}
                          INTERFACE_INCLUDE_DIRECTORIES ${OneDNN_INCLUDE_DIR})
endif()
