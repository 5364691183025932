"""LEEP: how well source classes, or clusters, predict the labels."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number
from kerastl.selection.arguments import as_features, as_posteriors
from kerastl.selection.decomposition import principal_scores

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
