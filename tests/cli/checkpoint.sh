#!/bin/sh
# Tools for checkpoints: verify, diff, prune, and weights to and from other frameworks.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

make_dataset tiny 128 100 12
common="--data tiny.h5 --batch 16 --threads 1 --lr 0.1 --evaluate-every 100"

# train RANKS NAME OPTION...: checkpoints in NAME
train() {
    n=$1
    name=$2
    shift 2
    # shellcheck disable=SC2086 # the common options are separate words
    expect 0 ranks "$n" "$LAMINA" train vision $common --out "$name.h5" --checkpoint-dir "$name" \
        --keep 0 "$@"
}

# flip FILE OFFSET: change one byte.
flip() {
    python3 - "$1" "$2" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([byte ^ 1]))
END
}

train 2 run --model cnn --steps 6 --checkpoint-every 2 --compress topk:density=0.05 \
    --feedback econtrol

check "verify: whole files exit with 0"
expect 0 "$LAMINA" checkpoint verify run/checkpoint-2.h5 run/checkpoint-6.h5
grep -q '^run/checkpoint-6.h5: whole; step 6, written by 2 ranks, ' out.txt || fail "what it is"

check "verify: a changed byte is found, and the array named that it is in"
bytes=$(wc -c <run/checkpoint-4.h5)
cp run/checkpoint-4.h5 copy.h5
flip copy.h5 $((bytes / 2))
refused 1 'copy.h5.* is damaged' "$LAMINA" checkpoint verify run/checkpoint-2.h5 copy.h5
[ "$(grep -c '^copy.h5: damaged in bytes' out.txt)" -eq 1 ] || fail "not one damaged part"
grep -q '^copy.h5: .*in reach of /' out.txt || fail "no array is named"
grep -q '^run/checkpoint-2.h5: whole' out.txt || fail "the whole one is not told"
flip copy.h5 $((bytes / 2))
expect 0 "$LAMINA" checkpoint verify copy.h5
for offset in 20 600 $((bytes - 1)); do
    flip copy.h5 "$offset"
    expect 1 "$LAMINA" checkpoint verify copy.h5
    flip copy.h5 "$offset"
done
flip copy.h5 100
expect 1 "$LAMINA" checkpoint verify copy.h5
grep -q 'damaged in bytes' out.txt && fail "a damaged seal blames the content"
truncate -s $((bytes - 1)) copy.h5
refused 1 'truncated or damaged' "$LAMINA" checkpoint verify copy.h5
refused 1 'not a complete checkpoint' "$LAMINA" checkpoint verify tiny.h5
refused 2 'is missing' "$LAMINA" checkpoint verify

check "diff: tells arrays and attributes that differ, and how much"
expect 0 "$LAMINA" checkpoint diff run/checkpoint-2.h5 run/checkpoint-2.h5
grep -q '^the same: ' out.txt || fail "the same file differs"
refused 1 'differ in' "$LAMINA" checkpoint diff run/checkpoint-2.h5 run/checkpoint-6.h5
grep -q '^attribute step: 2 and 6$' out.txt || fail "the step"
grep -q '^/parameters/conv1/weight: [0-9]* of 288 numbers differ, by up to ' out.txt || fail "weights"
grep -q '^/feedback/.*numbers differ' out.txt || fail "feedback"
expect 0 "$LAMINA" checkpoint diff --only /parameters/ --tolerance 10 \
    run/checkpoint-2.h5 run/checkpoint-6.h5
train 1 alone --model cnn --steps 2 --compress topk:density=0.05 --feedback econtrol
expect 1 "$LAMINA" checkpoint diff alone/checkpoint-2.h5 run/checkpoint-2.h5
grep -q '^attribute ranks: 1 and 2$' out.txt || fail "the ranks"
grep -q '^/feedback/.* (means over ranks): ' out.txt || fail "states of other ranks"

check "prune: the newest complete ones stay, whatever is newer"
cp -r run pruned
truncate -s 5000 pruned/checkpoint-6.h5
expect 0 "$LAMINA" checkpoint prune pruned --keep 1 --dry-run
[ "$(find pruned -name '*.h5' | wc -l)" -eq 3 ] || fail "a dry run removed files"
expect 0 "$LAMINA" checkpoint prune pruned --keep 1
[ "$(find pruned -name '*.h5')" = pruned/checkpoint-4.h5 ] || fail "not the newest complete one"
flip pruned/checkpoint-4.h5 3000
refused 1 'no complete checkpoint among 1' "$LAMINA" checkpoint prune pruned --keep 1
[ -e pruned/checkpoint-4.h5 ] || fail "the last one was removed"
refused 2 'keep' "$LAMINA" checkpoint prune run --keep 0

check "export and import: the same weights and hash come back, in both layouts"
hash=$(json run/checkpoint-6.h5 "x['param_hash']")
for layout in torch lamina; do
    expect 0 "$LAMINA" checkpoint export --to safetensors --layout $layout run $layout.safetensors
    expect 0 "$LAMINA" checkpoint import --from safetensors --layout $layout \
        --like run/checkpoint-2.h5 $layout.safetensors back-$layout
    [ "$(json back-$layout/checkpoint-0.h5 "x['param_hash']")" = "$hash" ] || fail "hash: $layout"
    expect 0 "$LAMINA" checkpoint diff --only /parameters/ run/checkpoint-6.h5 \
        back-$layout/checkpoint-0.h5
    expect 0 "$LAMINA" checkpoint verify back-$layout/checkpoint-0.h5
done
expect 0 "$LAMINA" eval --data tiny.h5 --checkpoint run
cp out.txt tested.txt
cut -d, -f1 out.txt >before.txt
expect 0 "$LAMINA" eval --data tiny.h5 --checkpoint back-torch
cut -d, -f1 out.txt | cmp -s - before.txt || fail "the imported model tests otherwise"
refused 1 "has an array 'conv1.bias'" "$LAMINA" checkpoint import --from safetensors \
    --like run --layout torch lamina.safetensors nowhere
[ ! -e nowhere ] || fail "a failed import leaves a directory"
refused 2 'format' "$LAMINA" checkpoint export --to pickle run x
refused 1 'cannot create' "$LAMINA" checkpoint export --to npz run no/such/x.npz

check "a training begins with imported weights"
train 2 begun --model cnn --steps 1 --init back-torch --lr 1e-12
expect 0 "$LAMINA" checkpoint diff --only /parameters/ --tolerance 1e-6 run/checkpoint-6.h5 \
    begun/checkpoint-1.h5
refused 1 'init' "$LAMINA" train vision --data tiny.h5 --batch 16 --model mlp --steps 1 \
    --init back-torch --out x.h5

if ! "$PYTHON" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skipped: no Python with NumPy and h5py"
    echo "passed"
    exit 0
fi

check "an independent reader finds the model that Lamina tests, as PyTorch would compute it"
expect 0 "$LAMINA" checkpoint export --to npz run weights.npz
"$PYTHON" - <<'END' || fail "the exported weights are another model"
import json, re, h5py, numpy as np

with open("torch.safetensors", "rb") as f:
    size = int.from_bytes(f.read(8), "little")
    header = json.loads(f.read(size))
    data = f.read()
meta = header.pop("__metadata__")
assert meta["model"] == "cnn" and meta["format"] == "pt" and meta["step"] == "6", meta
w = {name: np.frombuffer(data[slice(*x["data_offsets"])], "<f4").reshape(x["shape"])
     for name, x in header.items()}
with np.load("weights.npz") as npz:
    assert sorted(npz.files) == sorted(w)
    assert all((npz[name] == w[name]).all() for name in w)
with h5py.File("run/checkpoint-6.h5") as f:
    kernel = f["parameters/conv2/weight"][:]
    assert (w["conv2.weight"] == kernel.transpose(3, 2, 0, 1)).all()
    assert (w["dense2.weight"] == f["parameters/dense2/weight"][:].T).all()

def conv(x, name):  # NCHW, no padding, cross-correlation
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    return np.maximum(np.einsum("nchwij,ocij->nohw", windows, w[name + ".weight"], optimize=True)
                      + w[name + ".bias"][:, None, None], 0)

with h5py.File("tiny.h5") as f:
    x = f["test/images"][:].astype(np.float32).transpose(0, 3, 1, 2) / 255
    labels = f["test/labels"][:]
x = conv(conv(x, "conv1"), "conv2")
n, c, height, width = x.shape
x = x.reshape(n, c, height // 2, 2, width // 2, 2).max((3, 5)).reshape(n, -1)
x = np.maximum(x @ w["dense1.weight"].T + w["dense1.bias"], 0)
logits = x @ w["dense2.weight"].T + w["dense2.bias"]
logits = logits - logits.max(1, keepdims=True)
loss = (np.log(np.exp(logits).sum(1)) - logits[np.arange(n), labels]).mean()
text = open("tested.txt").read()
accuracy = float(re.search(r"accuracy ([0-9.]+)", text).group(1))
assert abs((logits.argmax(1) == labels).mean() - accuracy) < 0.011, text
told = float(re.search(r"loss ([0-9.]+)", text).group(1))
assert abs(loss - told) < 1e-3, (loss, text)
END
echo "passed"
