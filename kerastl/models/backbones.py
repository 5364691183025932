"""Building the networks of `keras.applications` so that they take 0-255 pixels."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_number, fail, image_size_pair
from kerastl._compat import rerun_graph
from kerastl.models.adapting import adapt_backbone
from kerastl.models.layers import Preprocessing, make_freezable
from kerastl.models.specs import REGISTRY, BackboneSpec, find_spec
from kerastl.models.stochastic_depth import (
    check_stochastic_depth,
    with_stochastic_depth,
)
from kerastl.models.weight_files import load_weights_file
from kerastl.models.weights import (
    cached_imagenet_file,
    check_weights,
    find_weights,
    tiny_weights,
)

__all__ = ["adapt_backbone", "backbone_table", "build_backbone", "list_backbones"]

#: Pixels: what the bundled weights were trained at.
_TINY_SIZE = 96
#: Means and standard deviations (RGB, 0-1) of the ImageNet training set.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


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
    file = find_weights(spec, weights=weights, alpha=width, image_size=size)
    label = file.name if kind == "file" else kind
    model = _random_network(spec, size, width, label)
    if stochastic_depth is not None:
        model = with_stochastic_depth(model, spec, stochastic_depth)
    if file is not None:
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


def _random_network(
    spec: BackboneSpec, size: tuple[int, int], alpha: float, label: str
) -> keras.Model:
    """The network on top of its preprocessing, with random weights."""
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
    build = getattr(keras.applications, spec.application)
    options = {"alpha": alpha} if spec.alphas else {}
    model = build(
        input_tensor=preprocessing(images),
        input_shape=(*size, 3),
        include_top=False,
        weights=None,
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
        if not isinstance(layer, keras.layers.Normalization):
            return type(layer).from_config(layer.get_config())(*args, **kwargs)
        copy = type(layer).from_config(layer.get_config())
        # (x - mean) / sqrt(deviation), then / sqrt(deviation), as in Keras.
        scaling = keras.layers.Rescaling(
            [deviation**-0.5 for deviation in _DEVIATION], name="imagenet_scaling"
        )
        output = scaling(copy(*args, **kwargs))
        copy.set_weights([np.array(_MEAN), np.array(_DEVIATION), np.array(0)])
        copy.finalize_state()
        return output

    images = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.Model(images, rerun_graph(model, images, call), name=model.name)


def _check_efficientnet_constants(model: keras.Model, path: Path) -> None:
    """Raise unless a file of EfficientNet V1 has ImageNet's means in it."""
    layer = next(
        layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)
    )
    if not np.allclose(np.ravel(layer.get_weights()[0]), _MEAN, atol=1e-3):
        fail(
            "weights",
            "weights of an EfficientNet that normalises with ImageNet's means",
            str(path),
            "Build that network yourself and pass it to adapt_backbone.",
        )
