"""The mistakes that teach most: those made with confidence."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer
from kerastl.evaluation.arguments import as_probabilities, decide


def most_confident_mistakes(
    labels: ArrayLike, probabilities: ArrayLike, k: int = 12
) -> np.ndarray:
    """Indices of the wrong images that the classifier was surest about.

    Wrong labels in the data surface here first: look before blaming the model.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.
        k: How many at most, at least 1.

    Returns:
        Integer array of at most `k` indices, the surest first; empty without mistakes.
        A multi-label image counts with its surest wrong label.

    Raises:
        ValueError: If the shapes disagree or `k` is below 1.

    Example:
        >>> most_confident_mistakes([0, 0, 1], [[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]], 2)
        array([1, 0])
    """
    check_integer("k", k, 1)
    labels, probabilities = as_probabilities(labels, probabilities)
    sureness = mistake_confidence(labels, probabilities)
    order = np.argsort(-sureness, kind="stable")[:k]
    return order[sureness[order] >= 0]


def mistake_confidence(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Confidence `(n,)` of each image's surest wrong decision; -1 without one."""
    predicted = decide(labels, probabilities)
    if labels.ndim == 1:
        return np.where(predicted == labels, -1.0, probabilities.max(axis=1))
    sure = np.where(predicted == 1, probabilities, 1 - probabilities)
    return np.where(predicted == labels, -1.0, sure).max(axis=1)
