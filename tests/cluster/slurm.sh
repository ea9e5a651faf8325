# What the tests of Slurm share. To be sourced after training.sh.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# submit NAME OPTION...: the job's id in $job; its log is NAME.log, its folder NAME
submit() {
    name=$1
    shift
    # shellcheck disable=SC2154 # set by the test
    job=$(RUN=$name "$LAB" sbatch --parsable -N3 --job-name="$name" --output="$name.log" \
        "$SOURCE_DIR/slurm/train.sbatch" vision $common "$@")
}

explain() {
    "$LAB" slurm scontrol -o show job || true
    "$LAB" slurm sinfo --long --Node || true
    cat "${name:-none}.log" || true
    grep -i -h 'error\|fatal' "$LAMINA_LAB_STATE"/slurm/*.log | tail -n 20 || true
}

# of_job FIELD: of the job, such as JobState
of_job() {
    "$LAB" slurm scontrol -o show job "$job" | sed "s/.* $1=\([^ ]*\) .*/\1/"
}

# Slurm holds a requeued job back for two minutes; here only so long that the hosts, whose clocks for
# this count whole seconds, do not take the new start for one of the job that has just ended.
hurry() {
    [ "$(of_job JobState)" = PENDING ] || return 0
    begin=$(date -d "$(of_job EligibleTime)" +%s) || return 0
    [ $((begin - $(date +%s))) -le 10 ] ||
        "$LAB" slurm scontrol update "JobId=$job" StartTime=now+3 2>/dev/null || true # it has just begun
}

# restarts NAME N: whether the job has begun again for the N-th time
restarts() {
    hurry
    grep -q "restart $2: 3 ranks, 1 on each of 3 hosts" "$1.log"
}

# completes NAME: whether the job has trained to the end. A job that is being requeued is, for a
# moment, in the state of one that ended.
completes() {
    hurry
    grep -q '^[0-9]* parameters, hash' "$1.log" && [ "$(of_job JobState)" = COMPLETED ]
}

# kill_rank HOST [FOLDER]: when it next writes a checkpoint to the folder. A rank that ends by itself
# before was not the one: Open MPI's start can crash beside what is left of a killed run, and the job
# begins once more.
kill_rank() {
    for try in 1 2 3; do
        wait_until 90 has_rank "$1"
        ! kill_when "$pid" "${2:-}" || return 0
        echo "note: rank $pid on $1 ended by itself, try $try"
    done
    fail "no rank on $1 was killed"
}

# kill_when PID FOLDER: when a new part of a checkpoint is there; fails when the process ends before
kill_when() {
    "$PYTHON" - "$1" "$2" <<'EOF'
import os, signal, sys
pid, folder = int(sys.argv[1]), sys.argv[2]
def parts():
    return {(entry.name, entry.inode()) for entry in os.scandir(folder) if entry.name.endswith(".part")}
try:
    # What a killed run has left does not count.
    old = parts() if folder else set()
    while folder and not parts() - old:
        os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
except ProcessLookupError:
    sys.exit(1)
EOF
}

has_rank() {
    pid=$(ranks_with "SLURMD_NODENAME=$1")
    if [ -z "$pid" ]; then
        hurry
        return 1
    fi
}
