import math

import numpy as np
import pytest

from kerastl.evaluation.metrics import (
    bootstrap,
    compare_classifiers,
    wilson_interval,
)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("right", "total"), [(1, 2), (17, 40), (80, 100), (3, 7)])
def test_wilson_limits_solve_their_quadratic(right, total, confidence):
    quantile = {0.8: 1.281552, 0.95: 1.959964, 0.99: 2.575829}[confidence]
    for limit in wilson_interval(right, total, confidence=confidence):
        z = (right / total - limit) / np.sqrt(limit * (1 - limit) / total)
        assert abs(z) == pytest.approx(quantile, abs=1e-6)


@pytest.mark.parametrize("total", range(1, 12))
def test_wilson_limits_of_no_and_all_successes_are_exact(total):
    assert wilson_interval(0, total)[0] == 0.0
    assert wilson_interval(total, total)[1] == 1.0


@pytest.mark.parametrize(
    ("right", "total", "confidence", "words"),
    [
        (5, 4, 0.95, "at most 4"),
        (-1, 4, 0.95, "at least 0"),
        (0, 0, 0.95, "`total` must be at least 1"),
        (1, 4, 1.0, "below 1"),
        (1, 4, 0.0, "above 0"),
    ],
)
def test_bad_wilson_input_is_named(right, total, confidence, words):
    with pytest.raises(ValueError, match=words):
        wilson_interval(right, total, confidence=confidence)


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    half = 1.96 * values.std() / 20
    expected = (values.mean() - half, values.mean() + half)
    found = bootstrap(np.mean, values, resamples=2000, seed=1)
    np.testing.assert_allclose(found, expected, atol=0.1 * half)


def test_bootstrap_resamples_arrays_together():
    labels = np.arange(20)
    found = bootstrap(lambda a, b: float((a == b).mean()), labels, labels)
    assert found == (1.0, 1.0)


def test_same_seed_same_interval_other_seed_other_interval():
    values = np.random.default_rng(0).normal(size=30)
    first = bootstrap(np.mean, values, seed=1)
    assert first == bootstrap(np.mean, values, seed=1)
    assert first != bootstrap(np.mean, values, seed=2)


def test_bootstrap_leaves_out_resamples_without_a_value():
    def some(values):
        return float("nan") if values.min() > 0 else 1.0

    assert bootstrap(some, [0, 1, 2]) == (1.0, 1.0)
    assert np.isnan(bootstrap(some, [1, 2, 3])).all()


def test_wider_confidence_wider_bootstrap():
    values = np.random.default_rng(0).normal(size=30)
    narrow = bootstrap(np.mean, values, confidence=0.5)
    wide = bootstrap(np.mean, values, confidence=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_examples_of_one_group_are_drawn_together():
    values = np.random.default_rng(0).normal(size=20)
    groups = np.repeat(np.arange(20), 3)
    alone = bootstrap(np.mean, values, seed=1)
    np.testing.assert_allclose(
        bootstrap(np.mean, np.repeat(values, 3), groups=groups, seed=1), alone
    )


def test_names_of_groups_and_their_order_do_not_matter():
    values = np.random.default_rng(0).normal(size=30)
    names = np.array([f"video {index % 5}" for index in range(30)])
    drawn = []
    bootstrap(lambda g: drawn.append(g) or 0.0, names, groups=names, resamples=9)
    assert all((np.unique(g, return_counts=True)[1] % 6 == 0).all() for g in drawn)
    by_name = bootstrap(np.mean, values, groups=names)
    assert by_name == bootstrap(np.mean, values, groups=np.arange(30) % 5)


def test_groups_need_one_entry_an_example():
    with pytest.raises(ValueError, match=r"`groups` must be of shape \(3,\)"):
        bootstrap(np.mean, [1.0, 2.0, 3.0], groups=[0, 1])


@pytest.mark.parametrize("arrays", [(), ([1, 2], [1]), ([],)])
def test_bootstrap_needs_arrays_of_one_length(arrays):
    with pytest.raises(ValueError, match="of one length"):
        bootstrap(np.mean, *arrays)


def outcomes(both, only_a, only_b, neither):
    right_a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    right_b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return np.ones(len(right_a), int), right_a, right_b


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (5, 5), (1, 9), (60, 41), (0, 6)]
)
def test_p_value_is_the_exact_binomial_one(only_a, only_b):
    result = compare_classifiers(*outcomes(30, only_a, only_b, 4))
    total = only_a + only_b
    tail = sum(math.comb(total, k) for k in range(min(only_a, only_b) + 1))
    expected = min(1.0, 2 * tail / 2**total)
    assert result.p_value == pytest.approx(expected, rel=1e-9)


def test_comparison_counts_and_subtracts():
    result = compare_classifiers(*outcomes(50, 10, 25, 15))
    assert (result.only_a, result.only_b) == (10, 25)
    assert (result.accuracy_a, result.accuracy_b) == (0.6, 0.75)
    assert result.difference == pytest.approx(0.15)


def test_difference_interval_is_the_one_of_agresti_and_min():
    low, high = compare_classifiers(*outcomes(50, 10, 25, 15)).interval
    gains, losses, total = 25.5, 10.5, 102
    centre = (gains - losses) / total
    half = 1.959964 * np.sqrt(gains + losses - (gains - losses) ** 2 / total) / total
    np.testing.assert_allclose([low, high], [centre - half, centre + half], rtol=1e-6)


def test_difference_interval_is_close_to_the_paired_bootstrap():
    labels, first, second = outcomes(500, 60, 110, 130)
    interval = compare_classifiers(labels, first, second).interval
    expected = bootstrap(lambda a, b: float((b - a).mean()), first, second)
    np.testing.assert_allclose(interval, expected, atol=0.006)


def test_exchanged_classifiers_give_the_mirrored_comparison():
    labels, first, second = outcomes(50, 10, 25, 15)
    one = compare_classifiers(labels, first, second)
    other = compare_classifiers(labels, second, first)
    assert other.p_value == one.p_value
    np.testing.assert_allclose(other.interval, np.negative(one.interval[::-1]))


def test_equal_classifiers_are_not_told_apart():
    result = compare_classifiers([0, 1, 2], [0, 1, 1], [0, 1, 1])
    assert (result.difference, result.p_value) == (0.0, 1.0)
    assert result.interval[0] < 0 < result.interval[1]


def test_a_multilabel_image_is_right_when_all_its_labels_are():
    labels = [[1, 0], [1, 1]]
    result = compare_classifiers(labels, [[1, 0], [0, 1]], labels)
    assert (result.accuracy_a, result.accuracy_b) == (0.5, 1.0)


def test_comparison_reads_as_one_line():
    text = str(compare_classifiers(*outcomes(50, 10, 25, 15)))
    assert text.startswith("+15.0 points (95 % interval +")
    assert "25 images only b gets right, 10 only a" in text
