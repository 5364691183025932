"""Whether weights may be averaged: of one structure, and begun at one place."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.models.freezing import head_layers, leaf_layers
from kerastl.models.layers import (
    ClassLogits,
    Preprocessing,
    is_noise,
    original_class,
)
from kerastl.models.lora_layers import (
    adapted_parts,
    base_weight,
    folded,
    is_adapter,
)
from kerastl.models.manifest import find_manifest, find_preprocessing
from kerastl.training.tracking import snapshot

#: Networks drawn at random apart are at right angles, cosine 0; fine-tuning from one
#: start leaves 0.9 and more.
SAME_START = 0.5

#: Compared by `check_same_records`, where they say anything.
_RECORDS = (keras.layers.InputLayer, Preprocessing, ClassLogits)

#: Settings of a layer that a trained one computes the same without.
_OF_TRAINING = ("name", "trainable", "dtype", "seed", "momentum", "rate")
_OF_TRAINING_ENDS = ("_initializer", "_regularizer", "_constraint")


def weight_arrays(name: str, item: Any) -> list[np.ndarray]:
    """The weights of a model, or arrays as they are.

    Raises:
        ValueError: If the model has adapters.
        TypeError: If it is neither.
    """
    if isinstance(item, keras.Model):
        check_merged(name, item)
        return snapshot(item)
    if isinstance(item, (list, tuple)) and all(hasattr(a, "shape") for a in item):
        return [np.asarray(array) for array in item]
    hint = "Take model.get_weights()."
    kinds = "a model or a list of arrays"
    return fail(name, kinds, type(item).__name__, hint, TypeError)


def check_merged(name: str, model: keras.Model) -> None:
    """Raise if a model has adapters: between two products A B lies no product."""
    count = len(list(adapted_parts(leaf_layers(model))))
    if count:
        hint = (
            "Fold them in with kerastl.merge_lora, and take as start the weights from "
            "before kerastl.add_lora."
        )
        fail(name, "a model without adapters", f"{count} layers with one", hint)


def effective_weights(model: keras.Model) -> list[np.ndarray]:
    """Copies of the weights that a model has once its adapters are folded in."""
    kernels = {
        id(base_weight(part)): folded(part)
        for part in adapted_parts(leaf_layers(model))
    }
    return [
        np.array(keras.ops.convert_to_numpy(kernels.get(id(weight), weight)))
        for weight in model.weights
        if not is_adapter(weight)
    ]


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


def check_same_layers(name: str, model: keras.Model, other: keras.Model) -> None:
    """Raise unless two models' layers are of the same kinds and settings.

    Layers with weights also in the same order. What only training knows, such as
    dropout, may differ; how the layers are connected is not compared.
    """
    ours, theirs = (Counter(_layer_records(each)) for each in (model, other))
    first, second = next(iter(ours - theirs), None), next(iter(theirs - ours), None)
    if first or second:
        received = [_told(first, second), _told(second, first)]
        fail(name, "models of the same layers, with the same settings", received)


def _layer_records(model: keras.Model) -> Iterator[tuple[int, str, str]]:
    """Place among those with weights (0 without), kind and settings of each layer."""
    place = 0
    for layer in leaf_layers(model):
        if is_noise(layer) or _is_identity(layer) or isinstance(layer, _RECORDS):
            continue
        place += bool(layer.weights)
        try:
            config = layer.get_config()
        except NotImplementedError:
            # A user's layer of which Keras does not know the arguments.
            config = {}
        settings = json.dumps(_settings(config), default=lambda x: type(x).__name__)
        yield place * bool(layer.weights), original_class(layer).__name__, settings


def _is_identity(layer: keras.Layer) -> bool:
    """Whether it hands on what it gets, as ConvNeXt's do where no noise is asked."""
    linear = getattr(layer, "activation", None) is keras.activations.linear
    plain = isinstance(layer, keras.layers.Activation) and linear
    return plain or isinstance(layer, keras.layers.Identity)


def _settings(value: Any) -> Any:
    """Settings without those of training, in the forms that a file gives back."""
    if isinstance(value, dict):
        return {
            key: _settings(value[key])
            for key in sorted(value, key=str)
            if not _is_of_training(str(key))
        }
    return [_settings(x) for x in value] if isinstance(value, (list, tuple)) else value


def _is_of_training(key: str) -> bool:
    bookkeeping = key.startswith("lora_") or "drop" in key
    return bookkeeping or key in _OF_TRAINING or key.endswith(_OF_TRAINING_ENDS)


def _told(one: tuple[int, str, str] | None, other: tuple[int, str, str] | None) -> str:
    """A layer that the other model lacks: its kind, and what is other about it."""
    if one is None:
        return "no such layer"
    if other is None or one[1] != other[1]:
        return one[1]
    mine, theirs = json.loads(one[2]), json.loads(other[2])
    differing = [f"{k}={v!r}" for k, v in mine.items() if v != theirs.get(k)]
    return f"{one[1]}({', '.join(differing)})"


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
