"""The time of a training step over links of chosen rates, for every way to choose levels.

Two hosts are made on this machine by tests/cluster/lab (as root), with one rank of one thread each;
`none` is a link without a limit. Settings follow each other in rounds, one for each seed, so that all
see the same machine; the median step of a run counts, and of the rounds the best.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess

import numpy as np

from . import figures, runs, tables

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "cluster", "lab")
RANKS = 2
RATES = ["none", "1gbit", "100mbit"]
STEPS, FIRST = 80, 40  # earlier steps start dense, warm up and choose levels
# Model, application, and samples of all ranks.
MODELS = {"mlp": ("vision", 256), "cnn": ("vision", 256), "gpt": ("text", 16)}
CHOOSING = "warmup=10,every=20,window=5"
# Name, compress, feedback, allocate; what --help does not offer is left out.
SETTINGS = [
    ("dense", "dense", "none", "uniform"),
    ("topk 1 %, uniform", "topk:density=0.01", "econtrol", "uniform"),
    ("topk 1 %, lgreco", "topk:density=0.01", "econtrol", f"lgreco:{CHOOSING}"),
    ("topk 1 %, time", "topk:density=0.01", "econtrol", f"time:{CHOOSING}"),
    ("quant 4 bit, uniform", "quant:bits=4", "econtrol", "uniform"),
    ("quant 4 bit, lgreco", "quant:bits=4", "econtrol", f"lgreco:{CHOOSING}"),
    ("quant 4 bit, time", "quant:bits=4", "econtrol", f"time:{CHOOSING}"),
    ("lowrank 4, uniform", "lowrank:rank=4", "ec", "uniform"),
    ("lowrank 4, lgreco", "lowrank:rank=4", "ec", f"lgreco:{CHOOSING}"),
    ("lowrank 4, time", "lowrank:rank=4", "ec", f"time:{CHOOSING}"),
]


def lab(*words):
    done = subprocess.run([LAB, *words], env=runs.environment(), stderr=subprocess.PIPE, check=False, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench/reproduce: step-time needs hosts in network namespaces, as root: {done.stderr.strip()}")


def plan(experiment):
    """(rate, model, setting, seed, name of the run, words) of every run, by rate."""
    allocations = runs.offered(experiment.lamina, ["train", "vision"], "allocate")
    settings = [setting for setting in SETTINGS if setting[3].split(":")[0] in allocations]
    rows = []
    for rate in RATES:
        for seed in experiment.options.seeds:
            for model, (application, batch) in MODELS.items():
                for setting in settings:
                    data = experiment.options.text if application == "text" else experiment.options.data
                    words = ["train", application, "--data", os.path.abspath(data), "--model", model, "--batch",
                             str(batch), "--steps", str(STEPS), "--seed", str(seed), "--threads", "1", "--quiet",
                             "--verify-every", "0", "--evaluate-every", "1000000", "--compress", setting[1],
                             "--feedback", setting[2], "--allocate", setting[3]]
                    name = f"{rate}-{model}-{setting[0]}-{seed}".replace(", ", "-").replace(" ", "")
                    rows.append((rate, model, setting, seed, name, words))
    return rows, len(settings) < len(SETTINGS)


def make_runs(experiment, rows):
    """Whether all of them are there now."""
    for rate in RATES:
        missing = [row for row in rows if row[0] == rate and experiment.find(row[4], row[5], RANKS) is None]
        if not missing:
            continue
        lab("up", str(RANKS), rate)
        try:
            for row in missing:
                experiment.run(row[4], row[5], RANKS, launcher=[LAB, "run"])
        except runs.OutOfTime:
            return False
        finally:
            lab("down")
    return True


def times(experiment, rows):
    """(rate, model, name of the setting): milliseconds of the best round, and the loss of the first."""
    found = {}
    for rate, model, setting, _, name, words in rows:
        path = experiment.find(name, words, RANKS)
        if path is not None:
            seconds, loss = runs.read(path, "/steps/seconds", "/steps/loss")
            key = (rate, model, setting[0])
            milliseconds = 1e3 * float(np.median(seconds[FIRST:]))
            before = found.get(key, (milliseconds, float(np.mean(loss[-10:]))))
            found[key] = (min(before[0], milliseconds), before[1])
    return found


def table_of(model, found):
    rows = []
    for name, *_ in SETTINGS:
        cells = []
        for rate in RATES:
            here, dense = found.get((rate, model, name)), found.get((rate, model, "dense"))
            cells.append(f"{here[0]:.1f} ({dense[0] / here[0]:.2f}x)" if here and dense else "-")
        losses = [found[rate, model, name][1] for rate in RATES if (rate, model, name) in found]
        if losses:
            rows.append([name, *cells, f"{losses[0]:.3f}"])
    return f"**{model}**, batch {MODELS[model][1] // RANKS} a rank:\n\n" + tables.table(
        ["setting", *["no limit" if rate == "none" else rate for rate in RATES], "loss"], rows)


def panel(model, found):
    lines = []
    for colour, (name, *_) in enumerate(SETTINGS):
        points = [(place, found[rate, model, name][0]) for place, rate in enumerate(RATES)
                  if (rate, model, name) in found]
        if points:
            lines.append(figures.Line(name, points, colour))
    return figures.Panel(model, "link: 0 no limit, 1 1gbit, 2 100mbit", "ms a step", lines, log="y")


def main(experiment):
    rows, has_less = plan(experiment)
    is_complete = make_runs(experiment, rows)
    found = times(experiment, rows)
    os.makedirs(experiment.options.docs, exist_ok=True)
    plot = figures.Figure("Time of a step", [panel(model, found) for model in MODELS])
    has_figure = plot.write(os.path.join(experiment.folder, "figure"),
                            os.path.join(experiment.options.docs, experiment.name))
    made = sum(experiment.find(row[4], row[5], RANKS) is not None for row in rows)
    parts = [tables.set_up(experiment, f"{RANKS}, on two hosts in network namespaces, one thread each",
                           "virtual Ethernet, TCP: " + ", ".join(RATES), experiment.options.seeds,
                           f"{made} of {len(rows)}"),
             f"Milliseconds of a step, and how much faster than dense. Median of the steps {FIRST} to {STEPS - 1} of a "
             "run, the best of the rounds; loss: mean of the last 10 steps of the first round."]
    if has_less:
        parts.append("Not in this build: `--allocate time`.")
    parts += [table_of(model, found) for model in MODELS]
    if has_figure:
        parts.append(tables.figure(experiment.name, "Milliseconds of a step"))
    tables.write(experiment, "Time of a step", parts)
    return is_complete
