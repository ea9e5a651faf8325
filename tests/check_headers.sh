#!/bin/sh
# Every public header compiles alone, twice over, as C17 and as C++17, without a warning.
#
#   check_headers.sh INCLUDE-FOLDER CC CXX compiler-flag...
#
# SPDX-License-Identifier: Apache-2.0
set -eu
folder=$1
cc=$2
cxx=$3
shift 3
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror"
count=0
for header in "$folder"/lamina/*.h; do
    name=lamina/$(basename "$header")
    text="#include \"$name\"
#include \"$name\"
"
    # shellcheck disable=SC2086 # the warnings are separate words
    printf '%s' "$text" | "$cc" -std=c17 -x c $warnings -Wstrict-prototypes -fsyntax-only \
        -I "$folder" "$@" -
    # shellcheck disable=SC2086
    printf '%s' "$text" | "$cxx" -std=c++17 -x c++ $warnings -fsyntax-only -I "$folder" "$@" -
    count=$((count + 1))
done
echo "$count headers compile alone in C and C++"
