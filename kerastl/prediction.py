"""Predicting, evaluating and calibrating a model on examples."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl.data.augmentation import Augmentation, check_views, view_rows
from kerastl.data.images import PixelStore
from kerastl.data.inputs import as_image_set
from kerastl.data.sets import ImageSet
from kerastl.evaluation.calibration import expected_calibration_error, fit_temperature
from kerastl.evaluation.metrics import log_loss
from kerastl.features.network import run_batches
from kerastl.models.record import manifest, set_temperature
from kerastl.tasks.classification import EvaluationReport, classification_report
from kerastl.tasks.compiling import model_task


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class names and probabilities, one row an image, in the order of the inputs.

    Attributes:
        class_names: Names in the order of the columns.
        probabilities: Float array `(n, classes)`; each row sums to 1, except in the
            multilabel task, where each is a probability of its own.
        paths: File of each image, or None for arrays.
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str, ...] | None = None
    task: str = "multiclass"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.probabilities)

    @property
    def indices(self) -> np.ndarray:
        """Most probable class `(n,)`; for multilabel 0/1 `(n, classes)`, cut at 0.5."""
        if self.task == "multilabel":
            return (self.probabilities >= 0.5).astype(int)
        return self.probabilities.argmax(axis=-1)

    @property
    def labels(self) -> tuple[Any, ...]:
        """Class name of each image; for multilabel a tuple of names."""
        names = self.class_names
        if self.task == "multilabel":
            return tuple(
                tuple(names[i] for i in np.flatnonzero(row)) for row in self.indices
            )
        return tuple(names[i] for i in self.indices)

    @property
    def confidences(self) -> np.ndarray:
        """Probability of the most probable class, `(n,)`."""
        return self.probabilities.max(axis=-1, initial=0.0)

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The `k` most probable classes of each image, most probable first.

        Args:
            k: Number of classes, at least 1.
        """
        check_integer("k", k, 1)
        order = np.argsort(-self.probabilities, axis=-1, kind="stable")[:, :k]
        return [
            [(self.class_names[i], float(row[i])) for i in chosen]
            for row, chosen in zip(self.probabilities, order, strict=True)
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path`, `label`, `probability`."""
        rows = zip(self.labels, self.confidences, strict=True)
        for number, (label, confidence) in enumerate(rows):
            path = self.paths[number] if self.paths else None
            yield {"path": path, "label": label, "probability": float(confidence)}


def predict(
    model: keras.Model,
    inputs: Any,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    progress: Progress | None = None,
) -> Predictions:
    """Class names and probabilities of images, in the order they were given.

    The images are read and resized exactly as in training. No weight of the model
    changes, and the same image gets the same answer in any company, except with random
    views: those of an image follow from its place among the inputs.

    Args:
        model: A classifier from `build_classifier` or `load_model`.
        inputs: A file, a folder (its images, also in folders inside), a list of them;
            an array of pixels 0-255, `(n, height, width, 3)` or one image; a PIL
            image or a list of them; or an `ImageSet`.
        batch_size: Images at a time.
        views: Over how many views of each image the probabilities are averaged: the
            image itself, its mirror image where `augment` flips, then random ones. It
            takes as many times as long.
        augment: What the other views come from: see `batches`. Signs and digits need
            `"digits"`, which never flips.
        seed: The random views follow from it and the image's place.
        progress: Called with (done, total).

    Returns:
        Names, probabilities and paths, one row an image.

    Raises:
        ValueError: If there is no image, one cannot be read, pixels are not 0-255, or
            `augment` makes no other views.
        FileNotFoundError: If a file or folder does not exist.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> image = np.full((50, 80, 3), 128, "uint8")
        >>> kerastl.predict(model, image).probabilities.round(3).tolist()
        [[0.333, 0.333, 0.333]]
    """
    record = manifest(model)
    check_integer("batch_size", batch_size, 1)
    images = as_image_set(inputs, record.image_size, record.resize)
    if not len(images):
        fail("inputs", "at least one image", "none")
    check_views(views, augment, seed)
    store = pixel_store(model, images, keep=views > 1)
    total = np.zeros(())
    for view in range(views):
        logits = run_batches(
            model,
            view_rows(store, view, augment, seed),
            len(images),
            batch_size=batch_size,
            progress=_part_of(progress, view, views),
        )
        total = total + model_task(model).probabilities(logits)
    return Predictions(record.class_names, total / views, images.paths, record.task)


def pixel_store(
    model: keras.Model, images: ImageSet, *, keep: bool = False
) -> PixelStore:
    """The images as the classifier wants them; kept if they are needed again."""
    record = manifest(model)
    options = {} if keep else {"memory_limit": 0}
    return PixelStore(
        images, image_size=record.image_size, resize=record.resize, **options
    )


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What reports on one of several passes as a part of them all."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(number * total + done, count * total)


def evaluate(
    model: keras.Model,
    image_set: ImageSet,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """A classifier's results on labelled images: accuracy with its interval, and more.

    Predictions, labels and paths come from one pass, in order. Score the test part
    once, at the end: what you choose by it, it no longer measures.

    Args:
        model: A classifier from `build_classifier` or `load_model`.
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


@dataclass(frozen=True)
class CalibrationResult:
    """What calibrating did.

    Attributes:
        temperature: What the model now divides its logits by.
        images: Number of images it was fitted on.
        before: `log_loss` and `expected_calibration_error` of those images as the
            model came.
        after: The same with the new temperature. On other images it gains less.
    """

    temperature: float
    images: int
    before: dict[str, float]
    after: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python types, ready for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        """A short account."""
        lines = [f"temperature {self.temperature:.3f}, fitted on {self.images} images"]
        for name, old in self.before.items():
            words = name.replace("_", " ")
            lines.append(f"{words:<26}  {old:.4f} before, {self.after[name]:.4f} after")
        return "\n".join(lines)


def calibrate(
    model: keras.Model,
    validation: ImageSet,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Make a classifier's probabilities honest, by one temperature kept inside it.

    Fit it on images that were not trained on, and never on those of the final test.
    The model is changed: its logits are divided by the temperature from now on, in
    `predict`, `evaluate`, its own calls and its `.keras` file. No decision changes,
    and calibrating again begins with the head's own logits, so it adds nothing.

    Args:
        model: A classifier from `build_classifier` or `load_model`.
        validation: Labelled images whose classes are the model's.
        batch_size: Images at a time.
        progress: Called with (done, total).

    Returns:
        The temperature, and the scores before and after.

    Raises:
        ValueError: If the images have no labels or other classes than the model.

    Example:
        >>> import numpy as np, kerastl
        >>> from kerastl.prediction import calibrate
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 200], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> _ = kerastl.fine_tune(model, (images, labels), recipe="linear_probe")
        >>> labels[0] = 1
        >>> result = calibrate(
        ...     model, kerastl.ImageSet(images, labels, ("dark", "light"))
        ... )
        >>> result.after["log_loss"] <= result.before["log_loss"]
        True

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, section 4.2,
        eq. 9.
    """
    check_integer("batch_size", batch_size, 1)
    labels = check_scorable(model, validation)
    task, old = model_task(model), manifest(model).temperature
    logits = run_batches(
        model,
        pixel_store(model, validation).rows,
        len(labels),
        batch_size=batch_size,
        progress=progress,
    )
    # Back to the head's own.
    logits = np.asarray(logits, np.float64) * old
    temperature = fit_temperature(logits, labels)
    set_temperature(model, temperature)
    before, after = (
        _scores(labels, task.probabilities(logits / t)) for t in (old, temperature)
    )
    return CalibrationResult(temperature, len(labels), before, after)


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {
        "log_loss": log_loss(labels, probabilities),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }
