# What the tests of Slurm share. To be sourced after common.sh, with LAMINA set, too.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
if [ -z "${LAMINA:-}" ]; then
    echo "skipped: the program lamina is not built"
    exit 77
fi
export LAMINA

# make_data NAME TRAIN TEST SIDE: NAME.h5, images cut from Fashion-MNIST
make_data() (
    # shellcheck disable=SC2034 # wanted by what is sourced
    MPIRUN=none
    folder=$WORK
    WORK=$WORK/data
    . "$SOURCE_DIR/tests/cli/support/common.sh"
    make_dataset "$@"
    mv "$1.h5" "$folder/"
)

# hash_of FILE: of the parameters, as the run that wrote the results says
hash_of() {
    "$LAMINA" inspect --json "$1" |
        "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["param_hash"])'
}

# submit NAME OPTION...: the job's id in $job; its log is NAME.log, its folder NAME
submit() {
    name=$1
    shift
    # shellcheck disable=SC2154 # set by the test
    job=$(RUN=$name "$LAB" sbatch --parsable -N3 --job-name="$name" --output="$name.log" \
        "$SOURCE_DIR/slurm/train.sbatch" vision $common "$@")
}

# state_of JOB: such as PENDING
state_of() {
    "$LAB" slurm scontrol -o show job "$1" | sed 's/.* JobState=\([A-Z_]*\) .*/\1/'
}

# Slurm holds a requeued job back for two minutes; not here.
hurry() {
    [ "$(state_of "$job")" != PENDING ] ||
        "$LAB" slurm scontrol update "JobId=$job" StartTime=now 2>/dev/null || true # it has just begun
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
    grep -q '^[0-9]* parameters, hash' "$1.log" && [ "$(state_of "$job")" = COMPLETED ]
}

# rank_on HOST: the process of a rank that Slurm has started on a host of this lab
rank_on() {
    "$PYTHON" - "$LAMINA_LAB_STATE" "$1" <<'EOF'
import json, pathlib, sys
lab = json.loads((pathlib.Path(sys.argv[1]) / "lab.json").read_text())["id"]
wanted = {f"LAMINA_LAB_ID={lab}".encode(), f"SLURMD_NODENAME={sys.argv[2]}".encode()}
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if ((process / "comm").read_text() == "lamina\n"
                and wanted <= set((process / "environ").read_bytes().split(b"\0"))):
            print(process.name)
    except OSError:
        pass  # it has ended
EOF
}

# kill_rank HOST [FOLDER]: when it next writes a checkpoint to the folder
kill_rank() {
    wait_until 20 has_rank "$1"
    "$PYTHON" - "$pid" "${2:-}" <<'EOF' || fail "rank $pid on $1 was not killed"
import os, signal, sys
pid, folder = int(sys.argv[1]), sys.argv[2]
def parts():
    return {(entry.name, entry.inode()) for entry in os.scandir(folder) if entry.name.endswith(".part")}
# What a killed run has left does not count.
old = parts() if folder else set()
while folder and not parts() - old:
    os.kill(pid, 0)  # an error when it has ended
os.kill(pid, signal.SIGKILL)
EOF
}

has_rank() {
    pid=$(rank_on "$1")
    [ -n "$pid" ]
}

# wait_until SECONDS COMMAND...: until it succeeds
wait_until() {
    end=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt $end ] || fail "not within the time: $*"
        sleep 0.01
    done
}
