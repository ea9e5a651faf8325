#!/bin/sh
# Every check of the project, as the CI runs it: sh scripts/test.sh
#
# A developer may run some stages only: LAMINA_TEST_STAGES="format release" sh scripts/test.sh
#   dependencies  install what is missing
#   format        clang-format 14 changes nothing
#   release       gcc, warnings as errors, every test (ranks 1 to 4, rooms, headers, install, hosts in
#                 network namespaces where the machine allows them)
#   mpich         gcc, with MPICH instead of Open MPI, every test; on request only, as more ranks than cores
#                 take many times as long with it
#   ubsan         clang, shared library, UndefinedBehaviorSanitizer, unit tests
#   asan          gcc, AddressSanitizer and UBSan, unit tests and MPI tests on 2 and 3 ranks
#   tsan          gcc, ThreadSanitizer, the tests of the reader's thread
#   tidy          clang-tidy 14 on every C file
#   cppcheck      cppcheck on the library and the program
#
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."

jobs=$(nproc)
stages=${LAMINA_TEST_STAGES:-"dependencies format release ubsan asan tsan fuzz tidy cppcheck"}

# tool_14 NAME: the command of LLVM 14's tool, since other versions format and warn otherwise.
tool_14() {
    for tool in "$1-14" "$1"; do
        if command -v "$tool" >/dev/null 2>&1 && "$tool" --version | grep -q 'version 14\.'; then
            echo "$tool"
            return
        fi
    done
    echo "$1 14 is not installed; the project's settings are checked with that version" >&2
    return 1
}

c_files() {
    find "$@" -name '*.c' -o -name '*.h' 2>/dev/null | sort
}

# build PRESET [cmake-argument...]: everything, or what the arguments name.
# Users build the release preset without tests and whatever their compiler warns of.
build() {
    cmake --preset "$1" -DLAMINA_BUILD_TESTS=ON -DLAMINA_WARNINGS_AS_ERRORS=ON \
        >"build/configure-$1.log" 2>&1 || {
        cat "build/configure-$1.log"
        return 1
    }
    preset=$1
    shift
    cmake --build --preset "$preset" -j "$jobs" "$@"
}

# run_tests PRESET ctest-argument...: its summary is shown again at the end.
# A test that is skipped says why in its output, which ctest keeps to itself.
run_tests() {
    preset=$1
    shift
    ctest --preset "$preset" -j "$jobs" --output-log "build/ctest-$preset.log" "$@"
    grep -h '^skipped: ' "build/$preset/Testing/Temporary/LastTest.log" | sort -u || true
}

stage_dependencies() {
    sh scripts/dependencies.sh build test
}

stage_format() {
    format=$(tool_14 clang-format)
    c_files include src apps tests bench examples | xargs "$format" --dry-run -Werror
}

stage_release() {
    build release
    run_tests release
}

stage_mpich() {
    sh scripts/dependencies.sh build test mpich
    build mpich
    run_tests mpich
    if [ -x build/release/bin/lamina ]; then
        sh tests/compare_builds.sh build/release build/mpich build/compare
    else
        echo "skipped: no build/release to compare the parameters of both MPIs with"
    fi
}

stage_ubsan() {
    build ubsan
    run_tests ubsan -L unit
}

stage_asan() {
    build asan
    run_tests asan -L 'unit|mpi' -E 'np[14-9]$'
}

# What has threads of its own and needs neither OpenMP nor MPI, which would have to be instrumented.
stage_tsan() {
    build tsan --target unit_test_reader unit_test_augment unit_test_dataset_kinds \
        unit_test_dataset_text
    run_tests tsan -R '^unit\.test_(reader|augment|dataset_kinds|dataset_text)$'
}

# The decoders of all families against bytes of any kind, 10 s each.
stage_fuzz() {
    build fuzz
    run_tests fuzz -L fuzz
}

# One process a file: version 14 reports va_list wrongly from the second file on.
stage_tidy() {
    tidy=$(tool_14 clang-tidy)
    cmake --preset release -DLAMINA_BUILD_TESTS=ON -DLAMINA_WARNINGS_AS_ERRORS=ON >/dev/null
    find src apps bench examples tests/unit tests/mpi tests/support tests/cluster tests/examples -name '*.c' | sort |
        xargs -P "$jobs" -n 1 "$tidy" --quiet -p build/release >build/tidy.log 2>&1 || {
        grep -v 'warnings* generated\.$' build/tidy.log
        return 1
    }
}

stage_cppcheck() {
    cppcheck -q -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem --error-exitcode=1 -D_POSIX_C_SOURCE=200809L -I include \
        src apps bench
}

mkdir -p build
rm -f build/ctest-*.log
for stage in $stages; do
    echo "== $stage"
    start=$(date +%s)
    "stage_$stage"
    echo "== $stage: $(($(date +%s) - start)) s"
done

for log in build/ctest-*.log; do
    [ -e "$log" ] || continue
    echo "== tests: $(basename "$log" .log)"
    sed -n '/tests passed/,$p' "$log"
done
echo "== all stages passed: $stages"
