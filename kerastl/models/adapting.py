"""Taking in other people's networks: the user's own, keras-hub's, keras-cv's."""

from collections.abc import Sequence
from typing import Any

import keras

from kerastl._checks import check_choice, fail, image_size_pair
from kerastl._compat import is_functional, rerun_graph
from kerastl.models.layers import PREPROCESSING_MODES, Preprocessing, make_freezable

_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def adapt_backbone(
    model: keras.Model,
    *,
    preprocessing: str | keras.layers.Layer | Sequence[keras.layers.Layer],
    image_size: int | tuple[int, int] | None = None,
) -> keras.Model:
    """A flat copy of a functional model that takes RGB pixels from 0 to 255.

    Say what the network was trained on: keras-hub's backbones do not scale inside, so
    `"none"` is rarely right for them. Weights are copied; `model` stays as it is.

    Args:
        model: Functional model without a head: one image input of three channels, one
            feature map `(n, height, width, channels)`. Of a keras-hub or keras-cv task
            pass its `.backbone`.
        preprocessing: `"tf"` (-1 to 1), `"caffe"` (BGR minus means), `"torch"`
            (standardised), `"none"` (the network takes 0-255), or layers that turn RGB
            0-255 into what it expects, such as `keras.layers.Rescaling(1 / 255)`.
        image_size: Pixels, one number or `(height, width)`. None: the model's own.

    Returns:
        Functional model whose nested models, if any, are unfolded.

    Raises:
        TypeError: If the model is no functional model, or was never called.
        ValueError: If it has several inputs or outputs, an output of another rank, or
            scales by itself although `preprocessing` scales too.

    Example:
        >>> x = keras.Input((32, 32, 3))
        >>> own = keras.Model(x, keras.layers.Conv2D(4, 3, name="conv")(x))
        >>> copy = adapt_backbone(own, preprocessing="tf")
        >>> [layer.name for layer in copy.layers]
        ['images', 'preprocessing', 'conv']
    """
    source, inner = _check_model(model), _check_preprocessing(preprocessing)
    mode = preprocessing if isinstance(preprocessing, str) else "none"
    if mode != "none" or inner:
        _check_no_scaling(source, preprocessing)
    own = tuple(source.inputs[0].shape[1:3])
    size = own if image_size is None else image_size_pair("image_size", image_size)
    images = keras.Input((*size, 3), name="images")
    first = Preprocessing(
        mode,
        backbone=model.name,
        weights=f"{model.name} (adapted)",
        image_size=size if None not in size else None,
    )
    copier = _Copier({"images", "preprocessing"})
    x = first(images)
    for layer in inner:
        x = copier.call(layer, x)
    try:
        output = rerun_graph(source, x, copier.call)
    except ValueError as error:
        problem = " ".join(str(error).split())[:200]
        fail("image_size", f"one that {model.name} can take ({problem})", image_size)
    adapted = keras.Model(images, output, name=model.name)
    copier.copy_weights()
    for layer in adapted.layers:
        make_freezable(layer)
    return adapted


class _Copier:
    """Calls copies of layers, one copy per layer, and unfolds nested models."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = set(taken)
        self._copies: dict[int, tuple[keras.Layer, keras.Layer]] = {}

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """The output of the layer's copy."""
        if isinstance(layer, keras.Sequential):
            x = args[0]
            for inner in layer.layers:
                x = self.call(inner, x)
            return x
        if is_functional(layer):
            return rerun_graph(layer, args[0], self.call)
        if not isinstance(layer, keras.Layer):
            # An operation such as `x + y` has no state to copy.
            return layer(*args, **kwargs)
        if id(layer) not in self._copies:
            self._copies[id(layer)] = (layer, self._copy(layer))
        return self._copies[id(layer)][1](*args, **kwargs)

    def _copy(self, layer: keras.Layer) -> keras.Layer:
        """A new layer of the same settings, renamed where its name is taken."""
        # Layers without a get_config of their own leave their name out.
        config = {"name": layer.name, **layer.get_config()}
        name, number = layer.name, 1
        while config["name"] in self._taken:
            number += 1
            config["name"] = f"{name}_{number}"
        self._taken.add(config["name"])
        return type(layer).from_config(config)

    def copy_weights(self) -> None:
        """Give every copy its original's weights."""
        for layer, copy in self._copies.values():
            copy.set_weights(layer.get_weights())


def _check_model(model: Any) -> keras.Model:
    """The functional model to copy; raise where there is none."""
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            hint = "Put keras.Input((height, width, 3)) first in it."
            fail("model", "a built model", "an unbuilt Sequential", hint, TypeError)
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not is_functional(model):
        hint = "Rebuild it as keras.Model(inputs, outputs)."
        fail("model", "a functional model", type(model).__name__, hint, TypeError)
    if any(isinstance(layer, Preprocessing) for layer in model.layers):
        fail("model", "a model not built by kerastl", model.name, "Use it as it is.")
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            hint = "keras.Model(model.inputs, model.outputs[0]) has one output."
            fail("model", f"a model with one {kind}", f"{len(tensors)} {kind}s", hint)
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[-1] not in (3, None):
        hint = "Put a layer that makes its input from three channels in front of it."
        fail("model", "a model of RGB images (n, height, width, 3)", shape, hint)
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 4:
        hint = "End it before pooling and head; of a keras-hub task pass `.backbone`."
        fail("model", "a model that ends in a feature map of rank 4", shape, hint)
    return model


def _check_preprocessing(preprocessing: Any) -> tuple[keras.layers.Layer, ...]:
    """The user's own preprocessing layers, or none for a mode."""
    if isinstance(preprocessing, str):
        check_choice("preprocessing", preprocessing, PREPROCESSING_MODES)
        return ()
    layers = (
        tuple(preprocessing)
        if isinstance(preprocessing, (list, tuple))
        else (preprocessing,)
    )
    if not layers or not all(isinstance(layer, keras.Layer) for layer in layers):
        listed = ", ".join(repr(mode) for mode in PREPROCESSING_MODES)
        expected = f"one of {listed} or Keras layers"
        fail("preprocessing", expected, preprocessing, error=TypeError)
    return layers


def _check_no_scaling(model: keras.Model, preprocessing: Any) -> None:
    """Raise if the network's first layers scale its input already."""
    for layer in _leaves(model):
        if isinstance(layer, _SCALING):
            name = preprocessing if isinstance(preprocessing, str) else "layers"
            hint = f"{model.name} scales by itself in its layer {layer.name!r}."
            fail("preprocessing", "'none'", name, hint)
        if layer.weights:
            return


def _leaves(model: keras.Model) -> list[keras.Layer]:
    """The layers of a model and of the models nested in it, in order."""
    found: list[keras.Layer] = []
    for layer in model.layers:
        found += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return found
