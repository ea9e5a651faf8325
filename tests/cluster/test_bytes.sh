#!/bin/sh
# Bytes counted by Lamina are bytes on the wire: two hosts, 100 steps, every family, within 5 %.
#
# How the two are compared, and what headers are taken off, is told in wire_bytes.c.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
: "${WIRE_BYTES:?the program that compares}"

lab_up 2 1gbit
lab_network wire

check "every family's bytes are those that leave the interface"
"$LAB" run "$WIRE_BYTES" >out.txt 2>err.txt || {
    cat out.txt err.txt >&2
    fail "bytes differ, or it could not run"
}
cat out.txt
for family in dense topk; do
    [ "$(grep -c "^$family " out.txt)" -eq 2 ] || fail "$family was not measured on both hosts"
done

check "the interfaces have seen no less than that"
"$LAB" bytes >bytes.json
"$PYTHON" - <<'END' || fail "$(cat bytes.json)"
import json, re
seen = json.load(open("bytes.json"))
for host in seen:
    counted = sum(int(re.search(r"counted (\d+)", line)[1]) for line in open("out.txt")
                  if f" {host}:" in line)
    assert 0 < counted < seen[host]["tx_bytes"], host
END
