#!/bin/sh
# `lamina train convex`: trajectories against plain NumPy, the same bits on any number of ranks, and
# refusals. What the library refuses is tested in tests/mpi/test_convex.c, where it costs no start.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

# start RANKS OUT OPTION...: a run in the background, under the launcher on more than one rank.
start() {
    launch="timeout $TIME_LIMIT_S $MPIRUN -n $1"
    [ "$1" -gt 1 ] || launch="timeout $TIME_LIMIT_S"
    out=$2
    shift 2
    # shellcheck disable=SC2086 # the launcher and its options are separate words
    $launch "$LAMINA" train convex --full-gradient --out "$out" "$@" \
        >"$out.txt" 2>&1 </dev/null &
}

# finish FILE...: wait for all runs; each file must be there.
finish() {
    wait
    for out in "$@"; do
        [ -s "$out" ] || {
            cat "$out.txt" >&2
            fail "no $out"
        }
    done
}

check "an answer, a quiet run, and LIBSVM files of two and of three classes on 1 and 3 ranks"
i=0
while [ $i -lt 60 ]; do
    echo "$((i % 2)) 1:$((i % 7)).5 3:$((i % 5 - 2))"
    i=$((i + 1))
done >binary.svm
sed 's/^0 1:6.5/2 1:6.5/' binary.svm >three.svm
start 1 answer.h5 -p least-squares --data synthetic:n=4,d=30 --steps 300 --optimum
start 1 quiet.h5 -p least-squares --data synthetic:n=4,d=30 --steps 3 --quiet
for file in binary three; do
    for n in 1 3; do
        start $n $file$n.h5 -p logistic --data $file.svm --workers 6 --split label --quiet \
            --regularizer l2:lambda=0.1 --lr 0.2 --steps 40 --compress topk:density=0.4
    done
done
finish answer.h5 quiet.h5 binary1.h5 binary3.h5 three1.h5 three3.h5
grep -q '^300 steps: objective ' answer.h5.txt || fail "no answer"
grep -q '^squared distance to the optimum [0-9.]*e-' answer.h5.txt || fail "not at the optimum"
[ ! -s quiet.h5.txt ] || fail "--quiet says something"
for file in binary three; do
    h5dump -d /x ${file}1.h5 | sed 1d >one.txt
    h5dump -d /x ${file}3.h5 | sed 1d >other.txt
    cmp -s one.txt other.txt || fail "$file: another x on 3 ranks"
done
grep -q 'SIMPLE { ( 9 )' one.txt || fail "not 3 features of 3 classes"
"$LAMINA" inspect answer.h5 >out.txt || fail "inspect cannot read the results"

check "wrong usage"
refused 2 "'squares'.*least-squares" "$LAMINA" train convex -p squares --data synthetic
refused 2 "exclude each other" "$LAMINA" train convex -p logistic --data synthetic \
    --full-gradient --batch 3

check "a run that diverges ends with one message, and its results say so"
refused 1 "diverges, at step" "$LAMINA" train convex -p least-squares --quiet \
    --data synthetic:n=2,d=10 --lr 30 --steps 1000 --out wild.h5
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
"$python" "$reference" make

# follow RANKS PROBLEM METHOD CODEC LR OPTION...: a run, to be checked later.
: >runs.txt
follow() {
    n=$1
    run="$2-$3-$4.h5"
    echo "$2 $2.h5 $3 $4 $run" >>runs.txt
    problem=$2
    lr=$5
    shift 5
    start "$n" "$run" -p "$problem" --data "$problem.h5" --dtype f64 --steps 200 --lr "$lr" "$@"
}

check "trajectories of all mechanisms equal those of plain NumPy"
top=topk:density=0.1
follow 1 least-squares dense dense 0.1 --compress dense --feedback none
follow 1 least-squares none topk 0.1 --compress $top --feedback none
follow 1 least-squares ef21 topk 0.1 --compress $top --feedback ef21
follow 1 least-squares ef21_sgdm topk 0.1 --compress $top --feedback ef21_sgdm:momentum=0.2
follow 1 least-squares ef21_sgdm_double topk 0.1 --compress $top \
    --feedback ef21_sgdm:momentum=0.2,double=yes
follow 1 least-squares econtrol_momentum topk 0.1 --compress $top \
    --feedback econtrol:eta=0.1,momentum=0.2
follow 1 least-squares adef topk 0.002 --compress $top --feedback adef
follow 1 least-squares adef dense 0.02 --compress dense --feedback adef
follow 1 least-squares ec quant 0.1 --compress quant:bits=4 --feedback ec
follow 1 least-squares econtrol quant 0.1 --compress quant:bits=4 --feedback econtrol:eta=0.1
follow 1 logistic econtrol topk 0.5 --compress $top --feedback econtrol:eta=0.1 \
    --regularizer l2:lambda=0.01
follow 4 least-squares econtrol topk 0.1 --compress $top --feedback econtrol:eta=0.1
follow 4 least-squares ec topk 0.1 --compress $top --feedback ec
# shellcheck disable=SC2046 # names without blanks
finish $(cut -d ' ' -f 5 runs.txt)
"$python" "$reference" check <runs.txt || fail "another trajectory"

check "NaN in the data of one rank ends all of them with one message"
refused_by_ranks 1 "element 43 of /rank_3/A is NaN" "$LAMINA" train convex -p least-squares \
    --data nan.h5
echo "passed"
