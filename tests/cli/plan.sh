#!/bin/sh
# What a step computes, in how much memory, and with how many threads.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

make_dataset tiny 256 32 28
common="--data tiny.h5 --model cnn --batch 32 --steps 3 --threads 1 --allocate uniform"

# limit_of TEXT: the bytes that a report names as what --memory limits.
limit_of() {
    sed -n 's/.*(\([0-9]*\) bytes) with outputs and constants.*/\1/p' "$1"
}

check "--plan-only lists nodes, kinds of ops and totals, and trains nothing"
# shellcheck disable=SC2086 # the common options are separate words
expect 0 "$LAMINA" train vision $common --plan-only --out none.h5
[ ! -e none.h5 ] || fail "results of a run that was none"
grep -q '^place  op  *kernel  *MFLOP  *moved  *shape' out.txt || fail "no nodes"
grep -q '^nodes  op  *kernel  *MFLOP  *moved' out.txt || fail "no kinds of ops"
nodes=$(sed -n 's/^\([0-9]*\) nodes, with .*/\1/p' out.txt)
listed=$(awk '/^place/ { on = 1; next } /^$/ { on = 0 } on' out.txt | wc -l)
kinds=$(awk '/^nodes / { on = 1; next } /^$/ { on = 0 } on { n += $1 } END { print n }' out.txt)
[ "$listed" = "$nodes" ] || fail "$listed nodes are listed, not $nodes"
[ "$kinds" = "$nodes" ] || fail "kinds of ops have $kinds nodes, not $nodes"
grep -q 'GFLOP in products and convolutions' out.txt || fail "no work"
grep -q 'again' out.txt && fail "something is computed again without a limit"
natural=$(limit_of out.txt)
[ "$natural" -gt 0 ] || fail "no memory"

check "a limit that cannot be kept is refused with the smallest that can, which is accepted"
# shellcheck disable=SC2086
refused 1 "cannot be kept" "$LAMINA" train vision $common --memory 64KiB
least=$(sed -n 's/.*it takes \([0-9]*\) bytes.*/\1/p' err.txt)
[ "$least" -lt "$natural" ] || fail "$least bytes are not less than $natural"
# shellcheck disable=SC2086
expect 0 "$LAMINA" train vision $common --memory "$least" --plan-only
grep -q 'compute again what was given up' out.txt || fail "nothing is computed again"
[ "$(limit_of out.txt)" -le "$least" ] || fail "more than the limit"
# shellcheck disable=SC2086
refused_by_ranks 1 "cannot be kept" "$LAMINA" train vision $common --memory 64KiB

check "training under a limit gives the same parameters, and results name the limit"
# shellcheck disable=SC2086
expect 0 "$LAMINA" train vision $common --out free.h5
# shellcheck disable=SC2086
expect 0 env LAMINA_MEMORY="$least" "$LAMINA" train vision $common --out limited.h5
[ "$(json free.h5 "x['param_hash']")" = "$(json limited.h5 "x['param_hash']")" ] ||
    fail "another hash"
[ "$(json limited.h5 "x['configuration']['memory_bytes']")" = "$least" ] || fail "no limit"
[ "$(json free.h5 "x['configuration']['memory_bytes']")" = 0 ] || fail "a limit"

# threads_are N RANKS COMMAND...: --threads auto makes so many of them.
threads_are() {
    wanted_threads=$1
    n_ranks=$2
    shift 2
    expect 0 ranks "$n_ranks" "$@" "$LAMINA" train vision --data tiny.h5 --model mlp:hidden=8 \
        --threads auto --plan-only
    grep -q "^lamina .*, $wanted_threads threads\{0,1\} each" err.txt ||
        fail "not $wanted_threads threads on $n_ranks ranks of: $*"
}

# Processors that this test may use, and how many cores they are.
cpus=$(python3 -c "import os; print(*sorted(os.sched_getaffinity(0)))")
cores=$(lscpu -p=CPU,CORE,SOCKET | python3 -c "
import os, sys
rows = [row.strip().split(',') for row in sys.stdin if not row.startswith('#')]
print(len({tuple(row[1:]) for row in rows if int(row[0]) in os.sched_getaffinity(0)}))")
first=${cpus%% *}
last=${cpus##* }

check "--threads auto: the cores of the binding, shared by the ranks that are bound to the same"
threads_are "$cores" 1 env
threads_are 1 1 taskset -c "$first"
[ "$cores" -lt 2 ] || threads_are $((cores / 2)) 2 env
threads_are 1 2 taskset -c "$last"
[ "$cores" -gt 4 ] || threads_are 1 $((2 * cores)) env
