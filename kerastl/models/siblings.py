"""Five small networks alike in all but one idea, one for each well-known family.

All have about 100,000 weights, were trained on the same images with the same loss for
equally many steps, and end in a map of 96 features: see `tiny/README.md`.
"""

from functools import partial
from typing import Any

import keras

from kerastl._checks import check_choice, check_integer
from kerastl.models.layers import Preprocessing, make_freezable
from kerastl.models.weights import bundled_file, bundled_record, load_weights_file

#: Family -> its one idea.
SIBLINGS = {
    "VGG": "a plain stack of 3 x 3 convolutions",
    "ResNet": "the same stack with skips around it",
    "Inception": "four scales beside each other",
    "MobileNet": "depthwise and pointwise in place of 3 x 3",
    "EfficientNet": "wide inside, and channels that are weighed",
}
#: Pixels that the weights were trained at, and features of the last map.
SIDE, FEATURES = 48, 96


def siblings() -> dict[str, dict[str, Any]]:
    """What is known of each small network, by its family.

    Returns:
        Family -> its `idea`, `parameters`, `held_out_cosine` (mean cosine to its
        teacher's features on crops it had not seen) and how it was made.

    Example:
        >>> siblings()["VGG"]["parameters"]
        93744
    """
    record = bundled_record("siblings")
    return {family: {"idea": SIBLINGS[family], **record[family]} for family in SIBLINGS}


def build_sibling(
    family: str, *, image_size: int = SIDE, weights: str | None = "tiny"
) -> keras.Model:
    """A small network with the one idea of its family, for RGB pixels from 0 to 255.

    Args:
        family: A name in `SIBLINGS`.
        image_size: Pixels, at least 16; the weights were trained at 48.
        weights: `"tiny"` (bundled, checked against their sum) or None for random ones.

    Returns:
        Functional model, `(n, size, size, 3)` to a map `(n, size / 16, size / 16, 96)`,
        rounded up.

    Raises:
        ValueError: If an argument is none of these, or the file was changed.

    Example:
        >>> build_sibling("ResNet").output_shape
        (None, 3, 3, 96)
    """
    check_choice("family", family, SIBLINGS)
    check_integer("image_size", image_size, 16)
    if weights is not None:
        check_choice("weights", weights, ("tiny",))
    images = keras.Input((image_size, image_size, 3), name="images")
    scaled = Preprocessing(
        "tf",
        backbone=f"small_{family.lower()}",
        weights=weights or "none",
        image_size=(image_size, image_size),
    )(images)
    build = {
        "VGG": partial(_stack, skips=False),
        "ResNet": partial(_stack, skips=True),
        "Inception": _scales,
        "MobileNet": _separable,
        "EfficientNet": _weighed,
    }
    maps = build[family](_conv(scaled, 16, stride=2, name="stem"))
    model = keras.Model(images, maps, name=f"small_{family.lower()}")
    if weights == "tiny":
        known = siblings()[family]["sha256"]
        path = bundled_file(f"sibling_{family.lower()}.npz", known)
        load_weights_file(model, path, network=f"the small {family}")
    for layer in model.layers:
        make_freezable(layer)
    return model


def _conv(
    x: Any,
    width: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    name: str,
    act: str = "relu",
) -> Any:
    """Convolution, BatchNorm and activation."""
    options = {"strides": stride, "padding": "same", "use_bias": False}
    x = keras.layers.Conv2D(width, kernel, **options, name=name)(x)
    return _normalised(x, name, act)


def _depthwise(x: Any, *, stride: int, name: str, act: str = "relu") -> Any:
    """A 3 x 3 convolution for each channel by itself."""
    options = {"strides": stride, "padding": "same", "use_bias": False}
    x = keras.layers.DepthwiseConv2D(3, **options, name=name)(x)
    return _normalised(x, name, act)


def _normalised(x: Any, name: str, act: str) -> Any:
    # Short trainings need statistics that follow soon.
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.Activation(act, name=f"{name}_{act}")(x) if act else x


def _stack(x: Any, *, skips: bool) -> Any:
    """Three pairs of 3 x 3 convolutions; with skips, each pair's input is added."""
    for place, (inner, width) in enumerate(((16, 32), (32, 48), (48, FEATURES)), 1):
        name = f"block_{place}"
        y = _conv(x, inner, name=f"{name}_a")
        y = _conv(y, width, stride=2, name=f"{name}_b", act="" if skips else "relu")
        if skips:
            short = _conv(x, width, 1, stride=2, name=f"{name}_skip", act="")
            y = keras.layers.Add(name=f"{name}_add")([y, short])
            y = keras.layers.Activation("relu", name=f"{name}_relu")(y)
        x = y
    return x


def _scales(x: Any) -> Any:
    """Modules of four branches: 1 x 1, 3 x 3, two 3 x 3 and a pool."""
    plan = (32, 0, 48, 64, 0, 96, 96, 0, FEATURES)
    for place, width in enumerate(plan, 1):
        name, part = f"block_{place}", width // 4
        if not width:
            options = {"strides": 2, "padding": "same"}
            x = keras.layers.MaxPooling2D(3, **options, name=f"{name}_pool")(x)
            continue
        pooled = keras.layers.MaxPooling2D(
            3, strides=1, padding="same", name=f"{name}_pool"
        )(x)
        three = _conv(x, part, 1, name=f"{name}_b_in")
        five = _conv(_conv(x, part, 1, name=f"{name}_c_in"), part, name=f"{name}_c_mid")
        branches = [
            _conv(x, part, 1, name=f"{name}_a"),
            _conv(three, part, name=f"{name}_b"),
            _conv(five, part, name=f"{name}_c"),
            _conv(pooled, part, 1, name=f"{name}_d"),
        ]
        x = keras.layers.Concatenate(name=f"{name}_join")(branches)
    return x


def _separable(x: Any) -> Any:
    """Depthwise, then 1 x 1 convolutions."""
    plan = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (192, 2))
    for place, (width, stride) in enumerate((*plan, (FEATURES, 1)), 1):
        x = _depthwise(x, stride=stride, name=f"block_{place}_depthwise")
        x = _conv(x, width, 1, name=f"block_{place}_pointwise")
    return x


def _weighed(x: Any) -> Any:
    """Wide inside, narrow between; each channel weighed by what the image holds."""
    plan = ((24, 2), (24, 1), (24, 1), (40, 2), (40, 1), (40, 1), (64, 2))
    for place, (width, stride) in enumerate(plan, 1):
        name, given = f"block_{place}", x.shape[-1]
        wide = 4 * given
        y = _conv(x, wide, 1, name=f"{name}_expand", act="silu")
        y = _depthwise(y, stride=stride, name=f"{name}_depthwise", act="silu")
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")
        squeeze = keras.layers.Conv2D(
            given // 4, 1, activation="silu", name=f"{name}_squeeze"
        )
        excite = keras.layers.Conv2D(
            wide, 1, activation="sigmoid", name=f"{name}_excite"
        )
        weight = excite(squeeze(mean(y)))
        y = keras.layers.Multiply(name=f"{name}_weigh")([y, weight])
        y = _conv(y, width, 1, name=f"{name}_project", act="")
        if stride == 1 and width == given:
            y = keras.layers.Add(name=f"{name}_add")([x, y])
        x = y
    return _conv(x, FEATURES, 1, name="top", act="silu")
