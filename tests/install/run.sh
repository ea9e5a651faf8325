#!/bin/sh
# Install into a scratch folder, then build and run an outside program there in both documented ways:
# through the CMake package and through pkg-config.
#
#   run.sh BUILD-FOLDER SCRATCH-FOLDER MPIRUN...
#
# SPDX-License-Identifier: Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
work=$2
shift 2

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/tree" >"$work/install.log"

cmake -S "$here/outside" -B "$work/by-cmake" -DCMAKE_PREFIX_PATH="$work/tree" \
    -DCMAKE_BUILD_TYPE=Release
cmake --build "$work/by-cmake"
"$@" -n 2 "$work/by-cmake/outside"

pc=$(find "$work/tree" -name lamina.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs lamina)
# shellcheck disable=SC2086 # the flags are separate words
cc -std=c17 "$here/outside/outside.c" $flags -o "$work/by-pkg-config"
# Only a shared library has to be found again when the program starts.
LD_LIBRARY_PATH=$(dirname "$pc")/..${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
"$@" -n 2 "$work/by-pkg-config"
unset LD_LIBRARY_PATH

program=$(find "$work/tree" -path '*/bin/lamina')
"$program" --version
