import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from kerastl.selection.transferability import logme


def sample(n, d, rank=8, noise=0.1, classes=3):
    """A few directions that know something of the labels, mixed into many columns."""
    generator = np.random.default_rng(n + d)
    labels = generator.integers(0, classes, n)
    centres = 0.7 * generator.normal(size=(classes, rank))
    codes = centres[labels] + generator.normal(size=(n, rank))
    features = codes @ generator.normal(size=(rank, d))
    return features + noise * generator.normal(size=(n, d)), labels


def log_density(logs, features, target):
    """Of N(0, I / beta + F F' / alpha), at ln alpha and ln beta."""
    alpha, beta = np.exp(logs)
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    return multivariate_normal(np.zeros(len(target)), covariance).logpdf(target)


def largest_density(features, target):
    """A climb over ln alpha and ln beta, then the density at its end."""
    spectrum, axes = np.linalg.eigh(features @ features.T)
    turned = axes.T @ target

    def cost(logs):
        variances = np.exp(-logs[1]) + np.maximum(spectrum, 0) * np.exp(-logs[0])
        return (np.log(variances) + turned**2 / variances).sum()

    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 800}
    climbs = [
        minimize(
            cost,
            [np.log(spectrum.mean()) + start, 2.0],
            method="Nelder-Mead",
            options=options,
        )
        for start in (-3.0, 0.0, 3.0)
    ]
    return log_density(min(climbs, key=lambda c: c.fun).x, features, target)


@pytest.mark.parametrize("noise", [0, 0.1])
@pytest.mark.parametrize(("n", "d"), [(200, 20), (60, 200), (100, 2048)])
def test_logme_is_the_largest_log_density(n, d, noise):
    features, labels = sample(n, d, noise=noise)
    targets = np.eye(3)[labels]
    wanted = np.mean([largest_density(features, t) for t in targets.T]) / n
    assert logme(features, labels) == pytest.approx(wanted, abs=1e-7)


def fixed_point(features, target, steps=3000):
    """MacKay's iteration for alpha and beta, then the log density there."""
    n = len(target)
    vectors, values, _ = np.linalg.svd(features, full_matrices=False)
    squares, along = values**2, (vectors.T @ target) ** 2
    alpha = beta = 1.0
    for _ in range(steps):
        t = alpha / beta
        effective = (squares / (squares + t)).sum()
        length = (squares * along / (t + squares) ** 2).sum()
        rest = target @ target - along.sum()
        misfit = (along / (1 + squares / t) ** 2).sum() + rest
        alpha, beta = effective / length, (n - effective) / misfit
    return log_density(np.log([alpha, beta]), features, target)


@pytest.mark.parametrize(("n", "d"), [(80, 15), (40, 100)])
def test_logme_is_where_the_fixed_point_ends(n, d):
    features, labels = sample(n, d)
    wanted = np.mean([fixed_point(features, t) for t in np.eye(3)[labels].T]) / n
    assert logme(features, labels) == pytest.approx(wanted, abs=1e-7)


def test_features_that_tell_nothing_leave_the_density_of_noise_alone():
    # Orthogonal to every target: the best weights are 0.
    features = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    noise = -0.5 * (1 + np.log(2 * np.pi * 0.5))
    assert logme(features, [0, 0, 1, 1]) == pytest.approx(noise, abs=1e-6)


def test_equal_and_independent_rows_tell_nothing_either():
    # F F' is the identity: weights and noise cannot be told apart.
    features = np.hstack([np.eye(4), np.zeros((4, 9))])
    noise = -0.5 * (1 + np.log(2 * np.pi * 0.5))
    assert logme(features, [0, 0, 1, 1]) == pytest.approx(noise, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (30, 80)])
def test_rotation_and_scale_do_not_count(n, d):
    features, labels = sample(n, d)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]
    for changed in (features @ turn, 1e4 * features, 1e-4 * features):
        assert logme(changed, labels) == pytest.approx(logme(features, labels))


def test_a_column_of_zeros_does_not_count():
    features, labels = sample(60, 12)
    wider = np.hstack([features, np.zeros((60, 100))])
    assert logme(wider, labels) == pytest.approx(logme(features, labels))


def test_a_shift_counts():
    features, labels = sample(60, 12)
    assert abs(logme(features + 3, labels) - logme(features, labels)) > 1e-3


def test_a_perfect_fit_is_finite_and_higher_than_a_good_one():
    labels = np.arange(60) % 3
    perfect = np.eye(3)[labels]
    good = perfect + 0.05 * np.random.default_rng(0).normal(size=(60, 3))
    assert np.isfinite(logme(perfect, labels))
    assert logme(perfect, labels) > logme(good, labels)
