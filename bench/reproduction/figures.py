"""Figures by gnuplot: the same plot as SVG and as PNG, from a script and a data file that are kept.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import subprocess

# From P. Tol's palette "bright", which people who see colours differently tell apart, too.
COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777", "#000000"]
LIMIT_BYTES = 200 * 1024
TERMINALS = {"svg": 'svg size 760,{height} dynamic enhanced font "sans,13" background "white"',
             "png": 'pngcairo size 760,{height} enhanced font "sans,11"'}


class Figure:
    """Panels side by side, each with lines or points of (x, y)."""

    def __init__(self, title, panels, legend="outside bottom center horizontal"):
        self.title = title
        self.panels = panels
        self.legend = legend

    def write(self, work, target):
        """work: stem of the files to plot from; target: stem of the figures. False without gnuplot."""
        if shutil.which("gnuplot") is None:
            print("bench/reproduce: no gnuplot, no figures: install gnuplot-nox")
            return False
        with open(work + ".dat", "w", encoding="ascii") as file:
            for panel in self.panels:
                for line in panel.lines:
                    file.write("".join(f"{x:.6g} {y:.6g}\n" for x, y in line.points) or "nan nan\n")
                    file.write("\n\n")
        for kind, terminal in TERMINALS.items():
            path = f"{target}.{kind}"
            script = self.script(work + ".dat", path, terminal)
            with open(f"{work}.{kind}.gp", "w", encoding="utf-8") as file:
                file.write(script)
            subprocess.run(["gnuplot", f"{work}.{kind}.gp"], check=True)
            if os.path.getsize(path) > LIMIT_BYTES:
                raise SystemExit(f"bench/reproduce: '{path}' is larger than {LIMIT_BYTES} bytes: plot "
                                 "fewer points")
        return True

    def script(self, data, path, terminal):
        rows = (len(self.panels) + 1) // 2
        columns = min(2, len(self.panels))
        words = [f"set terminal {terminal.format(height=100 + 330 * rows)}", f"set output '{path}'",
                 "set border 3", "set tics nomirror", "set grid lc rgb '#dddddd'",
                 f"set key {self.legend} maxcols 4 samplen 2",
                 f"set multiplot layout {rows},{columns} title \"{self.title}\" font ',15'"]
        index = 0
        for panel in self.panels:
            words += panel.settings()
            plots = []
            for line in panel.lines:
                plots.append(f"'{data}' index {index} using 1:2 {line.style()} title \"{plain(line.name)}\"")
                index += 1
            words.append("plot " + ", \\\n  ".join(plots))
        return "\n".join(words + ["unset multiplot", ""])


def plain(text):
    """Text that gnuplot must not take for markup."""
    return text.replace("_", "\\\\_")


class Panel:
    def __init__(self, title, x, y, lines, log="", y_range=None):
        self.title, self.x, self.y, self.lines = title, x, y, lines
        self.log, self.y_range = log, y_range

    def settings(self):
        low, high = self.y_range if self.y_range else ("*", "*")
        return [f'set title "{self.title}"', f'set xlabel "{self.x}"', f'set ylabel "{self.y}"',
                "unset logscale", *[f"set logscale {axis}" for axis in self.log],
                *[f'set format {axis} "{"10^{%T}" if axis in self.log else "%g"}"' for axis in "xy"],
                f"set yrange [{low}:{high}]"]


class Line:
    """points: (x, y) in order. colour: place in COLOURS. marks: points instead of a line."""

    def __init__(self, name, points, colour, marks=False, dashed=False):
        self.name, self.colour, self.marks, self.dashed = name, colour, marks, dashed
        self.points = list(points)

    def style(self):
        colour = COLOURS[self.colour % len(COLOURS)]
        if self.marks:
            return f"with points pt {5 + 2 * (self.colour % 5)} ps 1.1 lc rgb '{colour}'"
        return f"with lines lw 2 {'dt 2 ' if self.dashed else ''}lc rgb '{colour}'"
