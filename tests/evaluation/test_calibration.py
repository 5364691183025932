import numpy as np
import pytest

from kerastl.evaluation.calibration import expected_calibration_error, reliability_curve


def slow_error(confidence, right, bins):
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        pairs = zip(confidence, right, strict=True)
        inside = [(c, r) for c, r in pairs if low < c <= high]
        if inside:
            mean = np.mean(inside, axis=0)
            total += len(inside) / len(confidence) * abs(mean[0] - mean[1])
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_error_matches_a_loop_over_the_bins(bins):
    generator = np.random.default_rng(0)
    labels, probabilities = (
        generator.integers(0, 4, 90),
        generator.dirichlet([0.5] * 4, 90),
    )
    right = probabilities.argmax(axis=1) == labels
    expected = slow_error(probabilities.max(axis=1), right, bins)
    found = expected_calibration_error(labels, probabilities, bins=bins)
    assert found == pytest.approx(expected)


def test_one_bin_gives_confidence_minus_accuracy():
    probabilities = [[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]
    found = expected_calibration_error([0, 0, 1], probabilities, bins=1)
    assert found == pytest.approx(2.2 / 3 - 2 / 3)


def test_a_certain_and_right_classifier_has_no_error():
    assert expected_calibration_error([0, 1], np.eye(2)) == 0.0


def test_a_certain_and_wrong_classifier_has_error_one():
    assert expected_calibration_error([1, 0], np.eye(2)) == 1.0


def test_the_upper_limit_belongs_to_a_bin():
    curve = reliability_curve([0], [[0.5, 0.5]], bins=2)
    np.testing.assert_array_equal(curve.counts, [1, 0])


def test_empty_bins_are_nan_and_full_ones_are_means():
    curve = reliability_curve([0, 1, 0], [[0.9, 0.1], [0.7, 0.3], [0.8, 0.2]], bins=2)
    np.testing.assert_allclose(curve.confidence, [np.nan, 0.8])
    np.testing.assert_allclose(curve.accuracy, [np.nan, 2 / 3])


def test_multilabel_decisions_are_binned_by_the_labels_probability():
    curve = reliability_curve([[1, 0], [0, 0]], [[0.1, 0.2], [0.9, 0.0]], bins=2)
    np.testing.assert_array_equal(curve.counts, [3, 1])
    np.testing.assert_allclose(curve.accuracy, [1 / 3, 0])


def test_bins_below_one_are_named():
    with pytest.raises(ValueError, match="`bins` must be at least 1"):
        reliability_curve([0], [[1.0, 0.0]], bins=0)
