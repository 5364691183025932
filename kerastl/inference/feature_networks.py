"""From a backbone to a network that makes one row of features an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from kerastl._checks import check_choice, fail
from kerastl.inference.feature_layers import FeatureColumns, SpatialPyramid
from kerastl.models.adapting import adapt_backbone
from kerastl.models.backbones import build_backbone
from kerastl.models.graph import check_functional, cut_points, truncate
from kerastl.models.manifest import find_manifest, find_preprocessing
from kerastl.models.seeding import draw_weights

POOLINGS = ("avg", "max", "spp")


def open_backbone(
    backbone: str | keras.Model,
    *,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    seed: int = 0,
) -> keras.Model:
    """A network from 0-255 pixels to features, from whatever names or holds one.

    Args:
        backbone: Name, backbone, or classifier, whose head is left out.
        alpha: Width multiplier, for a backbone given by name.
        image_size: Pixels, for a backbone given by name or a foreign one.
        weights: For a backbone given by name.
        preprocessing: For a foreign model: see `adapt_backbone`. It is copied then.
        seed: For `weights=None`.

    Returns:
        Functional model that begins with its preprocessing.

    Raises:
        ValueError: If the arguments do not fit the backbone.
        TypeError: If it is neither a name nor a functional model.
    """
    if isinstance(backbone, str):
        size = {"image_size": image_size, "alpha": alpha}
        built = build_backbone(backbone, weights=weights, **size)
        if weights is None:
            draw_weights(built, seed)
        return built
    check_functional("backbone", backbone)
    if find_manifest(backbone) is not None:
        backbone = below_head(backbone)
    elif preprocessing is not None:
        return adapt_backbone(
            backbone, preprocessing=preprocessing, image_size=image_size
        )
    if find_preprocessing(backbone) is None:
        hint = "Pass 'tf' (-1 to 1), 'caffe', 'torch' or 'none' (it takes 0-255)."
        expected = "given for a backbone that was not built here"
        fail("preprocessing", expected, None, hint)
    return backbone


def below_head(model: keras.Model) -> keras.Model:
    """A classifier's backbone, which shares its variables."""
    first = model.get_layer(find_manifest(model).head_layers[0])
    return keras.Model(model.input, first.input, name=model.name)


def feature_network(
    backbone: keras.Model,
    *,
    at: str | Sequence[str] | None = None,
    pooling: str = "avg",
) -> keras.Model:
    """One network from pixels to a row of features, taken at one cut or several.

    It shares the backbone's variables. All cuts come from one forward pass.

    Args:
        backbone: Functional model from `open_backbone`.
        at: Name in `cut_points(backbone)`, several of them, or None: the top.
        pooling: `"avg"`, `"max"` or `"spp"`; a flat output passes as it is.

    Returns:
        Functional model, `(n, height, width, 3)` to float32 `(n, d)`, whose last
        layer is a `FeatureColumns`.

    Raises:
        ValueError: If a cut is none, is named twice, or cannot be pooled.
    """
    check_choice("pooling", pooling, POOLINGS)
    if at is None and isinstance(backbone.layers[-1], FeatureColumns):
        return backbone
    cuts = _check_cuts(backbone, at)
    parts = []
    for number, cut in enumerate(cuts):
        whole = backbone if at is None else truncate(backbone, cut)
        parts.append(_pooled(whole.output, cut, pooling, number))
    joined = layers.Concatenate(name="feature_join", dtype="float32")
    row = joined(parts) if len(parts) > 1 else parts[0]
    columns = FeatureColumns(cuts, [part.shape[-1] for part in parts], pooling)
    return keras.Model(backbone.input, columns(row), name=f"{backbone.name}_features")


def _check_cuts(
    backbone: keras.Model, at: str | Sequence[str] | None
) -> tuple[str, ...]:
    if at is None:
        return (cut_points(backbone)[-1],)
    if not isinstance(at, str) and not isinstance(at, Sequence):
        kinds = "None, the name of a cut point or a sequence of them"
        fail("at", kinds, at, error=TypeError)
    cuts = (at,) if isinstance(at, str) else tuple(at)
    if not cuts or len(set(cuts)) < len(cuts):
        fail("at", "different cut points, at least one", cuts)
    return cuts


def _pooled(
    tensor: keras.KerasTensor, cut: str, pooling: str, number: int
) -> keras.KerasTensor:
    """Turn a feature map into a row of features."""
    if len(tensor.shape) == 2:
        return tensor
    if len(tensor.shape) != 4:
        expected = "cuts whose output is a feature map or flat"
        fail("at", expected, cut, f"Its output has the shape {tensor.shape}.")
    if pooling == "spp" and None in tensor.shape[1:3]:
        expected = "'avg' or 'max' where the backbone takes images of any size"
        fail("pooling", expected, pooling)
    kinds = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "spp": SpatialPyramid,
    }
    # In bfloat16 an average of many values loses all but two digits.
    return kinds[pooling](name=f"feature_pool_{number}", dtype="float32")(tensor)
