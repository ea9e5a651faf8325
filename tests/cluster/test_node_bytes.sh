#!/bin/sh
# Two levels on two hosts with two ranks each: what is counted is what leaves the interfaces, within
# 5 %, and it is at most half of what one level sends, but for the last bucket, which is of one
# level in both.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
: "${WIRE_BYTES:?the program that compares}"

lab_up 2 1gbit
lab_network wire
specs="dense topk:density=0.05 quant:bits=4 int:bits=16"

check "what the ranks of a node count is what leaves its interface"
# shellcheck disable=SC2086 # one argument for each spec
"$LAB" run --ranks-per-host 2 "$WIRE_BYTES" --hierarchy node $specs >node.txt 2>err.txt || {
    cat node.txt err.txt >&2
    fail "bytes differ, or it could not run"
}
cat node.txt

check "one level sends at least twice as much"
# shellcheck disable=SC2086 # one argument for each spec
"$LAB" run --ranks-per-host 2 "$WIRE_BYTES" --hierarchy flat $specs >flat.txt 2>err.txt || {
    cat flat.txt err.txt >&2
    fail "it could not run"
}
cat flat.txt
"$PYTHON" - $specs <<'END' || fail "two levels do not halve the bytes"
import re, sys
def seen(path):
    found = {}
    for line in open(path):
        match = re.match(r"(\S+) +(\S+): counted \d+, left as TCP payload (\d+)", line)
        found[match[1], match[2]] = int(match[3])
    return found
node, flat = seen("node.txt"), seen("flat.txt")
assert set(node) == set(flat) and len(node) == 2 * len(sys.argv[1:]), (node, flat)
for key, bytes_seen in node.items():
    print(f"{key[0]} on {key[1]}: {bytes_seen / flat[key]:.3f} of one level")
    assert bytes_seen <= 0.52 * flat[key], (key, bytes_seen, flat[key])
END
