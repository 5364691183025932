"""What can be said of a dataset of batches before anything trains on it."""

from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.models.compiling import model_task
from kerastl.models.manifest import find_manifest, find_preprocessing
from kerastl.training.sources import Source, StreamSource

#: `tf.data.INFINITE_CARDINALITY` and `UNKNOWN_CARDINALITY`, without importing
#: TensorFlow for them.
_INFINITE, _UNKNOWN = -1, -2


def check_first_batch(model: keras.Model, source: Source | None, name: str) -> None:
    """Check pixels and labels of a dataset's first batch against the model.

    Args:
        model: What it will be fed to.
        source: Data; only a `tf.data.Dataset` is looked at, the other kinds have
            been checked whole, and a generator's first batch would be lost.
        name: The argument's name, for errors.

    Raises:
        ValueError: If pixels are not 0-255, of another shape than the model's, or
            labels are out of range.
    """
    if not isinstance(source, StreamSource) or not hasattr(source.data, "take"):
        return
    first = next(iter(source.data.take(1)), None)
    if first is None:
        fail(name, "at least one batch", "none")
    if not isinstance(first, tuple) or len(first) < 2:
        fail(name, "batches of (images, labels)", type(first).__name__)
    images, labels = np.asarray(first[0]), np.asarray(first[1])
    if find_preprocessing(model) is not None:
        check_pixel_range(images)
    expected = model.input_shape[1:]
    if images.ndim != len(expected) + 1 or any(
        want is not None and want != got
        for want, got in zip(expected, images.shape[1:], strict=True)
    ):
        fail(name, f"batches of shape (n, {str(expected)[1:]}", images.shape)
    if find_manifest(model) is not None:
        model_task(model).check_targets(labels)


def check_end(source: Source | None, name: str) -> None:
    """Raise if a dataset never ends: its first epoch would not either.

    Raises:
        ValueError: If a `tf.data.Dataset` repeats without a limit.
    """
    data = source.data if isinstance(source, StreamSource) else None
    if hasattr(data, "cardinality") and int(data.cardinality()) == _INFINITE:
        hint = "Leave `repeat()` out, or end it with `.take(steps)`."
        fail(name, "a dataset that ends", "an endless one", hint)


def check_pixel_range(images: np.ndarray) -> None:
    """Raise unless a batch looks like pixels 0-255.

    Raises:
        ValueError: If there are negative values, values above 255 or none above 1.
    """
    low, high = float(images.min()), float(images.max())
    scaled = 0 < high <= 1 and images.dtype.kind == "f"
    if not (low >= 0 and high <= 255) or scaled:
        fail(
            "images",
            "pixels from 0 to 255",
            f"values from {low:.3g} to {high:.3g}",
            "Leave out your own rescaling: the model has its backbone's inside.",
        )


def with_length(data: Any, *, needed: bool) -> tuple[Any, int]:
    """The data and the batches in an epoch; one that does not know is counted once.

    Args:
        data: What `fit` will be given.
        needed: Whether a learning-rate schedule depends on it.

    Raises:
        ValueError: If it is needed and nobody can know, as for an endless dataset.
    """
    try:
        return data, max(len(data), 1)
    except TypeError:
        pass
    if not needed:
        return data, 1
    if hasattr(data, "cardinality") and int(data.cardinality()) == _UNKNOWN:
        import tensorflow as tf

        steps = max(sum(1 for _ in data), 1)
        return data.apply(tf.data.experimental.assert_cardinality(steps)), steps
    return fail(
        "train",
        "data with a known number of batches where the learning rate is scheduled",
        type(data).__name__,
        "Take a finite tf.data.Dataset, or schedule='constant' without warm-up.",
    )
