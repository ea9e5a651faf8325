"""The time of a training step over links of chosen rates, for every way to choose levels.

Two hosts are made on this machine by tests/cluster/lab (as root), with one rank of one thread each;
`none` is a link without a limit. Settings follow each other in rounds, one for each seed, so that all
see the same machine; the median step of a run counts, and of the rounds the best. Runs of `time` are
longer, so that their trial is over before steps count; what it found stands in a table of its own.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess

import numpy as np

from . import figures, runs, tables

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "cluster", "lab")
RANKS = 2
RATES = ["none", "1gbit", "100mbit"]
STEPS, FIRST = 36, 12  # earlier steps start dense, warm up and choose levels
TIME_STEPS, TIME_FIRST = 115, 90  # those of `time`: 6 dense ones and at most 77 of a trial come first
# Model, application, and samples of all ranks.
MODELS = {"mlp": ("vision", 256), "cnn": ("vision", 256), "resnet20": ("vision", 256), "gpt": ("text", 16)}
CHOOSING = "warmup=6,every=1000,window=4"
PLANS = ["dense", "shortest", "uniform", "smallest"]  # as in /trials
# Name, compress, feedback, allocate; --families says which there are, and what --help does not offer is left out.
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
        raise SystemExit("bench/reproduce: step-time needs hosts in network namespaces, as root: " +
                         done.stderr.strip())


def steps_of(setting):
    """How many steps a run makes, and the first that counts."""
    return (TIME_STEPS, TIME_FIRST) if setting[3].startswith("time") else (STEPS, FIRST)


def plan(experiment):
    """(rate, model, setting, seed, name of the run, words) of every run, by rate."""
    allocations = runs.offered(experiment.lamina, ["train", "vision"], "allocate")
    families = ["dense", *experiment.options.families]
    settings = [setting for setting in SETTINGS if setting[3].split(":")[0] in allocations
                and setting[1].split(":")[0] in families]
    rows = []
    for rate in experiment.options.rates:
        for seed in experiment.options.seeds:
            for model in experiment.options.models:
                application, batch = MODELS[model]
                for setting in settings:
                    data = experiment.options.text if application == "text" else experiment.options.data
                    words = ["train", application, "--data", os.path.abspath(data), "--model", model, "--batch",
                             str(batch), "--steps", str(steps_of(setting)[0]), "--seed", str(seed), "--threads", "1", "--quiet",
                             "--verify-every", "0", "--evaluate-every", "1000000", "--compress", setting[1],
                             "--feedback", setting[2], "--allocate", setting[3]]
                    name = f"{rate}-{model}-{setting[0]}-{seed}".replace(", ", "-").replace(" ", "")
                    rows.append((rate, model, setting, seed, name, words))
    return rows


def make_runs(experiment, rows):
    """Whether all of them are there now."""
    for rate in experiment.options.rates:
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
    """(rate, model, name of the setting): milliseconds of the best round."""
    found = {}
    for rate, model, setting, _, name, words in rows:
        path = experiment.find(name, words, RANKS)
        if path is not None:
            seconds = runs.read(path, "/steps/seconds")
            key = (rate, model, setting[0])
            milliseconds = 1e3 * float(np.median(seconds[steps_of(setting)[1]:]))
            found[key] = min(found.get(key, milliseconds), milliseconds)
    return found


def table_of(model, found, rates):
    rows = []
    for name, *_ in SETTINGS:
        cells = []
        for rate in rates:
            here, dense = found.get((rate, model, name)), found.get((rate, model, "dense"))
            cells.append(f"{here:.1f} ({dense / here:.2f}x)" if here and dense else "-")
        if any(cell != "-" for cell in cells):
            rows.append([name, *cells])
    return f"**{model}**, batch {MODELS[model][1] // RANKS} a rank:\n\n" + tables.table(
        ["setting", *["no limit" if rate == "none" else rate for rate in rates]], rows)


def trials_of(experiment, rows):
    """What the trials of `time` measured, and what they and adapting took."""
    lines = []
    for rate, model, setting, seed, name, words in rows:
        path = experiment.find(name, words, RANKS)
        if path is None or not setting[3].startswith("time"):
            continue
        step, kept, measured, adapting = runs.read(path, "/trials/step", "/trials/kept", "/trials/measured",
                                                   "/decisions/seconds")
        has_trial = len(step) > 0
        cells = [f"{1e3 * seconds:.1f}" if seconds > 0 else "-" for seconds in measured[0]] if has_trial \
            else ["-"] * len(PLANS)
        lines.append(["no limit" if rate == "none" else rate, model, setting[0].split(",")[0], str(seed), *cells,
                      PLANS[int(kept[0])] if has_trial else "dense, untried",
                      str(int(step[0]) + 1) if has_trial else "-", f"{1e3 * float(np.sum(adapting)):.0f}"])
    return ("What `time` tried, ms a step, slowest rank's medians (shortest: predicted to be; smallest: lgreco's levels), "
            "the step at which it had decided, and the milliseconds that calibrating and deciding took in all:\n\n" +
            tables.table(["link", "model", "family", "seed", *PLANS, "kept", "decided at", "adapting"], lines))


def panel(model, found, rates):
    lines = []
    for colour, (name, *_) in enumerate(SETTINGS):
        points = [(place, found[rate, model, name]) for place, rate in enumerate(rates)
                  if (rate, model, name) in found]
        if points:
            lines.append(figures.Line(name, points, colour))
    label = ", ".join(f"{place} {'no limit' if rate == 'none' else rate}" for place, rate in enumerate(rates))
    return figures.Panel(model, f"link: {label}", "ms a step", lines, log="y")


def main(experiment):
    rows = plan(experiment)
    rates, models = experiment.options.rates, experiment.options.models
    is_complete = make_runs(experiment, rows)
    found = times(experiment, rows)
    os.makedirs(experiment.options.docs, exist_ok=True)
    plot = figures.Figure("Time of a step", [panel(model, found, rates) for model in models
                                             if any(key[1] == model for key in found)])
    has_figure = plot.write(os.path.join(experiment.folder, "figure"),
                            os.path.join(experiment.options.docs, experiment.name))
    made = sum(experiment.find(row[4], row[5], RANKS) is not None for row in rows)
    parts = [tables.set_up(experiment, f"{RANKS}, on two hosts in network namespaces, one thread each",
                           "virtual Ethernet, TCP: " + ", ".join(rates), experiment.options.seeds,
                           f"{made} of {len(rows)}"),
             f"Milliseconds of a step, and how much faster than dense. Median of the steps {FIRST} to {STEPS - 1} of a "
             f"run, with `time` of the steps {TIME_FIRST} to {TIME_STEPS - 1}; the best of the rounds, one for each seed."]
    parts += [table_of(model, found, rates) for model in models if any(key[1] == model for key in found)]
    parts.append(trials_of(experiment, rows))
    if has_figure:
        parts.append(tables.figure(experiment.name, "Milliseconds of a step"))
    tables.write(experiment, "Time of a step", parts)
    return is_complete
