"""Metrics of probabilities: how much weight a classifier gave to the truth."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.evaluation.arguments import as_labels, as_probabilities


def top_k_accuracy(labels: ArrayLike, probabilities: ArrayLike, *, k: int = 5) -> float:
    """Share of images whose true class is among the `k` most probable.

    Equal probabilities rank by class index, as `argmax` does, so that `k=1` is the
    accuracy.

    Args:
        labels: Class indices `(n,)`.
        probabilities: Float `(n, classes)`, rows of sum 1.
        k: From 1 to the number of classes (where it is always 1).

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If `k` is above the number of classes or the labels have two axes.

    Example:
        >>> top_k_accuracy([0, 2], [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]], k=2)
        0.5
    """
    labels, probabilities = as_probabilities(labels, probabilities)
    check_integer("k", k, 1)
    if labels.ndim == 2:
        fail("labels", "class indices of shape (n,)", labels.shape)
    if k > probabilities.shape[1]:
        fail("k", f"at most {probabilities.shape[1]}, the number of classes", k)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, None]).any(axis=1).mean())


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean cross-entropy of the truth under the probabilities, in nats.

    One certain mistake dominates it: probabilities are clipped to their precision
    (float32: 1.2e-7, so at most 15.9 nats an image).

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.

    Returns:
        A number of at least 0; `log(classes)` for uniform probabilities. Multi-label:
        the mean of the binary cross-entropies over images and classes.

    Raises:
        ValueError: If the shapes disagree or `probabilities` are none.

    Example:
        >>> round(log_loss([0, 1], [[0.5, 0.5], [0.5, 0.5]]), 4)
        0.6931
    """
    labels, probabilities = as_probabilities(labels, probabilities)
    eps = np.finfo(probabilities.dtype).eps
    given = _truth(labels, probabilities)
    return float(-np.log(np.clip(given, eps, 1 - eps), dtype=np.float64).mean())


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the truth.

    With two columns it is halved, so that it equals the one-column binary score.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.

    Returns:
        0 (perfect) to 1 for two classes and for multi-label (a mean over images and
        classes), to 2 for more classes (a sum over classes, a mean over images).

    Raises:
        ValueError: If the shapes disagree or `probabilities` are none.

    Example:
        >>> brier([0, 1], [[0.5, 0.5], [0.5, 0.5]])
        0.25

    Reference:
        Brier (1950), Verification of forecasts expressed in terms of probability,
        eq. 2.
    """
    labels, probabilities = as_probabilities(labels, probabilities)
    if labels.ndim == 2:
        return float(np.square(probabilities - labels, dtype=np.float64).mean())
    truth = np.eye(probabilities.shape[1])[labels]
    total = np.square(probabilities - truth).sum(axis=1).mean()
    return float(total / 2 if probabilities.shape[1] == 2 else total)


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a positive image scores above a negative one.

    For a binary classifier pass one column, `probabilities[:, 1]`.

    Args:
        labels: 0/1 labels `(n,)`, or `(n, classes)` for the mean over the classes.
        scores: Float of the same shape; any range, only the order counts.

    Returns:
        0 to 1, 0.5 for a guess. Classes without a positive or without a negative
        image are left out; nan when none remains.

    Raises:
        ValueError: If the shapes differ or the labels are not 0 or 1.

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75

    Reference:
        Hanley & McNeil (1982), The meaning and use of the area under a receiver
        operating characteristic (ROC) curve, Radiology 143(1).
    """
    from sklearn.metrics import roc_auc_score

    labels, scores = _columns(labels, scores)
    mixed = np.flatnonzero((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))
    areas = [roc_auc_score(labels[:, j], scores[:, j]) for j in mixed]
    return float(np.mean(areas)) if areas else float("nan")


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over the ranks at which positive images appear.

    Its chance level is the share of positives, not 0.5. For a binary classifier pass
    one column, `probabilities[:, 1]`.

    Args:
        labels: 0/1 labels `(n,)`, or `(n, classes)` for the mean over the classes.
        scores: Float of the same shape; any range, only the order counts.

    Returns:
        0 to 1. Classes without a positive image are left out; nan when none remains.

    Raises:
        ValueError: If the shapes differ or the labels are not 0 or 1.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    from sklearn.metrics import average_precision_score

    labels, scores = _columns(labels, scores)
    present = np.flatnonzero(labels.max(axis=0) == 1)
    values = [average_precision_score(labels[:, j], scores[:, j]) for j in present]
    return float(np.mean(values)) if values else float("nan")


def _truth(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The probability given to each true statement."""
    if labels.ndim == 2:
        return np.where(labels == 1, probabilities, 1 - probabilities)
    return probabilities[np.arange(len(labels)), labels]


def _columns(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """0/1 labels and scores, one column a class."""
    labels, scores = as_labels("labels", labels), np.asarray(scores, np.float64)
    if labels.max() > 1:
        hint = "Pass 0/1 labels (n, classes) for more than two classes."
        fail("labels", "0 or 1", int(labels.max()), hint)
    if labels.shape != scores.shape:
        hint = "For a binary classifier pass `probabilities[:, 1]`."
        fail("scores", f"of shape {labels.shape}", scores.shape, hint)
    if not np.isfinite(scores).all():
        fail("scores", "finite", "nan or inf", "Check the model's loss.")
    return labels.reshape(len(labels), -1), scores.reshape(len(labels), -1)
