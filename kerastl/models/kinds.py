"""Kinds of weights that can train by themselves: normalisation, biases, adapters."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from kerastl._compat import own_variables, sublayers
from kerastl.models.layers import hold_statistics
from kerastl.models.lora_layers import is_adapter

#: What `trainable` may name besides parts of the network.
KINDS = ("norm", "bias", "lora")

_NORMALISATION = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)

#: What a network has none of, and what to do then.
NONE_OF_A_KIND = {
    "norm": ("a normalisation with weights", "Name blocks instead."),
    "bias": ("a bias", "Name blocks instead."),
    "lora": ("an adapter", "Call kerastl.add_lora first."),
}


def weights_of_kind(layer: keras.Layer, kind: str) -> list[keras.Variable]:
    """The layer's weights of a kind, those of the layers inside it too.

    Args:
        layer: Any layer.
        kind: `"norm"`: scales and shifts of normalisation layers; `"bias"`: biases,
            and the shifts of normalisation layers; `"lora"`: the factors of adapters.
    """
    return [
        weight
        for part in sublayers(layer)
        for weight in own_variables(part)
        if _is_of_kind(part, weight, kind)
    ]


def _is_of_kind(part: keras.Layer, weight: keras.Variable, kind: str) -> bool:
    if kind == "lora":
        return is_adapter(weight)
    normalises = isinstance(part, _NORMALISATION)
    if kind == "norm":
        return normalises
    return weight.name == "bias" or (normalises and weight.name == "beta")


def open_kind(layer: keras.Layer, kind: str, *, statistics: bool) -> None:
    """Make a frozen layer train its weights of one kind.

    Args:
        layer: A layer that is frozen whole.
        kind: See `weights_of_kind`.
        statistics: Whether BatchNorm statistics of the opened layers move too.
    """
    chosen = {id(weight) for weight in weights_of_kind(layer, kind)}
    inside = sublayers(layer)
    # Outermost first: the setter reaches the layers inside, which are set after it.
    for part in inside:
        part.trainable = any(id(weight) in chosen for weight in part.weights)
    for part in inside:
        for weight in own_variables(part):
            weight.trainable = id(weight) in chosen
        if isinstance(part, keras.layers.BatchNormalization):
            hold_statistics(part, part.trainable and not statistics)


@contextmanager
def partly_trained_layers_frozen(model: keras.Model) -> Iterator[None]:
    """For the time of the block, freeze the layers of whose weights only some train.

    A file keeps one flag for each layer: read back, such a layer would train whole.

    Args:
        model: Any model; its flags are as before when the block ends.
    """
    flags = [
        (part, part.trainable, [(w, w.trainable) for w in own_variables(part)])
        for part in sublayers(model)
    ]
    partly = [
        part
        for part, flag, weights in flags
        if flag and not all(trains for _, trains in weights)
    ]
    try:
        for part in partly:
            part.trainable = False
        yield
    finally:
        if partly:
            for part, flag, _ in flags:
                part.trainable = flag
            for _, _, weights in flags:
                for weight, trains in weights:
                    weight.trainable = trains
