"""Stochastic depth: how often a network leaves out its residual branches."""

import re
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_number, fail
from kerastl._compat import rerun_graph
from kerastl.models.specs import BackboneSpec

#: Family -> the layers at the end of its residual branches, and Keras's own rate.
_BRANCHES = {
    "EfficientNet": (r"block\d[a-z]_drop", 0.2),
    "EfficientNetV2": (r"block\d[a-z]_drop", 0.2),
    "ConvNeXt": (r"convnext_[a-z]+_stage_\d_block_\d+_identity", 0.0),
}


def check_stochastic_depth(spec: BackboneSpec, rate: float | None) -> None:
    """Raise unless the network's branches can be dropped at that rate.

    Args:
        spec: The network.
        rate: Where the line ends, in [0, 1); None: as Keras builds it.
    """
    if rate is None:
        return
    check_number("stochastic_depth", rate, 0.0, below=1.0)
    if spec.family not in _BRANCHES:
        hint = f"Keras drops branches in {', '.join(_BRANCHES)}."
        fail("stochastic_depth", f"None for {spec.name}", rate, hint)


def with_stochastic_depth(
    model: keras.Model, spec: BackboneSpec, rate: float
) -> keras.Model:
    """The network with the rates of its branches in a straight line up to `rate`.

    Args:
        model: A network just built; it may be changed, and is not to be used again.
        spec: What it is.
        rate: Where the line ends: ConvNeXt's topmost branch, or one block above it.
    """
    pattern, own = _BRANCHES[spec.family]
    ends = [layer for layer in model.layers if re.fullmatch(pattern, layer.name)]
    if own:
        for layer in ends:
            layer.rate *= rate / own
        return model
    # Keras builds ConvNeXt without the layers that would drop.
    rates = np.linspace(0.0, rate, len(ends)).tolist()
    by_name = {layer.name: each for layer, each in zip(ends, rates, strict=True)}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.Layer):
            return layer(*args, **kwargs)
        if not by_name.get(layer.name):
            return type(layer).from_config(layer.get_config())(*args, **kwargs)
        name = layer.name.replace("identity", "stochastic_depth")
        # A whole branch of an image at a time.
        drop = keras.layers.Dropout(
            by_name[layer.name], noise_shape=(None, 1, 1, 1), name=name
        )
        return drop(*args, **kwargs)

    images = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.Model(images, rerun_graph(model, images, call), name=model.name)
