# What the tests of the program share. To be sourced, with LAMINA, MPIRUN, WORK and SOURCE_DIR set.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
: "${LAMINA:?the program to test}" "${MPIRUN:?how to start ranks}" "${WORK:?a scratch folder}"
: "${SOURCE_DIR:?the root of the sources}"

FASHION_MNIST=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
TIME_LIMIT_S=60

rm -rf "${WORK:?}"/*
mkdir -p "$WORK"
cd "$WORK"

check() {
    echo "check: $*"
}

fail() {
    echo "FAILED: $*" >&2
    for log in out.txt err.txt; do
        if [ -s "$WORK/$log" ]; then
            echo "-- $log" >&2
            tail -n 30 "$WORK/$log" >&2
        fi
    done
    exit 1
}

# ranks N COMMAND...: under the launcher, with the time limit.
ranks() {
    n=$1
    shift
    # shellcheck disable=SC2086 # the launcher and its options are separate words
    timeout "$TIME_LIMIT_S" $MPIRUN -n "$n" "$@"
}

# expect CODE COMMAND...: runs it; output goes to out.txt and err.txt.
expect() {
    wanted=$1
    shift
    code=0
    "$@" >"$WORK/out.txt" 2>"$WORK/err.txt" || code=$?
    [ "$code" -eq "$wanted" ] || fail "exit code $code, not $wanted, of: $*"
}

# refused CODE TEXT COMMAND...: exit code, exactly one message, and the message holds TEXT.
refused() {
    wanted=$1
    text=$2
    shift 2
    expect "$wanted" timeout "$TIME_LIMIT_S" "$@"
    messages=$(grep -c '^lamina: ' "$WORK/err.txt" || true)
    [ "$messages" -eq 1 ] || fail "$messages messages, not one, of: $*"
    grep '^lamina: ' "$WORK/err.txt" | grep -q -e "$text" || fail "no '$text' in the message of: $*"
}

# The same on two ranks.
refused_by_ranks() {
    wanted=$1
    text=$2
    shift 2
    # shellcheck disable=SC2086
    refused "$wanted" "$text" $MPIRUN -n 2 "$@"
}

# be32 N: four bytes, the highest first, as IDX has its numbers.
be32() {
    # shellcheck disable=SC2059 # the escapes are the format
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) \
        $(($1 >> 8 & 255)) $(($1 & 255)))"
}

# idx_images NAME COUNT SIDE: images cut from the bytes of Fashion-MNIST.
idx_images() {
    {
        be32 2051
        be32 "$2"
        be32 "$3"
        be32 "$3"
        gzip -dc "$FASHION_MNIST/train-images-idx3-ubyte.gz" 2>/dev/null | tail -c +17 |
            head -c $(($2 * $3 * $3))
    } >"$1"
}

# idx_labels NAME COUNT
idx_labels() {
    {
        be32 2049
        be32 "$2"
        gzip -dc "$FASHION_MNIST/train-labels-idx1-ubyte.gz" 2>/dev/null | tail -c +9 | head -c "$2"
    } >"$1"
}

# make_dataset NAME TRAIN TEST SIDE
make_dataset() {
    idx_images train-images "$2" "$4"
    idx_labels train-labels "$2"
    idx_images test-images "$3" "$4"
    idx_labels test-labels "$3"
    "$LAMINA" data import idx --train-images train-images --train-labels train-labels \
        --test-images test-images --test-labels test-labels --title "$1" \
        --classes a,b,c,d,e,f,g,h,i,j --out "$1.h5" >/dev/null
}

# json FILE EXPRESSION: a value of `lamina inspect FILE --json`, as Python sees it.
json() {
    "$LAMINA" inspect "$1" --json >"$WORK/json.txt"
    python3 -c "import json; x = json.load(open('$WORK/json.txt')); print($2)"
}

# newest DIR: its newest checkpoint.
newest() {
    find "$1" -name 'checkpoint-*.h5' 2>/dev/null | sort -V | tail -n 1
}

# A launched rank leaves its process id in pids/, so that tests signal nothing else.
cat >"$WORK/with_pid.sh" <<'END'
echo $$ >pids/$$
exec "$@"
END

# start_ranks N COMMAND...: in the background; $launcher is its process id.
start_ranks() {
    rm -rf pids
    mkdir pids
    : >"$WORK/err.txt" # what an earlier run said must not be taken for this one's
    n=$1
    shift
    # shellcheck disable=SC2086
    timeout 120 $MPIRUN -n "$n" sh "$WORK/with_pid.sh" "$@" >"$WORK/out.txt" 2>"$WORK/err.txt" &
    launcher=$!
}

# signal_ranks SIGNAL: to the ranks that start_ranks started.
signal_ranks() {
    for pid in $(cat pids/* 2>/dev/null); do
        kill "-$1" "$pid" 2>/dev/null || true
    done
}

# wait_for_ranks: exit code of what start_ranks started, in $code.
wait_for_ranks() {
    code=0
    wait "$launcher" || code=$?
}

is_running() {
    kill -0 "$launcher" 2>/dev/null
}
