#!/bin/sh
# `lamina plan`: what it predicts, from what, and what it refuses.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

check "a stated link is planned for, in words"
"$LAMINA" plan --model mlp --batch 8 --steps 3 --link 100mbit,50us --threads 1 >plan.txt 2>err.txt
grep -q "link as stated: 50 us a message, 0.1 Gbit/s, 1 us from one message to the next" plan.txt
grep -q "^dense1/weight " plan.txt
grep -Eq "^ +4096 +4096 " plan.txt

check "as JSON it holds layers, predictions and the curve, and compressing pays on a slow link"
"$LAMINA" plan --model mlp --batch 8 --steps 3 --link 10mbit,50us,3us --threads 1 --json >plan.json 2>err.txt
"$PYTHON" - "$SOURCE_DIR/docs/plan.md" <<'END'
import json
import re
import sys
plan = json.load(open("plan.json", encoding="utf-8"))
by = plan["predicted"]
assert abs(plan["link"]["gap_seconds"] - 3e-6) < 1e-12, plan["link"]
# A latency and a gap for each phase: entries are gathered in one, sums of long vectors take two.
assert 52e-6 < plan["bucket_latency_seconds"]["dense"] < 107e-6, plan["bucket_latency_seconds"]
assert abs(plan["bucket_latency_seconds"]["compressed"] - 53e-6) < 1e-9, plan["bucket_latency_seconds"]
rows = re.findall(r"^\| (`[^|]*) \|", open(sys.argv[1], encoding="utf-8").read(), re.M)
described = {name for row in rows for name in re.findall("`([a-z_]+)`", row)}
assert set(plan) <= described, set(plan) - described
assert [row["ranks"] for row in plan["scaling"]] == [2 ** k for k in range(1, 13)]
assert sum(layer["elements"] for layer in plan["layers"]) == 1863690
assert any(layer["level"] > 0 for layer in plan["layers"])
# 7.45 MB a rank at 1.25 MB/s are the least that a dense step takes.
assert 5.9 < by["dense"]["seconds"] < 12, by["dense"]
assert by["time"]["seconds"] <= 1.02 * min(by["uniform"]["seconds"], by["lgreco"]["seconds"]), by
assert by["time"]["seconds"] < 0.5 * by["dense"]["seconds"], by
END

check "the time of computing can be stated, and text is planned for, too"
"$LAMINA" plan --model gpt:layers=1,width=32,heads=2,context=16 --classes 50 --batch 2 --steps 3 --compute-ms 77 \
    --compress quant:bits=4 --threads 1 --json >plan.json 2>err.txt
"$PYTHON" -c 'import json; assert abs(json.load(open("plan.json"))["compute_seconds"] - 0.077) < 1e-9'

check "what cannot be planned is refused with one message"
refused() {
    text=$1
    shift
    code=0
    "$LAMINA" plan --steps 3 --threads 1 "$@" >out.txt 2>err.txt || code=$?
    [ "$code" -eq 2 ] || fail "$* ended with $code"
    [ "$(wc -l <err.txt)" -eq 1 ] || fail "$* has more than one message"
    grep -q -- "$text" err.txt || fail "$* does not say: $text"
}
refused "one rank, and no link to it" --link measure
refused "no shape of images" --shape 28x28
refused "is not a link" --link fast
refused "cannot be on 4 nodes" --ranks 2 --nodes 4
refused "levels-by" --levels-by best
code=0
"$LAMINA" plan nowhere.h5 >out.txt 2>err.txt || code=$?
[ "$code" -eq 1 ] || fail "a run that is not there ended with $code"
grep -q "nowhere.h5" err.txt || fail "the missing run is not named"
