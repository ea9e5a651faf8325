# What the tests that train on the hosts of a lab share. To be sourced after common.sh, with LAMINA set,
# too.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
if [ -z "${LAMINA:-}" ]; then
    echo "skipped: the program lamina is not built"
    exit 77
fi
export LAMINA

# make_data NAME TRAIN TEST SIDE: NAME.h5, images cut from Fashion-MNIST
make_data() (
    # shellcheck disable=SC2034 # wanted by what is sourced
    MPIRUN=none
    folder=$WORK
    WORK=$WORK/data
    . "$SOURCE_DIR/tests/cli/support/common.sh"
    make_dataset "$@"
    mv "$1.h5" "$folder/"
)

# hash_of FILE: of the parameters, as the run that wrote the results says
hash_of() {
    "$LAMINA" inspect --json "$1" |
        "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["param_hash"])'
}

# ranks_with NAME=VALUE...: processes of this lab's ranks that have any of these in their environment
ranks_with() {
    "$PYTHON" - "$LAMINA_LAB_STATE" "$@" <<'EOF'
import json, pathlib, sys
lab = json.loads((pathlib.Path(sys.argv[1]) / "lab.json").read_text())["id"]
mark, wanted = f"LAMINA_LAB_ID={lab}".encode(), {word.encode() for word in sys.argv[2:]}
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        environment = set((process / "environ").read_bytes().split(b"\0"))
        if ((process / "comm").read_text() == "lamina\n" and mark in environment
                and wanted & environment):
            print(process.name)
    except OSError:
        pass  # it has ended
EOF
}

# wait_until SECONDS COMMAND...: until it succeeds
wait_until() {
    end=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt $end ] || fail "not within the time: $*"
        sleep 0.01
    done
}
