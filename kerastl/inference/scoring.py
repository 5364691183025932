"""Scoring a classifier on labelled images."""

import time
from collections.abc import Callable
from typing import Any

import keras

from kerastl._checks import fail
from kerastl.datasets.augmentation import Augmentation
from kerastl.datasets.sets import ImageSet
from kerastl.evaluation.reports import EvaluationReport, classification_report
from kerastl.inference.prediction import predict
from kerastl.models.compiling import model_task
from kerastl.models.manifest import manifest


def evaluate(
    model: keras.Model,
    image_set: ImageSet,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """A classifier's results on labelled images: accuracy with its interval, and more.

    Predictions, labels and paths come from one pass, in order. Score the test part
    once, at the end: what you choose by it, it no longer measures.

    Args:
        model: A classifier from `build_classifier` or `load_classifier`.
        image_set: Labelled images whose classes are the model's.
        batch_size: Images at a time.
        views: Views of each image to average over: see `predict`.
        augment: What the other views come from: see `predict`.
        seed: The random views follow from it.
        progress: Called with (done, total).

    Returns:
        Report that prints as a table.

    Raises:
        ValueError: If the images have no labels or other classes than the model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.zeros((4, 96, 96, 3), "uint8")
        >>> test = kerastl.ImageSet(images, np.array([0, 0, 0, 1]), ("dark", "light"))
        >>> kerastl.evaluate(model, test).accuracy
        0.75
    """
    names = manifest(model).class_names
    labels = check_scorable(model, image_set)
    began = time.perf_counter()
    predictions = predict(
        model,
        image_set,
        batch_size=batch_size,
        views=views,
        augment=augment,
        seed=seed,
        progress=progress,
    )
    return classification_report(
        labels,
        predictions.probabilities,
        names,
        task=manifest(model).task,
        seconds=time.perf_counter() - began,
    )


def check_scorable(model: keras.Model, image_set: ImageSet) -> Any:
    """The labels of a set in the model's order of classes.

    Raises:
        ValueError: If there are no labels, or classes that the model does not know.
        TypeError: If it is not an `ImageSet`.
    """
    if not isinstance(image_set, ImageSet):
        hint = "Load a folder with kerastl.load_images."
        kind = type(image_set).__name__
        fail("image_set", "an ImageSet", kind, hint, TypeError)
    if image_set.labels is None or not len(image_set):
        fail("image_set", "labelled images", image_set)
    names = manifest(model).class_names
    unknown = [name for name in image_set.class_names if name not in names]
    if unknown:
        hint = f"The model's classes are {', '.join(names[:12])}."
        fail("image_set", "of the model's classes", unknown, hint)
    labels = image_set.labels
    if image_set.class_names != names:
        if labels.ndim == 2:
            fail("image_set", "with the model's classes in order", names)
        order = [names.index(name) for name in image_set.class_names]
        labels = labels.copy()
        labels[:] = [order[label] for label in image_set.labels]
    model_task(model).check_labels(labels)
    return labels
