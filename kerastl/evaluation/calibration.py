"""Calibration: whether 80 % sure means right four times in five."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer
from kerastl.evaluation.arguments import as_probabilities


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence and accuracy in bins of confidence.

    Attributes:
        edges: Limits of the bins `(bins + 1,)`, from 0 to 1; the upper one belongs.
        confidence: Mean confidence in each bin `(bins,)`, nan where it is empty.
        accuracy: Share that is right in each bin `(bins,)`, nan where it is empty.
        counts: Decisions in each bin `(bins,)`.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error of these bins, 0 to 1."""
        gaps = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float((gaps * self.counts).sum() / self.counts.sum())


def reliability_curve(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15
) -> ReliabilityCurve:
    """Accuracy against confidence, in bins of equal width.

    The confidence is the largest probability, so with c classes nothing lies below
    1 / c. Multi-label: each label's probability, and whether the label is there.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.
        bins: Number of bins, at least 1.

    Returns:
        A `ReliabilityCurve`.

    Raises:
        ValueError: If the shapes disagree or `bins` is below 1.

    Example:
        >>> curve = reliability_curve([0, 1], [[0.9, 0.1], [0.7, 0.3]], bins=2)
        >>> curve.counts.tolist(), float(curve.accuracy[1])
        ([0, 2], 0.5)

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, section 2.
    """
    check_integer("bins", bins, 1)
    labels, probabilities = as_probabilities(labels, probabilities)
    if labels.ndim == 2:
        confidence, right = probabilities.ravel(), labels.ravel() == 1
    else:
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, each, bins) for each in (confidence, right))
    means = [
        np.divide(s, counts, np.full(bins, np.nan), where=counts > 0) for s in sums
    ]
    return ReliabilityCurve(edges, means[0], means[1], counts)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over bins of confidence.

    Too large on few images: a perfectly calibrated classifier shows about 0.1 on 100.
    Compare it only between classifiers scored on the same images, with the same bins.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.
        bins: Number of bins, at least 1.

    Returns:
        A number from 0 (calibrated) to 1.

    Raises:
        ValueError: If the shapes disagree or `bins` is below 1.

    Example:
        >>> error = expected_calibration_error([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> round(error, 2)
        0.4

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, eq. 3.
    """
    return reliability_curve(labels, probabilities, bins=bins).error
