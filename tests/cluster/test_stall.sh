#!/bin/sh
# --stall-timeout on three hosts: a rank that is stopped or killed, or whose link is down, ends the run on
# all ranks within the time, and the message says which rank it was and where it runs.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
. "$SOURCE_DIR/tests/cluster/training.sh"

limit=2
# What follows the limit: a beat, and a machine that does other things as well.
within=$((limit + 2))

lab_up 3 1gbit
lab_network any
make_data tiny 512 50 28

# start: a run that would go on for long, in the background; it has made steps when this returns.
start() {
    rm -rf checkpoints
    # A session of its own, so that what is left of it can be waited for.
    "$LAB" run "$LAMINA" train vision --data tiny.h5 --model mlp:hidden=64 --batch 66 --steps 100000 \
        --threads 1 --evaluate-every 1000000 --stall-timeout ${limit}s --out run.h5 \
        --checkpoint-dir checkpoints --checkpoint-every 50 >run.log 2>&1 &
    runner=$!
    wait_until 20 has_two_checkpoints
}

has_two_checkpoints() {
    [ "$(find checkpoints -name 'checkpoint-*.h5' 2>/dev/null | wc -l)" -ge 2 ]
}

rank() {
    ranks_with "OMPI_COMM_WORLD_RANK=$1" "PMI_RANK=$1"
}

# Whether a process has ended, or is only waited for.
is_gone() {
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 0
    [ "$state" = Z ]
}

# ends RANK...: the processes of these ranks end within the time
ends() {
    for process in $*; do
        wait_until "$within" is_gone "$process"
    done
}

# says TEXT: exactly one rank, or each that can reach no other, says who is late
says() {
    grep -a -q "^lamina: $1" run.log || fail "no '$1': $(cat run.log)"
    grep -a '^lamina: ' run.log | grep -a -q ' in step [0-9]*; rank [0-9] on h[0-9] is at [a-z ]* in step' ||
        fail "not where the ranks were: $(cat run.log)"
}

# over: mpirun has noticed, too, and no rank is left
over() {
    code=0
    wait "$runner" || code=$?
    [ "$code" -ne 0 ] || fail "a run that was ended says that all went well"
    [ -z "$(ranks_with "LAMINA=$LAMINA")" ] || fail "a rank is left over"
}

check "a rank that is stopped: named by rank 0, and all others end in time"
start
first=$(rank 0) second=$(rank 1) third=$(rank 2)
kill -STOP "$third"
ends "$first" "$second"
says 'rank 2 on h3 has not been heard from for [2-3]\.[0-9] s, last at '
[ "$(grep -a -c '^lamina: ' run.log)" -eq 1 ] || fail "more than one message: $(cat run.log)"
over
[ "$code" -eq 4 ] || fail "exit code $code"

check "rank 0 stopped: the others name it"
start
first=$(rank 0) second=$(rank 1) third=$(rank 2)
kill -STOP "$first"
ends "$second" "$third"
says 'rank 0 on h1 has not been heard from for [2-3]\.[0-9] s, last at '
over

check "a rank that is killed: named, and all others end in time"
start
first=$(rank 0) second=$(rank 1) third=$(rank 2)
kill -KILL "$second"
ends "$first" "$third"
says 'rank 1 on h2 has ended, last at '
over

if [ -n "${LAMINA_LAB_NETWORK:-}" ]; then
    echo "skipped in part: no link that could be down"
    exit 0
fi
link() {
    namespace=$("$LAB" status | sed -n 's/^h3 .* namespace //p')
    ip -n "$namespace" link set eth0 "$1"
}

check "a host whose link is down: mpirun notices it first when told how soon, and the rank is named as well"
export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=2
limit=7 within=9 # above what mpirun takes
start
first=$(rank 0) second=$(rank 1) third=$(rank 2)
link down
ends "$first" "$second" "$third"
over
says 'rank 2 on h3 has not been heard from for [3-6]\.[0-9] s, last at '
grep -a -q 'lost communication with a remote daemon' run.log || fail "mpirun says nothing: $(cat run.log)"
unset OMPI_MCA_oob_tcp_keepalive_time OMPI_MCA_oob_tcp_keepalive_intvl OMPI_MCA_oob_tcp_keepalive_probes
link up

check "a host whose link is down for longer than the limit: named, and its rank ends as well"
limit=2 within=4
start
first=$(rank 0) second=$(rank 1) third=$(rank 2)
link down
ends "$first" "$second" "$third"
says 'rank 2 on h3 has not been heard from for [2-3]\.[0-9] s, last at '
# mpirun told the daemon on that host to end, and waits until TCP gives it up, for minutes; `down` ends it.
"$LAB" down
wait "$runner" || true
echo "passed"
