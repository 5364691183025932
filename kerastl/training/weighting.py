"""How much each class counts: weights of its images, or how often they are drawn."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_number, fail, nearest
from kerastl.data.sources import Source, StreamSource
from kerastl.tasks.task import BoundModel, bind


def class_weights(
    model: keras.Model | BoundModel,
    train: Source,
    class_weight: str | Mapping[str, float] | None,
) -> dict[int, float] | None:
    """Class weights as Keras takes them, by index.

    Keras accepts names and then ignores them; here they are checked.
    """
    if class_weight is None:
        return None
    bound = bind(model)
    if bound.task is None or not bound.task.single_class:
        hint = "Class weights need a classifier with one class an image."
        fail("class_weight", "None for this model", class_weight, hint)
    names = bound.record.class_names
    if isinstance(class_weight, Mapping):
        return _by_index(names, class_weight)
    if class_weight != "balanced":
        expected = "'balanced' or a weight for each class name"
        fail("class_weight", expected, class_weight)
    if isinstance(train, StreamSource):
        hint = "The images of a dataset of batches are not counted; pass the weights."
        fail("class_weight", "weights by name here", class_weight, hint)
    counts = np.bincount(_classes(bound, train), minlength=len(names))
    return {i: len(train) / (len(names) * count) for i, count in enumerate(counts)}


def _by_index(
    names: tuple[str, ...], weights: Mapping[str | int, float]
) -> dict[int, float]:
    known: dict[str | int, int] = {name: i for i, name in enumerate(names)}
    known.update({i: i for i in range(len(names))})
    unknown = [key for key in weights if key not in known]
    if unknown:
        hint = nearest(str(unknown[0]), names)
        fail("class_weight", f"given for {', '.join(names)}", unknown, hint)
    found = {known[key]: value for key, value in weights.items()}
    missing = [name for i, name in enumerate(names) if i not in found]
    if missing:
        fail("class_weight", "given for every class", weights, f"Missing: {missing}.")
    for value in found.values():
        check_number("class_weight", value, 0.0)
    return {i: float(value) for i, value in found.items()}


def balanced_classes(
    bound: BoundModel, train: Source, sampling: str | None, class_weight: Any
) -> np.ndarray | None:
    """The class of each training image, if each epoch is to have as many of each."""
    if sampling is None:
        return None
    check_choice("sampling", sampling, ("balanced",))
    if bound.task is None or not bound.task.single_class:
        hint = "It needs a classifier with one class an image."
        fail("sampling", "None for this model", sampling, hint)
    if isinstance(train, StreamSource):
        hint = "Draw in the dataset's own pipeline."
        fail("sampling", "None for a dataset of batches", sampling, hint)
    if class_weight is not None:
        hint = "One of them makes up for rare classes; both would favour them."
        fail("class_weight", "None with sampling='balanced'", class_weight, hint)
    return _classes(bound, train)


def _classes(bound: BoundModel, train: Source) -> np.ndarray:
    """The class of each image; raises where one of the model's has none."""
    classes, names = bound.task.strata(train.targets), bound.record.class_names
    classes = classes.astype(int)
    missing = [name for i, name in enumerate(names) if i not in classes]
    if missing:
        fail("train", "with images of every class for 'balanced'", missing)
    return classes
