"""What a network's layers cost: multiplications, counted from shapes."""

import math
from typing import Any

import keras

from kerastl._compat import graph_nodes, is_functional, sublayers
from kerastl.models.lora_layers import is_adapter


def node_multiplications(layer: Any, outputs: tuple[keras.KerasTensor, ...]) -> int:
    """Multiplications by weights in one call of a layer, for one image.

    A kernel is applied at each position of the output: a convolution's at each
    pixel, a dense layer's at each token. Element-wise work is left out, and so are
    adapters: Keras adds them to their kernel, once for all images of a batch.

    Args:
        layer: Layer, model or operation of a graph.
        outputs: The symbolic tensors of that call.
    """
    if not isinstance(layer, keras.Layer):
        return 0
    if is_functional(layer):
        return multiplications(layer)
    shape = outputs[0].shape
    positions = math.prod(side or 1 for side in shape[1:-1])
    if keras.config.image_data_format() == "channels_first" and len(shape) == 4:
        positions = math.prod(side or 1 for side in shape[2:])
    kernels = {
        id(weight): math.prod(weight.shape)
        for part in sublayers(layer)
        for weight in part.trainable_weights + part.non_trainable_weights
        # Embeddings are looked up; vectors scale or shift.
        if len(weight.shape) > 1
        and not isinstance(part, keras.layers.Embedding)
        and not is_adapter(weight)
    }
    return positions * sum(kernels.values())


def multiplications_below(model: keras.Model) -> dict[str, int]:
    """Multiplications up to and with each layer, for one image, by its name.

    At a cut point that is what the network truncated there costs: everything before
    it leads to it.

    Args:
        model: Functional model.
    """
    found, total = {}, 0
    for node in graph_nodes(model):
        total += node_multiplications(node.layer, node.outputs)
        found[node.layer.name] = total
    return found


def multiplications(model: keras.Model) -> int:
    """Multiplications by weights in one pass of a functional model, for one image.

    Args:
        model: Functional model.

    Example:
        >>> x = keras.Input((8, 8, 3))
        >>> network = keras.Model(x, keras.layers.Conv2D(4, 3, padding="same")(x))
        >>> multiplications(network) == 8 * 8 * (3 * 3 * 3 * 4)
        True
    """
    return sum(node_multiplications(n.layer, n.outputs) for n in graph_nodes(model))
