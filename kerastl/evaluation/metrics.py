"""Scores of classifiers and their intervals, from arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._tables import Tabular

# Loose enough for float16 probabilities, tight enough that logits never pass.
_SUM_TOLERANCE = 1e-2


def as_labels(
    name: str, labels: ArrayLike, num_classes: int | None = None
) -> np.ndarray:
    """Integer labels `(n,)`, or 0/1 `(n, c)`; raises unless they are that."""
    array = np.asarray(labels)
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        expected = "class indices (n,) or 0/1 labels (n, classes)"
        fail(name, expected, f"{array.dtype} array of shape {array.shape}")
    if array.size == 0:
        fail(name, "about at least one image", f"shape {array.shape}")
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        hint = "Pass classes, not probabilities."
        fail(name, "whole numbers", str(array.dtype), hint)
    if array.ndim == 2:
        if array.min() < 0 or array.max() > 1:
            hint = "Pass class indices as a flat array, `labels.ravel()`."
            fail(name, "0 or 1 when they have two axes", f"up to {array.max()}", hint)
    elif array.min() < 0:
        fail(name, "class indices of at least 0", int(array.min()))
    elif num_classes is not None and array.max() >= num_classes:
        fail(name, f"class indices below {num_classes}", int(array.max()))
    return array.astype(np.int64)


def _as_pair(
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    axes: int | None = None,
    hint: str = "",
    num_classes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predicted labels of one shape, of so many axes and classes."""
    if num_classes is not None:
        check_integer("num_classes", num_classes, 1)
    labels = as_labels("labels", labels, num_classes)
    predicted = as_labels("predicted", predicted, num_classes)
    if labels.shape != predicted.shape:
        way = "Turn probabilities into classes with `probabilities.argmax(axis=1)`."
        fail("predicted", f"of shape {labels.shape}", predicted.shape, way)
    if axes is not None and labels.ndim != axes:
        expected = (
            "class indices of shape (n,)" if axes == 1 else "of shape (n, classes)"
        )
        fail("labels", expected, labels.shape, hint)
    if labels.ndim == 2 and num_classes not in (None, labels.shape[1]):
        fail("num_classes", f"{labels.shape[1]}, the columns of labels", num_classes)
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
    expected = labels.shape if labels.ndim == 2 else (len(labels), scores.shape[1])
    if scores.shape != expected:
        hint = "Give one row an image."
        fail("probabilities", f"of shape {expected}", scores.shape, hint)
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
    sums = scores.sum(axis=1, dtype=np.float64)
    worst = sums[np.abs(sums - 1).argmax()]
    if labels.ndim == 1 and abs(worst - 1) > _SUM_TOLERANCE:
        hint = "Multi-label probabilities need 0/1 labels of shape (n, classes)."
        fail("probabilities", "rows that sum to 1", f"a row of sum {worst:.4g}", hint)
    return labels, np.clip(scores, 0, 1)


def decide(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The decisions, in the shape of `labels`: argmax, or above one half."""
    if labels.ndim == 1:
        return probabilities.argmax(axis=1)
    # Strictly above, as keras.metrics.BinaryAccuracy decides.
    return (probabilities > 0.5).astype(np.int64)


@dataclass(frozen=True)
class PairedComparison(Tabular):
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

    @property
    def summary(self) -> str:
        """The difference in points, its interval and the p-value."""
        low, high = self.interval
        return (
            f"{100 * self.difference:+.1f} points "
            f"({100 * self.confidence:g} % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}, p = {self.p_value:.2g})"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [dict(vars(self))]

    def _heading(self) -> str:
        return self.summary

    def __str__(self) -> str:
        """One line: the summary, and how many images differ."""
        only = f"{self.only_b} images only b gets right, {self.only_a} only a"
        return f"{self.summary}: {only}"


def wilson_interval(
    successes: int, total: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence limits of a proportion, such as an accuracy.

    Assumes independent images: frames of one video are not (see `bootstrap`).

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
    from scipy.stats import binomtest

    check_integer("total", total, 1)
    check_integer("successes", successes, 0)
    if successes > total:
        fail("successes", f"at most {total}, the total", successes)
    check_number("confidence", confidence, above=0.0, below=1.0)
    found = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap limits of any statistic of the examples.

    The arrays are resampled together, row by row. For an accuracy use
    `wilson_interval`: the bootstrap gives an empty interval at 100 %.

    Args:
        statistic: Called with the resampled arrays; returns one number. Resamples
            where it is nan (a class may be missing) are left out.
        *arrays: Arrays of one length n, as `statistic` takes them.
        groups: A name or number per example `(n,)`: examples of one group, such as
            the frames of a video, are drawn together. None: each alone.
        confidence: Above 0 and below 1.
        resamples: How often to resample, at least 1.
        seed: Seed of the resampling.

    Returns:
        `(low, high)`; nan when the statistic was nan on each resample.

    Raises:
        ValueError: If there is no array, lengths differ, or a number is out of range.

    Example:
        >>> low, high = bootstrap(np.mean, [0.0, 1.0, 2.0, 3.0], seed=1)
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
    members = None
    if groups is not None:
        named = np.asarray(groups)
        if named.shape != (lengths[0],):
            fail("groups", f"of shape ({lengths[0]},), one an example", named.shape)
        places = np.unique(named, return_inverse=True)[1]
        members = [np.flatnonzero(places == each) for each in range(places.max() + 1)]
    units = lengths[0] if members is None else len(members)
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    for index in range(resamples):
        chosen = generator.integers(0, units, units)
        if members is not None:
            chosen = np.concatenate([members[each] for each in chosen])
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
    from scipy.stats import binomtest

    check_number("confidence", confidence, above=0.0, below=1.0)
    pairs = (_as_pair(labels, each) for each in (predicted_a, predicted_b))
    right_a, right_b = ((y == p).reshape(len(y), -1).all(axis=1) for y, p in pairs)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differing = only_a + only_b
    # Wald limits after half an image is added to each of the four cells.
    total, net = len(right_a) + 2, only_b - only_a
    spread = (differing + 1 - net**2 / total) ** 0.5 / total
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    return PairedComparison(
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=net / len(right_a),
        interval=(max(-1.0, net / total - half), min(1.0, net / total + half)),
        confidence=confidence,
        p_value=float(binomtest(only_b, differing).pvalue) if differing else 1.0,
        only_a=only_a,
        only_b=only_b,
    )


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of images whose predicted class is the true one.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.

    Returns:
        0 to 1. On unequal classes compare it with the majority class's share.

    Example:
        >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
        0.75
    """
    hint = "Use `subset_accuracy` or `label_accuracy`."
    labels, predicted = _as_pair(labels, predicted, axes=1, hint=hint)
    return float((labels == predicted).mean())


def balanced_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Mean over the classes of the share of their images that is recognised.

    Args:
        labels: Class indices `(n,)`; the classes that occur here are averaged.
        predicted: Class indices `(n,)`.

    Returns:
        A number from 0 to 1; always answering one class gives 1 / classes.

    Example:
        >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.5
    """
    hint = "Use `f1` for multi-label data."
    labels, predicted = _as_pair(labels, predicted, axes=1, hint=hint)
    return float(np.nanmean(per_class_scores(labels, predicted)["recall"]))


def subset_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of images all of whose 0/1 labels `(n, classes)` are right."""
    labels, predicted = _as_pair(labels, predicted, axes=2, hint="Use `accuracy`.")
    return float((labels == predicted).all(axis=1).mean())


def label_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of single 0/1 labels `(n, classes)` that are right: 1 - Hamming loss."""
    labels, predicted = _as_pair(labels, predicted, axes=2, hint="Use `accuracy`.")
    return float((labels == predicted).mean())


def f1(labels: ArrayLike, predicted: ArrayLike, *, average: str = "macro") -> float:
    """Harmonic mean of precision and recall, averaged over the classes.

    Classes that occur neither in the labels nor in the predictions are left out.

    Args:
        labels: Class indices `(n,)` or 0/1 labels `(n, classes)`.
        predicted: The same shape.
        average: `"macro"` counts each class alike, `"weighted"` by its number of
            images, `"micro"` pools all decisions (for class indices: the accuracy).

    Returns:
        A number from 0 to 1; nan when there is nothing to find and nothing found.

    Raises:
        ValueError: If the shapes differ or `average` is unknown.

    Example:
        >>> f1([0, 0, 1, 1], [0, 0, 0, 1], average="micro")
        0.75

    Reference:
        van Rijsbergen (1979), Information Retrieval, ch. 7 (F with beta 1).
    """
    check_choice("average", average, ("macro", "weighted", "micro"))
    labels, predicted = _as_pair(labels, predicted)
    if average == "micro" and labels.ndim == 1:
        return float((labels == predicted).mean())
    if average == "micro":
        labels, predicted = labels.reshape(-1, 1), predicted.reshape(-1, 1)
    scores = per_class_scores(labels, predicted)
    seen = ~np.isnan(scores["f1"])
    weights = scores["support"][seen] if average == "weighted" else np.ones(seen.sum())
    return (
        float(np.average(scores["f1"][seen], weights=weights))
        if weights.any()
        else float("nan")
    )


def per_class_scores(
    labels: ArrayLike, predicted: ArrayLike, *, num_classes: int | None = None
) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, with the counts behind them.

    A score without a denominator is nan: the precision of a class that is never
    predicted is unknown, not 0.

    Args:
        labels: Class indices `(n,)` or 0/1 labels `(n, classes)`.
        predicted: The same shape.
        num_classes: Number of classes; None takes the largest index that occurs.

    Returns:
        Arrays `(classes,)`: `"precision"`, `"recall"`, `"f1"` (0 to 1 or nan),
        `"support"` (images of the class) and `"predicted"` (images given to it).

    Raises:
        ValueError: If the shapes differ or a label is not below `num_classes`.

    Example:
        >>> per_class_scores([0, 0, 1], [0, 1, 1])["recall"].tolist()
        [0.5, 1.0]
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, predicted = _as_pair(labels, predicted, num_classes=num_classes)
    if labels.ndim == 2:
        num_classes, found = labels.shape[1], predicted.sum(axis=0)
    else:
        num_classes = num_classes or max(labels.max(), predicted.max()) + 1
        found = np.bincount(predicted, minlength=num_classes)
    classes = range(num_classes)
    if labels.shape[1:] == (1,):
        # One column of 0 and 1 is two classes to scikit-learn: only 1 is the label.
        labels, predicted, classes = labels.ravel(), predicted.ravel(), [1]
    table = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    named = dict(zip(("precision", "recall", "f1"), table, strict=False))
    return {**named, "support": table[3].astype(np.int64), "predicted": found}


def confusion_matrix(
    labels: ArrayLike, predicted: ArrayLike, num_classes: int
) -> np.ndarray:
    """Images of each class (rows) given to each class (columns), `(c, c)`."""
    hint = "Multi-label data has no confusion matrix."
    labels, predicted = _as_pair(
        labels, predicted, axes=1, hint=hint, num_classes=num_classes
    )
    # scikit-learn warns where one class occurs, though it was told of the others.
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def top_k_accuracy(labels: ArrayLike, probabilities: ArrayLike, *, k: int = 5) -> float:
    """Share of images whose true class is among the `k` most probable.

    Equal probabilities rank by class index, as `argmax` does: `k=1` is the accuracy.
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

    Example:
        >>> round(log_loss([0, 1], [[0.5, 0.5], [0.5, 0.5]]), 4)
        0.6931
    """
    labels, probabilities = as_probabilities(labels, probabilities)
    eps = np.finfo(probabilities.dtype).eps
    if labels.ndim == 2:
        given = np.where(labels == 1, probabilities, 1 - probabilities)
    else:
        given = probabilities[np.arange(len(labels)), labels]
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
    """Chance that a positive image scores above a negative one; 0.5 for a guess.

    Of one class among several pass `np.eye(classes)[labels]`: each against the rest.

    Args:
        labels: 0 and 1, `(n,)` or `(n, classes)`.
        scores: Of the same shape; the higher, the surer of a 1.

    Returns:
        The area under the curve, 0 to 1; the mean over the classes that have a positive
        and a negative image, nan if none has.

    Raises:
        ValueError: If the shapes differ, or a label is neither 0 nor 1.

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75

    Reference:
        Hanley & McNeil (1982), The meaning and use of the area under a receiver
        operating characteristic (ROC) curve.
    """
    from sklearn.metrics import roc_auc_score

    labels, scores = _columns(labels, scores)
    mixed = labels.min(axis=0) < labels.max(axis=0)
    return _mean_over(roc_auc_score, labels[:, mixed], scores[:, mixed])


def matthews_correlation(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Correlation of decisions with the truth, -1 to 1; 0 for one answer throughout.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.

    Returns:
        -1 to 1; nan where both give one class throughout.

    Raises:
        ValueError: If the shapes differ, or labels are rows of several.

    Example:
        >>> matthews_correlation([0, 0, 1, 1], [0, 0, 1, 1])
        1.0

    Reference:
        Gorodkin (2004), Comparing two K-category assignments, eq. 8.
    """
    from sklearn.metrics import matthews_corrcoef

    hint = "Use `f1` for multi-label data."
    labels, predicted = _as_pair(labels, predicted, axes=1, hint=hint)
    if len(np.union1d(labels, predicted)) == 1:
        return float("nan")
    return float(matthews_corrcoef(labels, predicted))


def cohen_kappa(
    labels: ArrayLike, predicted: ArrayLike, *, weights: str | None = None
) -> float:
    """Agreement beyond what chance gives, at most 1; 0 for chance.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.
        weights: None: a mistake is a mistake; `"linear"` or `"quadratic"` where the
            classes are grades and a near miss is less of one.

    Returns:
        At most 1; nan where both give one class throughout.

    Raises:
        ValueError: If the shapes differ, labels are rows of several, or the weights are
            unknown.

    Example:
        >>> cohen_kappa([0, 1, 2, 2], [0, 1, 2, 1], weights="quadratic")
        0.8

    Reference:
        Cohen (1960), (1968).
    """
    from sklearn.metrics import cohen_kappa_score

    check_choice("weights", weights or "none", ("none", "linear", "quadratic"))
    hint = "Use `f1` for multi-label data."
    labels, predicted = _as_pair(labels, predicted, axes=1, hint=hint)
    if len(np.union1d(labels, predicted)) == 1:
        return float("nan")
    return float(cohen_kappa_score(labels, predicted, weights=weights))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over the ranks at which positive images appear.

    Arrays as for `roc_auc`. Classes without a positive image are left out; nan when
    none remains.
    """
    from sklearn.metrics import average_precision_score

    labels, scores = _columns(labels, scores)
    present = labels.max(axis=0) == 1
    return _mean_over(average_precision_score, labels[:, present], scores[:, present])


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


def _mean_over(
    score: Callable[..., float], labels: np.ndarray, scores: np.ndarray
) -> float:
    """Mean of a score over the columns; nan without one."""
    values = [score(*column) for column in zip(labels.T, scores.T, strict=True)]
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True)
class ConfusedPair:
    """One kind of mistake.

    Attributes:
        true: Name of the true class.
        predicted: Name of the class given instead.
        images: How many images.
        share: Of the true class's images, 0 to 1.
    """

    true: str
    predicted: str
    images: int
    share: float


def most_confused_pairs(
    confusion: np.ndarray, class_names: tuple[str, ...], *, count: int = 10
) -> tuple[ConfusedPair, ...]:
    """The `count` commonest mistakes in a confusion matrix `(c, c)`, rows true.

    By number of images, so that large classes come first; `share` tells which class
    suffers.
    """
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    cells = zip(*np.unravel_index(order, wrong.shape), strict=True)
    found = [(true, given, int(wrong[true, given])) for true, given in cells]
    return tuple(
        ConfusedPair(class_names[i], class_names[j], n, n / int(confusion[i].sum()))
        for i, j, n in found
        if n
    )
