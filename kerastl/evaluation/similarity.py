"""How alike two networks see the same images."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail


def linear_cka(first: ArrayLike, second: ArrayLike) -> float:
    """Linear centred kernel alignment of two sets of features of the same images.

    1 if one is a rotated, scaled and shifted version of the other. With fewer images
    than features it is near 1 for any two networks: compare on many images.

    Args:
        first: Float `(n, d)`, one row an image.
        second: Float `(n, e)`, the same images in the same order.

    Returns:
        A number from 0 to 1: `||Y'X||² / (||X'X|| ||Y'Y||)` with centred columns and
        Frobenius norms, in float64; nan if either is the same for every image.

    Raises:
        ValueError: If the shapes do not fit or a number is not finite.

    Example:
        >>> features = np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 1.0]])
        >>> linear_cka(features, 3.0 * features[:, ::-1] + 7.0)
        1.0

    Reference:
        Kornblith et al. (2019), Similarity of Neural Network Representations
        Revisited, arXiv:1905.00414, eq. 4 and table 1.
    """
    one, two = _centred("first", first), _centred("second", second)
    if len(one) != len(two):
        fail("second", f"of {len(one)} rows, as `first`", two.shape)
    if min(one.shape[1], two.shape[1]) > len(one):
        # The same numbers through n by n products, where these are the smaller.
        one, two = one @ one.T, two @ two.T
        cross, own = float((one * two).sum()), _norm(one) * _norm(two)
    else:
        cross = float(np.square(two.T @ one).sum())
        own = _norm(one.T @ one) * _norm(two.T @ two)
    return min(cross / own, 1.0) if own > 0 else float("nan")


def _centred(name: str, features: ArrayLike) -> np.ndarray:
    """Float64 `(n, d)` with columns of mean zero and a largest number of one."""
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        expected = "numbers of shape (n, d), one row an image"
        fail(name, expected, f"{array.dtype} array of shape {array.shape}")
    rows = array.astype("float64")
    if not np.isfinite(rows).all():
        fail(name, "finite", f"array of shape {array.shape} with nan or inf")
    largest = np.abs(rows).max()
    rows = rows - rows.mean(axis=0)
    spread = np.abs(rows).max()
    # Below the rounding of the mean there is nothing left but noise.
    if spread <= 1e-12 * largest:
        return np.zeros_like(rows)
    return rows / spread


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix))
