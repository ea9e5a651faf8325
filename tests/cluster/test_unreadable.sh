#!/bin/sh
# A dataset that one host alone cannot read: one message that names the rank and the host, and the run
# ends everywhere.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
. "$SOURCE_DIR/tests/cluster/training.sh"

lab_up 3 1gbit
make_data tiny 512 50 28
mkdir files
mv tiny.h5 files/

# on HOST COMMAND: before it trains, that host alone does this to its own view of the files
on() {
    host=$1
    # shellcheck disable=SC2016 # for the shell on the host
    "$LAB" run sh -c 'if [ "$(hostname)" = "$1" ]; then eval "$2"; fi; shift 2; exec "$@"' sh "$host" "$2" \
        "$LAMINA" train vision --data files/tiny.h5 --model mlp:hidden=64 --batch 66 --steps 100 --threads 1 \
        --stall-timeout 20s --out run.h5 >run.log 2>&1
}

# fails HOST COMMAND MESSAGE: so it does, with one message, and nobody is left over
fails() {
    code=0
    on "$1" "$2" || code=$?
    [ "$code" -eq 1 ] || fail "exit code $code: $(cat run.log)"
    [ "$(grep -a -c '^lamina: ' run.log)" -eq 1 ] || fail "not one message: $(cat run.log)"
    grep -a -q "^lamina: $3" run.log || fail "no '$3': $(cat run.log)"
    [ -z "$(ranks_with "LAMINA=$LAMINA")" ] || fail "a rank is left over"
}

check "a folder that is not mounted on one host"
fails h3 "mount -t tmpfs none files" "rank 2: host h3: cannot open 'files/tiny.h5': "
check "a file that is empty on the host of rank 0"
fails h1 "mount --bind /dev/null files/tiny.h5" "rank 0: host h1: 'files/tiny.h5' is not an HDF5 file"
echo "passed"
