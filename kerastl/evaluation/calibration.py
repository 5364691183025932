"""Whether probabilities mean what they say, and the temperature that mends them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail, warn
from kerastl.evaluation.metrics import as_labels, as_probabilities


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


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T above 0 whose `logits / T` have the least log-loss.

    Fit it on images that the classifier was not trained on: there it is too sure. No
    decision changes, so the accuracy stays, and on the same images the log-loss is
    never higher than with T = 1.

    Args:
        logits: Float `(n, classes)`; for one yes-or-no question also `(n,)` or
            `(n, 1)`.
        labels: Class indices `(n,)`; or 0/1 labels `(n, classes)`, where each logit
            is a question of its own.

    Returns:
        Above 1 for an over-confident classifier, below 1 for a timid one. It is 1,
        with a warning, where no temperature is best: all images are right, or the
        logits are no better than a guess.

    Raises:
        ValueError: If the shapes disagree or a logit is not finite.

    Example:
        >>> logits = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]
        >>> temperature = fit_temperature(logits, [0, 1, 1])
        >>> round(float(1 / (1 + np.exp(-2 / temperature))), 3)
        0.667

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, section 4.2,
        eq. 9.
    """
    logits, labels = _as_questions(logits, labels)
    truth = logits[np.arange(len(labels)), labels]
    # The truth becomes 0: what counts is by how much the others differ.
    gaps = logits - truth[:, None]
    reason = ""
    if gaps.mean() >= 0:
        # The slope at infinite temperature: no certainty helps.
        reason = "the logits are no better than a guess"
    elif gaps.max() <= 0:
        reason = "every image is right, so they set no lower limit"
    if reason:
        warn(f"The temperature stays 1: {reason}.")
        return 1.0
    return 1 / least_loss(gaps)


def least_loss(gaps: np.ndarray) -> float:
    """The factor of the gaps where the slope of the log-loss is zero.

    The log-loss is convex in the factor, so its slope climbs through zero once.
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    def slope(factor: float) -> float:
        return float((softmax(factor * gaps, axis=1) * gaps).sum(axis=1).mean())

    low, high = 0.0, 1 / np.abs(gaps).max()
    while slope(high) < 0:
        low, high = high, 2 * high
    # The logits may be of any size, so only the relative limit says when to stop.
    return brentq(slope, low, high, xtol=1e-300, rtol=1e-15, maxiter=500)


def _as_questions(
    logits: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Logits `(n, classes)` and class indices, whatever the task."""
    scores = np.asarray(logits, np.float64)
    labels = as_labels("labels", labels)
    one = scores.ndim == 1 or scores.shape[1:] == (1,)
    if labels.ndim == 2 or one:
        if labels.ndim == 1:
            scores = scores.reshape(-1)
        if labels.shape != scores.shape:
            fail("logits", f"of shape {labels.shape}", scores.shape)
        if labels.max() > 1:
            fail("labels", "0 or 1 for a single logit", int(labels.max()))
        # A sigmoid is a softmax over the logit and zero.
        scores, labels = scores.ravel(), labels.ravel()
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    if scores.ndim != 2 or len(scores) != len(labels):
        fail("logits", f"of shape ({len(labels)}, classes)", scores.shape)
    if labels.max() >= scores.shape[1]:
        expected = f"class indices below {scores.shape[1]}"
        fail("labels", expected, int(labels.max()))
    if not np.isfinite(scores).all():
        hint = "Check the model's loss: training may have diverged."
        fail("logits", "finite", "nan or inf", hint)
    return scores, labels
