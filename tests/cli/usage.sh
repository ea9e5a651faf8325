#!/bin/sh
# Help, version, and every kind of wrong usage: exit code 2 and one message that helps.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

check "--version and --help, alone and on ranks"
expect 0 "$LAMINA" --version
grep -q '^lamina [0-9]' out.txt || fail "no version"
expect 0 "$LAMINA" --help
for command in "data import idx" "data import cifar" "data import libsvm" "data import numpy" \
    "data import csv" "data import text" "train vision" "train text" eval generate allocate inspect; do
    grep -q "lamina $command" out.txt || fail "--help does not list '$command'"
done
for command in "data import idx" "data import cifar" "data import libsvm" "data import numpy" \
    "data import csv" "data import text" "train vision" "train text" eval generate allocate inspect; do
    # shellcheck disable=SC2086 # the command is several words
    expect 0 "$LAMINA" $command --help
    grep -q "^Usage: lamina $command" out.txt || fail "no usage of '$command'"
    grep -q -e '--help' out.txt || fail "--help of '$command' lists no options"
done
expect 0 ranks 2 "$LAMINA" train vision --help
[ "$(grep -c '^Usage' out.txt)" -eq 1 ] || fail "more than one rank printed --help"

check "every option of train vision stands in --help"
expect 0 "$LAMINA" train vision --help
for option in data model epochs steps max-time batch optimizer lr schedule compress feedback allocate collective \
    hierarchy dense-below split seed out checkpoint-dir checkpoint-every checkpoint-async keep resume evaluate-every verify-every threads bucket quiet \
    nonfinite trace trace-step; do
    grep -q -e "--$option" out.txt || fail "--$option is not in --help"
done

check "unknown commands and options name the nearest known one"
refused 2 "'train'" "$LAMINA" tran
refused 2 "'vision'" "$LAMINA" train visoin
refused 2 "missing" "$LAMINA"
refused 2 "'--batch'" "$LAMINA" train vision --bacth 3
refused 2 "'--json'" "$LAMINA" inspect --jason file.h5
refused_by_ranks 2 "'--batch'" "$LAMINA" train vision --bacth 3

check "values that are missing, no numbers, or out of range"
refused 2 "--data" "$LAMINA" train vision
refused 2 "--batch" "$LAMINA" train vision --data x.h5 --batch
refused 2 "--batch" "$LAMINA" train vision --data x.h5 --batch many
refused 2 "--batch" "$LAMINA" train vision --data x.h5 --batch 0
refused 2 "--lr" "$LAMINA" train vision --data x.h5 --lr nan
refused 2 "--threads" "$LAMINA" train vision --data x.h5 --threads some
refused 2 "--checkpoint-every" "$LAMINA" train vision --data x.h5 --checkpoint-dir d --checkpoint-every 5x
refused 2 "--checkpoint-dir" "$LAMINA" train vision --data x.h5 --checkpoint-every 5
refused 2 "--checkpoint-dir" "$LAMINA" train vision --data x.h5 --checkpoint-async
refused 2 "--checkpoint-dir" "$LAMINA" train vision --data x.h5 --resume
refused 2 "one word too many" "$LAMINA" train vision --data x.h5 stray
refused 2 "FILE" "$LAMINA" inspect

check "the environment is checked like the command line, and yields to it"
refused 2 "LAMINA_BATCH" env LAMINA_BATCH=some "$LAMINA" train vision --data x.h5
refused 1 "y.h5" env LAMINA_DATA=y.h5 "$LAMINA" train vision
refused 1 "x.h5" env LAMINA_DATA=y.h5 "$LAMINA" train vision --data x.h5

check "specs: unknown names and keys, densities that are none"
make_dataset tiny 64 32 28
for spec in "--compress topk:dense=1" "--compress tpok" "--feedback econtrol:eta=-1" \
    "--split lable" "--split dirichlet:alpha=0" "--split iid:alpha=1" "--feedback ef12" "--allocate lgreco:alfa=1" "--hierarchy tree" "--collective megre" \
    "--optimizer sgd:momentum=x" "--schedule cosin" "--model cnm"; do
    # shellcheck disable=SC2086 # an option and its value
    refused 2 . "$LAMINA" train vision --data tiny.h5 --steps 1 --batch 8 $spec
done
for density in 0 2; do
    refused_by_ranks 2 density "$LAMINA" train vision --data tiny.h5 --compress "topk:density=$density"
done

echo "passed"
