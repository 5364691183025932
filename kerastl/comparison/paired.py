"""Two classifiers on the same images: which is better, and what could be seen."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.evaluation.metrics import (
    PairedComparison,
    bootstrap,
    compare_classifiers,
)
from kerastl.features.sources import labelled_examples
from kerastl.prediction import check_scorable, predict
from kerastl.tasks.task import bind_known


@dataclass(frozen=True)
class ModelComparison(Tabular):
    """Two models on the same images: which is better, how surely, what could be seen.

    Attributes:
        paired: Accuracies, their difference `b - a`, McNemar's exact test.
        interval: Limits of the difference by bootstrap over images, or over groups.
        balanced: Difference of the recalls averaged over classes; None for several
            labels an image.
        balanced_interval: Its limits by the same bootstrap, or None.
        detectable: The smallest difference that these images would have shown in four
            of five tries, differing as often as they do.
        images: Number of images.
        groups: Number of groups, or None.
    """

    paired: PairedComparison
    interval: tuple[float, float]
    balanced: float | None
    balanced_interval: tuple[float, float] | None
    detectable: float
    images: int
    groups: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The comparison in plain Python types, ready for JSON."""
        return {**vars(self), "paired": dict(vars(self.paired))}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [{**vars(self), **vars(self.paired), "paired": str(self.paired)}]

    def _heading(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """What differs, by how much, and what would have been seen."""
        one, two = self.paired.accuracy_a, self.paired.accuracy_b
        over = "images" if self.groups is None else f"{self.groups} groups"
        lines = [
            f"accuracy: a {100 * one:.1f} %, b {100 * two:.1f} %, {self.images} images",
            f"b - a: {self.paired}",
            f"bootstrap over {over}: {_points(self.interval)}",
        ]
        if self.balanced is not None:
            limits = _points(self.balanced_interval)
            lines.append(f"mean recall, b - a: {100 * self.balanced:+.1f} ({limits})")
        lines.append(
            "a difference below "
            f"{100 * self.detectable:.1f} points would probably not have been seen here"
        )
        return "\n".join(lines)


def _points(limits: tuple[float, float]) -> str:
    return f"{100 * limits[0]:+.1f} to {100 * limits[1]:+.1f} points"


def compare(
    model_a: keras.Model,
    model_b: keras.Model,
    data: Any,
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelComparison:
    """Which of two classifiers is better on the same images, and how surely.

    The intervals of two accuracies may overlap where the difference is sure: only the
    images on which the two differ tell. Images of one patient or video are not
    independent: pass `groups`, and believe the bootstrap, not the p-value.

    Args:
        model_a: A classifier.
        model_b: Another of the same classes, in any order.
        data: Labelled images, as `evaluate` takes them, that neither was trained on.
        groups: A name or number for each image `(n,)`: those of one group are drawn
            together. None: each alone.
        confidence: Of the intervals, above 0 and below 1.
        resamples: Of the bootstrap.
        batch_size: Images at a time.
        seed: Of the bootstrap.
        progress: Called with (done, total), once for each model.

    Returns:
        A `ModelComparison`.

    Raises:
        ValueError: If a model is no classifier, or has other classes.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> dark = np.zeros((9, 96, 96, 3), "uint8")
        >>> data = kerastl.ImageSet(dark, np.zeros(9, int), ("dark", "light"))
        >>> found = compare(model, model, data)
        >>> found.paired.difference, found.interval
        (0.0, (0.0, 0.0))

    Reference:
        Dietterich (1998), Neural Computation 10(7), section 3.1; Connor (1987), Sample
        size for testing differences in proportions for the paired-sample design, eq. 2.
    """
    right, truth = [], None
    for name, model in (("model_a", model_a), ("model_b", model_b)):
        bound = bind_known(model)
        if not bound.record.class_names or bound.task.dense:
            fail(name, "a classifier", f"a model for {bound.task.name}")
        examples = labelled_examples(bound, data, "data")
        labels = check_scorable(bound, examples)
        said = predict(model, examples, batch_size=batch_size, progress=progress)
        hits = said.indices == labels
        right.append(hits if hits.ndim == 1 else hits.all(axis=1))
        truth = labels if truth is None else truth
    one, two = right
    paired = compare_classifiers(
        np.ones(len(one), int), one.astype(int), two.astype(int), confidence=confidence
    )
    gains = two.astype(float) - one.astype(float)
    options = {"groups": groups, "confidence": confidence}
    options |= {"resamples": resamples, "seed": seed}
    balanced = limits = None
    if truth.ndim == 1:
        balanced = _mean_by_class(gains, truth)
        limits = bootstrap(_mean_by_class, gains, truth, **options)
    share = float((one != two).mean())
    return ModelComparison(
        paired=paired,
        interval=bootstrap(np.mean, gains, **options),
        balanced=balanced,
        balanced_interval=limits,
        detectable=detectable_difference(share, len(one), confidence=confidence),
        images=len(one),
        groups=None if groups is None else len(np.unique(np.asarray(groups))),
    )


def _mean_by_class(values: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the mean of their values."""
    return float(np.mean([values[labels == c].mean() for c in np.unique(labels)]))


def detectable_difference(
    differing: float, images: int, *, confidence: float = 0.95, power: float = 0.8
) -> float:
    """The smallest difference of two accuracies that a paired test would find.

    Args:
        differing: Share of images on which the two differ, 0 to 1.
        images: How many there are.
        confidence: Of the test.
        power: How often it is to be found.
    """
    quantile = NormalDist().inv_cdf
    a = quantile((1 + confidence) / 2) * np.sqrt(differing)
    b, root = quantile(power), np.sqrt(images)
    # a + b sqrt(differing - x^2) = x sqrt(images), for x.
    total = images + b**2
    inside = (a * root) ** 2 - total * (a**2 - b**2 * differing)
    found = (a * root + np.sqrt(max(inside, 0.0))) / total
    # Fewer images, all for one side, are chance.
    fewest = int(np.floor(np.log2(2 / (1 - confidence)))) + 1
    return float(min(1.0, max(found, fewest / images)))
