"""Backbones by name, or from a user's own Keras model."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    image_size_pair,
    nearest,
    passed_on,
)
from kerastl._compat import note_process, rerun_graph, sublayers
from kerastl.models.adapting import with_channels, without_head
from kerastl.models.layers import Preprocessing, make_freezable
from kerastl.models.record import find_preprocessing
from kerastl.models.registry import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    REGISTRY,
    BackboneSpec,
    find_spec,
    match_spec,
)
from kerastl.models.text_backbones import (
    build_text_backbone,
    bundled_parameters,
    check_image_options,
    is_text_network,
)
from kerastl.models.weights import (
    cached_imagenet_file,
    check_weights,
    imagenet_files,
    is_model_file,
    load_weights_file,
    read_model_file,
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
    weights in Keras's folder for at least one width. Last come the bundled networks of
    texts, which need keras-hub.

    Returns:
        Rows with the keys `name`, `parameters_millions`, `minimum_size`,
        `native_size` (pixels; None: it takes texts), `licence` (of the ImageNet
        weights, or of the bundled network) and `offline`.

    Example:
        >>> next(r for r in backbone_table() if r["name"] == "VGG16")["native_size"]
        224
    """
    bundled = {entry.name for entry in tiny_weights()}
    images = tuple(
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
    texts = tuple(
        {
            "name": name,
            "parameters_millions": round(parameters / 1e6, 1),
            "minimum_size": None,
            "native_size": None,
            "licence": "Apache-2.0",
            "offline": "tiny",
        }
        for name, parameters in bundled_parameters().items()
    )
    return images + texts


def _is_cached(spec: BackboneSpec) -> bool:
    """Whether Keras's folder has ImageNet weights of the network, of any width."""
    return any(
        cached_imagenet_file(spec, alpha=alpha, image_size=(side, side)) is not None
        for alpha in spec.alphas or (1.0,)
        for side in (96, 128, 160, 192, 224)
    )


def build_backbone(
    name: str | Path | keras.Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    stochastic_depth: float | None = None,
    channels: int = 3,
    encoder: Any = None,
    sequence_length: int | None = None,
) -> keras.Model:
    """A network of `keras.applications` without its top, for RGB pixels from 0 to 255.

    Give it pixels as they are, uint8 or float: its own preprocessing is its first
    layer, and scaling the images before it would scale them twice.

    Args:
        name: A name from `list_backbones()`; case, `-` and `_` do not matter. Or the
            `.keras` file of a tuned model, whose head is left out, with a warning;
            `weights` is not asked then. For texts `"MiniText"` or `"MiniGPT"`, which
            are bundled, a `Backbone` of keras-hub or its preset: see
            `kerastl.models.text_backbones`.
        image_size: Pixels, one number or `(height, width)`. None: the size the
            weights were trained at.
        weights: `"imagenet"` (downloaded once by Keras), `"tiny"` (bundled; see
            `backbone_table`), None for random weights, or a path: to a `.weights.h5`,
            `.h5` or `.npz` file of this network without its top, or to the `.keras`
            file of a model tuned from it, whose head is left out. Bundled files and,
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
        channels: Of the images. 3 is RGB, to which kerastl brings grey and transparent
            images. 1: grey; the first kernel is summed over its channels. More: for
            arrays of so many; the first kernel is repeated, and scaled by three over
            their number.
        encoder: For a network of texts the `TextEncoder` whose ids it takes, to travel
            in its file. None: a preset's own.
        sequence_length: Ids in a row of a preset's own encoder; None: at most 128.

    Returns:
        Functional model, `(n, height, width, channels)` to a feature map of rank 4.

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
    note_process()
    if is_text_network(name):
        check_image_options(locals(), build_backbone)
        texts = {"encoder": encoder, "sequence_length": sequence_length}
        return build_text_backbone(name, **texts)
    for option, given in (("encoder", encoder), ("sequence_length", sequence_length)):
        if given is not None:
            fail(option, "None for a network of images", given)
    check_integer("channels", channels, 1)
    if channels != 3:
        options = passed_on(locals(), build_backbone) | {"channels": 3}
        model = build_backbone(name, **options)
        if model.input_shape[-1] != 3:
            fail("channels", "3, or left out, for a tuned model", channels)
        return with_channels(model, channels)
    if is_model_file(name):
        return _tuned(name, None, image_size, alpha, stochastic_depth)
    spec = find_spec(name)
    kind = check_weights(weights)
    if kind == "model":
        return _tuned(weights, spec, image_size, alpha, stochastic_depth)
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


def _tuned(
    path: str | Path,
    spec: BackboneSpec | None,
    image_size: int | tuple[int, int] | None,
    alpha: float | None,
    stochastic_depth: float | None,
) -> keras.Model:
    """The backbone of the model in a file, which says how it is built."""
    argument = "weights" if spec else "name"
    for option, value in (("alpha", alpha), ("stochastic_depth", stochastic_depth)):
        if value is not None:
            hint = f"{str(path)!r} says how it is built."
            fail(option, "None for a tuned model", value, hint)
    model = read_model_file(path, argument, "the file of a tuned model, whole")
    first = find_preprocessing(model)
    if first is None:
        hint = "Load it with keras.models.load_model and pass it to adapt_backbone."
        fail(argument, "the file of a model of kerastl", str(path), hint)
    if spec is not None and match_spec(first.backbone) is not spec:
        hint = f"It was built on {first.backbone}."
        fail("weights", f"a model tuned from {spec.name}", str(path), hint)
    if spec is not None and image_size is not None:
        image_size = _check_size(spec, "file", image_size)
    return without_head(model, image_size, Path(path).name)


def check_backbone(
    name: str | Path,
    *,
    alpha: float | None,
    image_size: int | tuple[int, int] | None,
    weights: str | Path | None,
) -> None:
    """Raise for what `build_backbone` refuses, without building."""
    if is_model_file(name):
        if not Path(name).expanduser().is_file():
            fail("backbone", "a file that exists", str(name), error=FileNotFoundError)
        return
    spec, kind = match_spec(str(name)), check_weights(weights)
    if spec is None:
        hint = nearest(str(name), REGISTRY) or "See kerastl.list_backbones()."
        expected = "a network of keras.applications or a .keras file"
        fail("backbone", expected, str(name), hint)
    if kind == "model":
        return
    width = _check_alpha(spec, kind, alpha)
    _check_size(spec, kind, image_size)
    if kind == "tiny":
        tiny_path(spec, alpha=width)


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
