"""What a classifier makes of images of two domains: features and probabilities."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.data.sources import Source, StreamSource
from kerastl.features.network import source_outputs
from kerastl.features.sources import make_source, unlabelled_source
from kerastl.tasks.task import BoundModel
from kerastl.training.domains import head_features


@dataclass(frozen=True, eq=False)
class DomainRows:
    """One row an image.

    Attributes:
        features: What the head's last layer takes, float32 `(n, d)`.
        probabilities: Float64 `(n, classes)`.
        labels: Classes `(n,)`; None for a target.
    """

    features: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each `(n,)`."""
        return self.probabilities.argmax(axis=1)


def labelled_rows(
    bound: BoundModel, images: Any, name: str, batch_size: int
) -> DomainRows:
    """Rows of labelled images."""
    check_one_class(bound)
    source = make_source(bound, images, name, keep_pixels=False)
    if isinstance(source, StreamSource):
        hint = "Pass an ImageSet, or images and labels."
        fail(name, "labelled images that can be counted", "a dataset", hint, TypeError)
    found = _rows(bound, source, batch_size)
    labels = np.reshape(source.targets, (-1,)).astype(np.int64)
    return DomainRows(found.features, found.probabilities, labels)


def unlabelled_rows(
    bound: BoundModel, images: Any, name: str, batch_size: int
) -> DomainRows:
    """Rows of images whose labels, if there are any, are not looked at."""
    check_one_class(bound)
    return _rows(bound, unlabelled_source(bound, images, name), batch_size)


def check_one_class(bound: BoundModel) -> None:
    """Raise unless the model is a classifier of one class an image."""
    if bound.task is None or not bound.task.single_class:
        received = bound.model.name if bound.task is None else bound.task.name
        fail("model", "a classifier of one class an image", received)


def _rows(bound: BoundModel, source: Source, batch_size: int) -> DomainRows:
    model, units = bound.model, bound.task.units
    join = keras.layers.Concatenate(dtype="float32")
    both = join([head_features(model, bound), model.outputs[0]])
    made = source_outputs(keras.Model(model.input, both), source, batch_size)
    probabilities = bound.task.decode(made[:, -units:])
    return DomainRows(made[:, :-units], probabilities)
