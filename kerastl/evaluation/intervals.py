"""How far a number measured on a sample of images may be from the truth."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail
from kerastl.evaluation.arguments import as_pair


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers scored on the same images.

    Attributes:
        accuracy_a: Accuracy of the first, 0 to 1.
        accuracy_b: Accuracy of the second, 0 to 1.
        difference: `accuracy_b - accuracy_a`.
        interval: Limits of the difference.
        confidence: The interval's confidence, 0 to 1.
        p_value: Chance of a split at least as uneven if both were equally good.
        only_a: Images that only the first gets right.
        only_b: Images that only the second gets right.
    """

    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    confidence: float
    p_value: float
    only_a: int
    only_b: int

    def __str__(self) -> str:
        """One line: the difference in points, its interval and the p-value."""
        low, high = self.interval
        return (
            f"{100 * self.difference:+.1f} points "
            f"({100 * self.confidence:g} % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}, p = {self.p_value:.2g}): "
            f"{self.only_b} images only b gets right, {self.only_a} only a"
        )


def wilson_interval(
    successes: int, total: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence limits of a proportion, such as an accuracy.

    Assumes independent images: frames of one video are not.

    Args:
        successes: Images that are right, 0 to `total`.
        total: Images, at least 1.
        confidence: Above 0 and below 1.

    Returns:
        `(low, high)`, each from 0 to 1, never empty, even at 0 or `total` successes.

    Raises:
        ValueError: If a count or the confidence is out of range.

    Example:
        >>> low, high = wilson_interval(80, 100)
        >>> round(low, 3), round(high, 3)
        (0.711, 0.867)

    Reference:
        Wilson (1927), JASA 22(158); Brown, Cai & DasGupta (2001), eq. 4.
    """
    check_integer("total", total, 1)
    check_integer("successes", successes, 0)
    if successes > total:
        fail("successes", f"at most {total}, the total", successes)
    z = _quantile(confidence)
    share, spread = successes / total, z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / total + spread / total / 4) ** 0.5 / (1 + spread)
    # Rounding must not push the limits of 0 or all successes inside the range.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return low, high


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap limits of any statistic of the images.

    The arrays are resampled together, row by row. For an accuracy use
    `wilson_interval`: the bootstrap gives an empty interval at 100 %.

    Args:
        statistic: Called with the resampled arrays; returns one number. Resamples
            where it is nan (a class may be missing) are left out.
        *arrays: Arrays of one length n, as `statistic` takes them.
        confidence: Above 0 and below 1.
        resamples: How often to resample, at least 1.
        seed: Seed of the resampling.

    Returns:
        `(low, high)`; nan when the statistic was nan on each resample.

    Raises:
        ValueError: If there is no array, lengths differ, or a number is out of range.

    Example:
        >>> low, high = bootstrap_interval(np.mean, [0.0, 1.0, 2.0, 3.0], seed=1)
        >>> 0.0 <= low < 1.5 < high <= 3.0
        True

    Reference:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    check_integer("resamples", resamples, 1)
    check_number("confidence", confidence, above=0.0, below=1.0)
    rows = [np.asarray(array) for array in arrays]
    lengths = [len(array) for array in rows]
    if not rows or len(set(lengths)) != 1 or lengths[0] == 0:
        fail("arrays", "at least one, of one length above 0", f"lengths {lengths}")
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    for index in range(resamples):
        chosen = generator.integers(0, lengths[0], lengths[0])
        values[index] = statistic(*(array[chosen] for array in rows))
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def compare_classifiers(
    labels: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    *,
    confidence: float = 0.95,
) -> PairedComparison:
    """Which of two classifiers is better on the same images, and how surely.

    Only images on which they differ tell; overlapping intervals of two single
    accuracies do not mean that the difference is chance.

    Args:
        labels: Class indices `(n,)` or 0/1 labels `(n, classes)`.
        predicted_a: Decisions of the first classifier, the same shape.
        predicted_b: Decisions of the second, the same shape.
        confidence: Above 0 and below 1.

    Returns:
        A `PairedComparison`; multi-label images count as right when all labels are.

    Raises:
        ValueError: If the shapes differ or `confidence` is out of range.

    Example:
        >>> result = compare_classifiers([0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0])
        >>> result.difference, result.p_value
        (0.5, 0.5)

    Reference:
        Dietterich (1998), Neural Computation 10(7), section 3.1 (McNemar's test, here
        exact); Agresti & Min (2005), Statistics in Medicine 24(5) (interval).
    """
    right_a, right_b = (_right(labels, each) for each in (predicted_a, predicted_b))
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    return PairedComparison(
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=(only_b - only_a) / len(right_a),
        interval=_matched_interval(only_b, only_a, len(right_a), _quantile(confidence)),
        confidence=confidence,
        p_value=_exact_mcnemar(only_a, only_b),
        only_a=only_a,
        only_b=only_b,
    )


def _right(labels: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """Whether each image is right."""
    labels, predicted = as_pair(labels, predicted)
    return (labels == predicted).reshape(len(labels), -1).all(axis=1)


def _quantile(confidence: float) -> float:
    """The two-sided standard normal quantile."""
    check_number("confidence", confidence, above=0.0, below=1.0)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _matched_interval(
    gains: int, losses: int, total: int, z: float
) -> tuple[float, float]:
    """Wald limits after half an image is added to each of the four cells."""
    total += 2
    net, differing = gains - losses, gains + losses + 1
    centre = net / total
    half = z * (differing - net**2 / total) ** 0.5 / total
    return max(-1.0, centre - half), min(1.0, centre + half)


def _exact_mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided binomial test that each differing image falls to either by halves."""
    total, fewer = only_a + only_b, min(only_a, only_b)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    k = np.arange(fewer + 1)
    terms = logs[total] - logs[k] - logs[total - k] - total * np.log(2)
    return float(min(1.0, 2 * np.exp(terms).sum()))
