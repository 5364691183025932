"""How far classes lie apart: between-class variance, and overlap of Gaussians."""

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, check_number
from kerastl.selection.arguments import LabelledRows, as_features
from kerastl.selection.decomposition import left_vectors, principal_scores

# Of the mean variance: no class counts as a point.
_FLOOR = 1e-4


def h_score(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    shrinkage: float | None = None,
    chance: str = "removed",
) -> float:
    """Between-class variance of the features, in units of their whole variance.

    The published score rises with the number of directions that features vary in,
    whatever the labels are: an untrained network can win. So what shuffled labels
    score on average is taken away here.

    Args:
        features: Float `(n, d)`, one row an image; d may exceed n.
        labels: Class of each image `(n,)`, fewer classes than images.
        shrinkage: Share s of the scaled identity in the covariance, 0 to 1; None takes
            Ledoit and Wolf's. 0 inverts the plain covariance where it can be inverted.
        chance: `"removed"`, or `"kept"` for the published score.

    Returns:
        With `H = tr(S^-1 (1 - s) B)`, S the shrunk covariance of the features and B
        that of their class means, `(c - 1) (H - E) / (c - 1 - E)`, where E is the mean
        of H over all orders of the labels. c - 1 is perfect, 0 is chance; may be
        below 0. Kept: H itself, 0 to min(c - 1, d). Higher is better.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, or if an option is out of range.

    Example:
        >>> features = [[0.0], [0.0], [1.0], [1.0]]
        >>> round(h_score(features, [0, 0, 1, 1], shrinkage=0), 6)
        1.0

    Reference:
        Bao et al. (2019), An information-theoretic approach to transferability,
        definition 2; Ibrahim et al. (2022), Newer is not always better,
        arXiv:2110.06893. Removing chance is our addition, as for the adjusted R^2.
    """
    if shrinkage is not None:
        check_number("shrinkage", shrinkage, 0, 1)
    check_choice("chance", chance, ("removed", "kept"))
    data = as_features(features, labels)
    total, width = data.rows.shape
    centred = data.rows - data.rows.mean(axis=0)
    vectors, squares = left_vectors(centred)
    variances = squares / total
    if shrinkage is None:
        shrinkage = _ledoit_wolf((centred**2).sum(axis=1), variances, width)
    ridge = shrinkage * variances.sum() / width
    kept = (1 - shrinkage) * variances / ((1 - shrinkage) * variances + ridge)
    along = vectors.T @ data.one_hot
    score = float(kept @ (along**2 / data.counts).sum(axis=1))
    if chance == "kept":
        return score
    top = len(data.classes) - 1
    # Shuffled labels put top / (n - 1) along each direction.
    expected = top * float(kept.sum()) / (total - 1)
    # Where every order of the labels scores the same, this one says nothing.
    return top * (score - expected) / (top - expected) if top - expected > 1e-9 else 0.0


def _ledoit_wolf(lengths: np.ndarray, variances: np.ndarray, width: int) -> float:
    """The share of the scaled identity, from squared lengths `(n,)` of centred rows."""
    energy = (variances**2).sum()
    spread = energy - variances.sum() ** 2 / width
    noise = ((lengths**2).mean() - energy) / len(lengths)
    return float(min(noise / spread, 1.0)) if spread > 0 else 1.0


def gbc(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    dimensions: int = 64,
    covariance: str = "spherical",
) -> float:
    """Minus the overlap of Gaussians fitted to the classes, over all pairs.

    Each class's variances are estimated from its own images: with few of them, classes
    differ by chance. One variance for all dimensions bears that best; a full
    covariance would need more images of each class than dimensions.

    Args:
        features: Float `(n, d)`, one row an image.
        labels: Class of each image `(n,)`, at least two images of each class.
        dimensions: Principal components to keep at most, at least 1.
        covariance: `"spherical"`, one variance a class, or `"diagonal"`, one for each
            component.

    Returns:
        Minus the sum over ordered pairs of classes of their Bhattacharyya coefficient:
        from -c (c - 1), all alike, to 0, all apart. Higher is better.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, if a class has one image, or if an option is out of range.

    Example:
        >>> round(gbc([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1]), 6)
        0.0

    Reference:
        Pandy et al. (2022), Transferability estimation using Bhattacharyya class
        separability, arXiv:2111.12780, section 3; variances over n - 1,
        and at least 1e-4 of the mean variance.
    """
    check_integer("dimensions", dimensions, 1)
    check_choice("covariance", covariance, ("spherical", "diagonal"))
    data = as_features(features, labels, per_class=2)
    scores = principal_scores(data.rows, most=dimensions)
    data = LabelledRows(scores, data.codes, data.classes)
    means, variances = data.class_means, _variances(data, covariance)
    logs = np.log(variances)
    total = 0.0
    for mean, variance, log in zip(means, variances, logs, strict=True):
        middle = (variance + variances) / 2
        apart = ((mean - means) ** 2 / middle).sum(axis=1) / 8
        unlike = (np.log(middle) - (log + logs) / 2).sum(axis=1) / 2
        # Each class overlaps itself by 1.
        total += np.exp(-(apart + unlike)).sum() - 1
    return -float(total)


def _variances(data: LabelledRows, covariance: str) -> np.ndarray:
    """Variance of each class along each component `(c, m)`, unbiased and floored."""
    residuals = data.rows - data.class_means[data.codes]
    variances = data.one_hot.T @ residuals**2 / (data.counts[:, None] - 1)
    if covariance == "spherical":
        variances[:] = variances.mean(axis=1, keepdims=True)
    return np.maximum(variances, _FLOOR)
