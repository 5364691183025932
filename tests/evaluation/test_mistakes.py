import numpy as np
import pytest

from kerastl.evaluation.grids import most_confident_mistakes


def test_mistakes_come_surest_first_and_right_answers_never():
    probabilities = [[0.4, 0.6], [0.1, 0.9], [0.0, 1.0], [0.3, 0.7]]
    found = most_confident_mistakes([0, 0, 1, 0], probabilities, 10)
    np.testing.assert_array_equal(found, [1, 3, 0])


def test_at_most_k_mistakes_are_given():
    np.testing.assert_array_equal(most_confident_mistakes([1, 1], [[1, 0]] * 2, 1), [0])


def test_without_mistakes_nothing_is_given():
    assert most_confident_mistakes([0, 1], np.eye(2)).shape == (0,)


def test_a_multilabel_image_counts_with_its_surest_wrong_label():
    labels = [[1, 0], [1, 0], [1, 0]]
    probabilities = [[0.9, 0.6], [0.05, 0.1], [0.9, 0.1]]
    np.testing.assert_array_equal(
        most_confident_mistakes(labels, probabilities), [1, 0]
    )


def test_k_below_one_is_named():
    with pytest.raises(ValueError, match="`k` must be at least 1"):
        most_confident_mistakes([0], [[1.0, 0.0]], 0)
