"""The linear probe: leave-one-out ridge regression without refitting."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail
from kerastl.selection.arguments import as_features
from kerastl.selection.decomposition import left_vectors

# Half decades. Early layers, whose first directions dwarf the others, want the least.
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-6, 2, 17))
# Below it the penalty drowns in the rounding of the singular values.
_SMALLEST = 1e-8


@dataclass(frozen=True, eq=False)
class LooRidge:
    """A linear probe, each image judged by the probe fitted to all the others.

    Attributes:
        alphas: Regularisation strengths `(a,)`, relative, as they were given.
        penalties: The ridge penalties that they stand for `(a,)`.
        accuracies: Leave-one-out accuracy of each `(a,)`, 0 to 1.
        best: Position of the best one; the strongest of equals.
        decisions: Leave-one-out outputs of the best `(n, c)`, near 1 for its class.
        correct: Whether each image is right at the best `(n,)`.
        classes: The label of each column of `decisions` `(c,)`.
    """

    alphas: np.ndarray
    penalties: np.ndarray
    accuracies: np.ndarray
    best: int
    decisions: np.ndarray
    correct: np.ndarray
    classes: np.ndarray

    @property
    def best_alpha(self) -> float:
        """The relative strength of the best accuracy."""
        return float(self.alphas[self.best])

    @property
    def accuracy(self) -> float:
        """The best leave-one-out accuracy, 0 to 1."""
        return float(self.accuracies[self.best])

    @property
    def standard_error(self) -> float:
        """Standard error of `accuracy`; compare two probes by paired `correct`."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.correct)))


def loo_ridge(
    features: ArrayLike, labels: ArrayLike, *, alphas: ArrayLike | None = None
) -> LooRidge:
    """Leave-one-out ridge regression on one-hot labels, for many strengths at once.

    Columns are centred but not divided by their deviations: ridge then trusts the
    directions in which pre-trained features vary most, and that is right more often
    on unseen images. Strengths are relative, so layers of other scales compare.

    Args:
        features: Float `(n, d)`, one row an image; d may exceed n.
        labels: Class of each image `(n,)`, at least two images of each class.
        alphas: Strengths of at least 1e-8, as multiples of the mean squared singular
            value of the centred features; None takes 17 from 1e-6 to 100.

    Returns:
        A `LooRidge`.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, if a class has one image, or if a strength is below 1e-8.

    Example:
        >>> loo = loo_ridge([[0.0], [1.0], [8.0], [9.0]], [3, 3, 7, 7])
        >>> loo.accuracy, loo.decisions.argmax(axis=1).tolist()
        (1.0, [0, 0, 1, 1])

    Reference:
        Allen (1974), The relationship between variable selection and data
        augmentation: residual / (1 - leverage), with the intercept's leverage 1 / n.
    """
    data = as_features(features, labels, per_class=2)
    strengths = np.asarray(ALPHAS if alphas is None else alphas, np.float64).reshape(-1)
    usable = np.isfinite(strengths) & (strengths >= _SMALLEST)
    if not strengths.size or not usable.all():
        expected = f"one or more finite numbers of at least {_SMALLEST:g}"
        fail("alphas", expected, strengths.tolist())
    vectors, squares = left_vectors(data.rows - data.rows.mean(axis=0))
    penalties = strengths * squares.mean()
    shrunk = penalties / (squares[:, None] + penalties)
    slack = _free_leverage(vectors)[:, None] + vectors**2 @ shrunk
    targets = data.one_hot
    centred = targets - targets.mean(axis=0)
    along = vectors.T @ centred
    beside = centred - vectors @ along
    accuracies = np.empty(len(strengths))
    best, decisions, correct = -1, targets, np.zeros(len(targets), bool)
    # From the strongest, so that the simplest of equally good probes is kept.
    for place in np.argsort(-strengths, kind="stable"):
        # What the penalty takes away, summed: 1 - leverage would cancel.
        residuals = beside + vectors @ (shrunk[:, place, None] * along)
        outputs = targets - residuals / slack[:, place, None]
        right = outputs.argmax(axis=1) == data.codes
        accuracies[place] = right.mean()
        if best < 0 or accuracies[place] > accuracies[best]:
            best, decisions, correct = int(place), outputs, right
    return LooRidge(
        strengths, penalties, accuracies, best, decisions, correct, data.classes
    )


def _free_leverage(vectors: np.ndarray) -> np.ndarray:
    """What the intercept, 1 / n, and the features' directions leave of 1 `(n,)`."""
    return np.maximum(1 - 1 / len(vectors) - (vectors**2).sum(axis=1), 0.0)


def linear_probe_score(
    features: ArrayLike, labels: ArrayLike, *, alphas: ArrayLike | None = None
) -> float:
    """Leave-one-out accuracy of a linear probe, at its best regularisation.

    The best of 17 strengths on the same images: a little too high on a hundred images
    or less. Compare backbones by it; report a test set.

    Args:
        features: Float `(n, d)`, one row an image; d may exceed n.
        labels: Class of each image `(n,)`, at least two images of each class.
        alphas: Relative strengths, at least 1e-8, as `loo_ridge` takes them.

    Returns:
        A number from 0 to 1, higher is better.

    Raises:
        ValueError: If features are not finite, are all the same or do not fit the
            labels, if a class has one image, or if a strength is below 1e-8.

    Example:
        >>> linear_probe_score([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1])
        1.0

    Reference:
        Renggli et al. (2022), Which model to transfer?, arXiv:2010.06402, section 3,
        with leave-one-out ridge regression for the linear classifier.
    """
    return loo_ridge(features, labels, alphas=alphas).accuracy
