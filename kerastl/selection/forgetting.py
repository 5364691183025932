"""How much a fine-tuned network still knows of what it was pre-trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl.datasets.sets import ImageSet
from kerastl.evaluation.intervals import (
    PairedComparison,
    compare_classifiers,
    wilson_interval,
)
from kerastl.evaluation.similarity import linear_cka
from kerastl.inference.pairs import pair_states
from kerastl.selection.ridge import LooRidge, loo_ridge
from kerastl.selection.sampling import stratified_sample, training_images

# Similarities held at a time: 128 MiB.
_CELLS = 2**24


@dataclass(frozen=True)
class ForgettingReport:
    """Features before and after training, probed on images of the source.

    Attributes:
        accuracy_before: Leave-one-out accuracy of a linear probe on the features
            before, 0 to 1.
        accuracy_after: The same after.
        interval_before: Wilson limits of the accuracy before.
        interval_after: Wilson limits of the accuracy after.
        comparison: The difference on the same images, its interval and p-value; its
            `a` is before, its `b` after.
        neighbour_agreement: Mean share of each image's nearest neighbours that stayed
            among them, 0 to 1.
        chance_agreement: What the agreement would be of two unrelated networks.
        cka: Linear CKA of the features before and after, 0 to 1.
        neighbours: How many neighbours were compared.
        images: Number of images.
    """

    accuracy_before: float
    accuracy_after: float
    interval_before: tuple[float, float]
    interval_after: tuple[float, float]
    comparison: PairedComparison
    neighbour_agreement: float
    chance_agreement: float
    cka: float
    neighbours: int
    images: int

    @property
    def forgotten(self) -> float:
        """Accuracy lost, in shares of 1; below 0 where it rose."""
        return self.accuracy_before - self.accuracy_after

    def __str__(self) -> str:
        """Four lines."""
        rows = (
            ("before", self.accuracy_before, self.interval_before),
            ("after", self.accuracy_after, self.interval_after),
        )
        lines = [
            f"probe on the features {name:6}  {value:6.1%} ({low:.1%} to {high:.1%})"
            for name, value, (low, high) in rows
        ]
        lines.append(f"after - before: {self._difference()}")
        lines.append(
            f"{self.neighbour_agreement:.0%} of the {self.neighbours} nearest "
            f"neighbours stayed (chance {self.chance_agreement:.0%}), "
            f"CKA {self.cka:.3f}, {self.images} images"
        )
        return "\n".join(lines)

    def _difference(self) -> str:
        low, high = self.comparison.interval
        return (
            f"{100 * self.comparison.difference:+.1f} points "
            f"({100 * self.comparison.confidence:g} % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}, p = {self.comparison.p_value:.2g})"
        )


def forgetting_report(
    before: keras.Model | Sequence[np.ndarray],
    after: keras.Model,
    source: Any,
    *,
    images: int = 2000,
    neighbours: int = 10,
    confidence: float = 0.95,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ForgettingReport:
    """What training cost a network of its former skill, measured on its features.

    A new linear probe is fitted to the features of each state, so a lost head does not
    count, only lost features. Images of the target say nothing here: take images of the
    kind that the network was pre-trained on.

    Args:
        before: A model before training, or its weights: `model.get_weights()`.
        after: The same network after it: a classifier, whose head is left out, or a
            backbone.
        source: Images with one label each, at least two of each class, of any classes:
            an `ImageSet`, `Splits` (the training part), a folder, a data set's name or
            a pair of arrays `(images, labels)`.
        images: How many images to use at most, in the proportions of their classes;
            copies are left out.
        neighbours: How many nearest neighbours to compare, 1 to n - 1.
        confidence: Of the intervals, above 0 and below 1.
        batch_size: Images at a time.
        seed: Of the sample.
        progress: Called with (done, total) images of the second pass.

    Returns:
        Accuracies, their difference on the same images, and how many neighbours
        stayed: it prints in four lines.

    Raises:
        ValueError: If the two are not of one structure, the images have no labels or a
            class has one image, or a number is out of range.
        TypeError: If an argument is of no known kind.

    Example:
        >>> import kerastl
        >>> model = kerastl.build_backbone(
        ...     "MobileNet", alpha=0.25, image_size=32, weights="tiny"
        ... )
        >>> digits = kerastl.load_dataset("digits").train.subset(range(60))
        >>> report = forgetting_report(model.get_weights(), model, digits)
        >>> report.forgotten, report.neighbour_agreement
        (0.0, 1.0)

    Reference:
        Davari et al. (2022), Probing Representation Forgetting in Supervised and
        Unsupervised Continual Learning, arXiv:2203.13381, section 3; the probe is
        that of `loo_ridge`.
    """
    check_integer("neighbours", neighbours, 1)
    check_integer("batch_size", batch_size, 1)
    check_number("confidence", confidence, above=0.0, below=1.0)
    pair = pair_states(before, after)
    sample = stratified_sample(_labelled(source), images=images, per_class=2, seed=seed)
    total = len(sample)
    if neighbours >= total:
        fail("neighbours", f"at most {total - 1}, the other images", neighbours)
    first, second = pair.features(sample, batch_size=batch_size, progress=progress)
    probes = [loo_ridge(features, sample.labels) for features in (first, second)]
    one, two = (int(probe.correct.sum()) for probe in probes)
    decided = [_decisions(probe) for probe in probes]
    return ForgettingReport(
        accuracy_before=one / total,
        accuracy_after=two / total,
        interval_before=wilson_interval(one, total, confidence=confidence),
        interval_after=wilson_interval(two, total, confidence=confidence),
        comparison=compare_classifiers(sample.labels, *decided, confidence=confidence),
        neighbour_agreement=neighbour_agreement(first, second, neighbours),
        chance_agreement=neighbours / (total - 1),
        cka=linear_cka(first, second),
        neighbours=neighbours,
        images=total,
    )


def _labelled(source: Any) -> ImageSet:
    """The images, with names for labels that have none."""
    if isinstance(source, (tuple, list)) and len(source) == 2:
        pixels, labels = (np.asarray(part) for part in source)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            received = f"{labels.dtype} array of shape {labels.shape}"
            fail("source", "a pair of images and integer labels (n,)", received)
        classes, codes = np.unique(labels, return_inverse=True)
        source = ImageSet(pixels, codes, tuple(map(str, classes)))
    return training_images(source)


def _decisions(probe: LooRidge) -> np.ndarray:
    """The class that each image's own probe names `(n,)`."""
    return probe.classes[probe.decisions.argmax(axis=1)]


def neighbour_agreement(
    first: np.ndarray, second: np.ndarray, neighbours: int
) -> float:
    """Mean share of each row's nearest neighbours that are the same in two spaces.

    By cosine similarity, an image never its own neighbour; of equally near ones the
    first in order count.

    Args:
        first: Float `(n, d)`.
        second: Float `(n, e)`, the same images.
        neighbours: How many, 1 to n - 1.
    """
    total = len(first)
    spaces = [_units(first), _units(second)]
    share = max(_CELLS // total, 1)
    common = 0
    for start in range(0, total, share):
        chosen = np.arange(start, min(start + share, total))
        near = np.zeros((len(chosen), total), int)
        for rows in spaces:
            similar = rows[chosen] @ rows.T
            similar[np.arange(len(chosen)), chosen] = -np.inf
            order = np.argsort(-similar, axis=1, kind="stable")[:, :neighbours]
            near[np.arange(len(chosen))[:, None], order] += 1
        common += int((near == 2).sum())
    return common / (neighbours * total)


def _units(features: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; rows of zeros stay."""
    rows = features.astype("float64")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
