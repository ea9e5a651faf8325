#!/bin/sh
# Two builds, with two MPIs, train to the same bits: the sums of gradients are Lamina's own.
#
#   compare_builds.sh BUILD-FOLDER BUILD-FOLDER SCRATCH-FOLDER
#
# SPDX-License-Identifier: Apache-2.0
set -eu
SOURCE_DIR=$(cd "$(dirname "$0")/.." && pwd)
one=$(cd "$1" && pwd)
other=$(cd "$2" && pwd)
mkdir -p "$3"
WORK=$(cd "$3" && pwd)
LAMINA=$one/bin/lamina
MPIRUN=none
. "$SOURCE_DIR/tests/cli/support/common.sh"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# launcher_of BUILD: with what root and few cores take
launcher_of() {
    launcher=$(sed -n 's/^MPIEXEC_EXECUTABLE:.*=//p' "$1/CMakeCache.txt")
    case $("$launcher" --version 2>/dev/null) in
    *"Open MPI"* | *OpenRTE*) echo "$launcher --oversubscribe --bind-to none --allow-run-as-root" ;;
    *) echo "$launcher" ;;
    esac
}

# hash_of BUILD RANKS OPTION...
hash_of() {
    MPIRUN=$(launcher_of "$1")
    program=$1/bin/lamina
    n=$2
    shift 2
    expect 0 ranks "$n" "$program" train vision --data tiny.h5 --model mlp:hidden=64 --batch 48 \
        --steps 20 --threads 1 --allocate uniform --out run.h5 "$@"
    json run.h5 "x['param_hash']"
}

make_dataset tiny 480 48 28
for n in 2 3; do
    for options in "--compress dense --feedback none" "--compress topk:density=0.05 --feedback ec" \
        "--compress quant:bits=4 --feedback econtrol"; do
        # shellcheck disable=SC2086 # the options are separate words
        first=$(hash_of "$one" $n $options) && second=$(hash_of "$other" $n $options)
        echo "$n ranks, $options: $first and $second"
        [ "$first" = "$second" ] || fail "the MPIs end with other bits"
    done
done
echo "passed"
