"""Low-rank adapters: adding, merging, saving, reporting."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl._compat import own_variables, sublayers
from kerastl._files import READ_ERRORS, new_file, one_line, whole_file
from kerastl._tables import Tabular
from kerastl.models.freezing import (
    PARAMETER_GROUPS,
    Trainable,
    count_parameters,
    head_layers,
    leaf_layers,
    resolve_trainable,
    unfreeze,
)
from kerastl.models.layers import (
    adapted_parts,
    base_weight,
    enable,
    factors,
    fold,
    holds_matrix,
    is_adapter,
    is_noise,
    obstacle,
    smaller_side,
)
from kerastl.models.record import find_preprocessing, find_record, set_temperature
from kerastl.models.weights import not_finite, weights_digest


@dataclass(frozen=True)
class LoraRow:
    """One layer of the chosen blocks that holds a matrix.

    Attributes:
        layer: Its name.
        kind: Its class.
        parameters: Number of scalars in it, its adapter left out.
        added: Number of scalars in its adapter; 0: it has none.
        reason: Why it has none; empty if it has one.
    """

    layer: str
    kind: str
    parameters: int
    added: int
    reason: str = ""


@dataclass(frozen=True)
class LoraReport(Tabular):
    """Which layers got an adapter, and at what cost; prints as a few lines.

    Attributes:
        rank: Rank of the adapters.
        alpha: Scale of the adapters, times the rank.
        backbone_parameters: Number of scalars in the backbone, without adapters.
        rows: One per layer of the chosen blocks that holds a matrix, in order.
    """

    rank: int
    alpha: float
    backbone_parameters: int
    rows: tuple[LoraRow, ...]

    @property
    def adapted(self) -> tuple[str, ...]:
        """Names of the layers with an adapter."""
        return tuple(row.layer for row in self.rows if row.added)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the layers that cannot have one."""
        return tuple(row.layer for row in self.rows if not row.added)

    @property
    def added(self) -> int:
        """Number of scalars in all adapters."""
        return sum(row.added for row in self.rows)

    @property
    def share(self) -> float:
        """Scalars in the adapters over those in the backbone."""
        return self.added / self.backbone_parameters

    @property
    def skipped_share(self) -> float:
        """Part of the backbone's scalars that is in layers without an adapter."""
        without = sum(row.parameters for row in self.rows if not row.added)
        return without / self.backbone_parameters

    def __str__(self) -> str:
        """The report as text."""
        lines = [
            f"{len(self.adapted)} layers have an adapter of rank {self.rank}, "
            f"scale {self.alpha / self.rank:g}: {self.added:,} parameters, "
            f"{self.share:.1%} of the backbone's {self.backbone_parameters:,}"
        ]
        if self.skipped:
            lines.append(
                f"{len(self.skipped)} layers have none, with {self.skipped_share:.1%} "
                "of the parameters:"
            )
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.reason:
                reasons.setdefault(f"{row.kind}, {row.reason}", []).append(row.layer)
        lines += [
            f"  {reason}: {', '.join(names)}" for reason, names in reasons.items()
        ]
        return "\n".join(lines)


def add_lora(
    model: keras.Model,
    *,
    rank: int = 4,
    blocks: Trainable = "all",
    alpha: float | None = None,
    seed: int = 0,
) -> LoraReport:
    """Give the backbone's layers low-rank adapters, and train only these and the head.

    A kernel W becomes W + (alpha / rank) A B, with W frozen. Depthwise and separable
    convolutions get none: the report says what part of the network that leaves out.
    Compile afterwards, or train with `run_phases` and `Phase(trainable="lora")`.

    `model.save` keeps what the model computes, not the training: after
    `keras.models.load_model` the kernels have the adapters folded in, and both factors
    of each adapter are zero, which no gradient moves. They train again after
    `unfreeze`, `train_only` or `run_phases`, which draw A anew. To train on from where
    it stopped, use `save_adapters`.

    Args:
        model: A classifier from `build_classifier`, any functional model with a head,
            or a bare backbone; changed in place. Its outputs stay as they are.
        rank: Rank of the change of each kernel, at least 1 and at most the smaller
            side of each kernel as a matrix.
        blocks: Which part of the backbone: `"all"`; a number of blocks from the top;
            the name of a block or layer (from there to the top); or a tuple of names
            (exactly those).
        alpha: Scale of the adapters times the rank, above 0; None: the rank, so that
            the scale is 1.
        seed: Non-negative integer; the factors A are drawn from it, and B is zero.

    Returns:
        Which layers have an adapter, which cannot, and the parameters added.

    Raises:
        ValueError: If the model has adapters already, no chosen layer can have one, or
            the rank is more than a chosen layer's kernel has.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> print(add_lora(model, rank=4, blocks=1))
        1 layers have an adapter of rank 4, scale 1: 2,048 parameters, 0.9% of the ...
        1 layers have none, with 1.1% of the parameters:
          DepthwiseConv2D, Keras has no LoRA for it: conv_dw_13
        >>> [variable.path for variable in model.trainable_variables][:2]
        ['conv_pw_13/lora_kernel_a', 'conv_pw_13/lora_kernel_b']

    Reference:
        Hu et al. (2022), LoRA, arXiv:2106.09685, §4.1, eq. 3; A is He-uniform, as
        Keras's.
    """
    head = head_layers(model)
    check_integer("rank", rank, 1)
    check_integer("seed", seed, 0)
    alpha = rank if alpha is None else alpha
    check_number("alpha", alpha, above=0.0)
    _check_without_adapters(model)
    parts = _chosen_parts(model, blocks, head)
    weights = [weight for leaf in backbone_layers(model) for weight in leaf.weights]
    count = count_parameters(weights)
    able = [part for part in parts.values() if not obstacle(part)]
    _check_rank(model, rank, parts, able)
    for number, part in enumerate(able):
        enable(part, rank, alpha, (seed * 100_003 + number) % 2**31)
    unfreeze(model, "lora")
    forget_traces(model)
    rows = tuple(_row(name, part) for name, part in parts.items())
    return LoraReport(rank, alpha, count, rows)


def merge_lora(model: keras.Model) -> None:
    """Add each adapter to its kernel, and take the adapters away.

    Predictions stay as they are, to rounding, and a file of the model is a plain one.
    The layers that had adapters are frozen: choose with `unfreeze` what trains next.

    Args:
        model: A model with adapters from `add_lora`; changed in place.

    Raises:
        ValueError: If the model has no adapters.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = add_lora(model, rank=4)
        >>> merge_lora(model)
        >>> len(model.weights) == len(backbone.weights) + 2
        True

    Reference:
        Hu et al. (2022), LoRA, arXiv:2106.09685, §4.1, on latency.
    """
    head_layers(model)
    if not any(adapted_parts(leaf_layers(model))):
        hint = "Call kerastl.lora.add first."
        fail("model", "a model with adapters", model.name, hint)
    drop_adapters(model)


def drop_adapters(model: keras.Model) -> None:
    """As `merge_lora`, for a model that may have no adapters."""
    head = head_layers(model)
    for leaf in distinct_leaves(model):
        parts = list(adapted_parts([leaf]))
        for part in parts:
            fold(part)
        if parts:
            for part in sublayers(leaf):
                part.trainable = leaf.name in head
                for weight in own_variables(part):
                    weight.trainable = part.trainable
            forget_traces(model)


def distinct_leaves(model: keras.Model) -> list[keras.Layer]:
    """The model's layers in order, each once."""
    return list({id(leaf): leaf for leaf in leaf_layers(model)}.values())


def backbone_layers(model: keras.Model) -> list[keras.Layer]:
    """The model's layers in order, each once, without those of its head."""
    head = head_layers(model)
    return [leaf for leaf in distinct_leaves(model) if leaf.name not in head]


def matrix_parts(leaves: Sequence[keras.Layer]) -> dict[str, keras.Layer]:
    """Name -> layer that itself holds a matrix, among the leaves and inside them."""
    found: dict[str, keras.Layer] = {}
    for leaf in leaves:
        if isinstance(leaf, keras.layers.Normalization):
            continue
        for part in sublayers(leaf):
            if holds_matrix(part):
                name = leaf.name if part is leaf else f"{leaf.name}/{part.name}"
                found[name if name not in found else f"{name}_{len(found)}"] = part
    return found


def _chosen_parts(
    model: keras.Model, blocks: Trainable, head: tuple[str, ...]
) -> dict[str, keras.Layer]:
    """The layers with a matrix in the named part of the backbone, by name."""
    if blocks == "head" or blocks in PARAMETER_GROUPS:
        fail("blocks", "'all', a block, a layer, a number or names", blocks)
    names = resolve_trainable(model, blocks, argument="blocks")
    leaves = [leaf for leaf in backbone_layers(model) if leaf.name in names]
    return matrix_parts(leaves)


def _check_without_adapters(model: keras.Model) -> None:
    names = [part.name for part in adapted_parts(leaf_layers(model))]
    if names:
        shown = f"{len(names)} layers with one, {names[0]!r} the first"
        hint = "Add them to the kernels with kerastl.lora.merge."
        fail("model", "without adapters", shown, hint)


def _check_rank(
    model: keras.Model,
    rank: int,
    parts: dict[str, keras.Layer],
    able: Sequence[keras.Layer],
) -> None:
    if not able:
        kinds = sorted({type(part).__name__ for part in parts.values()})
        shown = ", ".join(kinds) or "no layer with a kernel"
        hint = f"LoRA is for dense and ordinary convolutional layers of {model.name}."
        fail("blocks", "a part with a layer that LoRA can adapt", shown, hint)
    tight = min(able, key=smaller_side)
    if rank > smaller_side(tight):
        expected = f"at most {smaller_side(tight)}, which is all that the kernel of "
        expected += f"{tight.name!r} has"
        hint = "Lower it, or leave the layer out with `blocks`."
        fail("rank", expected, rank, hint)


def _row(name: str, part: keras.Layer) -> LoraRow:
    reason = obstacle(part)
    added = 0 if reason else count_parameters(factors(part))
    own = part.weights if reason else [base_weight(part)]
    return LoraRow(name, type(part).__name__, count_parameters(own), added, reason)


def forget_traces(model: keras.Model) -> None:
    """Have Keras trace the model anew: TensorFlow would run the graph it had."""
    model.train_function = model.test_function = model.predict_function = None


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
        >>> from kerastl.models.lora import add_lora
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = add_lora(model, rank=4)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "pets.npz"
        >>> save_adapters(model, path)
    """
    if not any(adapted_parts(leaf_layers(model))):
        hint = "Call kerastl.lora.add first."
        fail("model", "a model with adapters", getattr(model, "name", model), hint)
    path = new_file(path, ".npz", overwrite=overwrite)
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
    found = find_record(model)
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
    if record["temperature"] is not None and find_record(model) is not None:
        set_temperature(model, record["temperature"])
    unfreeze(model, "lora")
    forget_traces(model)


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
        known = record["format"] == _FORMAT
        held = record if known else {"adapters": (), "head": ()}
        adapters = [_Adapter(*item) for item in held["adapters"]]
        names = {f"{name}{each.place}" for each in adapters for name in "ab"}
        names |= {f"head{number}" for number, _ in enumerate(held["head"])}
    except READ_ERRORS as error:
        hint = f"It is another file, or damaged ({one_line(error)})."
        fail("path", expected, str(path), hint)
    if not known:
        hint = "It is of another version of kerastl."
        fail("path", expected, str(path), hint)
    if names != set(arrays):
        fail("path", expected, str(path), "It is another file, or damaged.")
    if problem := not_finite(arrays.values()):
        fail("path", expected, str(path), f"{problem}.")
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
    found = find_record(model)
    # Older files do not say.
    task = record.get("task")
    if found is not None and task is not None and task["name"] != found.task["name"]:
        hint = f"Its task is {task['name']!r}."
        fail("path", f"for the task {found.task['name']!r}", str(path), hint)
    if found is not None and list(found.class_names) != record["class_names"]:
        hint = f"Its classes are {record['class_names']}."
        fail("path", f"for the classes {list(found.class_names)}", str(path), hint)
    if found is not None and task not in (None, found.task):
        fail("path", f"for the task {found.task}", str(path), f"Its task is {task}.")
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
    weights = [w for leaf in backbone_layers(model) for w in leaf.weights]
    arrays = [_array(weight) for weight in weights if not is_adapter(weight)]
    return weights_digest(arrays, scaling.mode if scaling else "")


def _array(weight: keras.Variable) -> np.ndarray:
    array = keras.ops.convert_to_numpy(weight)
    return np.ascontiguousarray(array, "float32")
