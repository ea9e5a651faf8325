"""Pages of docs/results: what was run, where, and what came out.

SPDX-License-Identifier: Apache-2.0
"""
import math
import os

from . import runs


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" for _ in head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def figure(stem, words):
    return f"![{words}]({stem}.svg)\n\n({words}. Also as [PNG]({stem}.png).)"


def mean(values):
    return sum(values) / len(values)


def spread(values):
    """Standard deviation of a sample; 0 of one value."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))


def short(value):
    """3 digits, as people write them."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "diverged"
    if value == 0:
        return "0"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def megabytes(count):
    return f"{count / 1e6:.3g} MB" if count < 1e9 else f"{count / 1e9:.3g} GB"


def set_up(experiment, ranks, link, seeds, runs_made):
    """The paragraph that every page begins with."""
    lines = [("Command", f"`{experiment.command}`"), ("Machine", runs.machine_text()), ("Ranks", ranks),
             ("Link", link), ("Seeds", ", ".join(str(seed) for seed in seeds)), ("Runs", runs_made)]
    return "\n".join(f"- {name}: {words}" for name, words in lines)


def write(experiment, title, parts):
    """docs/results/<experiment>.md. What people wrote under `## Notes` stays."""
    path = os.path.join(experiment.options.docs, experiment.name + ".md")
    notes = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = file.read()
        place = before.find("\n## Notes\n")
        notes = before[place:] if place >= 0 else ""
    os.makedirs(experiment.options.docs, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"# {title}\n\nWritten by bench/reproduce, but for the notes at the end.\n\n")
        file.write("\n\n".join(parts) + "\n" + notes)
    print(f"{path} is written")
