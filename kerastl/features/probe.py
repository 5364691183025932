"""The linear probe on features: leave-one-out ridge regression in closed form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail

# A spread below float32's rounding is noise, whatever the features were stored in.
_RESOLUTION = 1e-6
# Tight enough that logits never pass, loose enough for float16 probabilities.
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """One row of numbers an image, and its class.

    Attributes:
        rows: Float64 `(n, d)`.
        codes: Class of each row `(n,)`, 0 to c - 1.
        classes: The label that each code stands for `(c,)`, ascending.
    """

    rows: np.ndarray
    codes: np.ndarray
    classes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Rows of each class `(c,)`, at least 1."""
        return np.bincount(self.codes, minlength=len(self.classes))

    @property
    def one_hot(self) -> np.ndarray:
        """Float64 `(n, c)`: 1 in the column of the row's class."""
        return np.eye(len(self.classes))[self.codes]

    @property
    def class_means(self) -> np.ndarray:
        """Mean row of each class `(c, d)`."""
        return self.one_hot.T @ self.rows / self.counts[:, None]


def as_features(
    features: ArrayLike, labels: ArrayLike, *, per_class: int = 1
) -> LabelledRows:
    """Features that vary and labels of two or more classes; raises unless they are.

    Args:
        features: Numbers `(n, d)`, one row an image.
        labels: Class of each image `(n,)`, whole numbers of any value.
        per_class: Images that each class must have.
    """
    rows = _as_rows("features", features)
    codes, classes = _as_codes(labels, len(rows), "features", per_class)
    if not varying(rows).any():
        hint = "Check the weights and the pixel range: every image looks the same."
        fail("features", "different between images", f"{len(rows)} equal rows", hint)
    return LabelledRows(rows, codes, classes)


def as_posteriors(probabilities: ArrayLike, labels: ArrayLike) -> LabelledRows:
    """Rows that sum to 1 and labels of two or more classes; raises unless they are."""
    rows = _as_rows("probabilities", probabilities)
    codes, classes = _as_codes(labels, len(rows), "probabilities", 1)
    sums = rows.sum(axis=1)
    if rows.min() < -1e-6 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        worst = sums[np.abs(sums - 1).argmax()]
        received = f"values from {rows.min():.3g}, a row of sum {worst:.4g}"
        hint = "Apply softmax to logits first."
        fail("probabilities", "rows of at least 0 that sum to 1", received, hint)
    rows = np.maximum(rows, 0.0)
    return LabelledRows(rows / rows.sum(axis=1, keepdims=True), codes, classes)


def varying(features: np.ndarray) -> np.ndarray:
    """Which columns `(d,)` hold more than float32's rounding around one value."""
    spread = features.max(axis=0) - features.min(axis=0)
    return spread > _RESOLUTION * np.abs(features).max(axis=0)


def _as_rows(name: str, values: ArrayLike) -> np.ndarray:
    """Finite float64 `(n, d)`."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        fail(name, "an array of real numbers", f"{array.dtype} array", error=TypeError)
    if array.ndim != 2 or array.size == 0:
        hint = "Pool feature maps to one vector an image first." * (array.ndim > 2)
        fail(name, "of shape (n, d), one row an image", array.shape, hint)
    rows = array.astype(np.float64)
    broken = int((~np.isfinite(rows)).any(axis=1).sum())
    if broken:
        hint = "Check the images and the weights that made them."
        fail(name, "finite", f"{broken} of {len(rows)} rows with nan or inf", hint)
    return rows


def _as_codes(
    labels: ArrayLike, total: int, partner: str, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(n,)` from 0, and the label of each code."""
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        fail("labels", "whole numbers", f"{array.dtype} array", error=TypeError)
    if array.ndim != 1:
        hint = "Turn one-hot rows into classes with `labels.argmax(axis=1)`."
        fail("labels", "of shape (n,), one class an image", array.shape, hint)
    if len(array) != total:
        received = f"{len(array)} labels for {total} rows"
        fail("labels", f"as many as the rows of `{partner}`", received)
    numbers = array.astype(np.float64)
    if not (np.isfinite(numbers) & (numbers == np.round(numbers))).all():
        fail("labels", "whole numbers", f"{array.dtype} array with others")
    array = array.astype(np.int64)
    classes, codes, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        received = f"{total} labels of class {classes[0]}"
        fail("labels", "of at least two classes", received)
    if len(classes) >= total:
        received = f"{len(classes)} classes on {total} images"
        fail("labels", "of fewer classes than images", received)
    if counts.min() < per_class:
        rare = classes[counts.argmin()]
        received = f"{counts.min()} image of class {rare}"
        hint = "Add images of that class, or leave it out."
        fail("labels", f"at least {per_class} images of each class", received, hint)
    return codes.reshape(-1), classes


_EPSILON = float(np.finfo(np.float64).eps)


def left_vectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors and squared singular values, the rank of them.

    Through the eigenvectors of the smaller Gram matrix, three to seven times as fast
    as an SVD on 1,000 x 1,280. It resolves singular values down to about 5e-7 of the
    largest: features computed in float32 hold nothing below that.

    Args:
        matrix: Float64 `(n, d)`.

    Returns:
        Orthonormal columns `(n, k)` and squares `(k,)`, largest first.
    """
    wide = len(matrix) <= matrix.shape[1]
    squares, vectors = np.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    kept = squares > max(matrix.shape) * _EPSILON * squares[0]
    squares, vectors = squares[kept], vectors[:, kept]
    return (vectors if wide else matrix @ vectors / np.sqrt(squares)), squares


def principal_scores(
    features: np.ndarray, *, energy: float = 1.0, most: int | None = None
) -> np.ndarray:
    """Coordinates along the principal components, of mean variance 1.

    Args:
        features: Float64 `(n, d)`.
        energy: Share of the variance to keep, above 0 to 1: the fewest components
            that reach it.
        most: Components to keep at most; None keeps all.

    Returns:
        Float64 `(n, m)`, largest variance first.
    """
    vectors, squares = left_vectors(features - features.mean(axis=0))
    shares = np.cumsum(squares) / squares.sum()
    wanted = int(np.searchsorted(shares, energy)) + 1
    kept = slice(min(wanted, most or len(squares)))
    return vectors[:, kept] * np.sqrt(
        len(features) * squares[kept] / squares[kept].mean()
    )


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
