#!/bin/sh
# SIGKILL at random moments on three hosts, five times; tests/cluster/kill_randomly does more by hand.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cluster/common.sh"
. "$SOURCE_DIR/tests/cluster/training.sh"

lab_up 3 none # or the end of the test, skipped
lab_network any
"$LAB" down
make_data tiny 4000 100 28
"$SOURCE_DIR/tests/cluster/kill_randomly" --lamina "$LAMINA" --data tiny.h5 --kills 5 \
    --seed "${LAMINA_TEST_SEED:-$(date +%s)}"
