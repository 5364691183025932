"""Features and labels as every transferability score takes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail

# A spread below float32's rounding is noise, whatever the features were stored in.
_RESOLUTION = 1e-6
# Tight enough that logits never pass, loose enough for float16 probabilities.
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """One row of numbers an image, and its class.

    Attributes:
        rows: Float64 `(n, d)`.
        codes: Class of each row `(n,)`, 0 to c - 1.
        classes: The label that each code stands for `(c,)`, ascending.
    """

    rows: np.ndarray
    codes: np.ndarray
    classes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Rows of each class `(c,)`, at least 1."""
        return np.bincount(self.codes, minlength=len(self.classes))

    @property
    def one_hot(self) -> np.ndarray:
        """Float64 `(n, c)`: 1 in the column of the row's class."""
        return np.eye(len(self.classes))[self.codes]

    @property
    def class_means(self) -> np.ndarray:
        """Mean row of each class `(c, d)`."""
        return self.one_hot.T @ self.rows / self.counts[:, None]


def as_features(
    features: ArrayLike, labels: ArrayLike, *, per_class: int = 1
) -> LabelledRows:
    """Features that vary and labels of two or more classes; raises unless they are.

    Args:
        features: Numbers `(n, d)`, one row an image.
        labels: Class of each image `(n,)`, whole numbers of any value.
        per_class: Images that each class must have.
    """
    rows = _as_rows("features", features)
    codes, classes = _as_codes(labels, len(rows), "features", per_class)
    if not varying(rows).any():
        hint = "Check the weights and the pixel range: every image looks the same."
        fail("features", "different between images", f"{len(rows)} equal rows", hint)
    return LabelledRows(rows, codes, classes)


def as_posteriors(probabilities: ArrayLike, labels: ArrayLike) -> LabelledRows:
    """Rows that sum to 1 and labels of two or more classes; raises unless they are."""
    rows = _as_rows("probabilities", probabilities)
    codes, classes = _as_codes(labels, len(rows), "probabilities", 1)
    sums = rows.sum(axis=1)
    if rows.min() < -1e-6 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        worst = sums[np.abs(sums - 1).argmax()]
        received = f"values from {rows.min():.3g}, a row of sum {worst:.4g}"
        hint = "Apply softmax to logits first."
        fail("probabilities", "rows of at least 0 that sum to 1", received, hint)
    rows = np.maximum(rows, 0.0)
    return LabelledRows(rows / rows.sum(axis=1, keepdims=True), codes, classes)


def varying(features: np.ndarray) -> np.ndarray:
    """Which columns `(d,)` hold more than float32's rounding around one value."""
    spread = features.max(axis=0) - features.min(axis=0)
    return spread > _RESOLUTION * np.abs(features).max(axis=0)


def _as_rows(name: str, values: ArrayLike) -> np.ndarray:
    """Finite float64 `(n, d)`."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        fail(name, "an array of real numbers", f"{array.dtype} array", error=TypeError)
    if array.ndim != 2 or array.size == 0:
        hint = "Pool feature maps to one vector an image first." * (array.ndim > 2)
        fail(name, "of shape (n, d), one row an image", array.shape, hint)
    rows = array.astype(np.float64)
    broken = int((~np.isfinite(rows)).any(axis=1).sum())
    if broken:
        hint = "Check the images and the weights that made them."
        fail(name, "finite", f"{broken} of {len(rows)} rows with nan or inf", hint)
    return rows


def _as_codes(
    labels: ArrayLike, total: int, partner: str, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(n,)` from 0, and the label of each code."""
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        fail("labels", "whole numbers", f"{array.dtype} array", error=TypeError)
    if array.ndim != 1:
        hint = "Turn one-hot rows into classes with `labels.argmax(axis=1)`."
        fail("labels", "of shape (n,), one class an image", array.shape, hint)
    if len(array) != total:
        received = f"{len(array)} labels for {total} rows"
        fail("labels", f"as many as the rows of `{partner}`", received)
    numbers = array.astype(np.float64)
    if not (np.isfinite(numbers) & (numbers == np.round(numbers))).all():
        fail("labels", "whole numbers", f"{array.dtype} array with others")
    array = array.astype(np.int64)
    classes, codes, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        received = f"{total} labels of class {classes[0]}"
        fail("labels", "of at least two classes", received)
    if len(classes) >= total:
        received = f"{len(classes)} classes on {total} images"
        fail("labels", "of fewer classes than images", received)
    if counts.min() < per_class:
        rare = classes[counts.argmin()]
        received = f"{counts.min()} image of class {rare}"
        hint = "Add images of that class, or leave it out."
        fail("labels", f"at least {per_class} images of each class", received, hint)
    return codes.reshape(-1), classes
