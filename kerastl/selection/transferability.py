"""Scores that guess how well a backbone will transfer, from its features."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl.features.probe import (
    LabelledRows,
    as_features,
    as_posteriors,
    left_vectors,
    linear_probe_score,
    principal_scores,
)

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


# With fewer images a component, posteriors memorise the images: random features
# then score as high as good ones.
_IMAGES_PER_COMPONENT = 5


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Log expected empirical prediction of the labels from source-class probabilities.

    Needs the source head, at the image size it was trained for; `nleep` takes
    features. More source classes fit the labels better by chance alone.

    Args:
        probabilities: Float `(n, source_classes)`, rows that sum to 1.
        labels: Class of each image `(n,)`, fewer classes than images.

    Returns:
        A number up to 0, higher is better: the mean over images of
        `ln sum_z P(y | z) p(z | x)`, with P counted on the same images. `-ln c` for
        uniform probabilities and c balanced classes.

    Raises:
        ValueError: If rows are not probabilities or do not fit the labels.

    Example:
        >>> leep([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 0, 1])
        0.0

    Reference:
        Nguyen et al. (2020), LEEP, arXiv:2002.12462, section 2.
    """
    data = as_posteriors(probabilities, labels)
    joint = data.one_hot.T @ data.rows
    mass = joint.sum(axis=0)
    # A source class that no image has any of takes no part.
    given = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    expected = (data.rows * given[data.codes]).sum(axis=1)
    return float(np.log(expected).mean())


def nleep(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    energy: float = 0.8,
    components: int = 5,
    seed: int = 0,
) -> float:
    """LEEP with the clusters of the features in place of source classes.

    It changes with the seed: on a hundred images by as much as backbones differ.
    Clusters are fewer than asked for where they would hold fewer than 5 images each.

    Args:
        features: Float `(n, d)`, one row an image.
        labels: Class of each image `(n,)`, fewer classes than images.
        energy: Share of the variance that the principal components keep, above 0 to 1.
        components: Clusters for each class, at least 1.
        seed: Makes the clusters repeatable.

    Returns:
        A number up to 0, higher is better.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, or if an option is out of range.

    Example:
        >>> features = [[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]]
        >>> round(nleep(features, [0, 0, 0, 1, 1, 1]), 6)
        0.0

    Reference:
        Li et al. (2021), Ranking neural checkpoints, arXiv:2011.11200;
        diagonal covariances, and no cluster of fewer than 5 images on average.
    """
    check_number("energy", energy, maximum=1, above=0)
    check_integer("components", components, 1)
    check_integer("seed", seed, 0)
    data = as_features(features, labels)
    wanted = components * len(data.classes)
    room = max(len(data.rows) // _IMAGES_PER_COMPONENT, len(data.classes))
    scores = principal_scores(data.rows, energy=energy)
    return leep(_posteriors(scores, min(wanted, room), seed), data.codes)


def _posteriors(scores: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Probabilities `(n, clusters)` under a mixture of axis-parallel Gaussians."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(clusters, covariance_type="diag", random_state=seed)
    with warnings.catch_warnings():
        # A mixture short of its optimum is still a clustering.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(scores).predict_proba(scores)


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
    from sklearn.preprocessing import normalize

    data = as_features(features, labels, per_class=2)
    total = len(data.rows)
    check_integer("neighbours", neighbours, 1)
    if neighbours >= total:
        fail("neighbours", f"at most {total - 1}, the other images", neighbours)
    # A row of zeros has no direction and stays: as unlike everything as a right angle.
    units = normalize(data.rows)
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


# Higher is better for each; the most honest one first.
SCORES: dict[str, Callable[..., float]] = {
    "linear_probe": linear_probe_score,
    "knn": knn_score,
    "logme": logme,
    "h_score": h_score,
    "gbc": gbc,
    "nleep": nleep,
}
