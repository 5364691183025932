"""Where the frozen part of a network ends, and whether it may be computed once."""

import math

import keras

from kerastl._compat import graph_nodes, seed_generators, sublayers
from kerastl.inference.planning import Cut
from kerastl.models.costs import node_multiplications
from kerastl.models.graph import cut_points
from kerastl.models.layers import is_holding_statistics, is_noise


def possible_cuts(model: keras.Model) -> tuple[Cut, ...]:
    """The places below everything that trains through which all must pass.

    Args:
        model: Functional model whose trainable flags are set.

    Returns:
        From input to output; only those with weights below them. Up to the last,
        an image gives the same activations each time.
    """
    legal = set(cut_points(model)[:-1])
    found, below, weights = [], 0, False
    for node in graph_nodes(model):
        layer = node.layer
        if isinstance(layer, keras.Layer):
            if changes(layer):
                break
            weights = weights or bool(layer.weights)
        below += node_multiplications(layer, node.outputs)
        shape = node.outputs[0].shape[1:]
        if weights and layer.name in legal and None not in shape:
            dtype = "float16" if node.outputs[0].dtype == "float16" else "float32"
            found.append(Cut(layer.name, math.prod(shape), below, dtype))
    return tuple(found)


def changes(layer: keras.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next."""
    return bool(layer.trainable_variables) or any(map(_varies, sublayers(layer)))


def _varies(layer: keras.Layer) -> bool:
    if is_noise(layer):
        return layer.trainable
    return bool(seed_generators(layer)) or _uses_batch_statistics(layer)


def _uses_batch_statistics(layer: keras.Layer) -> bool:
    """Whether it is a BatchNormalization whose statistics train."""
    # Without gamma and beta it has nothing else by which to see that it trains.
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and not is_holding_statistics(layer)
        and layer.trainable
    )


def is_understood(model: keras.Model) -> bool:
    """Whether every layer is Keras's or ours, so that `changes` knows what it does.

    Wrappers are not: `SpectralNormalization` updates its state whenever it trains.
    """
    return not any(
        isinstance(layer, keras.layers.Wrapper)
        or type(layer).__module__.partition(".")[0] not in ("keras", "kerastl")
        for layer in sublayers(model)
    )
