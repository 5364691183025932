"""Maps between the features of two domains, in closed form, for scikit-learn."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from kerastl._checks import check_choice, check_number, fail

DIRECTIONS = ("source", "target")


class _Alignment(TransformerMixin, BaseEstimator):
    """An affine map from one domain's features to the other's.

    Both domains are standardised by themselves first; a subclass says how the
    covariances of what is left are brought together.
    """

    direction: str

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Find the map.

        Args:
            X: Features of the source `(n, d)`. No label is looked at.
            y: Features of the target `(m, d)`: not labels.

        Returns:
            The aligner itself.

        Raises:
            ValueError: If the arrays are not finite rows of one width, two at least.
        """
        check_choice("direction", self.direction, DIRECTIONS)
        rows = [_rows(name, given) for name, given in (("X", X), ("y", y))]
        if rows[0].shape[1] != rows[1].shape[1]:
            hint = "Pass the target's features, from the same network, not labels."
            expected = f"rows of {rows[0].shape[1]} features, as the source"
            fail("y", expected, rows[1].shape, hint)
        moved, reached = rows if self.direction == "source" else rows[::-1]
        (mean, scale), (goal, spread) = map(_moments, (moved, reached))
        centred, wanted = (moved - mean) / scale, (reached - goal) / spread
        matrix = self._between(_covariance(centred), _covariance(wanted))
        self.matrix_ = matrix / scale[:, None] * spread
        self.shift_ = goal - mean @ self.matrix_
        self.n_features_in_ = len(mean)
        return self

    def _between(self, moved: np.ndarray, reached: np.ndarray) -> np.ndarray:
        """The matrix between two covariances of standardised features."""
        raise NotImplementedError

    def transform(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Features of the domain that is moved, where the other's are.

        Args:
            X: `(n, d)`: of the source, or with `direction="target"` of the target.

        Returns:
            Float64 `(n, d)`.
        """
        check_is_fitted(self)
        rows = _rows("X", X, least=1)
        if rows.shape[1] != self.n_features_in_:
            fail("X", f"of {self.n_features_in_} columns, as in fit", rows.shape)
        return rows @ self.matrix_ + self.shift_


class StandardAlign(_Alignment):
    """Each column's mean and deviation made those of the other domain.

    Equal to standardising each domain by itself, which has no knob and is what helps
    first where a sensor or a style has changed. Move the source and fit the head
    afterwards: one that was fitted before knows nothing of the new place. Or move the
    target to the source (`direction="target"`), and the head may stay: `set_head`
    folds the fitted map and the head into one model.

    Attributes:
        matrix_: `(d, d)`, and
        shift_: `(d,)`: `transform(x)` is `x @ matrix_ + shift_`.

    Args:
        direction: `"source"` moves the source to the target, `"target"` the target to
            the source.

    Example:
        >>> source, target = [[0.0], [2.0]], [[10.0], [30.0]]
        >>> StandardAlign().fit(source, target).transform(source).tolist()
        [[10.0], [30.0]]

    Reference:
        Sun, Feng & Saenko (2016), Return of Frustratingly Easy Domain Adaptation,
        arXiv:1511.05547, with diagonal covariances.
    """

    def __init__(self, *, direction: str = "source") -> None:
        """See the class."""
        self.direction = direction

    def _between(self, moved: np.ndarray, reached: np.ndarray) -> np.ndarray:
        return np.eye(len(moved))


class CoralAlign(_Alignment):
    """The source whitened, and coloured as the target: CORAL.

    Standardised features `z` become `z (C_s + reg I)^-1/2 (C_t + reg I)^1/2`, with
    the target's mean and deviations. With `reg=0` and more rows than columns the
    result has the target's mean and covariance exactly; with fewer rows the covariance
    says little, and `StandardAlign` does as well.

    Attributes:
        matrix_: `(d, d)`, and
        shift_: `(d,)`: `transform(x)` is `x @ matrix_ + shift_`.

    Args:
        reg: What is added to each variance of 1, at least 0.
        direction: See `StandardAlign`.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(50, 3))
        >>> moved = CoralAlign(reg=0.0).fit(rows, 2 * rows + 1).transform(rows)
        >>> bool(np.allclose(np.cov(moved.T), 4 * np.cov(rows.T)))
        True

    Reference:
        Sun, Feng & Saenko (2016), Return of Frustratingly Easy Domain Adaptation,
        arXiv:1511.05547, eq. 3 and algorithm 1.
    """

    def __init__(self, *, reg: float = 1.0, direction: str = "source") -> None:
        """See the class."""
        self.reg = reg
        self.direction = direction

    def _between(self, moved: np.ndarray, reached: np.ndarray) -> np.ndarray:
        check_number("reg", self.reg, 0.0)
        inverse = _power(_regular(moved, self.reg), -0.5)
        return inverse @ _power(_regular(reached, self.reg), 0.5)


class GaussianMap(_Alignment):
    """The map of least cost between two normal distributions: linear optimal transport.

    Standardised features are multiplied by the symmetric
    `A = C_s^-1/2 (C_s^1/2 C_t C_s^1/2)^1/2 C_s^-1/2`, with `reg I` added to both
    covariances. It moves the rows as little as can be; where the covariances commute
    it is `CoralAlign`'s map.

    Attributes:
        matrix_: `(d, d)`, and
        shift_: `(d,)`: `transform(x)` is `x @ matrix_ + shift_`.

    Args:
        reg: What is added to each variance of 1, at least 0.
        direction: See `StandardAlign`.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(50, 3))
        >>> moved = GaussianMap().fit(rows, rows).transform(rows)
        >>> bool(np.allclose(moved, rows))
        True

    Reference:
        Flamary, Lounici & Ferrari (2019), Concentration bounds for linear Monge
        mapping estimation and optimal transport domain adaptation, arXiv:1905.10155,
        eq. 3.
    """

    def __init__(self, *, reg: float = 1.0, direction: str = "source") -> None:
        """See the class."""
        self.reg = reg
        self.direction = direction

    def _between(self, moved: np.ndarray, reached: np.ndarray) -> np.ndarray:
        check_number("reg", self.reg, 0.0)
        moved, reached = _regular(moved, self.reg), _regular(reached, self.reg)
        root, inverse = _power(moved, 0.5), _power(moved, -0.5)
        return inverse @ _power(root @ reached @ root, 0.5) @ inverse


def _rows(name: str, values: ArrayLike, least: int = 2) -> np.ndarray:
    """Finite float64 `(n, d)` of at least so many rows."""
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or len(rows) < least or not rows.shape[1]:
        fail(name, f"features (n, d) of at least {least} rows", rows.shape)
    if not np.isfinite(rows).all():
        fail(name, "finite", "nan or inf")
    return rows


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column; of a column that is constant 1."""
    deviation = rows.std(axis=0, ddof=1)
    constant = deviation <= 1e-12 * np.abs(rows).max(axis=0)
    return rows.mean(axis=0), np.where(constant, 1.0, deviation)


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(rows.T))


def _regular(covariance: np.ndarray, reg: float) -> np.ndarray:
    return covariance + reg * np.eye(len(covariance))


def _power(matrix: np.ndarray, power: float) -> np.ndarray:
    """A symmetric matrix to a power, by its eigenvalues.

    Raises:
        ValueError: If it has no inverse and needs one.
    """
    values, vectors = np.linalg.eigh(matrix)
    if power < 0 and values[0] <= 1e-12 * values[-1]:
        hint = "There are fewer rows than columns: take the default of 1."
        fail("reg", "above 0 for these features", 0.0, hint)
    return (vectors * np.maximum(values, 0.0) ** power) @ vectors.T
