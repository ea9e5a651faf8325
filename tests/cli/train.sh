#!/bin/sh
# A run from options to files: repeatable, resumable, stoppable, and told in JSON and in words.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

make_dataset tiny 512 100 28
steps=60
common="--data tiny.h5 --model mlp:hidden=128 --batch 64 --steps $steps --threads 1 --lr 0.1
    --compress topk:density=0.02 --feedback econtrol --allocate lgreco:warmup=4,window=4,every=10"

# train NAME OPTION...: on two ranks, results in NAME.h5
train() {
    name=$1
    shift
    # shellcheck disable=SC2086 # the common options are separate words
    expect 0 ranks 2 "$LAMINA" train vision $common --out "$name.h5" "$@"
}

check "a run on two ranks ends with results that inspect tells as JSON"
train straight --checkpoint-dir straight
grep -q '^test accuracy' out.txt || fail "no summary"
grep -q '^waited for input .* % of training$' out.txt || fail "no word of waiting"
grep -q '^waiting: .* a step' out.txt || fail "no word of ranks that waited"
grep -q '^link: a rank sent .*B/s while gradients were under way$' out.txt || fail "no rate of the link"
grep -q 'train vision --model mlp:hidden=128' err.txt || fail "the configuration was not printed"
for key in test_accuracy test_loss train_loss steps seconds bytes_sent bytes_dense ranks seed \
    param_hash configuration; do
    json straight.h5 "x['$key']" >value.txt || fail "no $key"
done
[ "$(json straight.h5 "x['steps']")" = $steps ] || fail "steps"
[ "$(json straight.h5 "x['ranks']")" = 2 ] || fail "ranks"
[ "$(json straight.h5 "0 < x['bytes_sent'] < x['bytes_dense']")" = True ] || fail "bytes"
[ "$(json straight.h5 "x['configuration']['compress']")" = topk:density=0.02 ] ||
    fail "compress is not told as given"
[ "$(json straight.h5 "x['configuration']['model']")" = mlp:hidden=128 ] || fail "model"
straight=$(json straight.h5 "x['param_hash']")
case $straight in 0x????????????????) ;; *) fail "param_hash is '$straight'" ;; esac

check "results of several runs are merged into one file, and what holds none is refused"
expect 0 "$LAMINA" results merge --out sweep.h5 straight.h5 straight.h5
expect 0 "$LAMINA" inspect sweep.h5
[ "$(grep -c '^straight.h5  *topk:density=0.02 ' out.txt)" -eq 2 ] || fail "not two runs"
[ "$(json sweep.h5 "x['arrays']['/runs/0001/steps/loss']['shape']")" = "[$steps]" ] || fail "steps"
refused 1 "tiny.h5" "$LAMINA" results merge --out other.h5 straight.h5 tiny.h5
refused 2 "RUN.h5" "$LAMINA" results merge --out other.h5
[ ! -e other.h5 ] && [ ! -e other.h5.part ] || fail "something was written"

check "a trace shows five steps of both ranks"
train traced --steps 12 --trace trace.json --trace-step 3
cat >trace.py <<'END'
import json
events = json.load(open("trace.json"))["traceEvents"]
spans = [e for e in events if e["ph"] == "X"]
assert {e["pid"] for e in spans} == {0, 1}, "ranks"
assert {e["args"]["step"] for e in spans} == set(range(3, 8)), "steps"
assert all(e["dur"] >= 0 for e in spans), "durations"
names = {"wait for batch", "forward and backward", "encode", "wait", "adapt", "combine", "update", "exchange"}
assert names == {e["name"] for e in spans}, "names"
assert all((e["tid"] > 0) == (e["name"] == "exchange") for e in spans), "lanes"
END
python3 trace.py || fail "the trace is not as it should be"
refused 2 "nonfinite" "$LAMINA" train vision --data tiny.h5 --nonfinite maybe

check "the checkpoint tells step, ranks, hash, sizes and mechanisms"
last=$(newest straight)
[ "$(json "$last" "x['step']")" = $steps ] || fail "step"
[ "$(json "$last" "x['ranks']")" = 2 ] || fail "ranks"
[ "$(json "$last" "x['param_hash']")" = "$straight" ] || fail "hash"
[ "$(json "$last" "x['sizes']['parameters']")" = $((784 * 128 + 128 + 128 * 10 + 10)) ] || fail "sizes"
[ "$(json "$last" "x['mechanisms']['feedback']")" = econtrol ] || fail "mechanisms"

check "inspect explains results and checkpoints in words, and compares runs"
expect 0 "$LAMINA" inspect straight.h5
grep -q 'test accuracy' out.txt || fail "no accuracy in words"
grep -q '^  waiting: .* a step' out.txt || fail "inspect says nothing of waiting"
grep -q '^  link: a rank sent ' out.txt || fail "inspect says nothing of the link"
expect 0 "$LAMINA" inspect "$last"
grep -q "checkpoint after step $steps" out.txt || fail "no step in words"
expect 0 "$LAMINA" inspect straight.h5 straight.h5
[ "$(wc -l <out.txt)" -eq 3 ] || fail "not a table of two runs"

check "images are changed when that is asked for, and the run goes on only with the same changes"
train changed --steps 4 --augment crop:pad=2,flip=0 --checkpoint-dir changed
[ "$(json changed.h5 "x['configuration']['augment']")" = crop:pad=2,flip=0 ] || fail "augment"
[ "$(json straight.h5 "x['configuration']['augment']")" = none ] || fail "augment by default"
# shellcheck disable=SC2086 # the common options are separate words
expect 1 ranks 2 "$LAMINA" train vision $common --steps 6 --checkpoint-dir changed --resume \
    --out other.h5
grep -q "crop:pad=2,flip=0" err.txt || fail "the refusal does not name the augmentation"
# shellcheck disable=SC2086
expect 2 "$LAMINA" train vision $common --augment crop:flip=2 --out other.h5

check "each rank trains on a shard of its own, told class by class; text has no labels to split by"
train shards --steps 4 --split label --checkpoint-dir shards
[ "$(json shards.h5 "x['configuration']['split']")" = label ] || fail "split"
[ "$(json straight.h5 "x['configuration']['split']")" = iid ] || fail "split by default"
"$PYTHON" - <<'END' || fail "the shards are not told as they are"
import h5py
with h5py.File("shards.h5") as run, h5py.File("straight.h5") as other, h5py.File("tiny.h5") as data:
    labels = sorted(data["train/labels"][:])
    told = run["shards/labels"][:]
    for rank in range(2):
        mine = labels[rank * len(labels) // 2:(rank + 1) * len(labels) // 2]
        assert told[rank].tolist() == [mine.count(c) for c in range(10)], rank
        assert run["shards/samples"][rank] == len(mine)
    assert "shards" not in other
END
# shellcheck disable=SC2086 # the common options are separate words
expect 1 ranks 2 "$LAMINA" train vision $common --steps 6 --split contiguous --checkpoint-dir shards \
    --resume --out other.h5
grep -q "split 'label'" err.txt || fail "the refusal does not name the split"
seq 1 2000 >numbers.txt
"$LAMINA" data import text numbers.txt --out numbers.h5 >/dev/null
text="--data numbers.h5 --model gpt:layers=1,width=16,heads=1,context=16 --batch 4 --steps 2 --threads 1"
# shellcheck disable=SC2086
expect 0 ranks 2 "$LAMINA" train text $text --split contiguous --out text.h5
# shellcheck disable=SC2086
expect 1 ranks 2 "$LAMINA" train text $text --split label --out text.h5
grep -q "text, which has none: use contiguous or iid" err.txt || fail "the refusal does not help"

check "gather and merge train to the same bits, and a run goes on only with its own collective"
train gathered --steps 12 --allocate uniform --collective gather
train merged --steps 12 --allocate uniform --collective merge --checkpoint-dir merged
[ "$(json merged.h5 "x['param_hash']")" = "$(json gathered.h5 "x['param_hash']")" ] ||
    fail "another hash"
[ "$(json merged.h5 "x['configuration']['collective']")" = merge ] || fail "collective"
[ "$(json straight.h5 "x['configuration']['collective']")" = auto ] || fail "collective by default"
# shellcheck disable=SC2086 # the common options are separate words
expect 1 ranks 2 "$LAMINA" train vision $common --allocate uniform --steps 14 --collective balanced \
    --checkpoint-dir merged --resume --out other.h5
grep -q "merge" err.txt || fail "the refusal does not name the collective"

check "eval gives the run's own test accuracy, from a file and from a directory, on 1 and 2 ranks"
accuracy=$(json straight.h5 "'%.4f' % x['test_accuracy']")
expect 0 "$LAMINA" eval --data tiny.h5 --checkpoint "$last"
grep -q "test accuracy $accuracy" out.txt || fail "not $accuracy"
expect 0 ranks 2 "$LAMINA" eval --data tiny.h5 --checkpoint straight --batch 33
grep -q "test accuracy $accuracy" out.txt || fail "not $accuracy on two ranks"

check "the same command gives the same parameters"
train again
[ "$(json again.h5 "x['param_hash']")" = "$straight" ] || fail "another hash"

check "--quiet says nothing; the environment is heard"
LAMINA_QUIET=1 train quiet
[ -z "$(cat out.txt err.txt)" ] || fail "--quiet was not quiet"
[ "$(json quiet.h5 "x['param_hash']")" = "$straight" ] || fail "another hash"

check "another seed gives other parameters"
train other --seed 2
[ "$(json other.h5 "x['param_hash']")" != "$straight" ] || fail "the same hash"

# stop SIGNAL DIR: starts a run, signals its ranks once the first checkpoint is there.
stop() {
    # shellcheck disable=SC2086
    start_ranks 2 "$LAMINA" train vision $common --out "$2.h5" --checkpoint-dir "$2" \
        --checkpoint-every 5
    while is_running && [ -z "$(newest "$2")" ]; do
        sleep 0.02
    done
    signal_ranks "$1"
    wait_for_ranks
}

for signal in TERM INT USR1; do
    check "SIG$signal: exit code 3, a checkpoint; resumed, the same parameters as never stopped"
    stop "$signal" "stopped$signal"
    [ "$code" -eq 3 ] || fail "exit code $code"
    at=$(json "$(newest "stopped$signal")" "x['step']")
    [ "$at" -lt $steps ] || fail "the run was over before the signal came"
    expect 1 ranks 2 "$LAMINA" train vision --data tiny.h5 --checkpoint-dir "stopped$signal"
    train "stopped$signal" --checkpoint-dir "stopped$signal" --checkpoint-every 5 --resume
    [ "$(json "stopped$signal.h5" "x['param_hash']")" = "$straight" ] || fail "another hash"
    [ "$(json "stopped$signal.h5" "x['steps']")" = $steps ] || fail "steps"
done

check "checkpoints as often as failures make it worth: the first at once, the next by its own measure"
train often --checkpoint-dir often --checkpoint-every auto --mtbf 0.001s --keep 0
often=$(find often -name 'checkpoint-*.h5' | wc -l)
[ "$often" -gt 10 ] || fail "$often checkpoints at a failure each millisecond"
train seldom --checkpoint-dir seldom --checkpoint-every auto --mtbf 100000h --keep 0
[ "$(find seldom -name 'checkpoint-*.h5' | wc -l)" -eq 2 ] || fail "not the first and the last alone"
refused 2 "mtbf" "$LAMINA" train vision --data tiny.h5 --checkpoint-dir none --checkpoint-every auto
refused 2 "mtbf" "$LAMINA" train vision --data tiny.h5 --checkpoint-dir none --mtbf 5h

check "mixed families: layers of several at once, named in the results, resumed to the bit"
mixture=topk:density=0.02+quant:bits=4+lowrank:rank=4
train mixed --steps 34 --compress $mixture --checkpoint-dir mixed --checkpoint-every 12 --keep 0
mkdir unmixed
cp mixed/*12.h5 unmixed/
train unmixed --steps 34 --compress $mixture --checkpoint-dir unmixed --resume
[ "$(json unmixed.h5 "x['param_hash']")" = "$(json mixed.h5 "x['param_hash']")" ] ||
    fail "other parameters than without stopping"
cat >mixed.py <<'END'
import h5py
with h5py.File("mixed.h5") as run:
    names = [name.decode() for name in run["level_names"]]
    assert names[0] == "dense" and {"topk:density=0.02", "quant:bits=4", "lowrank:rank=4"} < set(names), names
    assert run["decisions/level_bytes"].shape[1] == len(names) * len(run["layers/name"])
    used = {names[level].split(":")[0] for row in run["levels/level"] for level in row}
    assert len(used - {"dense"}) > 1, used
END
if "$PYTHON" -c 'import h5py' 2>/dev/null; then
    "$PYTHON" mixed.py || fail "the results do not name the families"
fi
# shellcheck disable=SC2086 # the common options are separate words
expect 2 ranks 2 "$LAMINA" train vision $common --compress $mixture --allocate accordion --out other.h5
grep -q "order" err.txt || fail "accordion was not refused with the reason"

check "two levels: resumed, the same parameters as never stopped; with one level states are dealt out anew"
train levels --hierarchy node --checkpoint-dir levels --checkpoint-every 25 --keep 0
[ "$(json levels.h5 "x['configuration']['hierarchy']")" = node ] || fail "hierarchy"
mkdir resumed
cp "levels/$(find levels -name 'checkpoint-*25.h5' -exec basename {} \;)" resumed/
cp -r resumed flat
# shellcheck disable=SC2086
expect 0 ranks 2 "$LAMINA" train vision $common --checkpoint-dir flat --resume \
    --hierarchy flat --out other.h5
grep -q "dealt out anew, with the same means" err.txt || fail "no word of the other hierarchy"
train resumed --hierarchy node --checkpoint-dir resumed --resume
[ "$(json resumed.h5 "x['param_hash']")" = "$(json levels.h5 "x['param_hash']")" ] ||
    fail "another hash"

check "stopped without a checkpoint directory: a failure that says so"
# shellcheck disable=SC2086
start_ranks 2 "$LAMINA" train vision $common --steps 100000 --out none.h5
while is_running && ! grep -q 'step' err.txt; do
    sleep 0.02
done
signal_ranks TERM
wait_for_ranks
[ "$code" -eq 1 ] || fail "exit code $code"
grep -q 'checkpoint-dir' err.txt || fail "no word about --checkpoint-dir"

echo "passed"
