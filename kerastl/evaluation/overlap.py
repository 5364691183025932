"""Overlap of predicted and true regions: IoU and Dice of each class, and intervals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail


def pixel_confusion(
    truth: ArrayLike, predicted: ArrayLike, num_classes: int, *, ignore: int = 255
) -> np.ndarray:
    """Pixels by true and predicted class; pixels of no class count nowhere.

    Args:
        truth: Integers of any shape: indices of classes, or `ignore`.
        predicted: Indices of classes, of the same shape.
        num_classes: Number of classes.
        ignore: Value of true pixels that are left out.

    Returns:
        Integers `(num_classes, num_classes)`: row the true class, column the predicted.

    Raises:
        ValueError: If the shapes differ, or a value is of no class.

    Example:
        >>> pixel_confusion([[0, 1], [1, 255]], [[0, 1], [0, 1]], 2).tolist()
        [[1, 0], [1, 1]]
    """
    check_integer("num_classes", num_classes, 1)
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape:
        fail("predicted", f"of shape {truth.shape}, as `truth`", predicted.shape)
    kept = truth != ignore
    truth = truth[kept].astype(np.int64)
    predicted = predicted[kept].astype(np.int64)
    for name, values in (("truth", truth), ("predicted", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            expected = f"of classes 0 to {num_classes - 1}"
            fail(name, expected, [int(values.min()), int(values.max())])
    found = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return found.reshape(num_classes, num_classes)


def iou(confusion: ArrayLike) -> np.ndarray:
    """Intersection over union of each class: also called Jaccard index.

    Take the mean with `numpy.nanmean`: a class that is neither in the truth nor
    predicted has none. Pool the pixels of all images first; the mean over images, or
    batches, is another number.

    Args:
        confusion: `(..., classes, classes)` from `pixel_confusion`.

    Returns:
        Floats `(..., classes)` from 0 to 1; nan where a class does not occur.

    Example:
        >>> iou([[3, 1], [0, 4]]).round(3).tolist()
        [0.75, 0.8]
    """
    hit, true, given = _sums(confusion)
    return _ratio(hit, true + given - hit)


def dice(confusion: ArrayLike) -> np.ndarray:
    """Dice coefficient of each class: also called F1 of its pixels.

    Args:
        confusion: `(..., classes, classes)` from `pixel_confusion`.

    Returns:
        Floats `(..., classes)` from 0 to 1; nan where a class does not occur.

    Example:
        >>> dice([[3, 1], [0, 4]]).round(3).tolist()
        [0.857, 0.889]
    """
    hit, true, given = _sums(confusion)
    return _ratio(2 * hit, true + given)


def _sums(confusion: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each class the pixels that are right, true, and predicted."""
    matrix = np.asarray(confusion, np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        fail("confusion", "of shape (..., classes, classes)", matrix.shape)
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    return hit, matrix.sum(axis=-1), matrix.sum(axis=-2)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def image_interval(
    confusions: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Limits of a score of pooled pixels, by drawing *images* anew.

    The pixels of an image are not independent: an interval from their number would be
    far too narrow.

    Args:
        confusions: One matrix an image, `(n, classes, classes)`.
        statistic: From pooled matrices `(resamples, classes, classes)` to scores
            `(resamples, ...)`; nan where a resample has none.
        confidence: Of the interval, in (0, 1).
        resamples: How many sets of images are drawn.
        seed: Non-negative integer.

    Returns:
        Floats `(2, ...)`: lower and upper limits.
    """
    check_number("confidence", confidence, above=0, below=1)
    check_integer("resamples", resamples, 1)
    count = len(confusions)
    flat = np.asarray(confusions, np.float64).reshape(count, -1)
    random = np.random.default_rng(seed)
    times = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    scores = statistic((times @ flat).reshape(resamples, *confusions.shape[1:]))
    outside = (1 - confidence) / 2
    known = np.isfinite(scores).any(axis=0)
    # A class that no resample shows has no limits; its column must not warn.
    scores = np.where(known, scores, 0.0)
    limits = np.nanquantile(scores, [outside, 1 - outside], axis=0)
    return np.where(known, limits, np.nan)


def mean_known(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is a number; nan of nothing."""
    known = np.isfinite(scores)
    return _ratio(np.where(known, scores, 0.0).sum(axis=-1), known.sum(axis=-1))
