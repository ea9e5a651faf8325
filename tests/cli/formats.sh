#!/bin/sh
# Other people's tools open all three kinds of file, and find units there.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

# A Python that has h5py, or nothing.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py' 2>/dev/null; then
        python=$candidate
        break
    fi
done

make_dataset data 64 20 28
expect 0 ranks 2 "$LAMINA" train vision --data data.h5 --model mlp:hidden=32 --batch 16 --steps 6 \
    --threads 1 --out run.h5 --checkpoint-dir checkpoints
checkpoint=$(newest checkpoints)

for file in data.h5 run.h5 "$checkpoint"; do
    check "h5dump and h5ls read $file"
    expect 0 h5dump -H "$file"
    expect 0 h5dump "$file"
    expect 0 h5ls -v -r "$file"
    grep -q 'units' out.txt || fail "h5ls -v shows no units in $file"
    expect 0 h5dump -a lamina_format "$file"
done

if [ -z "$python" ]; then
    echo "skipped: no Python with h5py"
    echo "passed"
    exit 0
fi

check "h5py reads data.h5"
"$python" - data.h5 <<'END'
import sys, h5py, numpy as np
with h5py.File(sys.argv[1]) as f:
    assert f.attrs["lamina_format"] in ("dataset", b"dataset"), f.attrs["lamina_format"]
    images = f["train/images"]
    assert images.shape == (64, 28, 28, 1) and images.dtype == np.uint8, images
    assert abs(float(np.ravel(images.attrs["scale"])[0]) - 1 / 255) < 1e-6
    assert "units" in images.attrs
    assert f["train/labels"].shape == (64,)
    assert len(f["classes"][:]) == 10
END

check "h5py reads run.h5: every column has a unit and as many rows as there are steps"
"$python" - run.h5 <<'END'
import sys, h5py
with h5py.File(sys.argv[1]) as f:
    steps = f["steps"]
    for name in ("step", "loss", "learning_rate", "seconds", "bytes_sent", "bytes_dense"):
        assert steps[name].shape[0] == 6, (name, steps[name].shape)
    waits = f["waits"]
    assert waits["seconds"].shape == (6, 2) and waits["seconds"].dtype == "float32"
    assert (waits["step"][:] == range(6)).all() and (waits["seconds"][:] >= 0).all()
    assert set(waits["last"][:]) <= {0, 1}
    assert f["ranks/host"].asstr()[:].tolist() == 2 * [f["summary"].attrs["late_host"]]
    assert f["ranks/last_steps"][:].sum() == 6 == f["summary"].attrs["wait_steps"]
    waited = waits["seconds"][:].sum()
    assert abs(waited - f["summary"].attrs["wait_seconds"]) < 1e-5, waited
    for group in ("steps", "evaluations", "levels", "waits"):
        for name, column in f[group].items():
            assert "units" in column.attrs, (group, name)
    assert steps["bytes_sent"].attrs["units"] in ("byte", b"byte")
    assert steps["seconds"].attrs["units"] in ("s", b"s")
    assert f["configuration"].attrs["seed"] == 1
    assert f["summary"].attrs["steps"] == 6
END

check "h5py reads the checkpoint"
"$python" - "$checkpoint" <<'END'
import sys, h5py, numpy as np
with h5py.File(sys.argv[1]) as f:
    assert f.attrs["step"] == 6 and f.attrs["ranks"] == 2
    parameters = []
    f["parameters"].visititems(
        lambda name, item: parameters.append(item) if isinstance(item, h5py.Dataset) else None)
    assert sum(p.size for p in parameters) == 784 * 32 + 32 + 32 * 10 + 10
    assert all(np.isfinite(p[...]).all() for p in parameters)
    assert all("units" in p.attrs for p in parameters)
END

echo "passed"
