#!/bin/sh
# Install what Lamina needs and this machine lacks.
#
#   sh scripts/dependencies.sh build         what building and running takes
#   sh scripts/dependencies.sh build test    what the tests take, too
#   sh scripts/dependencies.sh build mpich   MPICH beside Open MPI, which stays what mpicc and mpirun are
#
# On Debian and Ubuntu missing packages are installed, as root or through sudo. Anywhere else, and
# without those rights, the script says exactly what is missing and how to get it, and ends with 1.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

# One need a line: set, Debian package, and how to see on another system whether it is met:
# a command, a pkg-config module (or several, any of which will do), or a file. What is optional makes
# Lamina faster; other systems are not asked for it.
needs() {
    cat <<'TABLE'
build build-essential command cc
build build-essential command c++
build build-essential command make
build cmake command cmake
build pkg-config command pkg-config
build libopenmpi-dev command mpicc
build openmpi-bin command mpirun
build libopenblas-dev module openblas
build libhdf5-openmpi-dev module hdf5-openmpi hdf5-mpich hdf5-mpi hdf5
build hdf5-tools command h5ls
build libhwloc-dev module hwloc
build libxxhash-dev module libxxhash
build zlib1g-dev module zlib
build libjansson-dev module jansson
build libdnnl-dev optional oneDNN
build dataset-fashion-mnist file /usr/share/datasets/fashion-mnist
test libcmocka-dev module cmocka
test clang command clang
test libclang-rt-dev command clang
test clang-format-14 command clang-format-14
test clang-tidy-14 command clang-tidy-14
test cppcheck command cppcheck
test python3 command python3
test python3-numpy python numpy
test python3-h5py python h5py
test gfortran command gfortran
test python3-mpi4py python mpi4py
test iproute2 command ip
test util-linux command nsenter
test slurm-wlm command slurmctld
test munge command munged
test hwloc-nox command hwloc-calc
mpich mpich command mpiexec.mpich
mpich libmpich-dev command mpicc.mpich
mpich libhdf5-mpich-dev module hdf5-mpich
TABLE
}

has_package() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# is_met KIND NAME...: whether any of the names is there.
is_met() {
    kind=$1
    shift
    for name in "$@"; do
        case $kind in
        command) command -v "$name" >/dev/null 2>&1 && return 0 ;;
        module) pkg-config --exists "$name" 2>/dev/null && return 0 ;;
        python) python3 -c "import $name" 2>/dev/null && return 0 ;;
        file) [ -e "$name" ] && return 0 ;;
        optional) return 0 ;;
        esac
    done
    return 1
}

# The packages of the given sets that dpkg does not know as installed.
missing_packages() {
    needs | while read -r set package _; do
        case " $* " in
        *" $set "*) has_package "$package" || echo "$package" ;;
        esac
    done | sort -u | tr '\n' ' '
}

# The same for systems without dpkg: what was looked for, and where Debian keeps it.
missing_needs() {
    needs | while read -r set package kind names; do
        case " $* " in
        *" $set "*)
            # shellcheck disable=SC2086 # the names are separate words
            is_met "$kind" $names || echo "  $kind $names (Debian's package $package)"
            ;;
        esac
    done
}

install_packages() {
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "Missing packages: $*" >&2
            echo "As root, run: apt-get update && apt-get install -y $*" >&2
            exit 1
        fi
        as_root=sudo
    fi
    echo "Installing: $*"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    missing=$(missing_packages "$@")
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # the packages are separate words
        install_packages $missing
    fi
    exit 0
fi

missing=$(missing_needs "$@")
if [ -n "$missing" ]; then
    echo "Lamina needs what this machine does not have:" >&2
    echo "$missing" >&2
    echo "Install these with your system's package manager (a 'module' is a library that" >&2
    echo "pkg-config must find: add its folder to PKG_CONFIG_PATH) and run this again." >&2
    exit 1
fi
