"""Computing the frozen part of a network once, and training only what lies above it."""

import math
from collections.abc import Callable

import keras
import numpy as np

from kerastl._compat import graph_nodes, seed_generators, sublayers
from kerastl.inference.features import is_deterministic, run_batches
from kerastl.models.graph import cut_points, split_model
from kerastl.models.layers import is_noise
from kerastl.training.sources import ArraySource, ImageSource, Source

#: Largest size of what is kept in memory, in bytes.
MEMORY_LIMIT = 1_000_000_000


def cached_part(
    model: keras.Model,
    train: Source,
    validation: Source | None,
    epochs: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[keras.Model, Source, Source | None]:
    """The part of the model above the freeze boundary, and its inputs computed once.

    Args:
        model: Model whose trainable flags are set.
        train: Training data.
        validation: Validation data of any kind, or None.
        epochs: How often the data will be passed.
        progress: Called with (done, total).

    Returns:
        `(part, train, validation)`: a model that shares the trainable variables, and
        features in place of images; the arguments themselves where nothing is
        gained or the result would not be the same.
    """
    unchanged = model, train, validation
    cacheable = (ImageSource, ArraySource)
    if not isinstance(train, cacheable) or epochs < 2:
        return unchanged
    if validation is not None and not isinstance(validation, cacheable):
        return unchanged
    boundary = freeze_boundary(model)
    if boundary is None:
        return unchanged
    prefix, part = split_model(model, boundary)
    images = len(train) + (len(validation) if validation is not None else 0)
    if 4 * math.prod(prefix.output_shape[1:]) * images > MEMORY_LIMIT:
        return unchanged
    sample = train.rows(np.arange(min(4, len(train)))).astype("float32")
    if not is_deterministic(prefix, sample):
        return unchanged
    features = _features(prefix, train, progress)
    checked = None if validation is None else _features(prefix, validation, progress)
    return part, features, checked


def freeze_boundary(model: keras.Model) -> str | None:
    """The last layer below everything that trains through which all must pass.

    Args:
        model: Functional model whose trainable flags are set.

    Returns:
        Its name, or None if nothing with weights lies below what trains.
    """
    legal = set(cut_points(model)[:-1])
    best, weights = None, False
    for node in graph_nodes(model):
        layer = node.layer
        if isinstance(layer, keras.Layer):
            if _trains(layer):
                break
            weights = weights or bool(layer.weights)
        if weights and layer.name in legal:
            best = layer.name
    return best


def _trains(layer: keras.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next."""
    return bool(layer.trainable_variables) or any(
        part.trainable if is_noise(part) else bool(seed_generators(part))
        for part in sublayers(layer)
    )


def _features(
    prefix: keras.Model,
    source: ImageSource | ArraySource,
    progress: Callable[[int, int], None] | None,
) -> ArraySource:
    made = run_batches(prefix, source.rows, len(source), progress=progress)
    return ArraySource(made, source.labels)
