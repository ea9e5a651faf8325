#!/bin/sh
# The lab itself: hosts with names and links of a rate, bytes that are counted, and nothing left over.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"

prefix=t$$

# runs PID: not when it has ended and merely waits for a parent that takes note of it.
runs() {
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) && [ "$state" != Z ]
}

# Namespaces and links that carry the lab's name, processes that it started, files of its folder.
leftovers() {
    ip netns list | grep "^$prefix-" || true
    ip -brief link show | grep "^$prefix-" || true
    for pid in $started; do
        ! runs "$pid" || echo "process $pid"
    done
    find "$LAMINA_LAB_STATE" -mindepth 1 2>/dev/null || true
}

assert_nothing_left() {
    left=$(leftovers)
    [ -z "$left" ] || fail "left over: $left"
}

started=

check "two hosts come up, and say so"
lab_up 2 100mbit --prefix "$prefix"
"$LAB" status >status.txt || fail "status says that nothing is up"
grep -q '^up: 2 hosts at 100mbit' status.txt || fail "status: $(cat status.txt)"
[ "$(ip netns list | grep -c "^$prefix-h[12]\b")" -eq 2 ] || fail "no two namespaces"

check "a second up is refused and changes nothing"
code=0
"$LAB" up 3 none 2>err.txt || code=$?
[ "$code" -eq 1 ] && grep -q 'is up in' err.txt || fail "exit code $code: $(cat err.txt)"
"$LAB" status >status.txt
grep -q '^up: 2 hosts' status.txt || fail "the lab has changed"

check "each host has its name, its interface alone, and knows the others"
for host in h1 h2; do
    "$LAB" on $host sh -c 'hostname; ls /sys/class/net' >out.txt
    [ "$(cat out.txt)" = "$host
eth0
lo" ] || fail "$host: $(cat out.txt)"
done
[ "$(hostname)" != h2 ] || fail "the launcher has a host's name"

# receive PORT SENDERS: prints bytes and megabits per second; send HOST PORT BYTES
cat >receive.py <<'END'
import select, socket, sys, time
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    open_ones = [server.accept()[0] for _ in range(int(sys.argv[2]))]
    start, total = time.monotonic(), 0
    while open_ones:
        for connection in select.select(open_ones, [], [])[0]:
            data = connection.recv(1 << 16)
            total += len(data)
            if not data:
                open_ones.remove(connection)
    print(total, total * 8e-6 / (time.monotonic() - start))
END
cat >send.py <<'END'
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    connection.sendall(bytes(int(sys.argv[3])))
END

# tx HOST: bytes that left its interface
tx() {
    "$LAB" bytes | "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['$1']['tx_bytes'])"
}

amount=4000000
# send_to_h2 SENDER...: each host sends its bytes, all at once; what h2 says goes to rate.txt.
send_to_h2() {
    "$LAB" on h2 "$PYTHON" receive.py 5000 $# >rate.txt &
    receiver=$!
    tries=0
    until grep -q ready rate.txt; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the receiver does not start"
        sleep 0.05
    done
    for sender in "$@"; do
        "$LAB" on "$sender" "$PYTHON" send.py h2 5000 $amount &
    done
    wait $receiver
    "$PYTHON" - "$(tail -n 1 rate.txt)" $(($# * amount)) <<'END' || fail "$(cat rate.txt)"
import sys
(total, rate), amount = sys.argv[1].split(), int(sys.argv[2])
assert int(total) == amount
# A bucket of 64 KiB goes at once, and a loaded machine may be slow; unshaped, it is over 1000.
assert 20 < float(rate) < 125, rate
END
}

check "bytes cross the link at its rate, and are counted where they leave"
before=$(tx h1)
send_to_h2 h1
sent=$(($(tx h1) - before))
# Headers are 66 bytes for every 1448 at most, and for every 64 KiB where TCP is offloaded.
[ $sent -gt $amount ] && [ $sent -lt $((amount + amount * 6 / 100)) ] || fail "sent $sent"

check "two ranks on two hosts, with the environment and the folder of the caller"
[ "$(MARK=of-$$ "$LAB" run sh -c 'echo "$(hostname) $MARK $PWD"' | sort)" = "h1 of-$$ $WORK
h2 of-$$ $WORK" ] || fail "not one rank on each host"
[ "$("$LAB" run --ranks-per-host 2 hostname | sort | tr '\n' ' ')" = "h1 h1 h2 h2 " ] ||
    fail "not two ranks on each host"
code=0
"$LAB" run sh -c 'exit 5' >out.txt 2>&1 || code=$?
[ "$code" -eq 5 ] || fail "exit code $code, not the program's 5"

check "down ends what runs, also in the background of a host, and leaves nothing"
cat >linger.sh <<'END'
trap '' TERM
echo $$ >"$1.pid"
while :; do sleep 1; done
END
"$LAB" on h1 sh -c 'sh linger.sh on & sleep 0.2' || fail "on h1"
"$LAB" on h1 sh -c 'setsid sh linger.sh daemon & sleep 0.2' || fail "on h1"
"$LAB" run sh -c 'exec sh linger.sh run.$(hostname)' >out.txt 2>&1 &
runner=$!
tries=0
until [ -s on.pid ] && [ -s daemon.pid ] && [ -s run.h1.pid ] && [ -s run.h2.pid ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "ranks do not start"
    sleep 0.05
done
started="$(cat on.pid daemon.pid run.h1.pid run.h2.pid)"
for pid in $started; do
    runs "$pid" || fail "process $pid does not run, so it cannot be ended"
done
sleep 300 &
bystander=$!
"$LAB" down
code=0
wait $runner || code=$?
[ "$code" -ne 0 ] || fail "a run that was ended says that all went well"
assert_nothing_left
runs $bystander || fail "a process was ended that is not the lab's"
kill $bystander

check "down may be called again, and status says that nothing is there"
"$LAB" down
"$LAB" down
code=0
"$LAB" status >status.txt || code=$?
[ "$code" -eq 1 ] && grep -q '^down' status.txt || fail "status: $code $(cat status.txt)"

# A tc that kills the up that calls it, at the second host: the first is whole by then.
mkdir fake
cat >fake/tc <<END
#!/bin/sh
case "\$*" in *"-n $prefix-h2 "*) kill -KILL \$PPID ;; esac
exec $(command -v tc) "\$@"
END
chmod +x fake/tc
crashed_up() {
    code=0
    PATH=$PWD/fake:$PATH "$LAB" up 2 1gbit --prefix "$prefix" || code=$?
    [ "$code" -eq 137 ] || fail "exit code $code of an up that was to be killed"
    ip netns list | grep -q "^$prefix-h2" || fail "the crash came too early"
}

check "what a crashed up leaves is removed by down"
crashed_up
"$LAB" down
assert_nothing_left

check "and by the next up, whose hosts share the rate of the one that they send to"
crashed_up
lab_up 3 100mbit --prefix "$prefix"
[ "$(ip netns list | grep -c "^$prefix-")" -eq 3 ] || fail "not three hosts"
send_to_h2 h1 h3
"$LAB" down
assert_nothing_left

check "an up that fails half-way cleans up by itself"
printf '#!/bin/sh\ncase "$*" in *"-n %s-h2 "*) exit 1 ;; esac\nexec %s "$@"\n' "$prefix" \
    "$(command -v tc)" >fake/tc
code=0
PATH=$PWD/fake:$PATH "$LAB" up 2 1gbit --prefix "$prefix" 2>err.txt || code=$?
[ "$code" -eq 1 ] || fail "exit code $code: $(cat err.txt)"
assert_nothing_left

check "a namespace that others made is refused, and stays"
ip netns add "$prefix-h1"
trap 'ip netns delete "$prefix-h1"; rm -rf "$LAMINA_LAB_STATE"' EXIT
code=0
"$LAB" up 2 none --prefix "$prefix" 2>err.txt || code=$?
[ "$code" -eq 1 ] && grep -q "$prefix-h1 exists" err.txt || fail "$code: $(cat err.txt)"
"$LAB" down
ip netns list | grep -q "^$prefix-h1" || fail "somebody else's namespace was removed"

check "without root it says why, with the exit code of a skipped test"
code=0
setpriv --reuid 65534 --regid 65534 --clear-groups "$PYTHON" - "$LAB" <<'END' || code=$?
import os, sys
os.environ["LAMINA_LAB_STATE"] = "/nonexistent/lab"
os.execv(sys.executable, [sys.executable, sys.argv[1], "up", "2", "none"])
END
[ "$code" -eq 77 ] || fail "exit code $code"
