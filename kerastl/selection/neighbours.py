"""Nearest neighbours: whether images of one class lie together."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.selection.arguments import as_features

# Similarities that agree to so many decimals are one: products round differently.
_DECIMALS = 12
# Similarities held at a time: 128 MiB.
_CELLS = 2**24


def knn_score(features: ArrayLike, labels: ArrayLike, *, neighbours: int = 5) -> float:
    """Leave-one-out accuracy of the nearest neighbours by cosine similarity.

    An image is never its own neighbour. The result does not depend on the order of
    the images: neighbours equally far share the last votes, classes with equally
    many votes go by their nearest image, and a tie even there counts as a share.

    Args:
        features: Float `(n, d)`, one row an image. Not centred: cosine is meant for
            features after a ReLU.
        labels: Class of each image `(n,)`, at least two images of each class.
        neighbours: How many vote, 1 to n - 1.

    Returns:
        A number from 0 to 1, higher is better.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, if a class has one image, or if there are too few neighbours.

    Example:
        >>> features = [[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]]
        >>> knn_score(features, [0, 0, 1, 1], neighbours=1)
        1.0

    Reference:
        Renggli et al. (2022), Which model to transfer?, arXiv:2010.06402, section 3.
    """
    data = as_features(features, labels, per_class=2)
    total = len(data.rows)
    check_integer("neighbours", neighbours, 1)
    if neighbours >= total:
        fail("neighbours", f"at most {total - 1}, the other images", neighbours)
    lengths = np.linalg.norm(data.rows, axis=1, keepdims=True)
    # A row of zeros has no direction: as unlike everything as a right angle.
    units = data.rows / np.where(lengths > 0, lengths, 1.0)
    share = max(_CELLS // total, 1)
    score = 0.0
    for start in range(0, total, share):
        chosen = np.arange(start, min(start + share, total))
        similar = np.round(units[chosen] @ units.T, _DECIMALS)
        similar[np.arange(len(chosen)), chosen] = -np.inf
        score += _right(similar, data.codes, data.codes[chosen], neighbours).sum()
    return float(score / total)


def _right(
    similar: np.ndarray, codes: np.ndarray, truth: np.ndarray, neighbours: int
) -> np.ndarray:
    """How right each row's vote is, 0 to 1, from its similarities to all images."""
    last = np.partition(similar, -neighbours, axis=1)[:, -neighbours, None]
    nearer, level = similar > last, similar == last
    left = neighbours - nearer.sum(axis=1, keepdims=True)
    weights = nearer + level * (left / level.sum(axis=1, keepdims=True))
    votes = np.empty((len(similar), codes.max() + 1))
    closest = np.empty_like(votes)
    for code in range(votes.shape[1]):
        votes[:, code] = weights[:, codes == code].sum(axis=1)
        closest[:, code] = similar[:, codes == code].max(axis=1)
    votes = np.round(votes, _DECIMALS)
    first = votes == votes.max(axis=1, keepdims=True)
    closest = np.where(first, closest, -np.inf)
    first = closest == closest.max(axis=1, keepdims=True)
    return first[np.arange(len(truth)), truth] / first.sum(axis=1)
