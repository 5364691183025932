"""Metrics of decisions: labels against predicted labels."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, fail
from kerastl.evaluation.arguments import as_labels, as_pair


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of images whose predicted class is the true one.

    Says little on unequal classes: compare it with the majority class's share.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If the shapes differ, or the labels have two axes (which of
            `subset_accuracy` and `label_accuracy` is meant must be said).

    Example:
        >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
        0.75
    """
    labels, predicted = as_pair(labels, predicted)
    _only_indices(labels, "Use `subset_accuracy` or `label_accuracy`.")
    return float((labels == predicted).mean())


def balanced_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Mean over the classes of the share of their images that is recognised.

    Averages over the classes that occur in `labels`; others cannot be scored.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.

    Returns:
        A number from 0 to 1; always answering one class gives 1 / classes.

    Raises:
        ValueError: If the shapes differ, or the labels have two axes.

    Example:
        >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.5

    Reference:
        Brodersen et al. (2010), The balanced accuracy and its posterior
        distribution, ICPR.
    """
    labels, predicted = as_pair(labels, predicted)
    _only_indices(labels, "Use `f1` for multi-label data.")
    return float(np.nanmean(per_class_scores(labels, predicted)["recall"]))


def subset_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of images all of whose labels are right (multi-label).

    The strictest score: one wrong label among many makes the image wrong.

    Args:
        labels: 0/1 labels `(n, classes)`.
        predicted: 0/1 labels `(n, classes)`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If the shapes differ, or are not of two axes.

    Example:
        >>> subset_accuracy([[1, 0], [1, 1]], [[1, 0], [1, 0]])
        0.5
    """
    labels, predicted = _multilabel_pair(labels, predicted)
    return float((labels == predicted).all(axis=1).mean())


def label_accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of single labels that are right (multi-label): 1 - Hamming loss.

    High by itself when labels are rare: answering "none" scores their absence.

    Args:
        labels: 0/1 labels `(n, classes)`.
        predicted: 0/1 labels `(n, classes)`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If the shapes differ, or are not of two axes.

    Example:
        >>> label_accuracy([[1, 0], [1, 1]], [[1, 0], [1, 0]])
        0.75
    """
    labels, predicted = _multilabel_pair(labels, predicted)
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
    labels, predicted = as_pair(labels, predicted)
    hits, support, found = _counts(labels, predicted, _classes(labels, predicted))
    if average == "micro":
        return float(_ratio(2 * hits.sum(), support.sum() + found.sum()))
    scores = _ratio(2 * hits, support + found)
    defined = ~np.isnan(scores)
    weights = support if average == "weighted" else np.ones_like(support)
    return float(_ratio((scores * weights)[defined].sum(), weights[defined].sum()))


def per_class_scores(
    labels: ArrayLike, predicted: ArrayLike, num_classes: int | None = None
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
    labels, predicted = as_pair(labels, predicted)
    if num_classes is None:
        num_classes = _classes(labels, predicted)
    _check_classes(labels, predicted, num_classes)
    hits, support, found = _counts(labels, predicted, num_classes)
    return {
        "precision": _ratio(hits, found),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + found),
        "support": support,
        "predicted": found,
    }


def confusion_matrix(
    labels: ArrayLike, predicted: ArrayLike, num_classes: int
) -> np.ndarray:
    """How many images of each class were given to each class.

    Rows are true classes, columns predicted ones.

    Args:
        labels: Class indices `(n,)`.
        predicted: Class indices `(n,)`.
        num_classes: Number of classes, those that do not occur included.

    Returns:
        Integer array `(num_classes, num_classes)` of sum n.

    Raises:
        ValueError: If the shapes differ or an index is not below `num_classes`.

    Example:
        >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    labels, predicted = as_pair(labels, predicted)
    _only_indices(labels, "Multi-label data has no confusion matrix.")
    _check_classes(labels, predicted, num_classes)
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def _counts(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class: images rightly given to it, of it, and given to it."""
    if labels.ndim == 2:
        return (
            (labels & predicted).sum(axis=0),
            labels.sum(axis=0),
            predicted.sum(axis=0),
        )
    groups = (labels[labels == predicted], labels, predicted)
    hits, support, found = (np.bincount(g, minlength=num_classes) for g in groups)
    return hits, support, found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, nan where the whole is 0."""
    whole = np.asarray(whole)
    empty = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=empty, where=whole > 0)


def _classes(labels: np.ndarray, predicted: np.ndarray) -> int:
    """The number of classes that the two arrays imply."""
    if labels.ndim == 2:
        return labels.shape[1]
    return int(max(labels.max(), predicted.max())) + 1


def _check_classes(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> None:
    """Raise unless both arrays fit `num_classes`."""
    check_integer("num_classes", num_classes, 1)
    if labels.ndim == 2 and labels.shape[1] != num_classes:
        fail("num_classes", f"{labels.shape[1]}, the columns of labels", num_classes)
    as_labels("labels", labels, num_classes)
    as_labels("predicted", predicted, num_classes)


def _only_indices(labels: np.ndarray, hint: str) -> None:
    """Raise for multi-label arrays."""
    if labels.ndim != 1:
        fail("labels", "class indices of shape (n,)", labels.shape, hint)


def _multilabel_pair(
    labels: ArrayLike, predicted: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """A pair of 0/1 arrays of two axes."""
    labels, predicted = as_pair(labels, predicted)
    if labels.ndim != 2:
        fail("labels", "of shape (n, classes)", labels.shape, "Use `accuracy`.")
    return labels, predicted
