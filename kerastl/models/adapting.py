"""Copies of networks: behind the preprocessing they expect, or without their head."""

import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
import numpy as np

from kerastl._checks import check_choice, fail, image_size_pair, warn
from kerastl._compat import is_functional, rerun_graph, sublayers
from kerastl.models.blocks import as_functional
from kerastl.models.freezing import leaf_layers
from kerastl.models.layers import (
    PREPROCESSING_MODES,
    Preprocessing,
    TaskOutputs,
    make_freezable,
    spread_channels,
)
from kerastl.models.record import (
    find_preprocessing,
    find_record,
    is_pretrained,
    network_size,
    read_record,
)

__all__ = ["adapt_backbone", "with_image_size"]

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
    source = check_image_model(model)
    shape = tuple(source.outputs[0].shape)
    if len(shape) != 4:
        hint = "End it before pooling and head; of a keras-hub task pass `.backbone`."
        fail("model", "a model that ends in a feature map of rank 4", shape, hint)
    return behind_preprocessing(source, preprocessing, image_size)


def behind_preprocessing(
    model: keras.Model,
    preprocessing: Any,
    image_size: int | tuple[int, int] | None,
    call: Callable[..., Any] | None = None,
) -> keras.Model:
    """A flat copy of a functional model of images behind its preprocessing.

    Args:
        model: Functional model with one image input and one output.
        preprocessing: See `adapt_backbone`.
        image_size: The same.
        call: `call(copy, layer, *args, **kwargs)` makes the output of each layer, for
            what is not to be copied as it is; `copy` does that.
    """
    inner = _check_preprocessing(preprocessing)
    mode = preprocessing if isinstance(preprocessing, str) else "none"
    if mode != "none" or inner:
        _check_no_scaling(model, preprocessing)
    own = tuple(model.inputs[0].shape[1:3])
    size = own if image_size is None else image_size_pair("image_size", image_size)
    images = keras.Input((*size, 3), name="images")
    first = Preprocessing(
        mode,
        backbone=model.name,
        weights=f"{model.name} (adapted)",
        image_size=size if None not in size else None,
    )
    copier = Copier({"images", "preprocessing"}, call)
    x = first(images)
    for layer in inner:
        x = copier.call(layer, x)
    return copier.finished(model, images, x, model.name)


class Copier:
    """Calls copies of layers, one copy per layer, and unfolds nested models.

    Adapters are added to the kernels of the copies. Layers of augmentation are left
    out: outside `fit` and `predict` Keras has them change the images.

    Args:
        taken: Names that no copy may have.
        call: See `behind_preprocessing`.
    """

    def __init__(self, taken: set[str], call: Callable[..., Any] | None = None) -> None:
        """See the class."""
        self._taken = set(taken)
        self._copies: dict[int, tuple[keras.Layer, keras.Layer]] = {}
        self._left_out: list[str] = []
        self._call = call

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """The output of the layer's copy."""
        if isinstance(layer, keras.Sequential):
            x = args[0]
            for inner in layer.layers:
                x = self._called(inner, x)
            return x
        if is_functional(layer):
            return rerun_graph(as_functional("model", layer), args[0], self._called)
        if not isinstance(layer, keras.Layer):
            # An operation such as `x + y` has no state to copy.
            return layer(*args, **kwargs)
        if _augments(layer):
            return self._without(layer, *args, **kwargs)
        if id(layer) not in self._copies:
            self._copies[id(layer)] = (layer, self._copy(layer))
        return self._copies[id(layer)][1](*args, **kwargs)

    def _called(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if self._call is not None:
            return self._call(self.call, layer, *args, **kwargs)
        return self.call(layer, *args, **kwargs)

    def _copy(self, layer: keras.Layer) -> keras.Layer:
        """A new layer of the same settings, renamed where its name is taken."""
        # Layers without a get_config of their own leave their name out.
        config = {"name": layer.name, **layer.get_config()}
        for setting in ("lora_rank", "lora_alpha"):
            config.pop(setting, None)
        name, number = layer.name, 1
        while config["name"] in self._taken:
            number += 1
            config["name"] = f"{name}_{number}"
        self._taken.add(config["name"])
        return type(layer).from_config(config)

    def _without(self, layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        """The layer's input, where it has the shape of its output."""
        shape = layer.compute_output_shape(args[0].shape)
        if tuple(shape) != tuple(args[0].shape):
            hint = "Augmentation belongs in the pipeline: see `augment`."
            expected = "a model without random layers that change the images' size"
            fail("model", expected, layer.name, hint)
        self._left_out.append(layer.name)
        return args[0]

    def finished(
        self, model: keras.Model, images: keras.KerasTensor, x: Any, name: str
    ) -> keras.Model:
        """The copy of a model, with its weights.

        Args:
            model: The original.
            images: The copy's input.
            x: What stands for the original's input.
            name: The copy's name.
        """
        try:
            output = rerun_graph(model, x, self._called)
        except ValueError as error:
            if str(error).startswith("`"):
                raise
            problem = " ".join(str(error).split())[:200]
            expected = f"one that {model.name} can take ({problem})"
            fail("image_size", expected, tuple(images.shape[1:3]))
        copy = keras.Model(images, output, name=name)
        for layer, made in self._copies.values():
            for old, new in zip(sublayers(layer), sublayers(made), strict=True):
                # As a file has them: adapters in their kernels, and what a layer
                # computes from its weights computed anew.
                state: dict[str, Any] = {}
                old.save_own_variables(state)
                # Arrays of its own: JAX frees those that a step was given.
                own = {key: np.array(value) for key, value in state.items()}
                try:
                    new.load_own_variables(own)
                except ValueError:
                    expected = f"one at which {old.name} keeps the shape of its weights"
                    fail("image_size", expected, tuple(images.shape[1:3]))
        for layer in copy.layers:
            make_freezable(layer)
        if self._left_out:
            warn(
                f"Left out of the copy of {model.name}: {', '.join(self._left_out)}. "
                "Augmentation belongs in the pipeline: see `augment`."
            )
        return copy


def with_channels(network: keras.Model, channels: int) -> keras.Model:
    """A copy of a network for images of another number of channels.

    Its first kernel is summed over the three channels for one, and for more repeated
    and scaled by three over their number, so that what comes after sees values of the
    same size; constants of a channel are averaged, or repeated, likewise.

    Args:
        network: From `build_backbone`, for three channels.
        channels: How many.
    """
    first = find_preprocessing(network)
    stem = next(layer for layer in network.layers if hasattr(layer, "kernel"))
    before = network.layers[: network.layers.index(stem)]

    def call(copy: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        config = layer.get_config() if isinstance(layer, keras.Layer) else {}
        if layer is stem:
            new = type(layer).from_config(config)
            output = new(*args, **kwargs)
            kernel, *rest = layer.get_weights()
            # Caffe's weights are for blue first; more channels come in their order.
            kernel = kernel[:, :, ::-1] if first.mode == "caffe" else kernel
            more = kernel[:, :, np.arange(channels) % 3] * (3 / channels)
            summed = kernel.sum(axis=2, keepdims=True)
            new.set_weights([summed if channels == 1 else more, *rest])
            return output
        if layer in before and isinstance(layer, _SCALING):
            names = ("scale", "offset")
            if isinstance(layer, keras.layers.Normalization):
                names = ("mean", "variance")
            for name in names:
                value = keras.ops.convert_to_numpy(getattr(layer, name))
                if np.size(value) > 1:
                    config[name] = spread_channels(value, channels).tolist()
            return type(layer).from_config(config)(*args, **kwargs)
        return copy(layer, *args, **kwargs)

    images = keras.Input((*network.input_shape[1:3], channels), name="images")
    return Copier({"images"}, call).finished(network, images, images, network.name)


#: Layers of Keras that draw their augmentation, besides those called `Random...`.
_AUGMENTING = {"AugMix", "CutMix", "MixUp", "RandAugment"}


def _augments(layer: keras.Layer) -> bool:
    """Whether the layer changes images at random: as `RandomFlip` does."""
    names = {cls.__name__ for cls in type(layer).__mro__}
    return bool(names & _AUGMENTING) or any(name.startswith("Random") for name in names)


class BackbonesInUse:
    """Backbones that have become part of a model, and their weights at that time.

    What is built on one of them next takes a copy, so that training one model does not
    move another. Keyed by the first layer of each.
    """

    def __init__(self) -> None:
        """See the class."""
        self._sums: weakref.WeakKeyDictionary[keras.Layer, dict[str, int]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, first: keras.Layer, network: keras.Model) -> None:
        """Remember a network that a model has been built on."""
        known = self._sums.setdefault(first, {})
        for path, found in _weight_sums(network).items():
            known.setdefault(path, found)

    def has(self, first: keras.Layer | None, network: keras.Model) -> bool:
        """Whether a model has it; warns if it has trained there since."""
        if first not in self._sums:
            return False
        # A network that was cut lower down has a part of the weights.
        known, now = self._sums[first], _weight_sums(network)
        if any(known.get(path, found) != found for path, found in now.items()):
            warn(
                f"{network.name} has been trained since a model was built on it: what "
                "is built now starts from those weights. Build the backbone anew for "
                "a start from its own."
            )
        return True


def _weight_sums(network: keras.Model) -> dict[str, int]:
    """Path of each weight -> a checksum of it."""
    found = {}
    for weight in network.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        found[weight.path] = zlib.crc32(array.view(np.uint8))
    return found


def copy_network(
    network: keras.Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    label: str = "",
    name: str = "",
) -> keras.Model:
    """A copy of a network that begins with its preprocessing, adapters folded in.

    Args:
        network: From `build_backbone` or `adapt_backbone`, or a part of a classifier.
        image_size: Pixels; None: as the network.
        label: Where its weights come from; empty: as it says.
        name: The copy's name; empty: the network's.
    """
    first = find_preprocessing(network)
    size = network_size(network) if image_size is None else image_size
    size = image_size_pair("image_size", size)
    changes = {"image_size": size, "weights": label or first.weights_source}

    def call(copied: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer is not first:
            return copied(layer, *args, **kwargs)
        return Preprocessing.from_config({**first.get_config(), **changes})(*args)

    images = keras.Input((*size, network.input_shape[-1]), name=network.layers[0].name)
    copier = Copier({images.name}, call)
    return copier.finished(network, images, images, name or network.name)


def with_image_size(
    model: keras.Model, image_size: int | tuple[int, int]
) -> keras.Model:
    """A copy of a model for images of another size: the same layers and weights.

    A convolutional network whose head pools takes images of any size, and often answers
    best somewhat above the size that it was trained on: augmentation and crops show
    objects larger in training than they are afterwards (Touvron et al. 2019, Fixing
    the train-test resolution discrepancy, arXiv:1906.06423). Measure it:
    `kerastl.selection.choose_image_size`.

    Args:
        model: From `build_classifier`, `build_regressor` or `load_model`; it stays as
            it is.
        image_size: Pixels, one number or `(height, width)`.

    Returns:
        Functional model whose record has the new size, and as `trained_size` that of
        the weights.

    Raises:
        ValueError: If the model was not built here, or cannot take that size.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> larger = kerastl.with_image_size(model, 120)
        >>> model.input_shape[1:3], larger.input_shape[1:3]
        ((96, 96), (120, 120))
    """
    record = read_record(model)
    if record.text is not None:
        fail("model", "a model of images", model.name)
    copy = copy_network(model, image_size=image_size)
    trained = record.trained_size or record.image_size
    for layer in copy.layers:
        if isinstance(layer, TaskOutputs):
            layer.record["image_size"] = list(copy.input_shape[1:3])
            layer.record["trained_size"] = list(trained)
    return copy


def below_head(model: keras.Model) -> keras.Model:
    """A classifier's backbone, which shares its variables."""
    first = model.get_layer(find_record(model).head_layers[0])
    return keras.Model(model.input, first.input, name=model.name)


def without_head(
    model: keras.Model, image_size: int | tuple[int, int] | None = None, label: str = ""
) -> keras.Model:
    """A copy of the backbone of a model built here, to start from, and a warning.

    Args:
        model: With a head, which is left out, or without one.
        image_size: Pixels; None: the model's.
        label: What to say of where its weights come from.
    """
    record = find_record(model)
    names = {} if record is None else {"name": record.backbone}
    # Weights that nothing was learnt with stay `"none"`.
    label = (label or f"{model.name} (tuned)") if is_pretrained(model) else ""
    if record is not None:
        asked = ", ".join(record.class_names[:12]) or record.task["name"]
        warn(
            f"The head of {model.name} ({asked}) is left out: what is built starts "
            "from a copy of its backbone."
        )
        model = below_head(model)
    return copy_network(model, image_size=image_size, label=label, **names)


def refuse_unprepared() -> NoReturn:
    """Raise for a backbone of another origin of which nobody says what it expects."""
    fail(
        "preprocessing",
        "given for a backbone that was not built here",
        None,
        "Pass 'tf' (-1 to 1), 'caffe', 'torch', 'none' (it takes 0-255 as it is), or a "
        "Keras layer such as Rescaling(1 / 255).",
    )


def check_image_model(model: Any) -> keras.Model:
    """The functional model to copy; raise where there is none."""
    if isinstance(model, keras.Sequential) and not model.built:
        hint = "Put keras.Input((height, width, 3)) first in it."
        fail("model", "a built model", "an unbuilt Sequential", hint, TypeError)
    model = as_functional("model", model)
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
    for layer in leaf_layers(model):
        if isinstance(layer, _SCALING):
            name = preprocessing if isinstance(preprocessing, str) else "layers"
            hint = f"{model.name} scales by itself in its layer {layer.name!r}."
            fail("preprocessing", "'none'", name, hint)
        if layer.weights:
            return
