#!/bin/sh
# An example of the reducer learns, saves bytes, and ends with the same parameters on all ranks; what
# Lamina refuses it ends with, in Lamina's words.
#
#   averages.sh RANKS MPIRUN... PROGRAM...
#
# SPDX-License-Identifier: Apache-2.0
set -eu
ranks=$1
shift
out=$("$@") || {
    code=$?
    printf '%s\n' "$out"
    exit $code
}
printf '%s\n' "$out"
# The loss is about 1000 at first. What dense gradients cost is known: 2 (n - 1) / n of 2064 f32 in each
# of 600 steps, from each of n ranks.
printf '%s\n' "$out" | awk -v ranks="$ranks" '
    $1 == "step" { if (!losses++) first = $4; last = $4 }
    $1 == "sent" { sent = $2; dense = $NF }
    /^all ranks hold the same parameters/ { same = 1 }
    END {
        if (losses != 7 || !(first > 500) || !(last < 0.01)) { print "FAILED: it does not learn"; exit 1 }
        if (!same) { print "FAILED: ranks hold different parameters"; exit 1 }
        if (dense != 600 * 2 * (ranks - 1) * 2064 * 4) { print "FAILED: dense bytes"; exit 1 }
        if (ranks == 1 ? sent != 0 : !(sent > 0 && sent < dense / 3)) { print "FAILED: bytes sent"; exit 1 }
    }'

if refusal=$("$@" topk:density=7 2>&1) || ! printf '%s\n' "$refusal" | grep -q 'average_gradients: .*density'
then
    echo "FAILED: a compressor that is not understood: $refusal"
    exit 1
fi
