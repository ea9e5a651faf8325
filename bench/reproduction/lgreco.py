"""L-GreCo against the same level for every layer, and against other ways to choose levels.

For each family of compressors the uniform setting is the measure: who sends fewer bytes at equal test
accuracy? `uniform, less` is the uniform setting at a lower level, so that one sees what a user gets
who merely asks for less. No run has dense steps at its start, so bytes are those of compressed steps
but for the first step of econtrol, which is dense, in all of them. Top-k and low rank run with ec, as
the published experiments did: at 1 % and some hundred steps econtrol, whose feedback is weaker, was
behind it in every trial.

SPDX-License-Identifier: Apache-2.0
"""
import os

import numpy as np

from . import figures, runs, tables

TITLES = {"cnn": "L-GreCo: cnn on Fashion-MNIST", "resnet20": "L-GreCo: resnet20 on Fashion-MNIST",
          "gpt": "L-GreCo: gpt on text"}

# How long a run is, and at which rate it learns.
SIZES = {
    ("cnn", "full"): ["--model", "cnn", "--epochs", "5", "--batch", "128", "--lr", "0.05"],
    ("cnn", "quick"): ["--model", "cnn", "--steps", "1200", "--batch", "32", "--lr", "0.02"],
    ("resnet20", "full"): ["--model", "resnet20", "--epochs", "10", "--batch", "128", "--lr", "0.1",
                           "--optimizer", "sgd:momentum=0.9,weight_decay=0.0005"],
    ("resnet20", "quick"): ["--model", "resnet20", "--steps", "300", "--batch", "32", "--lr", "0.03",
                            "--dense-below", "512"],
    ("gpt", "full"): ["--model", "gpt", "--epochs", "1", "--batch", "16"],
    ("gpt", "quick"): ["--model", "gpt:layers=2,width=128,heads=4,context=64", "--steps", "300",
                       "--batch", "16"],
}

# Where this is named all rows of a seed begin with the parameters that one dense training has come to, as
# the published runs were dense for their first 1000 steps. It takes the noise of the first steps out,
# and is made once for all rows.
DENSE_START = {
    ("resnet20", "quick"): ["--model", "resnet20", "--steps", "800", "--batch", "32", "--lr", "0.05",
                            "--compress", "dense", "--feedback", "none", "--allocate", "uniform",
                            "--schedule", "constant:warmup=100"],
}

# Seeds of dense starts are others, so that the batches after it are not those before.
START_SEED = 100

LEVELS = {"topk": "levels=0.2/0.1/0.05/0.03/0.02/0.014/0.01/0.007/0.005/0.0035/0.0025/0.0015/0.001",
          "quant": "levels=8/7/6/5/4/3/2",
          "lowrank": "levels=1/2/3/4/6/8/12/16"}
STATIC = {"topk": "topk:density=0.01", "quant": "quant:bits=4", "lowrank": "lowrank:rank=4"}
LESS = {"topk": "topk:density=0.005", "quant": "quant:bits=3", "lowrank": "lowrank:rank=2"}
FEEDBACK = {"topk": "ec", "quant": "econtrol", "lowrank": "ec"}
# At a constant rate from the start one seed of three diverged with topk at lr 0.05.
SCHEDULE = {"resnet20": "cosine:warmup=30", "cnn": "cosine:warmup=100", "gpt": "cosine:warmup=100"}
EVERY = "warmup=0,every=50,window=10"

# Name of the row, and the allocation; a name that --help does not offer is left out.
SETTLED = f"lgreco:{EVERY},error=settled"
ALLOCATIONS = [
    ("uniform", "uniform"),
    ("lgreco, alpha 3", f"{SETTLED},alpha=3"),
    ("lgreco, alpha 5", f"{SETTLED},alpha=5"),
    ("lgreco, alpha 2", f"{SETTLED},alpha=2"),
    ("lgreco, alpha 1", SETTLED),
    ("lgreco by message, alpha 1", f"lgreco:{EVERY}"),
    ("uniform, less", "uniform"),
    ("global topk", f"global-topk:{EVERY}"),
    ("accordion", f"accordion:{EVERY}"),
]
NOT_FOR = {"global topk": ("quant", "lowrank"), "lgreco, alpha 3": ("quant",), "lgreco, alpha 2": ("topk",),
           "lgreco, alpha 5": ("quant", "lowrank")}
FIRST = ("uniform", "lgreco, alpha 3", "lgreco, alpha 5")
DENSE = ("dense", "dense", "dense", "none", "uniform")


def settings(experiment, command):
    """(name, family, compress, feedback, allocate) of every row."""
    methods = runs.offered(experiment.lamina, command, "allocate")
    rows = [DENSE]
    left_out = []
    for family in experiment.options.families:
        for name, allocate in ALLOCATIONS:
            method = allocate.split(":")[0]
            if method not in methods:
                left_out.append(method)
            elif family not in NOT_FOR.get(name, ()):
                compress = LESS[family] if name == "uniform, less" else STATIC[family]
                if method not in ("uniform", "global-topk"):
                    compress += "," + LEVELS[family]
                rows.append((name, family, compress, FEEDBACK[family], allocate))
    return rows, sorted(set(left_out))


def make_start(experiment, command, model, seed):
    """Words that let a run begin where a dense training of the seed ended; none where that is not wanted."""
    words = DENSE_START.get((model, experiment.options.scale))
    if words is None:
        return []
    folder = os.path.join(experiment.folder, f"start-{seed}")
    words = [*command, "--data", experiment.options.data, *words, "--seed", str(START_SEED + seed),
             "--threads", "1", "--verify-every", "0", "--quiet", "--checkpoint-dir", folder]
    experiment.run(f"start-{seed}", words, experiment.options.ranks)
    return ["--init", folder]


def make_run(experiment, command, model, row, seed):
    name, family, compress, feedback, allocate = row
    stem = f"{family}-{name}-{seed}".replace(", ", "-").replace(" ", "")
    data = experiment.options.text if command[-1] == "text" else experiment.options.data
    words = [*command, "--data", data, *SIZES[model, experiment.options.scale], "--seed", str(seed),
             "--compress", compress, "--feedback", feedback, "--allocate", allocate,
             "--schedule", SCHEDULE[model], "--threads", "1", "--verify-every", "0", "--quiet",
             *make_start(experiment, command, model, seed)]
    return experiment.run(stem, words, experiment.options.ranks)


class Outcome:
    """What the seeds of one row came to."""

    def __init__(self, row, found, measure):
        self.name, self.family, self.row = row[0], row[1], row
        self.seeds, self.paths = [seed for seed, _ in found], [path for _, path in found]
        paths = self.paths
        summaries = [runs.attributes(path, "summary") for path in paths]
        self.values = [float(summary[measure]) for summary in summaries]
        self.sent = [float(summary["bytes_sent"]) for summary in summaries]
        self.dense = [float(np.mean(runs.read(path, "/steps/bytes_dense")[1:])) for path in paths]
        self.later = [float(np.mean(runs.read(path, "/steps/bytes_sent")[1:])) for path in paths]
        self.ranks = int(summaries[0]["ranks"])


def collect(experiment, command, model, measure):
    """All rows whose runs are there; makes those that are not, as long as there is time."""
    rows, left_out = settings(experiment, command)
    found = {row: [] for row in rows}
    complete = True
    # What the others are measured by comes first, in case there is not time for all.
    order = sorted(((row[0] not in FIRST, seed, row) for row in rows for seed in experiment.options.seeds),
                   key=lambda item: item[:2])
    for _, seed, row in order:
        try:
            found[row].append((seed, make_run(experiment, command, model, row, seed)))
        except runs.OutOfTime:
            complete = False
    return [Outcome(row, runs_of, measure) for row, runs_of in found.items() if runs_of], left_out, complete


def differences_of(outcome, base, scale):
    """Of the measure against the base's, for the seeds that both have."""
    measured = dict(zip(base.seeds, base.values)) if base else {}
    return [scale * (value - measured[seed]) for seed, value in zip(outcome.seeds, outcome.values) if seed in measured]


def table_of(outcomes, percent):
    head = ["family", "allocation", "test accuracy, %" if percent else "bits per byte",
            "against uniform, " + ("points" if percent else "bits"), "sent a rank and step",
            "fewer than dense", "fewer than uniform", "in all a rank", "seeds"]
    uniform = {o.family: o for o in outcomes if o.name == "uniform"}
    rows = []
    for o in outcomes:
        scale = 100.0 if percent else 1.0
        base = uniform.get(o.family)
        differences = differences_of(o, base, scale)
        later = tables.mean(o.later)
        rows.append([
            o.family, o.name, f"{scale * tables.mean(o.values):.2f} ± {scale * tables.spread(o.values):.2f}",
            f"{tables.mean(differences):+.2f} ± {tables.spread(differences):.2f}"
            if differences and o is not base else "-",
            f"{later / o.ranks / 1e3:.4g} kB",
            f"{tables.mean(o.dense) / later:.3g}x",
            f"{tables.mean(base.later) / later:.2f}x" if base and o is not base else "-",
            tables.megabytes(tables.mean(o.sent) / o.ranks), str(len(o.values))])
    return tables.table(head, rows)


def accuracy_panel(outcomes, percent):
    names = list(dict.fromkeys(o.name for o in outcomes))
    lines = []
    for colour, name in enumerate(names):
        points = [(value / o.ranks / 1e3, (100.0 if percent else 1.0) * accuracy)
                  for o in outcomes if o.name == name for value, accuracy in zip(o.later, o.values)]
        lines.append(figures.Line(name, points, colour, marks=True))
    return figures.Panel("every run", "kB sent a rank and step",
                         "test accuracy, %" if percent else "bits per byte", lines, log="x")


def bytes_panel(outcomes, family):
    lines = []
    for colour, o in enumerate(o for o in outcomes if o.family == family):
        sent = runs.read(o.paths[0], "/steps/bytes_sent") / o.ranks / 1e3
        width = max(1, len(sent) // 100)
        points = [(i, float(np.mean(sent[i:i + width]))) for i in range(1, len(sent) - width + 1, width)]
        lines.append(figures.Line(o.name, points, colour))
    return figures.Panel(family, "step", "kB sent a rank", lines, log="y")


def settings_text(experiment, model, left_out):
    size = " ".join(SIZES[model, experiment.options.scale])
    text = (f"Every run: `{size} --schedule {SCHEDULE[model]} --threads 1`, on {experiment.options.ranks} ranks of one "
            "thread. Families: " + "; ".join(
                f"`{STATIC[f]}` with `{FEEDBACK[f]}`, allocation chooses from `{LEVELS[f]}`, *less* is "
                f"`{LESS[f]}`" for f in experiment.options.families) +
            f". Who chooses levels: `{EVERY}`, so they are chosen every 50 steps from the mean gradient of 10.")
    start = DENSE_START.get((model, experiment.options.scale))
    if start:
        text += (f" All rows of a seed begin with the parameters of one dense training, `{' '.join(start)}` of "
                 f"the seed + {START_SEED}, which is in none of the figures.")
    if left_out:
        text += f" Not in this build, so not run: {', '.join(left_out)}."
    return text


def main(experiment):
    model = experiment.name.split("-")[1]
    percent = model != "gpt"
    command = ["train", "vision"] if percent else ["train", "text"]
    measure = "test_accuracy" if percent else "bits_per_byte"
    outcomes, left_out, complete = collect(experiment, command, model, measure)
    families = [f for f in experiment.options.families if any(o.family == f for o in outcomes)]
    plot = figures.Figure(TITLES[model], [accuracy_panel(outcomes, percent),
                                          *[bytes_panel(outcomes, f) for f in families]])
    stem = os.path.join(experiment.options.docs, experiment.name)
    os.makedirs(experiment.options.docs, exist_ok=True)
    has_figure = plot.write(os.path.join(experiment.folder, "figure"), stem)
    count = sum(len(o.values) for o in outcomes)
    parts = [tables.set_up(experiment, experiment.options.ranks, "shared memory of one machine",
                           experiment.options.seeds,
                           f"{count}" + ("" if complete else ", not all that belong to it: see the last column")),
             settings_text(experiment, model, left_out), table_of(outcomes, percent)]
    if has_figure:
        parts.append(tables.figure(experiment.name, "Accuracy against bytes of every run; bytes over time "
                                   "of the first seed"))
    parts.append("Mean ± standard deviation over the seeds; against uniform: of the differences seed by seed. Bytes "
                 "a step: the first step left out, which is dense in some settings.")
    tables.write(experiment, TITLES[model], parts)
    return complete
