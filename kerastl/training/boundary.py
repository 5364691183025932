"""Computing the frozen part of a network once, and training only what lies above it."""

import math

import keras
import numpy as np

from kerastl.inference.features import is_deterministic, run_batches
from kerastl.models.freezing import leaf_layers
from kerastl.models.graph import cut_points, split_model
from kerastl.models.layers import is_noise
from kerastl.training.sources import ArraySource, ImageSource, Source

#: Largest size of what is kept in memory, in bytes.
MEMORY_LIMIT = 1_000_000_000


def cached_part(
    model: keras.Model, train: Source, validation: Source | None, epochs: int
) -> tuple[keras.Model, Source, Source | None]:
    """The part of the model above the freeze boundary, and its inputs computed once.

    Args:
        model: Model whose trainable flags are set.
        train: Training data.
        validation: Validation data of any kind, or None.
        epochs: How often the data will be passed.

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
    images = len(train) + (len(validation) if validation is not None else 0)
    cells = math.prod(model.get_layer(boundary).output.shape[1:])
    if 4 * cells * images > MEMORY_LIMIT:
        return unchanged
    prefix, part = split_model(model, boundary)
    sample = train.rows(np.arange(min(4, len(train)))).astype("float32")
    if not is_deterministic(prefix, sample):
        return unchanged
    features = _features(prefix, train)
    checked = None if validation is None else _features(prefix, validation)
    return part, features, checked


def freeze_boundary(model: keras.Model) -> str | None:
    """The last layer below everything that trains through which all must pass.

    Returns:
        Its name, or None if something trains from the first weights on.
    """
    best = None
    legal = set(cut_points(model)[:-1])
    for layer in leaf_layers(model):
        if layer.trainable_variables or (is_noise(layer) and layer.trainable):
            break
        if layer.name in legal and not isinstance(layer, keras.layers.InputLayer):
            best = layer.name
    return best if best and _holds_weights(model, best) else None


def _holds_weights(model: keras.Model, boundary: str) -> bool:
    """Whether there is anything to compute up to the boundary."""
    for layer in leaf_layers(model):
        if layer.weights:
            return True
        if layer.name == boundary:
            break
    return False


def _features(prefix: keras.Model, source: ImageSource | ArraySource) -> ArraySource:
    return ArraySource(run_batches(prefix, source.rows, len(source)), source.labels)
