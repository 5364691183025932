"""Whether weights may be averaged: of one structure, and begun at one place."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.models.freezing import head_layers, leaf_layers
from kerastl.models.manifest import find_manifest, find_preprocessing
from kerastl.training.tracking import snapshot

#: Networks drawn at random apart are at right angles, cosine 0; fine-tuning from one
#: start leaves 0.9 and more.
SAME_START = 0.5


def weight_arrays(name: str, item: Any) -> list[np.ndarray]:
    """The weights of a model, or arrays as they are.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(item, keras.Model):
        return snapshot(item)
    if isinstance(item, (list, tuple)) and all(hasattr(a, "shape") for a in item):
        return [np.asarray(array) for array in item]
    hint = "Take model.get_weights()."
    kinds = "a model or a list of arrays"
    return fail(name, kinds, type(item).__name__, hint, TypeError)


def check_same_shapes(
    name: str,
    arrays: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
) -> None:
    """Raise unless two lists of weights are of one structure."""
    if len(arrays) != len(others):
        received = f"{len(arrays)} arrays, and {len(others)} in the other"
        fail(name, "weights of one structure", received)
    for place, (one, other) in enumerate(zip(arrays, others, strict=True)):
        if one.shape != other.shape:
            received = f"array {place} of shape {one.shape}, and {other.shape}"
            fail(name, "weights of one structure", received)


def check_same_records(name: str, model: keras.Model, other: keras.Model) -> None:
    """Raise unless two classifiers mean the same by their outputs and inputs."""
    one, two = find_manifest(model), find_manifest(other)
    if one is not None and two is not None:
        for part in ("class_names", "task", "image_size", "resize"):
            mine, theirs = getattr(one, part), getattr(two, part)
            if mine != theirs:
                words = part.replace("_", " ")
                fail(name, f"models of one {words}", [mine, theirs])
    first, second = map(_origin, (model, other))
    if first != second:
        fail(name, "models of one backbone, with one preprocessing", [first, second])


def _origin(model: keras.Model) -> tuple[str, str, str] | None:
    layer = find_preprocessing(model)
    return layer and (layer.backbone, layer.weights_source, layer.mode)


def check_same_start(
    name: str,
    model: keras.Model,
    arrays: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
) -> None:
    """Raise if two lists of weights cannot have grown from one network.

    Read off the direction of the backbone's kernels, all in one: no record in a model
    tells two fine-tunings of one network from two networks.

    Args:
        name: The argument's name, for the error.
        model: Whose weights these are, to tell backbone from head.
        arrays: Weights in the order of `model.weights`.
        others: The same of the other.
    """
    similarity = kernel_cosine(model, arrays, others)
    if similarity < SAME_START:
        hint = (
            "Averages mean something only between models that were fine-tuned from "
            "the same weights."
        )
        received = f"kernels of cosine {similarity:.2f}"
        fail(name, "fine-tuned from one start", received, hint)


def kernel_cosine(
    model: keras.Model, arrays: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> float:
    """Cosine between the backbone's kernels in two states; 1 where there are none."""
    head = set(head_layers(model))
    ours = {
        id(weight)
        for layer in leaf_layers(model)
        if layer.name not in head
        for weight in layer.weights
        if len(weight.shape) > 1
    }
    product = first = second = 0.0
    for weight, one, other in zip(model.weights, arrays, others, strict=True):
        if id(weight) in ours:
            a, b = one.astype("float64").ravel(), other.astype("float64").ravel()
            product, first, second = product + a @ b, first + a @ a, second + b @ b
    if first == 0.0 or second == 0.0:
        return 1.0 if first == second else 0.0
    return float(product / np.sqrt(first * second))
