"""EControl against other error feedback, on problems whose workers disagree.

Every page has two tables. The first is of fixed settings, whose outcomes are known from theory or
from other implementations. The second is a race: every method with every step size and every value
of its own parameter from a grid, and the one that reaches the target with the fewest bits counts.

SPDX-License-Identifier: Apache-2.0
"""
import math
import os

import numpy as np

from . import figures, runs, tables

POINTS = 400  # records of a run of the first table
RACE_EVERY = 5  # steps between records of a race
SETTLED = 10  # records in a row whose mean must be below the target


class Method:
    """label: in tables. feedback: spec; {} is a value from `grid`, its own parameter."""

    def __init__(self, label, feedback, grid=("",), compress=None, words=()):
        self.label, self.feedback, self.grid = label, feedback, grid
        self.compress, self.words = compress, list(words)

    def specs(self):
        return [self.feedback.format(value) for value in self.grid]


class Problem:
    """fixed, race: the cases of both tables; methods: of the first; racers: of the second."""

    def __init__(self, title, kind, compress, fixed, methods, race, racers):
        self.title, self.kind, self.compress = title, kind, compress
        self.fixed, self.methods, self.race, self.racers = fixed, methods, race, racers


class Case:
    """One problem with a step size, a column of the first table; or with several, a race."""

    def __init__(self, name, data, steps, rates, batch=0, target=None):
        self.name, self.data, self.steps, self.rates = name, data, steps, rates
        self.batch, self.target = batch, target


DENSE = Method("dense", "none", compress="dense")
BASE = [DENSE, Method("none", "none"), Method("ec", "ec"), Method("ef21", "ef21")]
IDEAL = Method("ec about the optimum", "ec-ideal")


def momentum(name, *values):
    return Method(f"{name}, momentum {{}}", f"{name}:momentum={{}}", values)


SQUARES = Problem(
    "EControl on heterogeneous least squares", "least-squares", "topk:density=0.1",
    [Case("zeta 10, exact, lr 0.01", "n=8,d=200,zeta=10", 20000, [0.01]),
     Case("zeta 10, exact, lr 0.001", "n=8,d=200,zeta=10", 20000, [0.001]),
     Case("zeta 100, exact, lr 0.01", "n=8,d=200,zeta=100", 20000, [0.01]),
     Case("zeta 10, sigma 20, lr 0.001", "n=8,d=200,zeta=10,sigma=20", 20000, [0.001])],
    [*BASE, IDEAL, momentum("ef21_sgdm", 0.03, 0.1, 0.3), Method("econtrol, eta {}", "econtrol:eta={}",
                                                            (0.0025, 0.01, 0.05, 0.1)),
     momentum("econtrol", 0.03, 0.1)],
    [Case("zeta 100, exact", "n=8,d=200,zeta=100", 3000, [0.003, 0.01, 0.02, 0.03, 0.04], target=1e-10),
     Case("zeta 100, sigma 20", "n=8,d=200,zeta=100,sigma=20", 4000, [0.0003, 0.001, 0.002, 0.003, 0.004],
          target=0.03)],
    [*BASE, momentum("ef21_sgdm", 0.03, 0.1, 0.3, 0.7),
     Method("econtrol, eta {}", "econtrol:eta={}", (0.0001, 0.05, 0.1)), momentum("econtrol", 0.03, 0.1, 0.3, 0.7)])
LOGISTIC = Problem(
    "EControl on heterogeneous logistic regression", "logistic", "topk:density=0.05",
    [Case("skew 0.8, exact, lr 0.1", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 10000, [0.1]),
     Case("skew 0.8, exact, lr 0.025", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 10000, [0.025]),
     Case("skew 0.8, batch 4, lr 0.05", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 20000, [0.05], 4),
     Case("skew 0.8, batch 4, lr 0.0125", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 20000, [0.0125], 4)],
    [*BASE, momentum("ef21_sgdm", 0.03, 0.1, 0.3), Method("econtrol, eta {}", "econtrol:eta={}",
                                                     (0.0125, 0.025, 0.05)), momentum("econtrol", 0.03, 0.1)],
    [Case("skew 0.8, exact", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 4000, [0.1, 0.3, 0.6, 1.2], target=1e-8),
     Case("skew 0.8, batch 4", "n=8,m=200,d=100,lambda=0.01,skew=0.8", 20000, [0.003, 0.006, 0.0125, 0.025],
          4, target=0.05)],
    [*BASE, momentum("ef21_sgdm", 0.03, 0.1, 0.3), Method("econtrol, eta {}", "econtrol:eta={}", (0.0001, 0.025, 0.05)),
     momentum("econtrol", 0.03, 0.1, 0.3)])
PROBLEMS = {"econtrol-least-squares": SQUARES, "econtrol-logistic": LOGISTIC}


def make_run(experiment, problem, case, method, spec, rate, seed):
    every = RACE_EVERY if case.target else case.steps // POINTS
    words = ["train", "convex", "--problem", problem.kind, "--data", f"synthetic:{case.data},seed={seed}",
             "--dtype", "f64", "--compress", method.compress or problem.compress, "--feedback", spec,
             "--lr", repr(rate), "--steps", str(case.steps), "--seed", str(seed), "--record-every",
             str(every), "--optimum", "--quiet"]
    words += ["--batch", str(case.batch)] if case.batch > 0 else ["--full-gradient"]
    name = "-".join([case.data, f"batch{case.batch}", f"{case.steps}", method.compress or "topk", spec, f"lr{rate}",
                     str(seed)])
    name = name.replace(":", "-").replace(",", "-") + ("-race" if case.target else "")
    return experiment.run(name, words, 1, may_fail=True)


class Curve:
    def __init__(self, path):
        self.bits, self.distance = runs.read(path, "/bits_per_rank", "/distance")
        self.has_diverged = bool(runs.failure_of(path)) or not np.isfinite(self.distance).all()
        self.path = path

    def floor(self):
        """Mean of the last tenth."""
        if self.has_diverged:
            return math.inf
        return float(np.mean(self.distance[-max(1, len(self.distance) // 10):]))

    def bits_to(self, target):
        """Of the first record from which on the mean of SETTLED of them is below the target."""
        if self.has_diverged:
            return math.inf
        means = np.convolve(self.distance, np.ones(SETTLED) / SETTLED, "valid")
        below = np.nonzero((means <= target) & (self.distance[:len(means)] <= target))[0]
        return float(self.bits[below[0]]) if len(below) > 0 else math.inf


def rows_of(problem):
    """(label, method, spec) of every row of the first table."""
    return [(method.label.format(value), method, method.feedback.format(value))
            for method in problem.methods for value in method.grid]


def fixed_table(experiment, problem):
    rows = []
    for label, method, spec in rows_of(problem):
        cells = []
        for case in problem.fixed:
            floors = [Curve(make_run(experiment, problem, case, method, spec, case.rates[0], seed)).floor()
                      for seed in experiment.options.seeds]
            low, high = tables.short(min(floors)), tables.short(max(floors))
            cells.append(low if low == high else f"{low} to {high}")
        rows.append([label, *cells])
    return tables.table(["feedback", *[case.name for case in problem.fixed]], rows)


class Racer:
    """The best setting of a method: of all step sizes and values, the fewest bits in the mean."""

    def __init__(self, experiment, problem, case, method):
        self.method = method
        self.bits, self.rate, self.value, self.curves = [math.inf], None, None, []
        self.lowest = math.inf
        for rate in case.rates:
            for value, spec in zip(method.grid, method.specs()):
                curves = [Curve(make_run(experiment, problem, case, method, spec, rate, seed))
                          for seed in experiment.options.seeds]
                bits = [curve.bits_to(case.target) for curve in curves]
                self.lowest = min(self.lowest, max(curve.floor() for curve in curves))
                if not self.curves or tables.mean(bits) < tables.mean(self.bits):
                    self.bits, self.rate, self.value, self.curves = bits, rate, value, curves

    @property
    def label(self):
        return self.method.label.format(self.value)


def race(experiment, problem, case):
    return [Racer(experiment, problem, case, method) for method in problem.racers]


def race_table(case, racers):
    best = min(tables.mean(racer.bits) for racer in racers if racer.method.label.startswith("econtrol"))
    rows = []
    for racer in racers:
        bits = tables.mean(racer.bits)
        is_there = math.isfinite(bits)
        rows.append([racer.label, f"{racer.rate:g}" if is_there else "-",
                     f"{bits / 1e3:.4g} ({min(racer.bits) / 1e3:.4g} to {max(racer.bits) / 1e3:.4g})"
                     if is_there else "not reached",
                     f"{bits / best:.2f}" if is_there and math.isfinite(best) else "-",
                     tables.short(racer.lowest)])
    return (f"**{case.name}**, target |x - x\\*|² <= {case.target:g} within {case.steps} steps, of lr "
            f"{', '.join(f'{rate:g}' for rate in case.rates)}:\n\n" +
            tables.table(["feedback", "lr", "kbit a worker (range over seeds)", "of econtrol's",
                          "lowest floor, all seeds"], rows))


def race_panel(case, racers):
    lines = []
    for colour, racer in enumerate(racers):
        curve = racer.curves[0]
        width = max(1, len(curve.bits) // 200)
        points = [(b / 1e3, max(d, 1e-30)) for b, d in
                  list(zip(curve.bits, curve.distance))[1::width] if np.isfinite(d) and d < 1e6]
        name = racer.method.label.replace(", momentum {}", "+m").replace(", eta {}", "")
        lines.append(figures.Line(name, points, colour, dashed=racer.method is DENSE))
    return figures.Panel(case.name, "kbit sent by a worker", "|x - x*|^2", lines, log="xy")


def main(experiment):
    problem = PROBLEMS[experiment.name]
    try:
        fixed = fixed_table(experiment, problem)
        races = [(case, race(experiment, problem, case)) for case in problem.race]
    except runs.OutOfTime:
        return False
    stem = os.path.join(experiment.options.docs, experiment.name)
    os.makedirs(experiment.options.docs, exist_ok=True)
    plot = figures.Figure(problem.title, [race_panel(case, racers) for case, racers in races])
    has_figure = plot.write(os.path.join(experiment.folder, "figure"), stem)
    count = len(experiment.options.seeds) * sum(
        len(method.grid) * len(case.rates) for methods, cases in ((problem.methods, problem.fixed),
                                                                  (problem.racers, problem.race))
        for method in methods for case in cases)
    parts = [tables.set_up(experiment, "1 (8 workers; iterates do not depend on the number of ranks)",
                           "none: bits are counted", experiment.options.seeds, f"{count} of `lamina train convex`"),
             f"`--problem {problem.kind} --dtype f64 --compress {problem.compress}`, dense for the first row; the seed "
             "makes the data and the noise. Distances are |x - x\\*|².",
             "## Where they end\n\nMean over the last tenth of the steps, range over seeds. Steps: " +
             ", ".join(f"{case.name}: {case.steps}" for case in problem.fixed) + ".\n\n" + fixed,
             "## Bits to a target\n\nEach method at the best lr and parameter of a grid; *of econtrol's*: relative to "
             "the best of its rows.\n\n" + "\n\n".join(race_table(case, racers) for case, racers in races)]
    if has_figure:
        parts.append(tables.figure(experiment.name, "Distance to the optimum over bits, each method at its best "
                                   "setting, first seed; +m: with momentum"))
    tables.write(experiment, problem.title, parts)
    return True
