"""What does keeping features in a file cost, for each way of keeping them?

Written, found again, read from end to end, and read in random batches of 32 rows as
training does, everything checked. Compared with a plain `.npy` and a memory map, which
check nothing, with HDF5 and its checksums (`fletcher32`, a chunk each row), and with
another version of `kerastl/features/store.py`, if one is named.

    python benchmarks/store.py
    git show COMMIT:kerastl/features/store.py > other.py
    python benchmarks/store.py --other other.py
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.features.store import DiskCache

BLOCK, BATCH = 64, 32


def in_cache(kind: Any, folder: Path, array: np.ndarray) -> Callable[[], Any]:
    """Write with a `DiskCache`, ours or another version's; returns how to open."""
    blocks = np.array_split(array, max(1, len(array) // BLOCK))
    kind(folder).store("a", array.shape, array.dtype.name, blocks).close()
    return lambda: kind(folder).find("a").rows


def in_npy(folder: Path, array: np.ndarray) -> Callable[[], Any]:
    """Write a `.npy`; it is read through a memory map, and nothing is checked."""
    path = folder / "a.npy"
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    return lambda: lambda rows: np.array(np.load(path, mmap_mode="r")[rows])


def in_hdf5(folder: Path, array: np.ndarray) -> Callable[[], Any]:
    """Write HDF5 with a checksum for each chunk, one row a chunk."""
    import h5py

    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        shape = (1, *array.shape[1:])
        file.create_dataset("a", data=array, chunks=shape, fletcher32=True)
    with path.open("rb") as file:
        os.fsync(file.fileno())

    def rows(indices: np.ndarray) -> np.ndarray:
        # HDF5 wants them ascending and each once.
        places, back = np.unique(indices, return_inverse=True)
        return rows.data[places][back]

    def open_file() -> Callable[[np.ndarray], np.ndarray]:
        rows.data = h5py.File(path)["a"]
        # As `DiskCache.find` does: all of it read and checked once.
        for start in range(0, len(array), BLOCK):
            rows.data[start : start + BLOCK]
        return rows

    return open_file


def seconds(write: Callable[..., Any], array: np.ndarray) -> dict[str, float]:
    """Time to write, to find and check, and to read in order and at random."""
    with tempfile.TemporaryDirectory() as folder:
        marks = [time.perf_counter()]
        open_file = write(Path(folder), array)
        marks.append(time.perf_counter())
        rows = open_file()
        marks.append(time.perf_counter())
        whole = np.arange(len(array))
        for order in (whole, np.random.default_rng(0).permutation(whole)):
            for start in range(0, len(array), BATCH):
                rows(order[start : start + BATCH])
            marks.append(time.perf_counter())
    names = ("write", "find", "in_order", "at_random")
    return dict(zip(names, np.diff(marks).tolist(), strict=True))


def other_cache(path: Path) -> Any:
    """The `DiskCache` of another version's file."""
    spec = importlib.util.spec_from_file_location("other_store", path)
    module = importlib.util.module_from_spec(spec)
    # Its data classes look their module up.
    sys.modules["other_store"] = module
    spec.loader.exec_module(module)
    return module.DiskCache


def main() -> None:
    """Print a line for each way and width: medians in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--widths", type=int, nargs="+", default=[12544, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--other", type=Path)
    arguments = parser.parse_args()
    ways: dict[str, Callable[..., Any]] = {
        "kerastl": lambda *given: in_cache(DiskCache, *given),
        "npy, unchecked": in_npy,
        "hdf5": in_hdf5,
    }
    if arguments.other:
        kind = other_cache(arguments.other)
        ways["other version"] = lambda *given: in_cache(kind, *given)
    for width in arguments.widths:
        rows = arguments.megabytes * 10**6 // (4 * width)
        array = np.random.default_rng(0).random((rows, width), "float32")
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for turn in range(arguments.repeats):
            # Another one is first each time.
            for name in np.roll(list(ways), turn).tolist():
                found[name].append(seconds(ways[name], array))
        for name, runs in found.items():
            medians = {
                what: round(statistics.median(run[what] for run in runs), 3)
                for what in runs[0]
            }
            print(json.dumps({"row_bytes": 4 * width, "way": name, **medians}))


if __name__ == "__main__":
    main()
