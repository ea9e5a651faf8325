# What `lamina train convex` computes, in plain NumPy: error mechanisms on least squares and logistic
# regression, with workers that each send one message (adef: two) a step.
#
# `make` writes problems of 4 workers, least-squares.h5 and logistic.h5, and nan.h5, which is not to be
# read. `check` repeats runs with their steps and lr and compares; each line of its input names a
# problem, its file, the method, the codec, and the results of a run.
#
# SPDX-License-Identifier: Apache-2.0
import sys

import h5py
import numpy as np

WORKERS = 4
DIMENSION = 20


def make(problem, path):
    """Workers that disagree, with matrices of different heights."""
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as f:
        for i in range(WORKERS):
            rows = 25 + 5 * i
            a = rng.normal(size=(rows, DIMENSION)) * (1 + i / 2) / np.sqrt(rows)
            own = rng.normal(size=DIMENSION) * 3
            b = a @ own + 0.1 * rng.normal(size=rows)
            if problem == "logistic":
                b = np.where(b > 0.3 * i, 1.0, -1.0)
            f[f"rank_{i}/A"] = a
            f[f"rank_{i}/b"] = b
        f["x0"] = rng.normal(size=DIMENSION)


class Problem:
    def __init__(self, kind, path, lam):
        self.kind, self.lam = kind, lam
        with h5py.File(path) as f:
            self.parts = [(f[f"rank_{i}/A"][:], f[f"rank_{i}/b"][:]) for i in range(WORKERS)]
            self.x0 = f["x0"][:]

    def value(self, i, x):
        a, b = self.parts[i]
        if self.kind == "least-squares":
            loss = 0.5 * np.sum((a @ x - b) ** 2)
        else:
            loss = np.mean(np.logaddexp(0.0, -b * (a @ x)))
        return loss + self.lam / 2 * x @ x

    def gradient(self, i, x):
        a, b = self.parts[i]
        if self.kind == "least-squares":
            g = a.T @ (a @ x - b)
        else:
            g = a.T @ (-b / (1.0 + np.exp(b * (a @ x)))) / len(b)
        return g + self.lam * x

    def gradients(self, x):
        return np.array([self.gradient(i, x) for i in range(WORKERS)])


def topk(v, k=2):
    """The k entries of largest magnitude as f32, of equal ones the first."""
    v = v.astype(np.float32)
    chosen = np.argsort(-np.abs(v), kind="stable")[:k]
    out = np.zeros(len(v))
    out[chosen] = v[chosen]
    return out


def quant(v, bits=4):
    """One bucket, on a grid scaled by its largest magnitude."""
    v = v.astype(np.float32)
    s = np.float32(2 ** (bits - 1) - 1)
    m = np.abs(v).max()
    if m < 2.0 ** -100:
        return np.zeros(len(v))
    q = np.clip(np.rint(v.astype(float) * s / m), -s, s).astype(np.float32)
    return (q * (m / s)).astype(float)


def each(compress, vectors):
    return np.array([compress(v) for v in vectors])


def run_tracking(p, compress, lr, steps, eta=None, momentum=1.0, double=False):
    """ef21; with eta econtrol; with a momentum on averaged gradients. Starts at the gradient."""
    x = p.x0.copy()
    m = p.gradients(x)
    z, h = m.copy(), m.copy()
    e = np.zeros_like(h)
    for t in range(steps):
        if t > 0:
            m = (1 - momentum) * m + momentum * p.gradients(x)
            z = (1 - momentum) * z + momentum * m if double else m
            d = each(compress, z - h + (0 if eta is None else eta) * e)
            h = h + d
            e = e + z - h
        x = x - lr * h.mean(axis=0)
    return x


def run_plain(p, compress, lr, steps, feeds_back):
    x = p.x0.copy()
    e = np.zeros((WORKERS, len(x)))
    for _ in range(steps):
        v = p.gradients(x) + e
        d = each(compress, v)
        e = v - d if feeds_back else e
        x = x - lr * d.mean(axis=0)
    return x


def run_adef(p, compress, lr, steps):
    x, z, total = p.x0.copy(), p.x0.copy(), 0.0
    hh = np.zeros((WORKERS, len(x)))
    e = np.zeros_like(hh)
    for t in range(steps):
        a = lr * (t + 1) / 2
        y = (total * x + a * z) / (total + a)
        g = p.gradients(y)
        hh = hh + (g - hh if t == 0 else each(compress, g - hh))
        q = g - hh - e / a
        d = each(compress, q)
        e = a * (d - q)
        z = z - a * (hh + d).mean(axis=0)
        x = (total * x + a * z) / (total + a)
        total += a
    return x


METHODS = {
    "dense": lambda *a: run_plain(*a, feeds_back=False),
    "none": lambda *a: run_plain(*a, feeds_back=False),
    "ec": lambda *a: run_plain(*a, feeds_back=True),
    "ef21": run_tracking,
    "ef21_sgdm": lambda *a: run_tracking(*a, momentum=0.2),
    "ef21_sgdm_double": lambda *a: run_tracking(*a, momentum=0.2, double=True),
    "econtrol": lambda *a: run_tracking(*a, eta=0.1),
    "econtrol_momentum": lambda *a: run_tracking(*a, eta=0.1, momentum=0.2),
    "adef": run_adef,
}


def check(kind, path, method, codec, run):
    with h5py.File(run) as f:
        facts = f["configuration"].attrs
        lr, steps, lam = float(facts["lr"]), int(facts["steps"]), float(facts["lambda"])
        x, x0 = f["x"][:], f["x0"][:]
        objective, grad_norm = f["objective"][:], f["grad_norm"][:]
        bits = f["bits_per_rank"][:]
    p = Problem(kind, path, lam)
    compress = {"topk": topk, "quant": quant, "dense": lambda v: v}[codec]
    wanted = METHODS[method](p, compress, lr, steps)
    far = np.linalg.norm(x - wanted) / np.linalg.norm(wanted)
    assert steps == 200 and far < 1e-5, (method, codec, far)
    moved = np.linalg.norm(wanted - p.x0) / np.linalg.norm(p.x0)
    assert moved > 0.1, ("the run should move", method, moved)
    assert np.array_equal(x0, p.x0)
    assert len(objective) == steps + 1 == len(bits)
    for at, point in ((0, p.x0), (-1, x)):
        f_at = np.mean([p.value(i, point) for i in range(WORKERS)])
        g_at = np.linalg.norm(p.gradients(point).mean(axis=0))
        assert abs(objective[at] - f_at) < 1e-12 * abs(f_at), (method, at)
        assert abs(grad_norm[at] - g_at) < 1e-9 * (1 + g_at), (method, at)
    assert bits[0] == 0 and np.all(np.diff(bits) > 0)
    if codec == "dense":
        messages = 2 if method == "adef" else 1
        assert bits[-1] == messages * steps * DIMENSION * 64, bits[-1]
    elif codec == "quant":
        # 4 bytes of scale, and 20 codes of 4 bits in groups of 8.
        assert bits[-1] - bits[1] == (steps - 1) * (4 + 12) * 8, bits[-1]
    print(f"{kind} {method} {codec}: relative distance {far:.1e}")


def main():
    if sys.argv[1] == "make":
        for problem in ("least-squares", "logistic", "nan"):
            make(problem, f"{problem}.h5")
        with h5py.File("nan.h5", "a") as f:
            f["rank_3/A"][2, 3] = np.nan
        return
    for line in sys.stdin:
        if line.strip():
            check(*line.split())


main()
