#!/usr/bin/python3
"""The same networks in PyTorch, to be compared with: one training step, timed.

    torch_peer.py MODEL BATCH STEPS [--threads N] [--store FILE [--hook none|fp16|powersgd:RANK]]

MODEL is mlp[:hidden=AxB], cnn, resnet20, resnet18 or gpt[:layers=,heads=,width=,context=]. Images are
random with the shape of Fashion-MNIST, tokens random with a vocabulary of 96. Stochastic gradient
descent with momentum 0.9. Prints one line of JSON like compute_step. With --store the ranks that
mpirun started train together, data-parallel over gloo, and meet in that file, which must not exist.

The networks are importable: `build(spec)` returns a module; bench/agreement uses it, and
bench/text_budget the class Transformer.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import math
import os
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE, CLASSES, VOCABULARY, WARM_UP = 28, 10, 96, 4


def parse(spec):
    """'gpt:layers=2,width=128' as ('gpt', {'layers': '2', 'width': '128'})."""
    name, _, rest = spec.partition(":")
    return name, dict(item.split("=") for item in rest.split(",") if item)


class ResidualBlock(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.is_same = stride == 1 and n_in == n_out
        if not self.is_same:
            self.conv0 = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.norm0 = nn.BatchNorm2d(n_out)

    def forward(self, x):
        shortcut = x if self.is_same else self.norm0(self.conv0(x))
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)) + shortcut)


class ResidualNetwork(nn.Module):
    def __init__(self, width, blocks, n_stages):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        stages, n_in = [], width
        for stage in range(n_stages):
            n_out = width * 2**stage
            for block in range(blocks):
                stages.append(ResidualBlock(n_in, n_out, 2 if stage > 0 and block == 0 else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*stages)
        self.dense = nn.Linear(n_in, CLASSES)

    def forward(self, x):
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return self.dense(x.mean((2, 3)))


class TransformerLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.project = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask):
        rows, places, width = x.shape
        size = width // self.heads
        parts = self.qkv(self.norm1(x)).view(rows, places, 3, self.heads, size)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(size) + mask[:places, :places]
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(rows, places, width)
        x = x + self.out(y)
        return x + self.project(F.gelu(self.expand(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, layers=4, heads=8, width=256, context=128, vocabulary=VOCABULARY):
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        mask = torch.triu(torch.full((context, context), -1e9), 1)
        self.register_buffer("mask", mask)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, self.mask)
        return self.head(self.norm(x))


def build(spec):
    name, options = parse(spec)
    if name == "mlp":
        hidden = [int(n) for n in options.get("hidden", "1024x1024").split("x")]
        sizes = [SIDE * SIDE] + hidden
        layers = [nn.Flatten()]
        for n_in, n_out in zip(sizes, hidden):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden[-1], CLASSES))
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    if name in ("resnet20", "resnet18"):
        width, blocks, stages = (16, 3, 3) if name == "resnet20" else (64, 2, 4)
        return ResidualNetwork(int(options.get("width", width)), int(options.get("blocks", blocks)),
                               stages)
    if name == "gpt":
        return Transformer(**{key: int(value) for key, value in options.items()})
    raise SystemExit(f"torch_peer: no model '{name}'")


def make_batch(model, size):
    if isinstance(model, Transformer):
        shape = (size, model.context)
        return torch.randint(0, VOCABULARY, shape), torch.randint(0, VOCABULARY, shape)
    return torch.rand(size, 1, SIDE, SIDE), torch.randint(0, CLASSES, (size,))


def parallel(model, store, hook):
    """The model in a group of all ranks, and whether this one speaks for it."""
    import torch.distributed as dist
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

    rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank,
                            world_size=int(os.environ["OMPI_COMM_WORLD_SIZE"]))
    name, _, value = hook.partition(":")
    # gloo aborts with PowerSGD over several buckets.
    model = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=1000 if name == "powersgd" else 25)
    if name == "fp16":
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif name == "powersgd":
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=int(value), start_powerSGD_iter=2)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return model, rank == 0


def main():
    arguments = argparse.ArgumentParser(description="one training step in PyTorch, timed")
    arguments.add_argument("model")
    arguments.add_argument("batch", type=int)
    arguments.add_argument("steps", type=int)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--store")
    arguments.add_argument("--hook", default="none")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = build(options.model)
    x, y = make_batch(model, options.batch)
    speaks = True
    if options.store:
        model, speaks = parallel(model, options.store, options.hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    times, loss = [], None
    for _ in range(WARM_UP + options.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=False)
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        loss.backward()
        optimizer.step()
        loss = float(loss)
        times.append(time.perf_counter() - start)
    times = sorted(times[WARM_UP:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.store:
        # A rank that ends while another still talks to it takes that one down.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if speaks:
        print(json.dumps({"model": options.model, "batch": options.batch,
                          "ms": round(1e3 * times[len(times) // 2], 3), "peak_mib": round(peak, 1),
                          "loss": loss}))


if __name__ == "__main__":
    main()
