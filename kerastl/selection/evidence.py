"""LogME: the evidence of a Bayesian linear model of the labels."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl.selection.arguments import as_features
from kerastl.selection.decomposition import left_vectors

# ln t, relative to the mean squared singular value: four steps a decade. The lower
# end keeps a perfect fit finite; at the upper end the features play no part.
_GRID = np.log(10) * np.linspace(-8, 8, 65)
# Each zoom is four times closer: 1e-6 of ln t at last, where the evidence is flat.
_ZOOMS = 10


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Log evidence of the labels under a Bayesian linear model, per image and class.

    Right also when features outnumber images. There is no intercept, so a shift of
    the features changes it: give them as the network makes them, not standardised.
    Values compare backbones on the same images only; they may be positive.

    Args:
        features: Float `(n, d)`, one row an image; d may exceed n.
        labels: Class of each image `(n,)`, fewer classes than images.

    Returns:
        Mean over the classes of `ln p(y) / n`, with y one-hot, distributed as
        `N(0, I / beta + F F' / alpha)` at the alpha and beta of largest evidence.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels.

    Example:
        >>> near = logme([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0]], [0, 0, 1])
        >>> near > logme([[1.0, 0.1], [0.1, 1.0], [1.0, 0.2]], [0, 0, 1])
        True

    Reference:
        You et al. (2021), LogME, arXiv:2102.11005, section 4. Where they iterate alpha
        and beta, beta is eliminated here and t = alpha / beta found on a line.
    """
    data = as_features(features, labels)
    vectors, squares = left_vectors(data.rows)
    along = (vectors.T @ data.one_hot) ** 2
    beside = np.maximum(data.counts - along.sum(axis=0), 0.0)
    squares = squares / squares.mean()
    each = zip(along.T, beside, strict=True)
    best = [_largest(squares, a, b, len(data.rows)) for a, b in each]
    return float(np.mean(best) / len(data.rows))


def _largest(
    squares: np.ndarray, along: np.ndarray, beside: float, total: int
) -> float:
    """Log evidence of one class at its best t: the best of a grid, closer and closer.

    A fixed point may stop short where t grows without end, as for features that tell
    nothing, and at the lesser of two maxima.
    """
    grid = _GRID
    for _ in range(_ZOOMS):
        peak = int(_evidence(grid, squares, along, beside, total).argmax())
        low, high = grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]
        grid = np.linspace(low, high, 9)
    return float(_evidence(grid, squares, along, beside, total).max())


def _evidence(
    log_t: np.ndarray,
    squares: np.ndarray,
    along: np.ndarray,
    beside: float,
    total: int,
) -> np.ndarray:
    """Log evidence `(g,)` at each ratio, with beta at its best: total / misfit."""
    ratios = np.exp(log_t)[:, None]
    # 1 for the d - k directions without features: they add nothing to the volume.
    kept = ratios / (ratios + squares)
    volume = np.log(kept).sum(axis=1) / 2
    misfit = kept @ along + beside
    return volume + total / 2 * (np.log(total / misfit) - 1 - np.log(2 * np.pi))
