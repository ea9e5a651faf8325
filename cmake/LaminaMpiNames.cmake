# Which MPI libraries are these? Used by the build and by the installed package.
#
# SPDX-License-Identifier: Apache-2.0

# lamina_mpi_names(OUT library...): names with the first number of the version, such as libmpi.so.40,
# which differ between MPIs that do not fit together.
function(lamina_mpi_names out)
    set(names "")
    foreach(library IN LISTS ARGN)
        file(REAL_PATH "${library}" path)
        cmake_path(GET path FILENAME name)
        string(REGEX REPLACE "(\\.so\\.[0-9]+).*" "\\1" name "${name}")
        list(APPEND names ${name})
    endforeach()
    set(${out} "${names}" PARENT_SCOPE)
endfunction()
