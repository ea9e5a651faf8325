#!/bin/sh
# Training under Slurm on three hosts: the same bits whoever starts the ranks, and whatever happens to
# them on the way; and nothing is left over.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
. "$SOURCE_DIR/tests/cluster/training.sh"
. "$SOURCE_DIR/tests/cluster/slurm.sh"

lab_up 3 1gbit --slurm
lab_network any
# How ranks that srun starts find each other.
SRUN_MPI=pmix
is_of_mpi 'Open MPI\|OpenRTE' || SRUN_MPI=pmi2
export SRUN_MPI MPIRUN="${LAMINA_LAB_MPIRUN:-mpirun}"
make_data tiny 4000 100 28
# Eight epochs of 60 steps and a half, which is long enough to be killed in the middle. Checkpoints do
# not fall on the ends of epochs.
common="--data tiny.h5 --model mlp:hidden=64 --batch 66 --epochs 8 --threads 1 --keep 2
    --compress topk:density=0.02 --feedback econtrol --checkpoint-every 17"

check "mpirun over the hosts"
# shellcheck disable=SC2086 # the options are separate words
"$LAB" run "$LAMINA" train vision $common --out mpirun.h5 --checkpoint-dir mpirun \
    >mpirun.log 2>&1 || fail "$(cat mpirun.log)"
straight=$(hash_of mpirun.h5)

# same_bits RESULTS
same_bits() {
    [ "$(hash_of "$1")" = "$straight" ] || fail "another hash in $1"
}

check "srun: the same parameters"
# shellcheck disable=SC2086
"$LAB" srun -N3 -n3 --mpi=$SRUN_MPI "$LAMINA" train vision $common --out srun.h5 \
    --checkpoint-dir srun >srun.log 2>&1 || fail "$(cat srun.log)"
grep -q 'on 3 ranks, 3 nodes' srun.log || fail "not three ranks on three hosts: $(cat srun.log)"
same_bits srun.h5

has_checkpoint() {
    [ -n "$(find "$1/checkpoints" -name 'checkpoint-*.h5' 2>/dev/null)" ]
}

check "mpirun in an allocation, told by the batch system to stop: requeued, the same parameters"
export LAUNCH=mpirun
submit told
wait_until 90 has_checkpoint told
"$LAB" slurm scancel --signal=USR1 --batch "$job"
wait_until 90 completes told
grep -q 'stopped with a checkpoint: requeued' told.log || fail "not requeued: $(cat told.log)"
grep -q 'restart 1: 3 ranks' told.log || fail "no restart: $(cat told.log)"
same_bits told/run.h5

check "srun in a job, ranks killed in mid-epoch and during a checkpoint: the same parameters"
export LAUNCH=srun
submit killed
wait_until 90 has_checkpoint killed
kill_rank h2
wait_until 90 grep -q 'exit code 137, a rank was lost: requeued' killed.log
wait_until 90 restarts killed 1
kill_rank h3 killed/checkpoints
wait_until 90 completes killed
grep -q 'restart 2: 3 ranks' killed.log || fail "no second restart: $(cat killed.log)"
same_bits killed/run.h5

check "a sweep of two seeds and two compressors, merged into one file"
sweep=$(SEEDS="3 4" COMPRESS="dense sign" TRAIN=$SOURCE_DIR/slurm/train.sbatch RESTARTS=0 \
    "$LAB" sbatch --parsable --wait --array=0-3 "$SOURCE_DIR/slurm/array.sbatch" vision \
    --data tiny.h5 --model mlp:hidden=8 --steps 5 --threads 1) || fail "sbatch: $(cat sweep-*.log)"
"$PYTHON" - <<'EOF2' || fail "$sweep: $(cat sweep-*.log)"
import h5py
with h5py.File("sweep/sweep.h5") as sweep:
    table = sweep["table"]
    runs = sorted(zip(table["compress"].asstr()[:], table["seed"][:], table["complete"][:]))
    assert runs == [("dense", 3, 1), ("dense", 4, 1), ("sign", 3, 1), ("sign", 4, 1)], runs
    for i, name in enumerate(sorted(sweep["runs"])):
        run = sweep["runs"][name]
        assert run["summary"].attrs["param_hash"] == table["param_hash"][i]
        assert run["steps/loss"].shape == (5,) and run["steps/loss"].attrs["units"] == "nat"
        assert run["steps/loss"].dims[0][0] == run["steps/step"], "the key of the steps"
EOF2
"$LAMINA" inspect sweep/sweep.h5 >inspect.txt
grep -q '^sweep/0003/run.h5  *sign ' inspect.txt || fail "$(cat inspect.txt)"

check "down ends daemons and jobs, also one that hides, and leaves nothing"
cat >hide.sh <<'EOF2'
#!/bin/sh
trap '' TERM
echo $$ >"$1.pid"
while :; do sleep 1; done
EOF2
chmod +x hide.sh
"$LAB" sbatch -N1 --export=NONE --output=/dev/null --wrap "setsid $PWD/hide.sh $PWD/hidden" >/dev/null
wait_until 10 test -s hidden.pid
started="$(cat hidden.pid) $(cat "$LAMINA_LAB_STATE"/slurm/*.pid "$LAMINA_LAB_STATE"/slurm/munge/pid)"
"$LAB" down
for pid in $started; do
    state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null) || continue
    [ "$state" = Z ] || fail "process $pid is left over"
done
[ -z "$(find "$LAMINA_LAB_STATE" -mindepth 1 2>/dev/null)" ] || fail "files are left over"
echo "passed"
