"""Backbones by name, or from a user's own Keras model."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_number, fail, image_size_pair
from kerastl._compat import is_functional, rerun_graph, sublayers
from kerastl.models.blocks import as_functional
from kerastl.models.layers import PREPROCESSING_MODES, Preprocessing, make_freezable
from kerastl.models.registry import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    REGISTRY,
    BackboneSpec,
    find_spec,
)
from kerastl.models.weights import (
    cached_imagenet_file,
    check_weights,
    imagenet_files,
    load_weights_file,
    tiny_path,
    tiny_weights,
)

#: Weight attribute -> attribute that holds its initializer.
_INITIALIZERS = {
    "kernel": ("depthwise_initializer", "kernel_initializer"),
    "depthwise_kernel": ("depthwise_initializer",),
    "pointwise_kernel": ("pointwise_initializer",),
}


def draw_weights(model: keras.Model, seed: int) -> None:
    """Draw every random kernel of a model again, each from a seed of its own.

    `keras.applications` takes no seed, and Keras's global one is not ours to set.

    Args:
        model: Network with random weights; changed in place.
        seed: Non-negative integer.
    """
    number = 0
    for layer in sublayers(model):
        for weight_name, names in _INITIALIZERS.items():
            weight = getattr(layer, weight_name, None)
            held = [getattr(layer, name, None) for name in names]
            rule = next((found for found in held if found is not None), None)
            if weight is None or rule is None or "seed" not in rule.get_config():
                continue
            config = {**rule.get_config(), "seed": (seed * 100_003 + number) % 2**31}
            weight.assign(type(rule).from_config(config)(weight.shape, weight.dtype))
            number += 1


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@contextmanager
def using_precision(precision: str | None) -> Iterator[None]:
    """Build layers under a dtype policy, and put Keras's own setting back.

    Args:
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or None for
            what Keras is set to.

    Raises:
        ValueError: If the policy is unknown.
    """
    if precision is None:
        yield
        return
    check_choice("precision", precision, PRECISIONS)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
            return rerun_graph(as_functional("model", layer), args[0], self.call)
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


__all__ = ["adapt_backbone", "backbone_table", "build_backbone", "list_backbones"]

#: Pixels: what the bundled weights were trained at.
_TINY_SIZE = 96


def list_backbones() -> tuple[str, ...]:
    """Names that `build_backbone` knows, family by family.

    Returns:
        The names of `keras.applications`.

    Example:
        >>> "MobileNetV2" in list_backbones()
        True
    """
    return tuple(REGISTRY)


def backbone_table() -> tuple[dict[str, Any], ...]:
    """One row per backbone: size, image sizes, licence, weights that are here now.

    `offline` lists what needs no download: the bundled tiny weights, and ImageNet
    weights in Keras's folder for at least one width.

    Returns:
        Rows with the keys `name`, `parameters_millions`, `minimum_size`,
        `native_size` (pixels), `licence` (of the ImageNet weights) and `offline`.

    Example:
        >>> next(r for r in backbone_table() if r["name"] == "VGG16")["native_size"]
        224
    """
    bundled = {entry.name for entry in tiny_weights()}
    return tuple(
        {
            "name": spec.name,
            "parameters_millions": spec.parameters,
            "minimum_size": spec.minimum_size,
            "native_size": spec.native_size,
            "licence": spec.licence,
            "offline": ", ".join(
                ["tiny"] * (spec.name in bundled) + ["imagenet"] * _is_cached(spec)
            ),
        }
        for spec in REGISTRY.values()
    )


def _is_cached(spec: BackboneSpec) -> bool:
    """Whether Keras's folder has ImageNet weights of the network, of any width."""
    return any(
        cached_imagenet_file(spec, alpha=alpha, image_size=(side, side)) is not None
        for alpha in spec.alphas or (1.0,)
        for side in (96, 128, 160, 192, 224)
    )


def build_backbone(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    stochastic_depth: float | None = None,
) -> keras.Model:
    """A network of `keras.applications` without its top, for RGB pixels from 0 to 255.

    Give it pixels as they are, uint8 or float: its own preprocessing is its first
    layer, and scaling the images before it would scale them twice. It takes three
    channels; kerastl's loaders repeat a grey channel and drop alpha.

    Args:
        name: A name from `list_backbones()`; case, `-` and `_` do not matter.
        image_size: Pixels, one number or `(height, width)`. None: the size the
            weights were trained at.
        weights: `"imagenet"` (downloaded once by Keras), `"tiny"` (bundled; see
            `backbone_table`), None for random weights, or a path to a `.weights.h5`,
            `.h5` or `.npz` file of this network without its top. Bundled files and,
            where Keras publishes one, ImageNet files are checked against their
            checksum; for each source the variables equal the file's arrays.
        alpha: Width multiplier of the MobileNets. None: 1, or the widest that is
            bundled for `weights="tiny"`.
        stochastic_depth: Rate, in [0, 1), at which training drops the residual branch
            of an image at the top of the network; lower ones less, in a straight line
            to none. ConvNeXt's topmost branch has this rate; in EfficientNet and
            EfficientNetV2 it is Keras's `drop_connect_rate`, which the line would reach
            one block above the topmost. None: Keras's 0, 0.2 and 0.2. Frozen blocks
            drop nothing.

    Returns:
        Functional model, `(n, height, width, 3)` to a feature map of rank 4.

    Raises:
        ValueError: If the name is unknown, the images are too small, the width has no
            weights, or the file is damaged or belongs to another network.
        FileNotFoundError: If the weights are neither here nor to be downloaded.
        TypeError: If an argument is of another type.

    Example:
        >>> model = build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model.input_shape, model.output_shape
        ((None, 96, 96, 3), (None, 3, 3, 256))

    Reference:
        Huang et al. (2016), Deep Networks with Stochastic Depth, arXiv:1603.09382,
        eq. 4, for the straight line.
    """
    spec = find_spec(name)
    kind = check_weights(weights)
    check_stochastic_depth(spec, stochastic_depth)
    width = _check_alpha(spec, kind, alpha)
    size = _check_size(spec, kind, image_size)
    if kind == "imagenet":
        with imagenet_files(spec.name) as files:
            model = _network(spec, size, width, kind, weights="imagenet")
        file = files[-1]
    else:
        own = Path(weights).expanduser() if kind == "file" else None
        file = tiny_path(spec, alpha=width) if kind == "tiny" else own
        model = _network(spec, size, width, own.name if own else kind)
    if stochastic_depth is not None:
        model = with_stochastic_depth(model, spec, stochastic_depth)
    if file is not None:
        # ImageNet's are read again: layers may have been made anew, and only this
        # checks that the variables equal the file's arrays.
        load_weights_file(model, file, network=spec.name)
    if spec.family == "EfficientNet" and kind == "file":
        _check_efficientnet_constants(model, file)
    for layer in model.layers:
        make_freezable(layer)
    return model


def _check_alpha(spec: BackboneSpec, kind: str, alpha: float | None) -> float:
    """The width multiplier to build."""
    if alpha is None:
        bundled = [e.alpha for e in tiny_weights() if e.name == spec.name]
        return max(bundled, default=1.0) if kind == "tiny" else 1.0
    check_number("alpha", alpha, above=0.0)
    if spec.alphas is None and alpha != 1:
        networks = [other.name for other in REGISTRY.values() if other.alphas]
        hint = f"Widths can be chosen for {', '.join(networks)}."
        fail("alpha", f"None or 1 for {spec.name}", alpha, hint)
    if kind == "imagenet" and alpha not in (spec.alphas or (1,)):
        widths = ", ".join(f"{each:g}" for each in spec.alphas)
        expected = f"one of {widths} for {spec.name} with weights='imagenet'"
        fail("alpha", expected, alpha, "weights=None takes any width.")
    return float(alpha)


def _check_size(
    spec: BackboneSpec, kind: str, image_size: int | tuple[int, int] | None
) -> tuple[int, int]:
    """`(height, width)` to build for."""
    if image_size is None:
        side = _TINY_SIZE if kind == "tiny" else spec.native_size
        return side, side
    size = image_size_pair("image_size", image_size)
    if min(size) < spec.minimum_size:
        fail("image_size", f"at least {spec.minimum_size} for {spec.name}", image_size)
    return size


def _network(
    spec: BackboneSpec,
    size: tuple[int, int],
    alpha: float,
    label: str,
    weights: str | None = None,
) -> keras.Model:
    """The network on top of its preprocessing, random or as Keras loads it."""
    if keras.config.image_data_format() != "channels_last":
        fail(
            "image_data_format",
            "'channels_last' in Keras's configuration",
            keras.config.image_data_format(),
            "Call keras.config.set_image_data_format('channels_last').",
        )
    images = keras.Input((*size, 3), name="images")
    preprocessing = Preprocessing(
        spec.preprocessing, backbone=spec.name, weights=label, image_size=size
    )
    # `name=` would change which weights file an application asks for.
    build = getattr(keras.applications, spec.name)
    options = {"alpha": alpha} if spec.alphas else {}
    model = build(
        input_tensor=preprocessing(images),
        input_shape=(*size, 3),
        include_top=False,
        weights=weights,
        **options,
    )
    if spec.family == "EfficientNet":
        return _with_imagenet_scaling(model)
    # An application wraps its input in a list, and warns at every plain call.
    return keras.Model(images, model.output, name=model.name)


def _with_imagenet_scaling(model: keras.Model) -> keras.Model:
    """EfficientNet V1 with the input scaling that its ImageNet weights expect.

    Keras adds a layer for it only under `weights="imagenet"`: the network it builds
    for a weights file or for random weights is another one. Here it is always there.
    """

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale):
            # Keras's own, which is below.
            return args[0]
        if not isinstance(layer, keras.layers.Normalization):
            return type(layer).from_config(layer.get_config())(*args, **kwargs)
        copy = type(layer).from_config(layer.get_config())
        # (x - mean) / sqrt(deviation), then / sqrt(deviation), as in Keras.
        scaling = keras.layers.Rescaling(
            [deviation**-0.5 for deviation in IMAGENET_DEVIATION],
            name="imagenet_scaling",
        )
        output = scaling(copy(*args, **kwargs))
        copy.set_weights(
            [np.array(IMAGENET_MEAN), np.array(IMAGENET_DEVIATION), np.array(0)]
        )
        copy.finalize_state()
        return output

    images = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.Model(images, rerun_graph(model, images, call), name=model.name)


def _check_efficientnet_constants(model: keras.Model, path: Path) -> None:
    """Raise unless a file of EfficientNet V1 has ImageNet's means in it."""
    layer = next(
        layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)
    )
    if not np.allclose(np.ravel(layer.get_weights()[0]), IMAGENET_MEAN, atol=1e-3):
        fail(
            "weights",
            "weights of an EfficientNet that normalises with ImageNet's means",
            str(path),
            "Build that network yourself and pass it to adapt_backbone.",
        )
