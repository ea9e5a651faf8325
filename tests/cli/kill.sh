#!/bin/sh
# SIGKILL at any moment, also while a checkpoint is written, and files damaged afterwards: a run goes
# on from the newest checkpoint that is whole, and ends with the bits of a run never disturbed.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

make_dataset tiny 512 50 28
steps=120
common="--data tiny.h5 --model mlp:hidden=256 --batch 64 --steps $steps --threads 1
    --compress topk:density=0.02 --feedback ec --allocate lgreco:warmup=4,window=4,every=10
    --checkpoint-every 3 --keep 4"

# train DIR OPTION...: to the end
train() {
    # shellcheck disable=SC2086 # the common options are separate words
    expect 0 ranks 2 "$LAMINA" train vision $common --out "$1.h5" --checkpoint-dir "$@"
}

# new_file PATTERN: whether this round wrote such a file.
new_file() {
    [ -n "$(find killed -name "$1" -newer round 2>/dev/null)" ]
}

# wait_for MOMENT: "part", a checkpoint is being written; "first", the first one is; or so many
# seconds after a checkpoint was complete.
wait_for() {
    if [ "$1" != first ]; then
        while is_running && ! new_file 'checkpoint-*.h5'; do
            sleep 0.01
        done
    fi
    case $1 in
    first | part)
        while is_running && ! new_file '*.part'; do
            :
        done
        ;;
    *) sleep "$1" ;;
    esac
}

check "a run that nothing disturbs"
train straight
straight=$(json straight.h5 "x['param_hash']")

seed=${LAMINA_TEST_SEED:-$(date +%s)}
echo "random moments from seed $seed (LAMINA_TEST_SEED)"
random=$(awk -v seed="$seed" 'BEGIN { srand(seed); print rand() / 3, rand() / 3 }')
for moment in first part $random part; do
    touch round
    # Every other round in the background.
    case ${background:-} in
    "") background=--checkpoint-async ;;
    *) background="" ;;
    esac
    # shellcheck disable=SC2086
    start_ranks 2 "$LAMINA" train vision $common --out killed.h5 --checkpoint-dir killed --resume \
        $background
    wait_for "$moment"
    signal_ranks KILL
    wait_for_ranks
    left=$(find killed -name '*.part' 2>/dev/null | wc -l)
    last=$(newest killed)
    check "SIGKILL at $moment, ${background:-at once}: parts left $left, newest ${last:-none}"
    [ "$code" -ne 0 ] || fail "the run was over before it was killed"
    if [ -n "$last" ]; then
        expect 0 "$LAMINA" inspect "$last"
    fi
done
[ -n "$last" ] || fail "five rounds without a checkpoint"

check "resumed to the end: same parameters"
train killed --resume
[ "$(json killed.h5 "x['param_hash']")" = "$straight" ] || fail "another hash"
[ -z "$(find killed -name '*.part')" ] || fail "a part was left over"
[ "$(json killed.h5 "x['steps']")" = $steps ] || fail "steps"

# flip FILE OFFSET: change one bit.
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o' $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# refuse_damaged WHAT: the newest checkpoint is refused by name, and the one before is used.
refuse_damaged() {
    name=$(basename "$damaged")
    refused 1 "$name" "$LAMINA" inspect "$damaged"
    refused_by_ranks 1 "$name" "$LAMINA" eval --data tiny.h5 --checkpoint "$damaged"
    expect 0 ranks 2 "$LAMINA" eval --data tiny.h5 --checkpoint damaged
    grep -q "$(basename "$before")" out.txt || fail "eval did not take $before"
    grep -q "$name" err.txt || fail "eval did not name $damaged"
    train damaged --resume
    grep -q "$name" err.txt || fail "resuming did not name $damaged"
    [ "$(json damaged.h5 "x['param_hash']")" = "$straight" ] || fail "another hash"
}

# damage: two whole checkpoints in damaged/, $damaged the newest, $before the one before
damage() {
    rm -rf damaged damaged.h5
    cp -r killed damaged
    cp killed.h5 damaged.h5
    damaged=$(newest damaged)
    before=$(find damaged -name 'checkpoint-*.h5' | sort -V | tail -n 2 | head -n 1)
    size=$(wc -c <"$damaged")
}

for length in 0 3000 half last; do
    check "a checkpoint cut short to $length"
    damage
    case $length in
    half) bytes=$((size / 2)) ;;
    last) bytes=$((size - 1)) ;;
    *) bytes=$length ;;
    esac
    head -c "$bytes" "$damaged" >short.h5
    mv short.h5 "$damaged"
    refuse_damaged
done

for place in 5 600 middle last; do
    check "a checkpoint with one flipped bit at $place"
    damage
    case $place in
    middle) offset=$((size / 2)) ;;
    last) offset=$((size - 1)) ;;
    *) offset=$place ;;
    esac
    flip "$damaged" "$offset"
    refuse_damaged
done

echo "passed"
