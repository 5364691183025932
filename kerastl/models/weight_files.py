"""Reading weights files: what fits, what is loaded, and that it was loaded."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail

#: Groups of a `.weights.h5` file that are no weights of the model.
_OTHER_STATE = ("optimizer", "seed_generator", "metrics")


def load_weights_file(model: keras.Model, path: Path, *, network: str) -> None:
    """Load `.weights.h5`, `.h5` (Keras's older format) or `.npz` into a model.

    Shapes are compared before anything is loaded, so a file of another network changes
    nothing. Afterwards the model's variables equal the file's arrays.

    Args:
        model: Built model.
        path: The file. `.npz`: arrays in the order of `model.get_weights()`.
        network: The network's name, for messages.

    Raises:
        ValueError: If the file cannot be read or belongs to another network.
    """
    npz = path.suffix == ".npz"
    try:
        with _open(path) as file:
            shapes, digests = _survey(file)
            difference = _difference(model, shapes)
            if npz and not difference:
                model.set_weights(list(_arrays(file)))
        if not npz and not difference:
            model.load_weights(path)
    # h5py, zipfile, NumPy and Keras each have their own words for an unreadable file.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        difference = " ".join(str(error).split())[:200]
    else:
        if not difference and _digests(model.get_weights()) != digests:
            difference = "The variables differ from the file's arrays after loading"
    if difference:
        expected = f"a readable weights file of {network} without its top"
        fail("weights", expected, str(path), f"{difference.rstrip('.')}.")


def _open(path: Path) -> Any:
    """The file as a context manager."""
    if path.suffix == ".npz":
        # NumPy would take any other file for a pickle, and say so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("It is no .npz archive")
        return np.load(path, allow_pickle=False)
    import h5py

    return h5py.File(path, "r")


def _arrays(file: Any) -> Iterator[np.ndarray]:
    """The model's arrays in a weights file, without optimizer and random states."""
    if isinstance(file, np.lib.npyio.NpzFile):
        yield from (np.asarray(file[name], "float32") for name in file.files)
        return
    for dataset in _datasets(file):
        yield np.asarray(dataset)


def _datasets(file: Any) -> list[Any]:
    """The data sets of an HDF5 weights file that hold weights of the model."""
    import h5py

    # A whole model saved in the older format keeps its weights in a group.
    root = file.get("model_weights", file)
    found: list[Any] = []

    def visit(name: str, item: Any) -> None:
        parts = name.split("/")
        skipped = any(part.startswith(_OTHER_STATE) for part in parts)
        if isinstance(item, h5py.Dataset) and not skipped:
            found.append(item)

    root.visititems(visit)
    return found


def _survey(file: Any) -> tuple[Counter, Counter]:
    """How often each shape and each array occurs in a file."""
    shapes: Counter = Counter()
    digests: Counter = Counter()
    for array in _arrays(file):
        shapes[array.shape] += 1
        digests[_digest(array)] += 1
    return shapes, digests


def _difference(model: keras.Model, shapes: Counter) -> str:
    """In what the file's shapes differ from the model's: one sentence, or nothing."""
    wanted = Counter(tuple(variable.shape) for variable in model.weights)
    if wanted == shapes:
        return ""
    if wanted.total() != shapes.total():
        return (
            f"The file has {shapes.total()} arrays, the network {wanted.total()}: "
            "it belongs to another network, or has a top"
        )
    missing = next(iter(wanted - shapes))
    surplus = next(iter(shapes - wanted))
    return (
        f"The file has an array of shape {surplus} where the network has {missing}: "
        "another network, or another width"
    )


def _digests(arrays: list[np.ndarray]) -> Counter:
    """How often each array occurs."""
    return Counter(_digest(array) for array in arrays)


def _digest(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """A short stand-in for an array's values, as float32."""
    values = np.ascontiguousarray(array, "float32")
    return array.shape, hashlib.sha256(values.tobytes()).digest()
