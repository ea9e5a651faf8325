#!/bin/sh
# `lamina allocate`: equal to brute force, within the budget, and bad files refused with one message.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

if ! "$PYTHON" -c 'import h5py' 2>/dev/null; then
    echo "skipped: no Python with h5py"
    exit 0
fi

# The stated problems of this test, and bad ones with the message that each must get.
cat >files.txt <<'END'
costs | [[10, 6, 3], [7, 5, 2]] | [[1, 2, 4], [1, 3, 5.0]] | [1, 1]
more | [[4, 9], [1, 6]] | [[0.5, 0], [8, 1]] | [0, 0]
taller | [[4], [1], [1]] | [[0.5], [8], [8]] | [0, 0, 0]
squared | [[10, 6, 3], [7, 5, 2]] | [[1, 4, 16], [1, 9, 25.0]] | [1, 1]
END
cat >bad.txt <<'END'
bad1 | [[9, 5], [9, 5]] | [[0, 1], [nan, 1]] | [1, 1] | layer 1 at level 0 is nan
bad2 | [[9, 5], [9, 5]] | [[0, inf], [0, 1]] | [1, 1] | layer 0 at level 1 is inf
bad3 | [[9, 5], [9, 5]] | [[0, -1], [0, 1]] | [1, 1] | layer 0 at level 1 is -1
bad4 | [[9, 5], [9, -5]] | [[0, 1], [0, 1]] | [1, 1] | '/bytes' of layer 1 at level 1 is -5
bad5 | [[9, 5], [9, 5.5]] | [[0, 1], [0, 1]] | [1, 1] | '/bytes' of layer 1 at level 1 is 5.5
bad6 | [[nan, 5], [9, 5]] | [[0, 1], [0, 1]] | [1, 1] | '/bytes' of layer 0 at level 0 is nan
bad7 | [9, 5] | [[0, 1], [0, 1]] | [1, 1] | '/bytes' has 1 dimensions
bad8 | [[9, 5], [9, 5]] | [[0], [1]] | [1, 1] | '/error' is \[2, 1\]
bad9 | [[9, 5], [9, 5]] | [[0, 1], [0, 1]] | [1, 1, 1] | '/static_level' is \[3\]
bad10 | [[9, 5], [9, 5]] | [[0, 1], [0, 1]] | [1, 2] | '/static_level' of layer 1 is 2
bad11 | [[9, 5], [9, 5]] | [[0, 1], [0, 1]] | [1, -1] | '/static_level' of layer 1 is -1
bad12 | [[9, 5], [9, 5]] | | [1, 1] | no array '/error'
bad13 | np.zeros((2, 0)) | np.zeros((2, 0)) | [1, 1] | no layers or no levels
bad14 | [[b'a', b'b'], [b'c', b'd']] | [[0, 1], [0, 1]] | [1, 1] | does not hold numbers
bad15 | np.full((2, 2), 2**62, 'u8') | [[0, 1], [0, 1]] | [1, 1] | add up to 2^
bad16 | np.ones((1, 300)) | np.zeros((1, 300)) | [1] | 256 levels
bad17 | [[9, 5], [9, 5]] | np.full((2, 2), 1e308) | [1, 1] | divide them by a common factor
END

cat >compare.py <<'END'
"""Files to solve, and the answers to random ones against brute force: compare.py make|check."""
import itertools
import json
import sys

import h5py
import numpy as np

CASES = 24


def instance(seed):
    """Layers of families mixed as levels: level 0 dense, or any order at all."""
    rng = np.random.default_rng(seed)
    layers, levels = rng.integers(1, 7), rng.integers(1, 5)
    if seed % 3 == 0:  # whole numbers with ties
        size = rng.integers(1, 9, (layers, levels))
        error = rng.integers(0, 12, (layers, levels)).astype(float)
    else:
        size = rng.integers(1, 2**40, (layers, levels))
        error = rng.exponential(1.0, (layers, levels)) * 10.0 ** rng.integers(-30, 30)
        if seed % 3 == 1:
            error[:, 0] = 0.0
    alpha = float(rng.choice([0.5, 1.0, 1.0, 1.7]))
    return size, error, rng.integers(0, levels, layers), alpha


def best_of(size, error, budget):
    layers, levels = size.shape
    best = None
    for choice in itertools.product(range(levels), repeat=layers):
        rows = np.arange(layers), np.array(choice)
        if sum(error[rows]) <= budget and (best is None or size[rows].sum() < best):
            best = size[rows].sum()
    return best


def check(seed):
    size, error, static, alpha = instance(seed)
    rows = np.arange(len(static))
    answer = json.load(open(f"answer{seed}.json"))
    budget = alpha * sum(error[rows, static])
    assert abs(answer["budget"] - budget) <= 1e-12 * budget, (seed, answer)
    assert answer["static_bytes"] == size[rows, static].sum(), (seed, answer)
    best = best_of(size, error, budget)
    assert answer["feasible"] == (best is not None), (seed, answer, best)
    if best is None:
        assert answer["levels"] is None and answer["total_bytes"] is None, (seed, answer)
        return 0
    levels = answer["levels"]
    assert answer["total_bytes"] == size[rows, levels].sum() == best, (seed, answer, best)
    assert answer["total_error"] == sum(error[rows, levels]) <= budget, (seed, answer)
    return 1


def write_stated(line):
    """A row of files.txt or bad.txt; an empty cell leaves the array out."""
    path, *cells = [cell.strip() for cell in line.split("|")]
    names = {"np": np, "nan": float("nan"), "inf": float("inf")}
    with h5py.File(path + ".h5", "w") as f:
        for name, cell in zip(("bytes", "error", "static_level"), cells):
            if cell:
                f[name] = eval(cell, names)


if sys.argv[1] == "make":
    for line in [*open("files.txt"), *open("bad.txt")]:
        write_stated(line)
    for seed in range(CASES):
        size, error, static, alpha = instance(seed)
        with h5py.File(f"case{seed}.h5", "w") as f:
            f["bytes"], f["error"], f["static_level"] = size, error, static
        print(seed, alpha)
else:
    n_feasible = sum(check(seed) for seed in range(CASES))
    assert CASES // 2 < n_feasible < CASES, n_feasible
END

check "24 instances of mixed families: the optimum of brute force, within the budget"
"$PYTHON" compare.py make >cases.txt
while read -r seed alpha; do
    "$LAMINA" allocate "case$seed.h5" --alpha "$alpha" --buckets 10000 --json >"answer$seed.json" \
        2>err.txt || grep -q 'no levels keep the budget' err.txt || fail "case $seed"
done <cases.txt
"$PYTHON" compare.py check || fail "not the optimum"

check "the golden instance, in words, as JSON, in a file, and with roots of squared errors"
expect 0 "$LAMINA" allocate costs.h5
grep -q '^10 bytes.*budget of 5 ' out.txt || fail "no totals in words"
expect 0 "$LAMINA" allocate costs.h5 --json --out answer.json
cmp -s out.txt answer.json || fail "the file is not what is printed"
"$PYTHON" - <<'END' || fail "another answer"
import json
x = json.load(open("answer.json"))
assert x["levels"] == [2, 0] and x["total_bytes"] == 10 and x["total_error"] == 5, x
assert x["budget"] == 5 and x["static_bytes"] == 11 and x["static_error"] == 5 and x["feasible"], x
END
expect 0 "$LAMINA" allocate squared.h5 --norm l2 --json
cmp -s out.txt answer.json || fail "roots of squares are not the same as what was squared"

check "several files mix their levels"
expect 0 "$LAMINA" allocate costs.h5 more.h5 --json --out answer.json
"$PYTHON" - <<'END' || fail "another mix"
import json
x = json.load(open("answer.json"))
assert x["total_bytes"] == 9 and x["total_error"] == 3.5 and x["budget"] == 5, x
assert x["levels"] == [3, 1] and x["file"] == [1, 0] and x["file_level"] == [0, 1], x
END
refused 1 "of 2 and of 3 layers cannot be joined" "$LAMINA" allocate costs.h5 taller.h5

check "a decision of a run, made again from its results"
make_dataset tiny 256 32 28
expect 0 "$LAMINA" train vision --data tiny.h5 --model mlp:hidden=64 --batch 32 --steps 12 --threads 1 \
    --compress topk:density=0.01 --feedback ec --allocate lgreco:warmup=4,every=4,window=2 \
    --out run.h5
grep -q '^adapting levels took .* % of training' out.txt || fail "no time of adapting"
expect 0 "$LAMINA" allocate run.h5 --json --out last.json
expect 0 "$LAMINA" allocate run.h5 --decision 1 --json --out first.json
"$PYTHON" - <<'END' || fail "another decision than the run's"
import json
import h5py
import numpy as np
with h5py.File("run.h5") as f:
    d = {name: column[:] for name, column in f["decisions"].items()}
    n_layers = len(f["layers/parameters"])
    assert list(d["step"]) == [3, 7, 11], d["step"]
    assert abs(f["summary"].attrs["adapt_seconds"] - d["seconds"].sum()) < 1e-9
    assert (d["bytes"] <= d["static_bytes"]).all() and (d["error"] <= d["budget"]).all()
for row, name in ((0, "first.json"), (2, "last.json")):
    x = json.load(open(name))
    assert x["total_bytes"] == d["bytes"][row] and x["static_bytes"] == d["static_bytes"][row], x
    assert abs(x["budget"] - d["budget"][row]) <= 1e-12 * x["budget"], x
    rows = np.arange(n_layers), d["level"][row].astype(int)
    assert d["level_bytes"][row].reshape(n_layers, -1)[rows].sum() == d["bytes"][row]
END
refused 1 "'run.h5'.*no decision 4: the run made 3" "$LAMINA" allocate run.h5 --decision 4

check "no levels that keep the budget: feasible is false, one message, exit code 1"
refused 1 "take --alpha 0.4 or more" "$LAMINA" allocate costs.h5 --alpha 0.2 --json
grep -q '"feasible": false' out.txt || fail "not infeasible"
expect 0 "$LAMINA" allocate costs.h5 --alpha 0.4

check "bad files are refused, each with one message that names file and place"
n_bad=0
while read -r line; do
    name=${line%% *}
    wanted=${line##*| }
    refused 1 "'$name.h5'.*$wanted" "$LAMINA" allocate "$name.h5" --json
    [ ! -s out.txt ] || fail "an answer to a bad file"
    n_bad=$((n_bad + 1))
done <bad.txt
[ "$n_bad" -eq 17 ] || fail "$n_bad bad files"
refused 1 "nothere.h5" "$LAMINA" allocate nothere.h5
echo "no HDF5" >bad.h5
refused 1 "bad.h5" "$LAMINA" allocate bad.h5
refused 1 "cannot create 'nodir/x.json'" "$LAMINA" allocate costs.h5 --out nodir/x.json

check "wrong options"
refused 2 "FILE\|COSTS" "$LAMINA" allocate
refused 2 "alpha" "$LAMINA" allocate costs.h5 --alpha -1
refused 2 "buckets" "$LAMINA" allocate costs.h5 --buckets 0
refused 2 "neither l2sq nor l2" "$LAMINA" allocate costs.h5 --norm l1

echo "passed"
