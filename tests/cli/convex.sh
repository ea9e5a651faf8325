#!/bin/sh
# `lamina train convex`: trajectories against plain NumPy, the same bits on any number of ranks, and
# refusals.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

convex="$LAMINA train convex --quiet"
squares="--problem least-squares --full-gradient"

check "synthetic data needs no file, and the answer says where x got to"
# shellcheck disable=SC2086 # options are separate words, here and below
expect 0 "$LAMINA" train convex $squares --data synthetic:n=4,d=30 --steps 300 --optimum --out s.h5
grep -q '^300 steps: objective ' out.txt || fail "no answer"
grep -q '^squared distance to the optimum [0-9.]*e-' out.txt || fail "not at the optimum"
# shellcheck disable=SC2086
expect 0 $convex $squares --data synthetic:n=4,d=30 --steps 3 --out s.h5
[ ! -s out.txt ] || fail "--quiet says something"

check "LIBSVM files: binary and more classes, on ranks and workers"
i=0
while [ $i -lt 60 ]; do
    echo "$((i % 2)) 1:$((i % 7)).5 3:$((i % 5 - 2))"
    i=$((i + 1))
done >binary.svm
sed 's/^0 1:6.5/2 1:6.5/' binary.svm >three.svm
for file in binary three; do
    for n in 1 3; do
        # shellcheck disable=SC2086
        expect 0 ranks $n $convex --problem logistic --data $file.svm --workers 6 --split label \
            --regularizer l2:lambda=0.1 --batch 5 --lr 0.2 --steps 40 --compress topk:density=0.4 \
            --out $file$n.h5
    done
    "$LAMINA" inspect ${file}1.h5 >out.txt || fail "inspect cannot read $file"
    h5dump -d /x ${file}1.h5 | sed 1d >one.txt
    h5dump -d /x ${file}3.h5 | sed 1d >other.txt
    cmp -s one.txt other.txt || fail "$file: another x on 3 ranks"
done
h5dump -d /x three1.h5 | grep -q 'SIMPLE { ( 9 )' || fail "not 3 features of 3 classes"

check "wrong usage"
refused 2 "'squares'.*least-squares" $convex --problem squares --data synthetic
refused 2 "problem" $convex --data synthetic
refused 2 "exclude each other" $convex $squares --data synthetic --batch 3
refused 2 "zetta.*zeta" $convex $squares --data synthetic:zetta=3
refused 2 "lasso" $convex $squares --data synthetic --regularizer lasso:lambda=1
refused 2 "steps-size" $convex $squares --data synthetic --steps-size 3
refused 2 "f16" $convex $squares --data synthetic --dtype f16
refused 2 "feedback" $convex $squares --data synthetic --feedback ef2
refused 2 "f64" $convex $squares --data synthetic --feedback adef --dtype f32
refused 2 "optimum" $convex $squares --data synthetic --feedback ec-ideal
refused 2 "workers" $convex $squares --data synthetic:n=4 --workers 3
refused_by_ranks 2 "2 ranks are more than the 1 worker of" \
    $convex $squares --data synthetic:n=1 --steps 1
refused 1 "nonconvex" $convex $squares --data synthetic --optimum --regularizer nonconvex
refused 1 "nowhere.h5" $convex $squares --data nowhere.h5
refused 1 "line 2 of 'bad.svm'" sh -c "printf '1 1:2\n1 2:x\n' >bad.svm; \
    $convex $squares --data bad.svm"
refused 1 "all labels are 1" sh -c "printf '1 1:2\n1 2:1\n' >one.svm; \
    $convex --problem logistic --data one.svm"
refused 1 "no-such-folder" $convex $squares --data synthetic --steps 1 --out no-such-folder/x.h5

check "a run that diverges ends with one message, and its results say so"
refused_by_ranks 1 "diverges, at step" $convex $squares --data synthetic:n=2,d=10 --lr 30 \
    --steps 1000 --out wild.h5
h5dump -a /summary/diverged wild.h5 | grep -q '(0): 1' || fail "the results do not say so"

# A Python that has NumPy and h5py, or nothing.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py, numpy' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "skipped: no Python with NumPy and h5py for the reference"
    echo "passed"
    exit 0
fi
reference="$SOURCE_DIR/tests/cli/support/convex_reference.py"
for problem in least-squares logistic; do
    "$python" "$reference" make $problem $problem.h5
done

# follow PROBLEM METHOD CODEC LR OPTION...: one run, to be checked later.
: >runs.txt
follow() {
    run="$1-$2-$3.h5"
    echo "$1 $1.h5 $2 $3 $run" >>runs.txt
    problem=$1
    lr=$4
    shift 4
    # shellcheck disable=SC2086
    expect 0 $launch $convex --problem $problem --data $problem.h5 --dtype f64 --full-gradient \
        --steps 200 --lr $lr --out "$run" "$@"
}

check "trajectories of all mechanisms equal those of plain NumPy"
top=topk:density=0.1
launch=
follow least-squares dense dense 0.1 --compress dense --feedback none
follow least-squares none topk 0.1 --compress $top --feedback none
follow least-squares ef21 topk 0.1 --compress $top --feedback ef21
follow least-squares ef21_sgdm topk 0.1 --compress $top --feedback ef21_sgdm:momentum=0.2
follow least-squares ef21_sgdm_double topk 0.1 --compress $top \
    --feedback ef21_sgdm:momentum=0.2,double=yes
follow least-squares econtrol_momentum topk 0.1 --compress $top \
    --feedback econtrol:eta=0.1,momentum=0.2
follow least-squares adef topk 0.002 --compress $top --feedback adef
follow least-squares adef dense 0.02 --compress dense --feedback adef
follow least-squares ec quant 0.1 --compress quant:bits=4 --feedback ec
follow least-squares econtrol quant 0.1 --compress quant:bits=4 --feedback econtrol:eta=0.1
follow logistic econtrol topk 0.5 --compress $top --feedback econtrol:eta=0.1 \
    --regularizer l2:lambda=0.01
# shellcheck disable=SC2086
launch="timeout $TIME_LIMIT_S $MPIRUN -np 4"
follow least-squares econtrol topk 0.1 --compress $top --feedback econtrol:eta=0.1
follow least-squares ec topk 0.1 --compress $top --feedback ec
"$python" "$reference" check <runs.txt || fail "another trajectory"

check "problem files that are damaged, or of another shape"
"$python" - <<'END'
import h5py, numpy as np

def variant(name, change):
    with h5py.File("least-squares.h5") as old, h5py.File(name, "w") as new:
        for key in old:
            old.copy(key, new)
        change(new)

def replace(path, values):
    def change(f):
        del f[path]
        f[path] = values
    return change

def drop(path):
    def change(f):
        del f[path]
    return change

nan = np.ones((30, 20))
nan[2, 3] = np.nan
variant("nan.h5", replace("rank_1/A", nan))
variant("columns.h5", replace("rank_2/A", np.ones((35, 19))))
variant("rows.h5", replace("rank_3/b", np.ones(39)))
variant("vector.h5", replace("rank_0/A", np.ones(500)))
variant("words.h5", replace("rank_1/b", np.array([b"x"] * 30)))
variant("start.h5", replace("x0", np.ones(21)))
variant("gap.h5", drop("rank_1"))
variant("lost.h5", drop("rank_2/b"))
with h5py.File("empty.h5", "w"):
    pass
with open("least-squares.h5", "rb") as f:
    whole = f.read()
with open("cut.h5", "wb") as f:
    f.write(whole[: len(whole) // 2])
END
file_refused() {
    # shellcheck disable=SC2086
    refused "$1" "$2" $convex $squares --steps 1 --data "$3"
}
file_refused 1 "element 43 of /rank_1/A is NaN" nan.h5
file_refused 1 "/rank_2/A has 19 columns, and /rank_0/A has 20" columns.h5
file_refused 1 "/rank_3/b must have 40 elements" rows.h5
file_refused 1 "/rank_0/A must be a matrix" vector.h5
file_refused 1 "/rank_1/b does not hold numbers" words.h5
file_refused 1 "/x0 has 21 elements, and x has 20" start.h5
file_refused 1 "no /rank_1; workers are" gap.h5
file_refused 1 "no dataset /rank_2/b" lost.h5
file_refused 1 "no group /rank_0" empty.h5
file_refused 1 "damaged or truncated" cut.h5
refused 2 "data for 4 workers, and 8 were" $convex $squares --data least-squares.h5 --workers 8
refused 1 "more than 1000 different\|two classes\|label" sh -c "$convex --problem logistic \
    --data least-squares.h5 --regularizer none --optimum"
# shellcheck disable=SC2086
refused_by_ranks 1 "element 43 of /rank_1/A is NaN" $convex $squares --steps 1 --data nan.h5
echo "passed"
