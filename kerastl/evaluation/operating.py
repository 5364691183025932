"""Where to cut a probability: thresholds, and what they cost."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_number, fail
from kerastl._tables import Tabular
from kerastl.evaluation.metrics import as_labels, wilson_interval

_RATES = ("sensitivity", "specificity", "precision", "negative_precision")


@dataclass(frozen=True)
class OperatingPoint(Tabular):
    """What a threshold does on labelled images of two classes.

    Attributes:
        threshold: An image is called positive from this probability on.
        true_positives: Positive images that are called so.
        false_positives: Negative images that are called positive.
        true_negatives: Negative images that are called so.
        false_negatives: Positive images that are called negative.
    """

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(list(vars(self).values())[1:])

    @property
    def prevalence(self) -> float:
        """Share of positive images, 0 to 1."""
        return (self.true_positives + self.false_negatives) / self.images

    @property
    def sensitivity(self) -> float | None:
        """Share of the positive images that are found; None without any."""
        return _share(*self._counts("sensitivity"))

    @property
    def specificity(self) -> float | None:
        """Share of the negative images that are left alone; None without any."""
        return _share(*self._counts("specificity"))

    @property
    def precision(self) -> float | None:
        """Share of what is called positive that is (PPV); None where nothing is."""
        return _share(*self._counts("precision"))

    @property
    def negative_precision(self) -> float | None:
        """Share of what is called negative that is (NPV); None where nothing is."""
        return _share(*self._counts("negative_precision"))

    def interval(self, rate: str) -> tuple[float, float] | None:
        """Wilson's 95 % limits of one of the four rates, by its name."""
        if rate not in _RATES:
            fail("rate", f"one of {', '.join(_RATES)}", rate)
        right, total = self._counts(rate)
        return wilson_interval(right, total) if total else None

    def at_prevalence(self, prevalence: float) -> tuple[float, float]:
        """Precision and its negative where another share of images is positive.

        By Bayes's rule: sensitivity and specificity stay, where only the shares differ.

        Args:
            prevalence: Share of positive images there, above 0 and below 1.

        Raises:
            ValueError: If it is out of range, or either class is missing here.
        """
        check_number("prevalence", prevalence, above=0.0, below=1.0)
        found, spared = self.sensitivity, self.specificity
        if found is None or spared is None:
            fail("point", "of images of both classes", str(self))
        hit, alarm = found * prevalence, (1 - spared) * (1 - prevalence)
        quiet, missed = spared * (1 - prevalence), (1 - found) * prevalence
        return (
            hit / (hit + alarm) if hit + alarm else float("nan"),
            quiet / (quiet + missed) if quiet + missed else float("nan"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Counts, rates and their intervals in plain Python types."""
        rates = {name: getattr(self, name) for name in _RATES}
        limits = {f"{name}_interval": self.interval(name) for name in _RATES}
        plain = {name: value and list(value) for name, value in limits.items()}
        return {**vars(self), "prevalence": self.prevalence, **rates, **plain}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [self.to_dict()]

    def __str__(self) -> str:
        """The threshold, and one line a rate."""
        lines = [
            f"threshold {self.threshold:.4f}, {self.images} images, "
            f"{100 * self.prevalence:.1f} % of them positive"
        ]
        for name in _RATES:
            value, words = getattr(self, name), name.replace("_", " ")
            if value is None:
                lines.append(f"{words:<20}     -")
                continue
            low, high = self.interval(name)
            right, total = self._counts(name)
            lines.append(
                f"{words:<20}{100 * value:6.1f} %  ({100 * low:.1f} to "
                f"{100 * high:.1f}, {right} of {total})"
            )
        return "\n".join(lines)

    def _counts(self, rate: str) -> tuple[int, int]:
        right, wrong = {
            "sensitivity": (self.true_positives, self.false_negatives),
            "specificity": (self.true_negatives, self.false_positives),
            "precision": (self.true_positives, self.false_positives),
            "negative_precision": (self.true_negatives, self.false_negatives),
        }[rate]
        return right, right + wrong


def _share(right: int, total: int) -> float | None:
    return right / total if total else None


def operating_point(
    labels: ArrayLike, scores: ArrayLike, *, threshold: float
) -> OperatingPoint:
    """What a threshold does: sensitivity, specificity, precision, with intervals.

    Args:
        labels: 0 or 1 for each image `(n,)`; 1 is positive.
        scores: Probability of being positive `(n,)`: `probabilities[:, 1]`.
        threshold: Positive from this on.

    Returns:
        An `OperatingPoint`.

    Raises:
        ValueError: If the arrays do not fit.

    Example:
        >>> point = operating_point([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], threshold=0.5)
        >>> point.sensitivity, point.specificity
        (0.5, 0.5)

    Reference:
        Altman & Bland (1994), BMJ 308:1552 and 309:102.
    """
    labels, scores = _pair(labels, scores)
    called = scores >= threshold
    return OperatingPoint(
        float(threshold),
        int((called & (labels == 1)).sum()),
        int((called & (labels == 0)).sum()),
        int((~called & (labels == 0)).sum()),
        int((~called & (labels == 1)).sum()),
    )


def threshold_at(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    precision: float | None = None,
    costs: tuple[float, float] | None = None,
) -> float:
    """The threshold that reaches a rate at the least price, or that costs least.

    Choose it on validation images, and report it on others: on those it was chosen by
    it looks better than it is. It lies midway between two scores.

    Args:
        labels: 0 or 1 for each image `(n,)`, both of them; 1 is positive.
        scores: Probability of being positive `(n,)`.
        sensitivity: Share of positive images to find at least: the highest threshold
            that does.
        specificity: Share of negative images to leave alone at least: the lowest
            threshold that does.
        precision: Share that must be right of what is called positive: the lowest
            threshold at which it is.
        costs: Of a false positive and of a false negative, each above 0: the least cost
            on these images. Where probabilities are calibrated that is near
            `fp / (fp + fn)`.

    Returns:
        The threshold; above every score where nothing is to be called positive.

    Raises:
        ValueError: If not exactly one aim is given, a class is missing, or no threshold
            reaches the precision.

    Example:
        >>> threshold_at([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], sensitivity=1.0)
        0.25

    Reference:
        Elkan (2001), The foundations of cost-sensitive learning, section 1.2.
    """
    labels, scores = _pair(labels, scores)
    aims = check_aims(sensitivity, specificity, precision, costs)
    if labels.min() == labels.max():
        fail("labels", "of both classes", f"{len(labels)} of class {labels[0]}")
    # From the highest score down: above all of them first; equal scores go together.
    values = np.unique(scores)[::-1]
    positives, negatives = (
        np.searchsorted(np.sort(-scores[labels == c]), -values, side="right")
        for c in (1, 0)
    )
    hits, alarms = (np.concatenate([[0], n]) for n in (positives, negatives))
    [(aim, wanted)] = aims.items()
    place = _choose(aim, wanted, hits, alarms)
    return _between(values, place)


def check_aims(
    sensitivity: float | None,
    specificity: float | None,
    precision: float | None,
    costs: Any,
) -> dict[str, Any]:
    """The one aim that is given, by name, checked.

    Raises:
        ValueError: If there is none or more than one, or it is out of range.
    """
    given = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": precision,
        "costs": costs,
    }
    aims = {name: value for name, value in given.items() if value is not None}
    if len(aims) != 1:
        expected = "one of sensitivity, specificity, precision and costs"
        fail("aim", expected, aims or None)
    for name, value in aims.items():
        if name != "costs":
            check_number(name, value, maximum=1.0, above=0.0)
            continue
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            fail("costs", "of a false positive and of a false negative", value)
        for cost in value:
            check_number("costs", cost, above=0.0)
    return aims


def _choose(aim: str, wanted: Any, hits: np.ndarray, alarms: np.ndarray) -> int:
    """How many of the distinct scores, from the highest, are called positive."""
    positive, negative = hits[-1], alarms[-1]
    if aim == "sensitivity":
        return int(np.flatnonzero(hits / positive >= wanted)[0])
    if aim == "specificity":
        return int(np.flatnonzero(1 - alarms / negative >= wanted)[-1])
    if aim == "costs":
        cost = wanted[0] * alarms + wanted[1] * (positive - hits)
        return int(cost.argmin())
    called = np.maximum(hits + alarms, 1)
    reached = np.flatnonzero((hits / called >= wanted) & (hits > 0))
    if not reached.size:
        best = (hits / called).max()
        hint = f"The highest that these scores reach is {best:.3f}."
        fail("precision", "one that a threshold reaches", wanted, hint)
    return int(reached[-1])


def _between(values: np.ndarray, place: int) -> float:
    """A threshold that the first `place` of the values reach, and no other does.

    Args:
        values: Distinct scores, highest first.
        place: 0 to their number.
    """
    above = 1.0 if place == 0 else values[place - 1]
    below = 0.0 if place == len(values) else values[place]
    middle = (above + below) / 2
    if place == 0 and middle <= below:
        return float(np.nextafter(below, np.inf))
    # Two neighbouring floats have none between them.
    return float(middle if place == len(values) or middle > below else above)


def _pair(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """0/1 labels `(n,)` and scores `(n,)`."""
    labels, scores = as_labels("labels", labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.max() > 1:
        received = f"shape {labels.shape}, up to {labels.max()}"
        fail("labels", "0 or 1 for each image, of shape (n,)", received)
    if scores.shape != labels.shape:
        hint = "For a binary classifier pass `probabilities[:, 1]`."
        fail("scores", f"of shape {labels.shape}", scores.shape, hint)
    if not np.isfinite(scores).all():
        fail("scores", "finite", "nan or inf", "Check the model's loss.")
    return labels, scores
