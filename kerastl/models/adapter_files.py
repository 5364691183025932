"""Adapters and head in a file of their own, a small part of the network's size."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._files import whole_file
from kerastl.models.adapters import (
    backbone_layers,
    distinct_leaves,
    forget_traces,
    matrix_parts,
)
from kerastl.models.freezing import head_layers, leaf_layers, unfreeze
from kerastl.models.layers import is_noise
from kerastl.models.lora_layers import (
    adapted_parts,
    base_weight,
    enable,
    factors,
    is_adapter,
    obstacle,
)
from kerastl.models.manifest import (
    find_manifest,
    find_preprocessing,
    set_temperature,
)

_SUFFIX = ".npz"
_FORMAT = 1
_RECORD = "record"


@dataclass(frozen=True)
class _Adapter:
    """One layer's adapter as it is in a file, by the layer's place in the backbone."""

    place: int
    layer: str
    rank: int
    alpha: float


def save_adapters(
    model: keras.Model, path: str | Path, *, overwrite: bool = True
) -> None:
    """Write adapters and head to a file, whole or not at all.

    The backbone's own weights are left out: `load_adapters` wants a model with the
    very same. So train nothing but adapters and head: what else has moved is lost,
    and the file fits no model but this one.

    Nor does the file fit a freshly built model when `model` comes from
    `keras.models.load_model`: Keras stores a kernel with its adapter folded in, and
    begins a new adapter of zeros on it. Write the file before `model.save`.

    Args:
        model: A model with adapters from `add_lora`.
        path: File name ending in `.npz`; its folder must exist.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ValueError: If the model has no adapters, the name does not end in `.npz`, or
            the file exists and may not be replaced.
        FileNotFoundError: If the folder does not exist.
        OSError: If the file cannot be written, for example on a full disk.

    Example:
        >>> import pathlib, tempfile, kerastl
        >>> from kerastl.models.adapters import add_lora
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = add_lora(model, rank=4)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "pets.npz"
        >>> save_adapters(model, path)
    """
    if not any(adapted_parts(leaf_layers(model))):
        hint = "Call kerastl.add_lora first."
        fail("model", "a model with adapters", getattr(model, "name", model), hint)
    path = _new_file(path, overwrite)
    parts = list(matrix_parts(backbone_layers(model)).items())
    adapters, arrays = [], {}
    for place, (name, part) in enumerate(parts):
        if not any(adapted_parts([part])):
            continue
        adapters.append([place, name, part.lora_rank, part.lora_alpha])
        a, b = factors(part)
        arrays[f"a{place}"], arrays[f"b{place}"] = _array(a), _array(b)
    head = _head_weights(model)
    arrays.update({f"head{n}": _array(weight) for n, weight in enumerate(head)})
    found = find_manifest(model)
    record = {
        "format": _FORMAT,
        "adapters": adapters,
        "head": [weight.path for weight in head],
        "head_kinds": _head_kinds(model),
        "task": None if found is None else found.task,
        "class_names": None if found is None else found.class_names,
        "temperature": None if found is None else found.temperature,
        "base": _fingerprint(model),
    }
    with whole_file(path) as draft:
        np.savez(draft, **{_RECORD: np.array(json.dumps(record))}, **arrays)


def load_adapters(model: keras.Model, path: str | Path) -> None:
    """Read adapters and head into a model with the same backbone weights.

    Training goes on where it stopped: as with `add_lora`, adapters and head train.
    Compile afterwards, or use `run_phases`, which does; the optimizer begins anew.

    Args:
        model: A model like the one that the adapters were added to, without adapters
            or with ones in the same layers and of the same rank; changed in place.
            Its image size, its `resize` and the dropout of its head may be others:
            they are the model's own, whatever weights it has.
        path: A file that `save_adapters` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file, or was made for other backbone weights,
            another task, head (its pooling included) or other classes; then the model
            is as before.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> load_adapters(model, "nowhere.npz")
        Traceback (most recent call last):
            ...
        FileNotFoundError: `path` must be a file that save_adapters wrote. ...
    """
    head_layers(model)
    path = Path(path)
    record, arrays = _read(path)
    _check_model(model, record, arrays, path)
    parts = list(matrix_parts(backbone_layers(model)).values())
    adapters = [_Adapter(*item) for item in record["adapters"]]
    _check_adapters(model, parts, adapters, arrays, path)
    for adapter in adapters:
        part = parts[adapter.place]
        if not part.lora_enabled:
            enable(part, adapter.rank, adapter.alpha, seed=0)
        part.lora_alpha = adapter.alpha
        for factor, name in zip(factors(part), "ab", strict=True):
            factor.assign(arrays[f"{name}{adapter.place}"])
    for number, weight in enumerate(_head_weights(model)):
        weight.assign(arrays[f"head{number}"])
    if record["temperature"] is not None and find_manifest(model) is not None:
        set_temperature(model, record["temperature"])
    unfreeze(model, "lora")
    forget_traces(model)


def _new_file(path: str | Path, overwrite: bool) -> Path:
    """The name of a file of adapters, if one may be written there."""
    path = Path(path)
    if path.suffix != _SUFFIX:
        fail("path", f"a file name ending in {_SUFFIX}", str(path))
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail("path", "in a folder that exists", str(path), hint, FileNotFoundError)
    if path.exists() and not overwrite:
        fail("path", "a new file", str(path), "Pass overwrite=True to replace it.")
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record and the arrays of a file that `save_adapters` wrote."""
    expected = "a file that save_adapters wrote"
    if not path.is_file():
        fail("path", expected, str(path), error=FileNotFoundError)
    # NumPy would take any other file for a pickle, and say so.
    if not zipfile.is_zipfile(path):
        fail("path", expected, str(path), "It is no .npz archive, or not whole.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        record = json.loads(str(arrays.pop(_RECORD)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        fail("path", expected, str(path), "It is another file, or damaged.")
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        hint = "It is of another version of kerastl."
        fail("path", expected, str(path), hint)
    names = {f"{name}{place}" for place, *_ in record["adapters"] for name in "ab"}
    names |= {f"head{number}" for number, _ in enumerate(record["head"])}
    if names != set(arrays):
        fail("path", expected, str(path), "It is another file, or damaged.")
    return record, arrays


def _check_model(
    model: keras.Model, record: dict[str, Any], arrays: dict[str, Any], path: Path
) -> None:
    """Raise unless backbone, task, classes and head are those of the file."""
    if record["base"] != _fingerprint(model):
        hint = (
            f"The backbone weights of {model.name} differ: build the model as it was "
            "when add_lora was called."
        )
        fail("path", "adapters of this backbone", str(path), hint)
    found = find_manifest(model)
    # Older files do not say.
    task = record.get("task")
    if found is not None and task is not None and task != found.task:
        hint = f"Its task is {task!r}."
        fail("path", f"for the task {found.task!r}", str(path), hint)
    if found is not None and list(found.class_names) != record["class_names"]:
        hint = f"Its classes are {record['class_names']}."
        fail("path", f"for the classes {list(found.class_names)}", str(path), hint)
    wanted = [tuple(weight.shape) for weight in _head_weights(model)]
    given = [arrays[f"head{n}"].shape for n, _ in enumerate(record["head"])]
    if wanted != given:
        hint = f"It holds weights of shapes {given}."
        fail("path", f"for a head of shapes {wanted}", str(path), hint)
    ours = _head_kinds(model)
    kinds = record.get("head_kinds", ours)
    if kinds != ours:
        hint = f"It is for {', '.join(kinds)}."
        expected = f"for a head of {', '.join(ours)}"
        fail("path", expected, str(path), hint)


def _check_adapters(
    model: keras.Model,
    parts: Sequence[keras.Layer],
    adapters: Sequence[_Adapter],
    arrays: dict[str, np.ndarray],
    path: Path,
) -> None:
    """Raise unless every adapter of the file has its layer, and no other has one."""
    for adapter in adapters:
        part = parts[adapter.place] if adapter.place < len(parts) else None
        fits = part is not None and not obstacle(part)
        a, b = (arrays[f"{name}{adapter.place}"] for name in "ab")
        if not fits or (*a.shape[:-1], b.shape[-1]) != tuple(base_weight(part).shape):
            hint = f"It has an adapter for {adapter.layer!r}, which is another layer."
            fail("path", "adapters of this backbone", str(path), hint)
    present = {id(part): part.lora_rank for part in adapted_parts(parts)}
    wanted = {id(parts[adapter.place]): adapter.rank for adapter in adapters}
    if present and present != wanted:
        expected = "without adapters, or with those of the file"
        shown = f"{len(present)} adapters, the file {len(wanted)}"
        hint = "Build the model anew."
        fail("model", expected, shown, hint)


def _head_weights(model: keras.Model) -> list[keras.Variable]:
    head = set(head_layers(model))
    leaves = [leaf for leaf in distinct_leaves(model) if leaf.name in head]
    return [weight for leaf in leaves for weight in leaf.weights]


def _head_kinds(model: keras.Model) -> list[str]:
    """What the head computes: its layers in order, pooling first, without noise."""
    head = set(head_layers(model))
    leaves = [leaf for leaf in distinct_leaves(model) if leaf.name in head]
    return [_kind(leaf) for leaf in leaves if not is_noise(leaf)]


def _kind(layer: keras.Layer) -> str:
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return " ".join(filter(None, (type(layer).__name__, activation)))


def _fingerprint(model: keras.Model) -> str:
    """Stands for the backbone's weights and scaling, whatever its layers are called."""
    scaling = find_preprocessing(model)
    digest = hashlib.sha256((scaling.mode if scaling else "").encode())
    for leaf in backbone_layers(model):
        for weight in leaf.weights:
            if not is_adapter(weight):
                array = _array(weight)
                digest.update(str(array.shape).encode())
                digest.update(array.tobytes())
    return digest.hexdigest()


def _array(weight: keras.Variable) -> np.ndarray:
    array = keras.ops.convert_to_numpy(weight)
    return np.ascontiguousarray(array, "float32")
