"""Whether the weights of two models may be averaged."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.models.freezing import head_layers, leaf_layers
from kerastl.models.layers import (
    Preprocessing,
    TaskOutputs,
    adapted_parts,
    base_weight,
    folded,
    is_adapter,
    is_noise,
    original_class,
)
from kerastl.models.record import (
    find_preprocessing,
    find_record,
)
from kerastl.training.watching import snapshot

if TYPE_CHECKING:
    pass

#: Networks drawn at random apart are at right angles, cosine 0; fine-tuning from one
#: start leaves 0.9 and more.
SAME_START = 0.5

#: Layers of which only the record counts.
_RECORDS = (keras.layers.InputLayer, Preprocessing, TaskOutputs)

#: Settings of a layer that a trained one computes the same without.
_OF_TRAINING = ("name", "trainable", "dtype", "seed", "momentum", "rate")
_OF_TRAINING_ENDS = ("_initializer", "_regularizer", "_constraint")


def weight_arrays(name: str, item: Any) -> list[np.ndarray]:
    """The weights of a model without adapters, or arrays as they are."""
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
            "Fold them in with kerastl.lora.merge, and take as start the weights from "
            "before kerastl.lora.add."
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
    name: str, weights: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> None:
    """Raise unless two lists of weights are of one structure."""
    expected = "weights of one structure"
    if len(weights) != len(others):
        fail(name, expected, f"{len(weights)} arrays, and {len(others)} in the other")
    for place, (one, other) in enumerate(zip(weights, others, strict=True)):
        if one.shape != other.shape:
            fail(
                name, expected, f"array {place} of shape {one.shape}, and {other.shape}"
            )


def check_soup_compatibility(
    name: str,
    model: keras.Model,
    weights: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    other: keras.Model | None = None,
) -> None:
    """Raise unless two models can be averaged: of one meaning, structure and start.

    Layers must be of the same kinds and settings, those with weights in the same
    order. What only training knows, such as dropout, may differ; how the layers are
    connected is not compared. The start is read off the direction of the backbone's
    kernels: no record tells two fine-tunings of one network from two networks.
    """
    if other is not None:
        ours, theirs = _meaning(model), _meaning(other)
        for part in [part for part in ours if part in theirs]:
            if ours[part] != theirs[part]:
                fail(name, f"models of one {part}", [ours[part], theirs[part]])
    check_same_shapes(name, weights, others)
    if other is not None:
        one, two = Counter(_layer_records(model)), Counter(_layer_records(other))
        first, second = next(iter(one - two), None), next(iter(two - one), None)
        if first or second:
            received = [_differing(first, second), _differing(second, first)]
            fail(name, "models of the same layers, with the same settings", received)
    similarity = kernel_cosine(model, weights, others)
    if similarity < SAME_START:
        hint = (
            "Averages mean something only between models that were fine-tuned from "
            "the same weights."
        )
        received = f"kernels of cosine {similarity:.2f}"
        fail(name, "fine-tuned from one start", received, hint)


def _meaning(model: keras.Model) -> dict[str, Any]:
    """What a model's inputs and outputs stand for, as far as it says."""
    record, scaling = find_record(model), find_preprocessing(model)
    parts = ("class_names", "task", "image_size", "resize") if record else ()
    said = {part.replace("_", " "): getattr(record, part) for part in parts}
    origin = scaling and (scaling.backbone, scaling.weights_source, scaling.mode)
    return {**said, "backbone, with one preprocessing": origin}


def _layer_records(model: keras.Model) -> Iterator[tuple[int, str, str]]:
    """Place among those with weights (0 without), kind and settings of each layer."""
    place = 0
    for layer in leaf_layers(model):
        # ConvNeXt has linear activations where no noise is asked: they change nothing.
        linear = getattr(layer, "activation", None) is keras.activations.linear
        idle = isinstance(layer, keras.layers.Activation) and linear
        idle = idle or isinstance(layer, (keras.layers.Identity, *_RECORDS))
        if idle or is_noise(layer):
            continue
        place += bool(layer.weights)
        try:
            config = layer.get_config()
        except NotImplementedError:
            # A user's layer of which Keras does not know the arguments.
            config = {}
        settings = json.dumps(_settings(config), default=lambda x: type(x).__name__)
        yield place * bool(layer.weights), original_class(layer).__name__, settings


def _settings(value: Any) -> Any:
    """Settings without those of training, in the forms that a file gives back."""
    if isinstance(value, dict):
        return {
            key: _settings(value[key])
            for key in sorted(value, key=str)
            if not str(key).startswith("lora_")
            and "drop" not in str(key)
            and key not in _OF_TRAINING
            and not str(key).endswith(_OF_TRAINING_ENDS)
        }
    return [_settings(x) for x in value] if isinstance(value, (list, tuple)) else value


def _differing(
    one: tuple[int, str, str] | None, other: tuple[int, str, str] | None
) -> str:
    """A layer that the other model lacks: its kind, and what is other about it."""
    if one is None:
        return "no such layer"
    if other is None or one[1] != other[1]:
        return one[1]
    mine, theirs = json.loads(one[2]), json.loads(other[2])
    differing = [f"{k}={v!r}" for k, v in mine.items() if v != theirs.get(k)]
    return f"{one[1]}({', '.join(differing)})"


def kernel_cosine(
    model: keras.Model, weights: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> float:
    """Cosine between the backbone's kernels in two states; 1 where there are none."""
    head = set(head_layers(model))
    kernels = {
        id(weight)
        for layer in leaf_layers(model)
        if layer.name not in head
        for weight in layer.weights
        if len(weight.shape) > 1
    }
    product = first = second = 0.0
    for weight, one, other in zip(model.weights, weights, others, strict=True):
        if id(weight) in kernels:
            a, b = one.astype("float64").ravel(), other.astype("float64").ravel()
            product, first, second = product + a @ b, first + a @ a, second + b @ b
    if first == 0.0 or second == 0.0:
        return 1.0 if first == second else 0.0
    return float(product / np.sqrt(first * second))
