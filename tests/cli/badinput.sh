#!/bin/sh
# Bad input on two ranks: one message, an exit code, no hang, and what was there before intact.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

make_dataset tiny 128 40 28
make_dataset small 128 40 14
make_dataset speck 64 20 2
common="--model mlp:hidden=64 --batch 16 --threads 1"

train_refused() {
    text=$1
    shift
    # shellcheck disable=SC2086 # the common options are separate words
    refused_by_ranks 1 "$text" "$LAMINA" train vision $common --steps 4 --out bad.h5 "$@"
}

check "files that are missing, no dataset, or damaged"
train_refused "nowhere.h5" --data nowhere.h5
echo "no HDF5" >text.h5
train_refused "text.h5" --data text.h5
: >empty.h5
train_refused "empty.h5" --data empty.h5
head -c 20000 tiny.h5 >cut.h5
train_refused "cut.h5" --data cut.h5
refused 1 "nowhere.h5" "$LAMINA" inspect nowhere.h5
refused 1 "text.h5" "$LAMINA" inspect text.h5
refused_by_ranks 1 "nowhere.h5" "$LAMINA" eval --data tiny.h5 --checkpoint nowhere.h5
refused_by_ranks 1 "tiny.h5" "$LAMINA" eval --data tiny.h5 --checkpoint tiny.h5

check "a batch smaller than the ranks"
train_refused "batch" --data tiny.h5 --batch 1

check "images too small for the model"
train_refused . --data speck.h5 --model cnn

check "a dataset of another image size than the checkpoint"
# shellcheck disable=SC2086
expect 0 ranks 2 "$LAMINA" train vision --data tiny.h5 $common --steps 4 --out tiny-run.h5 \
    --checkpoint-dir kept
sum=$(cksum <"$(newest kept)")
refused_by_ranks 1 "784" "$LAMINA" eval --data small.h5 --checkpoint kept
train_refused . --data small.h5 --checkpoint-dir kept --resume

check "resuming with another model or mechanism; or not resuming"
train_refused "model" --data tiny.h5 --checkpoint-dir kept --resume --model mlp:hidden=65
train_refused "feedback" --data tiny.h5 --checkpoint-dir kept --resume --feedback ef21
train_refused "resume" --data tiny.h5 --checkpoint-dir kept
[ "$(cksum <"$(newest kept)")" = "$sum" ] || fail "the checkpoint was changed"

check "results and checkpoints that cannot be written"
train_refused "nowhere" --data tiny.h5 --out nowhere/run.h5
: >file
train_refused "file" --data tiny.h5 --checkpoint-dir file/below

check "answers that cannot be written"
if [ -c /dev/full ]; then
    code=0
    "$LAMINA" inspect tiny.h5 >/dev/full 2>err.txt || code=$?
    [ "$code" -eq 1 ] || fail "exit code $code when standard output is full"
fi

check "a full disk during a checkpoint"
mkdir -p full
if mount -t tmpfs -o size=4m lamina-test full 2>/dev/null; then
    trap 'umount "$WORK/full"' EXIT
    # shellcheck disable=SC2086
    expect 0 ranks 2 "$LAMINA" train vision --data tiny.h5 $common --steps 4 --out run.h5 \
        --checkpoint-dir full/kept --keep 0
    kept=$(newest full/kept)
    sum=$(cksum <"$kept")
    # shellcheck disable=SC2086
    refused_by_ranks 1 "space" "$LAMINA" train vision --data tiny.h5 $common --steps 60 \
        --out run2.h5 --checkpoint-dir full/kept2 --checkpoint-every 4 --keep 0
    [ "$(cksum <"$kept")" = "$sum" ] || fail "the previous checkpoint was changed"
    [ -z "$(find full -name '*.part')" ] || fail "a part was left behind"
    for checkpoint in full/kept2/checkpoint-*.h5; do
        expect 0 "$LAMINA" inspect "$checkpoint"
    done
    rm -r full/kept2
    # shellcheck disable=SC2086
    refused_by_ranks 1 "space" "$LAMINA" train vision --data tiny.h5 $common --steps 60 \
        --out run2.h5 --checkpoint-dir full/kept2 --checkpoint-every 4 --keep 0 --checkpoint-async
    [ "$(cksum <"$kept")" = "$sum" ] || fail "the previous checkpoint was changed"
    [ -z "$(find full -name '*.part')" ] || fail "a part was left behind by --checkpoint-async"
    for checkpoint in full/kept2/checkpoint-*.h5; do
        expect 0 "$LAMINA" inspect "$checkpoint"
    done
    refused_by_ranks 1 . "$LAMINA" train vision --data tiny.h5 --model mlp:hidden=600 \
        --batch 16 --threads 1 --steps 2 --out full/run.h5 --checkpoint-dir full/kept3
else
    echo "skipped: this user may not mount a tmpfs"
fi

echo "passed"
