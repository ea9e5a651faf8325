"""Runs of the program: started once, kept, and read.

A run is a command and its run.h5. Beside it a small JSON file says with which command the file was
made and how it ended, so that an experiment that was interrupted goes on where it was, and a run
whose command changed is made anew.

SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import time

import h5py
import numpy as np


class OutOfTime(Exception):
    """No further run may begin."""


class Experiment:
    """What all experiments share: where the program is, where files go, how long it may take."""

    def __init__(self, name, options):
        self.name = name
        self.options = options
        self.folder = os.path.join(options.out, name)
        self.lamina = os.path.join(options.build, "bin", "lamina")
        self.deadline = time.monotonic() + options.limit if options.limit > 0 else float("inf")
        self.made = 0
        os.makedirs(self.folder, exist_ok=True)

    @property
    def command(self):
        """What a reader types to get the same."""
        given = self.options
        words = ["bench/reproduce", self.name, "--seeds", ",".join(str(seed) for seed in given.seeds)]
        if self.name == "elastic":
            words += ["--scale", given.scale]
        if self.name.startswith("lgreco"):
            words += ["--scale", given.scale, "--ranks", str(given.ranks), "--families", ",".join(given.families)]
        if self.name == "step-time":
            words += ["--families", ",".join(given.families), "--rates", ",".join(given.rates), "--models",
                      ",".join(given.models)]
        return " ".join(words)

    def find(self, name, words, ranks):
        """The path of the run NAME of the program's WORDS, or None when it is to be made."""
        note = os.path.join(self.folder, name + ".json")
        if not os.path.exists(note):
            return None
        with open(note, encoding="utf-8") as file:
            is_same = json.load(file)["identity"] == identity_of(words, ranks)
        return os.path.join(self.folder, name + ".h5") if is_same else None

    def run(self, name, words, ranks, may_fail=False, launcher=None):
        """Make the run NAME unless it is there; the path of its run.h5.

        With may_fail a run that diverged is a result like any other: see failure_of. launcher: words
        before the program's own, in place of mpirun's.
        """
        path = self.find(name, words, ranks)
        if path is not None:
            return path
        path = os.path.join(self.folder, name + ".h5")
        note = os.path.join(self.folder, name + ".json")
        if time.monotonic() >= self.deadline:
            raise OutOfTime
        begin = time.monotonic()
        if launcher is None:
            mpirun = os.environ.get("MPIRUN", "mpirun").split()
            launcher = [] if ranks == 1 else [*mpirun, "-np", str(ranks)]
        done = subprocess.run([*launcher, self.lamina, *words, "--out", path],
                              env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, check=False, text=True)
        seconds = time.monotonic() - begin
        if done.returncode != 0 and not (may_fail and done.returncode == 1 and os.path.exists(path)):
            sys.stderr.write(done.stderr)
            raise SystemExit(f"bench/reproduce: `lamina {' '.join(words)}` failed; its message stands above")
        failure = done.stderr.strip().splitlines()[-1] if done.returncode != 0 else ""
        with open(note, "w", encoding="utf-8") as file:
            json.dump({"identity": identity_of(words, ranks), "words": words, "ranks": ranks, "seconds": seconds,
                       "failure": failure}, file, indent=1)
        self.made += 1
        print(f"{name}: {seconds:.1f} s{' ' + failure if failure else ''}", flush=True)
        return path


def identity_of(words, ranks):
    return hashlib.sha256(json.dumps([words, ranks]).encode()).hexdigest()


def environment():
    """One thread for each rank, and MPI that works in containers and as root."""
    found = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                 OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    found.setdefault("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
    return found


def offered(lamina, command, option):
    """The methods that --help lists for an option, with the keys of each."""
    done = subprocess.run([lamina, *command, "--help"], stdout=subprocess.PIPE, text=True, check=True,
                          env=environment())
    block = re.search(rf"^--{option} SPEC is one of\n((?:  .*\n?)*)", done.stdout, re.MULTILINE)
    methods = {}
    for line in block.group(1).splitlines() if block else []:
        word = line.split()[0]
        if line.startswith("    "):
            methods[list(methods)[-1]].append(word)
        else:
            methods[word] = []
    return methods


def failure_of(path):
    with open(path[:-len(".h5")] + ".json", encoding="utf-8") as file:
        return json.load(file)["failure"]


def seconds_of(path):
    """Of the whole run, as it was measured from outside."""
    with open(path[:-len(".h5")] + ".json", encoding="utf-8") as file:
        return json.load(file)["seconds"]


def read(path, *arrays):
    """Arrays of a run.h5, each whole."""
    with h5py.File(path) as run:
        found = [np.asarray(run[array]) for array in arrays]
    return found[0] if len(found) == 1 else found


def attributes(path, group):
    with h5py.File(path) as run:
        return {key: value.decode() if isinstance(value, bytes) else value
                for key, value in run[group].attrs.items()}


def machine_text():
    """Processor, cores and memory, without names of hosts."""
    model, memory = "unknown processor", 0.0
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = float(file.readline().split()[1]) / 2**20
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB of memory"
