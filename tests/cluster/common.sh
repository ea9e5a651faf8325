# What the tests of the lab share. To be sourced, with LAB, PYTHON, WORK and SOURCE_DIR set.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
: "${LAB:?the program that makes the lab}" "${PYTHON:?}" "${WORK:?a scratch folder}"
: "${SOURCE_DIR:?the root of the sources}"

rm -rf "${WORK:?}"/*
mkdir -p "$WORK"
cd "$WORK" || exit 1
# Not below WORK: the lab's names and subnet follow from its folder, and must be each test's own.
LAMINA_LAB_STATE=$(mktemp -d "${TMPDIR:-/tmp}/lamina-lab-test.XXXXXX")
export LAMINA_LAB_STATE
trap '"$LAB" down; rm -rf "$LAMINA_LAB_STATE"' EXIT
trap 'exit 1' INT TERM HUP

check() {
    echo "check: $*"
}

# What else a failure is to be understood by; tests that know more say more.
explain() {
    :
}

fail() {
    echo "FAILED: $*" >&2
    explain >&2
    exit 1
}

# skip REASON: the end of the test
skip() {
    echo "skipped: $*"
    exit 77
}

# is_of_mpi NAME: whether the lab's launcher is of this MPI
is_of_mpi() {
    "${LAMINA_LAB_MPIRUN:-mpirun}" --version 2>/dev/null | grep -q -e "$1"
}

# lab_network wire|any: which network this MPI can use between hosts. Some end there and some never do
# (lab_launch.py); with these a test of the wire is skipped, and others have ranks meet in memory.
lab_network() {
    ! is_of_mpi 'Open MPI\|OpenRTE' || return 0
    ! timeout -s INT -k 5 15 "$LAB" run "${MEET:?the program in which ranks meet and part}" >/dev/null 2>&1 || return 0
    why="MPI_Finalize of this MPI hangs between hosts joined by TCP"
    [ "$1" = any ] || skip "$why"
    echo "note: $why; ranks meet in the machine's memory"
    LAMINA_LAB_NETWORK=memory
    export LAMINA_LAB_NETWORK
}

# lab_up N RATE [OPTION...]: or the end of the test, skipped when this machine cannot have a lab.
lab_up() {
    code=0
    "$LAB" up "$@" 2>err.txt || code=$?
    cat err.txt >&2
    if [ "$code" -eq 77 ]; then
        sed -n 's/^lab: skipped: /skipped: /p' err.txt
        exit 77
    fi
    [ "$code" -eq 0 ] || fail "exit code $code of: lab up $*"
}
