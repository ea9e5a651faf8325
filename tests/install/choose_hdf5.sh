#!/bin/sh
# Of two builds of HDF5 the one is found that needs the MPI of the program, and when there is none,
# the configuration ends and names both MPIs. With libraries made for it, so that no MPI is needed.
#
#   choose_hdf5.sh CMAKE-FOLDER SCRATCH-FOLDER
#
# SPDX-License-Identifier: Apache-2.0
set -eu
modules=$1
work=$2
rm -rf "$work"
mkdir -p "$work/pc"
cd "$work"

# library PATH SONAME [NEEDED...]: an empty shared library
library() {
    path=$1 soname=$2
    shift 2
    echo 'int lamina_test_nothing;' | cc -shared -fPIC -x c - -x none -o "$path" -Wl,-soname,"$soname" \
        -Wl,--no-as-needed "$@"
}

# hdf5 MPI: a build of HDF5 with it, known to pkg-config
hdf5() {
    folder=$PWD/$1-hdf5
    mkdir -p "$folder"
    echo '#define H5_HAVE_PARALLEL 1' >"$folder/H5pubconf.h"
    library "$folder/libhdf5.so" "libhdf5_$1.so.1" "$PWD/$1/libmpi.so"
    library "$folder/libhdf5_hl.so" "libhdf5_hl_$1.so.1"
    printf 'Name: hdf5\nDescription: a test\nVersion: 1.10\nCflags: -I%s\nLibs: -L%s -lhdf5\n' \
        "$folder" "$folder" >"pc/hdf5-$1.pc"
}

mkdir openmpi mpich third
library openmpi/libmpi.so libmpi.so.40
library mpich/libmpi.so libmpi.so.12
library third/libmpi.so libmpi.so.7
hdf5 openmpi
hdf5 mpich

cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.25)
project(choice LANGUAGES C)
list(APPEND CMAKE_MODULE_PATH $modules)
set(CMAKE_DISABLE_FIND_PACKAGE_HDF5 ON)
find_package(ParallelHDF5 REQUIRED)
message(STATUS "chosen: \${ParallelHDF5_LIBRARIES}")
END

# configure MPI: in configure.log
configure() {
    PKG_CONFIG_LIBDIR=$PWD/pc PKG_CONFIG_PATH='' HDF5_ROOT='' \
        sh -c 'unset HDF5_ROOT; exec cmake "$@"' sh -S . -B build \
        -DMPI_C_LIBRARIES="$PWD/$1/libmpi.so" >configure.log 2>&1
}

# The same build folder, so that nothing of one choice may be left in the next.
for mpi in openmpi mpich openmpi; do
    configure $mpi || {
        cat configure.log
        exit 1
    }
    if ! grep -q "chosen: .*/$mpi-hdf5/libhdf5_hl.so;.*/$mpi-hdf5/libhdf5.so" configure.log; then
        echo "FAILED: another HDF5 than that of $mpi"
        cat configure.log
        exit 1
    fi
done
if configure third || ! tr -s ' \n' '  ' <configure.log |
    grep -q 'needs libmpi.so.12, and the MPI found is libmpi.so.7'; then
    echo "FAILED: an HDF5 of another MPI is not refused by name"
    cat configure.log
    exit 1
fi
echo "passed"
