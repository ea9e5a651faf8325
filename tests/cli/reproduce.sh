#!/bin/sh
# bench/reproduce: what it may choose from, and that a run that is there is not made again.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

check "experiments are told by --help, and an unknown one is refused"
"$PYTHON" "$SOURCE_DIR/bench/reproduce" --help >out.txt || fail "--help failed"
for experiment in econtrol-least-squares econtrol-logistic lgreco-cnn lgreco-resnet20 lgreco-gpt step-time; do
    grep -q "$experiment" out.txt || fail "--help does not name $experiment"
done
! "$PYTHON" "$SOURCE_DIR/bench/reproduce" lgreco-cnm 2>err.txt || fail "an unknown experiment was taken"

check "every setting is one that the program knows; runs are kept, and made anew when their command changes"
cat >check.py <<'END'
import os, sys, types
sys.path.insert(0, os.path.join(os.environ["SOURCE_DIR"], "bench"))
sys.dont_write_bytecode = True
from reproduction import convex, lgreco, runs, step_time, tables

lamina = os.environ["LAMINA"]
options = types.SimpleNamespace(out="out", build=os.path.dirname(os.path.dirname(lamina)), limit=0, scale="quick",
                                seeds=[1], ranks=2, families=["topk", "quant", "lowrank"], docs="docs")
experiment = runs.Experiment("econtrol-least-squares", options)
experiment.lamina = lamina
rows, left_out = lgreco.settings(experiment, ["train", "vision"])
assert not left_out, left_out
assert ("uniform", "topk", "topk:density=0.01", "ec", "uniform") in rows
assert {row[1] for row in rows} == {"dense", "topk", "quant", "lowrank"}

problem = convex.SQUARES
case = convex.Case("small", "n=4,d=20,zeta=10", 400, [0.01])
for label, method, spec in convex.rows_of(problem):
    convex.make_run(experiment, problem, case, method, spec, 0.01, 1)
made = experiment.made
assert made == len(convex.rows_of(problem)), made
find = lambda spec, seed=1: convex.make_run(experiment, problem, case, convex.Method("", spec), spec, 0.01, seed)
ec, econtrol = convex.Curve(find("ec")), convex.Curve(find("econtrol:eta=0.1"))
assert experiment.made == made, "runs were made again"
find("ec", 2)
assert experiment.made == made + 1, "a run with another command was not made"
assert econtrol.floor() < 1e-3 * ec.floor(), (econtrol.floor(), ec.floor())
assert econtrol.bits_to(1e-2) < float("inf") and ec.bits_to(1e-12) == float("inf")

# A run that diverges is a result.
path = experiment.run("diverged", ["train", "convex", "--problem", "least-squares", "--data",
                                   "synthetic:n=4,d=20", "--lr", "1e3", "--steps", "4000", "--optimum", "--quiet"],
                      1, may_fail=True)
assert convex.Curve(path).floor() == float("inf") and runs.failure_of(path)
assert tables.spread([1.0, 2.0, 3.0]) == 1.0 and tables.short(1234567.0) == "1.2e6"
END
SOURCE_DIR="$SOURCE_DIR" LAMINA="$LAMINA" "$PYTHON" check.py >out.txt || fail "see above"

echo "passed"
