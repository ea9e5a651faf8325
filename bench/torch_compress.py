#!/usr/bin/python3
"""What PyTorch's own compression costs on one core: torch.topk, and its PowerSGD hook for DDP.

    torch_compress.py ELEMENTS

Prints JSON lines in the form of bench/compress. The hook runs in a group of one process, so nothing
travels; its time is that of a backward pass with the hook less that of one with a hook that returns
the bucket as it is.

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

REPEATS = 7
RANK = 4


def median_seconds(step):
    step()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(family, level, elements, feedback, seconds, size):
    print(json.dumps({"family": family, "level": level, "elements": elements, "feedback": feedback,
                      "encode_gelem_s": round(1e-9 * elements / seconds, 4), "decode_gelem_s": None,
                      "triad_fraction": None, "bytes_per_element": round(size, 5)}), flush=True)


def measure_topk(elements):
    vector = torch.randn(elements)
    kept = max(1, elements // 100)

    def select():
        _, indices = torch.topk(vector.abs(), kept, sorted=False)
        return vector[indices]

    row("torch.topk", "density=0.01", elements, "none", median_seconds(select), 12 * kept / elements)


def keep(_, bucket):
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def backward_seconds(side, state, hook):
    model = torch.nn.Linear(side, side, bias=False)
    parallel = torch.nn.parallel.DistributedDataParallel(model, bucket_cap_mb=4096)
    parallel.register_comm_hook(state, hook)
    ones = torch.ones(1, side)
    return median_seconds(lambda: parallel(ones).sum().backward())


def measure_powersgd(elements):
    side = int(elements ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=0, world_size=1)
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=RANK, start_powerSGD_iter=2,
                                            min_compression_rate=1)
        seconds = backward_seconds(side, state, powerSGD_hook.powerSGD_hook) - backward_seconds(side, None, keep)
        dist.destroy_process_group()
    row("torch PowerSGD hook", f"rank={RANK}", side * side, "ec", max(seconds, 1e-9), 8 * RANK / side)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    elements = int(float(sys.argv[1]))
    measure_topk(elements)
    if elements >= 1_000_000:
        measure_powersgd(elements)


if __name__ == "__main__":
    main()
