"""Labels, predictions and probabilities as every function of this package takes them.

Labels of shape `(n,)` are class indices (multiclass, binary); labels of shape `(n, c)`
are 0 or 1 for each class (multi-label). The shape decides, never a flag.
"""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail

# Loose enough for float16 probabilities, tight enough that logits never pass.
_SUM_TOLERANCE = 1e-2


def as_labels(
    name: str, labels: ArrayLike, num_classes: int | None = None
) -> np.ndarray:
    """Integer labels `(n,)`, or 0/1 `(n, c)`; raises unless they are that."""
    array = np.asarray(labels)
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        expected = "class indices (n,) or 0/1 labels (n, classes)"
        received = f"{array.dtype} array of shape {array.shape}"
        fail(name, expected, received)
    if array.size == 0:
        fail(name, "about at least one image", f"shape {array.shape}")
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        fail(
            name, "whole numbers", str(array.dtype), "Pass classes, not probabilities."
        )
    if array.ndim == 2:
        if array.min() < 0 or array.max() > 1:
            hint = "Pass class indices as a flat array, `labels.ravel()`."
            fail(name, "0 or 1 when they have two axes", f"up to {array.max()}", hint)
    elif array.min() < 0:
        fail(name, "class indices of at least 0", int(array.min()))
    elif num_classes is not None and array.max() >= num_classes:
        fail(name, f"class indices below {num_classes}", int(array.max()))
    return array.astype(np.int64)


def as_pair(labels: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predicted labels of one shape."""
    labels, predicted = as_labels("labels", labels), as_labels("predicted", predicted)
    if labels.shape != predicted.shape:
        hint = "Turn probabilities into classes with `probabilities.argmax(axis=1)`."
        fail("predicted", f"of shape {labels.shape}", predicted.shape, hint)
    return labels, predicted


def as_probabilities(
    labels: ArrayLike, probabilities: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and their float probabilities `(n, c)`, one row an image."""
    scores = np.asarray(probabilities)
    if scores.ndim != 2:
        hint = "A binary classifier has two columns, one per class."
        fail("probabilities", "of shape (n, classes)", scores.shape, hint)
    labels = as_labels("labels", labels, scores.shape[1])
    if len(labels) != len(scores) or (
        labels.ndim == 2 and labels.shape != scores.shape
    ):
        expected = f"of shape {(len(labels), *scores.shape[1:])}"
        if labels.ndim == 2:
            expected = f"of shape {labels.shape}"
        fail("probabilities", expected, scores.shape, "Give one row an image.")
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32)
    if not np.isfinite(scores).all():
        count = int((~np.isfinite(scores)).any(axis=1).sum())
        hint = "Check the model's loss: training may have diverged."
        fail("probabilities", "finite", f"{count} rows with nan or inf", hint)
    if scores.min() < -1e-6 or scores.max() > 1 + _SUM_TOLERANCE:
        received = f"{scores.min():g} to {scores.max():g}"
        hint = "Apply softmax (or sigmoid) to logits first."
        fail("probabilities", "between 0 and 1", received, hint)
    if labels.ndim == 1:
        _check_sums(scores)
    return labels, np.clip(scores, 0, 1)


def _check_sums(scores: np.ndarray) -> None:
    """Raise unless each row is a distribution over the classes."""
    sums = scores.sum(axis=1, dtype=np.float64)
    worst = sums[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > _SUM_TOLERANCE:
        hint = "Multi-label probabilities need 0/1 labels of shape (n, classes)."
        fail("probabilities", "rows that sum to 1", f"a row of sum {worst:.4g}", hint)


def decide(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """The decisions, in the shape of `labels`: argmax, or above the threshold."""
    if labels.ndim == 1:
        return probabilities.argmax(axis=1)
    # Strictly above, as keras.metrics.BinaryAccuracy decides.
    return (probabilities > threshold).astype(np.int64)
