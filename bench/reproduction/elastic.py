"""One training whose ranks are killed and go on in another number, against one that nothing disturbs.

The run begins on 4 ranks. When a checkpoint of the step is there that the plan names, one rank is
killed by SIGKILL, the launcher ends the others, and the same command goes on with the next number of
ranks: 3, then 2, then 4 again, each in the middle of an epoch. What was computed after the checkpoint is
lost, so what a run computes does not depend on when the kill arrives. `dense` is the control: there the
ranks only change the order of additions.

SPDX-License-Identifier: Apache-2.0
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from . import runs, tables

STAGES = (4, 3, 2, 4)
FEWER = 2  # ranks of a run that nothing disturbs, either: what another number of ranks does by itself
SAMPLES, BATCH = 60000, 130  # a batch that neither 3 nor 4 divides
MODEL = "mlp:hidden=256"
EPOCHS = {"quick": 3, "full": 10}
METHODS = {
    "topk 1 %, econtrol, lgreco": ["--compress", "topk:density=0.01", "--feedback", "econtrol",
                                   "--allocate", "lgreco"],
    "dense": ["--compress", "dense", "--feedback", "none", "--allocate", "uniform"],
}
LIMIT = 0.3  # points of accuracy
LAUNCHER_S = 10.0  # after its end ranks may be ending still


def steps_of(scale):
    return -(-EPOCHS[scale] * SAMPLES // BATCH)


def words_of(experiment, method, seed):
    return ["train", "vision", "--data", experiment.options.data, "--model", MODEL, "--batch", str(BATCH),
            "--steps", str(steps_of(experiment.options.scale)), "--lr", "0.02", "--schedule",
            "cosine:warmup=60", "--seed", str(seed), "--threads", "1", "--verify-every", "100", "--quiet",
            *METHODS[method]]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ranks_of(launcher):
    """The processes of the program that a launcher has started."""
    found = []
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{folder}/stat", encoding="ascii", errors="replace") as file:
                name, _, fields = file.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "lamina" and int(fields.split()[1]) == launcher:
            found.append(int(os.path.basename(folder)))
    return sorted(found)


def checkpoint_of(folder, step):
    return os.path.join(folder, f"checkpoint-{step}.h5")


def stage(experiment, words, ranks, folder, kill_at):
    """Train on so many ranks: to the end, or until the checkpoint of a step is there and a rank is killed."""
    mpirun = [*os.environ.get("MPIRUN", "mpirun").split(), "--oversubscribe", "--bind-to", "none"]
    run = subprocess.Popen([*mpirun, "-np", str(ranks), experiment.lamina, *words], env=runs.environment(),
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           text=True)
    while kill_at is not None and run.poll() is None and not os.path.exists(checkpoint_of(folder, kill_at)):
        time.sleep(0.02)
    victims = ranks_of(run.pid) if kill_at is not None else []
    if victims:
        os.kill(victims[-1], signal.SIGKILL)
    errors = run.communicate()[1]
    is_right = run.returncode != 0 and victims if kill_at is not None else run.returncode == 0
    until = time.monotonic() + LAUNCHER_S
    while any(is_alive(pid) for pid in victims) and time.monotonic() < until:
        time.sleep(0.02)
    if not is_right or any(is_alive(pid) for pid in victims):
        sys.stderr.write(errors)
        raise SystemExit(f"bench/reproduce: {ranks} ranks of `lamina {' '.join(words)}` ended with "
                         f"{run.returncode}; the messages stand above")


def change_ranks(experiment, name, words):
    """The run NAME in stages; the path of its run.h5."""
    path = experiment.find(name, words, list(STAGES))
    if path is not None:
        return path
    if time.monotonic() >= experiment.deadline:
        raise runs.OutOfTime
    path = os.path.join(experiment.folder, name + ".h5")
    folder = os.path.join(experiment.folder, name + ".checkpoints")
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.monotonic()
    every = steps_of(experiment.options.scale) // len(STAGES)
    for i, ranks in enumerate(STAGES):
        stage(experiment, [*words, "--out", path, "--checkpoint-dir", folder, "--checkpoint-every", str(every),
                           "--keep", "0", "--resume"],
              ranks, folder, (i + 1) * every if i + 1 < len(STAGES) else None)
    shutil.rmtree(folder)
    seconds = time.monotonic() - begin
    with open(path[:-len(".h5")] + ".json", "w", encoding="utf-8") as file:
        json.dump({"identity": runs.identity_of(words, list(STAGES)), "words": words, "ranks": STAGES,
                   "seconds": seconds, "failure": ""}, file, indent=1)
    experiment.made += 1
    print(f"{name}: {seconds:.1f} s", flush=True)
    return path


def outcome(path):
    summary = runs.attributes(path, "summary")
    return 100.0 * float(summary["test_accuracy"]), float(summary["test_loss"])


def runs_of(experiment, method, seed):
    """(undisturbed, changing, undisturbed on fewer ranks) of one seed."""
    words = words_of(experiment, method, seed)
    stem = f"{method.split()[0]}-{seed}"

    def straight(ranks):
        mpirun = [*os.environ.get("MPIRUN", "mpirun").split(), "--oversubscribe", "--bind-to", "none"]
        return outcome(experiment.run(f"{stem}-straight-{ranks}", words, ranks,
                                      launcher=[*mpirun, "-np", str(ranks)]))

    return straight(STAGES[0]), outcome(change_ranks(experiment, stem + "-changing", words)), straight(FEWER)


def collect(experiment):
    """{method: [(seed, runs of the seed)]} of what is there."""
    found = {method: [] for method in METHODS}
    for seed in experiment.options.seeds:
        for method in METHODS:
            try:
                found[method].append((seed, runs_of(experiment, method, seed)))
            except runs.OutOfTime:
                return found, False
    return found, True


def differences(outcomes, which):
    """In accuracy from the undisturbed run, seed by seed."""
    return [each[which][0] - each[0][0] for _, each in outcomes]


def middle(values, digits=2, sign=""):
    return f"{tables.mean(values):{sign}.{digits}f} ± {tables.spread(values):.{digits}f}"


def table_of(found):
    rows = []
    for method, outcomes in found.items():
        for seed, each in outcomes:
            rows.append([method, str(seed), f"{each[0][0]:.2f}", f"{each[1][0]:.2f}",
                         f"{each[1][0] - each[0][0]:+.2f}", f"{each[2][0] - each[0][0]:+.2f}",
                         f"{each[0][1]:.5f}", f"{each[1][1]:.5f}"])
        if outcomes:
            rows.append([f"**{method}**", "all", middle([each[0][0] for _, each in outcomes]),
                         middle([each[1][0] for _, each in outcomes]),
                         middle(differences(outcomes, 1), sign="+"), middle(differences(outcomes, 2), sign="+"),
                         f"{tables.mean([each[0][1] for _, each in outcomes]):.5f}",
                         f"{tables.mean([each[1][1] for _, each in outcomes]):.5f}"])
    return tables.table(["method", "seed", "undisturbed, %", "changing, %", "difference, points",
                         f"{FEWER} ranks, difference", "test loss undisturbed", "test loss changing"], rows)


def verdict(found):
    lines = []
    for method, outcomes in found.items():
        if outcomes:
            difference = tables.mean(differences(outcomes, 1))
            says = "within" if abs(difference) <= LIMIT else "**not within**"
            lines.append(f"{method}: {difference:+.2f} points, {says} {LIMIT}.")
    return " ".join(lines)


def main(experiment):
    found, is_complete = collect(experiment)
    if not any(found.values()):
        return is_complete
    scale = experiment.options.scale
    every = steps_of(scale) // len(STAGES)
    text = (f"Every run: `lamina {' '.join(words_of(experiment, 'dense', 1)[:2])} --model {MODEL} --batch {BATCH} "
            f"--steps {steps_of(scale)} --lr 0.02 --schedule cosine:warmup=60 --threads 1`, {EPOCHS[scale]} epochs "
            f"of Fashion-MNIST. *Undisturbed*: {STAGES[0]} ranks from start to end. *Changing*: "
            f"{', '.join(str(ranks) for ranks in STAGES[:-1])} and {STAGES[-1]} ranks; at steps "
            f"{', '.join(str(every * (i + 1)) for i in range(len(STAGES) - 1))}, all in the middle of an epoch, a "
            "rank is killed by SIGKILL and the same command goes on with `--resume` and the next number of ranks. "
            f"*{FEWER} ranks*: undisturbed, too, from start to end; what another number of ranks does by itself. "
            f"The global batch stays {BATCH} samples, and so does the learning rate.")
    tables.write(experiment, "Ranks that change in one training", [
        tables.set_up(experiment, " -> ".join(str(ranks) for ranks in STAGES), "shared memory of one machine",
                      experiment.options.seeds, 3 * sum(len(outcomes) for outcomes in found.values())),
        text, table_of(found), verdict(found)
        + " Mean ± standard deviation over the seeds; of differences: seed by seed."])
    return is_complete
