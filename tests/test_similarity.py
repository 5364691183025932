import numpy as np
import pytest

from kerastl.comparison import linear_cka


def features(n=40, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) + 3.0


def by_kernels(one, two):
    """The definition: HSIC of linear kernels, centred by the matrix H."""
    n = len(one)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = h @ one @ one.T @ h, h @ two @ two.T @ h
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


@pytest.mark.parametrize(("d", "e"), [(6, 9), (60, 90), (6, 90), (90, 6)])
def test_it_is_the_alignment_of_centred_kernels(d, e):
    one, two = features(d=d), features(d=e, seed=1)
    np.testing.assert_allclose(linear_cka(one, two), by_kernels(one, two), rtol=1e-10)


def test_rotation_scale_and_shift_change_nothing():
    one = features()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    other = features(seed=2) + one
    moved = 1e-6 * (one @ rotation) - 5.0
    assert linear_cka(one, moved) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(moved, other) == pytest.approx(linear_cka(one, other), abs=1e-9)


def test_one_column_scaled_does_change_it():
    one = features()
    assert linear_cka(one, one * [9.0, 1, 1, 1, 1, 1]) < 0.9


def test_unrelated_features_of_many_images_are_near_zero():
    assert linear_cka(features(4000), features(4000, seed=1)) < 0.01


def test_large_and_small_numbers_do_not_overflow():
    one, two = features(), features(seed=1)
    wanted = linear_cka(one, two)
    assert linear_cka(1e200 * one, 1e-200 * two) == pytest.approx(wanted, rel=1e-9)


def test_features_that_never_change_have_no_alignment():
    assert np.isnan(linear_cka(np.full((4, 2), 0.1), features(4)))


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (features(3), features(4), "of 3 rows"),
        (np.zeros(3), features(3), "`first` must be numbers of shape"),
        (features(3), np.zeros((3, 0)), "`second` must be numbers of shape"),
        (np.full((3, 2), np.nan), features(3), "`first` must be finite"),
    ],
)
def test_bad_features_are_named(one, two, words):
    with pytest.raises(ValueError, match=words):
        linear_cka(one, two)
