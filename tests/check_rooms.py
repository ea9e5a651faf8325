#!/usr/bin/env python3
# The include rules of the rooms, checked on the sources.
#
# Every file of src/, apps/ and include/lamina/ belongs to a room, and so does every public header;
# a room may include its own files, the public headers of the rooms in its row of MAY_INCLUDE, and the
# outside libraries of its row of MAY_USE. The library names nothing that only one MPI has. `check_rooms.py ROOT` checks a tree, `--self-test` checks
# that offences are found.
#
# SPDX-License-Identifier: Apache-2.0
import pathlib
import re
import sys

HEADER_ROOM = {
    "base": "status dtype memory random log spec hash clock partition version reduction",
    "comm": "world collective tuning node link watch",
    "compute": "graph ops plan",
    "models": "model",
    "algos/compress": "compressor sparse",
    "algos/feedback": "feedback",
    "algos/allocate": "allocator timeplan",
    "algos/optim": "optimizer schedule",
    "algos/loss": "loss",
    "io": "dataset costs results checkpoint import inspect vocabulary augment trace problem shard sweep weights",
    "train": "reducer trainer evaluator task parameters generator convex predict",
    "all": "lamina",
}
ROOM_OF_HEADER = {name: room for room, names in HEADER_ROOM.items() for name in names.split()}

EVERY_ROOM = [room for room in HEADER_ROOM if room != "all"]
MAY_INCLUDE = {
    "base": ["base"],
    "comm": ["base", "comm"],
    "compute": ["base", "compute"],
    "models": ["base", "compute", "models"],
    "algos": ["base"],  # what all methods share
    "algos/compress": ["base", "algos/compress"],
    "algos/feedback": ["base", "algos/feedback"],
    "algos/allocate": ["base", "algos/allocate"],
    "algos/optim": ["base", "algos/optim"],
    "algos/loss": ["base", "compute", "algos/loss"],
    "io": ["base", "comm", "io"],
    "train": EVERY_ROOM,
    "apps": EVERY_ROOM + ["all"],
    "all": EVERY_ROOM,
}
# Outside libraries that not everyone may use: the header's first letters, and the rooms that may.
MAY_USE = {
    "mpi": ["comm", "io", "train", "apps"],
    "hdf5": ["io"],
    "H5": ["io"],
    "hwloc": ["comm"],
    "cblas": ["compute"],
    "dnnl": ["compute"],
    "omp": ["compute"],
    "xxhash": ["base", "io"],
    "zlib": ["io"],
    "jansson": ["apps"],
}
# What one MPI has and others have not: its extensions, and the variables that it and its launcher set.
ONE_MPI = re.compile(r"\b(?:MPIX?_Ext|MPIX_|MPICH|OMPI_|OPAL_|PMIX?_|I_MPI_|MV2_)\w*|mpi-ext\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path):
    """The room of a path relative to the root, or None when it has none."""
    if path.parts[:2] == ("include", "lamina"):
        return ROOM_OF_HEADER.get(path.stem)
    if path.parts[0] == "apps":
        return "apps"
    folders = path.parts[1:-1]
    room = "/".join(folders[: 2 if folders[:1] == ("algos",) else 1])
    return room if room in MAY_INCLUDE else None


def outside_offence(room, path, name):
    for start, rooms in MAY_USE.items():
        if name.startswith(start) and room not in rooms:
            return f"<{name}> belongs to {', '.join(rooms)}, not to {room}"
    if "cblas" in name and room == "compute" and "kernels" not in path.parts:
        return "<cblas.h> belongs to compute/kernels"
    return None


def local_offence(room, path, name, root):
    """A quoted local include must be found beside the file, in its room, or in the room above."""
    folder = "apps" if room == "apps" else f"src/{room}"
    places = [(root / path).parent, root / folder, (root / folder).parent]
    targets = [place / name for place in places if (place / name).exists()]
    if not targets:
        return f'"{name}" is neither beside the file nor in {folder}'
    found = targets[0].resolve().relative_to(root.resolve())
    if room_of(found) not in (room, room.rpartition("/")[0]):
        return f'"{name}" is inside another room: include only its public headers'
    return None


def public_offence(room, name):
    header = pathlib.PurePath(name).stem
    other = ROOM_OF_HEADER.get(header)
    if other is None:
        return f'"{name}" has no room: add it to HEADER_ROOM'
    if other not in MAY_INCLUDE[room]:
        return f'{room} may not include "{name}", which belongs to {other}'
    return None


def offences_of(path, root):
    room = room_of(path)
    if room is None:
        yield f"{path}: no room is known for this file"
        return
    for number, line in enumerate((root / path).read_text().splitlines(), 1):
        found = ONE_MPI.search(line)
        if found and room != "apps":
            yield f"{path}:{number}: '{found[0]}' is of one MPI only"
        match = INCLUDE.match(line)
        if match is None:
            continue
        quote, name = match.groups()
        if name.startswith("lamina/"):
            offence = public_offence(room, name)
            if quote == "<":
                offence = f'write "{name}" with quotes'
        elif quote == "<":
            offence = outside_offence(room, path, name)
        else:
            offence = local_offence(room, path, name, root)
        if offence is not None:
            yield f"{path}:{number}: {offence}"


def check(root):
    files = [file.relative_to(root) for folder in ("src", "apps", "include")
             for file in sorted((root / folder).rglob("*.[ch]"))]
    return len(files), [offence for file in files for offence in offences_of(file, root)]


def self_test():
    """Every kind of offence must be found in a tree made for it, and a lawful tree must pass."""
    import tempfile
    lawful = {
        "include/lamina/status.h": "", "include/lamina/world.h": '#include "lamina/status.h"',
        "src/base/status.c": '#include "lamina/status.h"\n#include "base_internal.h"\n',
        "src/base/base_internal.h": "#include <stddef.h>",
        "src/comm/world.c": '#include "lamina/world.h"\n#include <mpi.h>\n',
        "src/compute/kernels/gemm.c": "#include <cblas.h>",
        "src/algos/algos_internal.h": '#include "lamina/status.h"',
        "src/algos/compress/topk.c": '#include "algos_internal.h"',
        "apps/main.c": '#include "lamina/lamina.h"\n#include "app.h"\n', "apps/app.h": "",
        "apps/console.c": 'const char *rank = getenv("PMI_RANK");',
    }
    offending = {
        "src/base/bad.c": '#include "lamina/world.h"',
        "src/compute/bad.c": "#include <mpi.h>",
        "src/compute/worse.c": "#include <cblas.h>",
        "src/algos/compress/bad.c": '#include "lamina/graph.h"',
        "src/algos/feedback/bad.c": '#include "lamina/compressor.h"',
        "src/algos/bad.c": '#include "lamina/world.h"',
        "src/algos/optim/bad.c": '#include "../compress/topk.c"',
        "src/train/bad.c": "#include <hdf5.h>",
        "src/io/bad.c": '#include "../base/base_internal.h"',
        "src/io/lost.c": '#include "nowhere.h"',
        "src/io/new.c": '#include "lamina/unheard.h"',
        "src/io/quote.c": "#include <lamina/status.h>",
        "apps/bad.c": '#include "../src/base/base_internal.h"',
        "src/cellar/bad.c": "",
        "include/lamina/random.h": '#include "lamina/world.h"',
        "src/comm/extension.c": "#include <mpi-ext.h>",
        "src/comm/rank.c": 'int rank = atoi(getenv("OMPI_COMM_WORLD_RANK"));',
        "src/train/revoke.c": "MPIX_Comm_revoke(comm);",
    }
    for name, text in [(None, None), *offending.items()]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, content in [*lawful.items(), *([(name, text)] if name else [])]:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content)
            _, offences = check(root)
            if len(offences) != (1 if name else 0):
                sys.exit(f"self-test: {name or 'the lawful tree'} gives {offences}")
    print(f"{len(offending)} kinds of offence are found")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    n_files, offences = check(pathlib.Path(sys.argv[1]))
    for offence in offences:
        print(offence, file=sys.stderr)
    if offences or n_files == 0:
        sys.exit(f"{len(offences)} offences in {n_files} files")
    print(f"{n_files} files keep the rules of the rooms")


if __name__ == "__main__":
    main()
