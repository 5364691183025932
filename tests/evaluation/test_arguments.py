import numpy as np
import pytest

from kerastl.evaluation.metrics import as_labels, as_probabilities, decide


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "bool"])
def test_labels_of_any_number_type_become_int64(dtype):
    found = as_labels("labels", np.array([0, 1, 1], dtype))
    np.testing.assert_array_equal(found, [0, 1, 1])
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "at least one image"),
        (["cat", "dog"], "class indices"),
        ([0.3, 0.7], "whole numbers"),
        ([0, -1], "at least 0"),
        ([0, 3], "below 3"),
        ([[3], [9]], "labels.ravel"),
        (1, "class indices"),
        ([float("nan")], "whole numbers"),
    ],
)
def test_labels_that_are_none_are_named(labels, words):
    with pytest.raises(ValueError, match=words):
        as_labels("labels", labels, 3)


@pytest.mark.parametrize(
    ("labels", "probabilities", "words"),
    [
        ([0], [[2.0, -1.0]], "Apply softmax"),
        ([0], [[0.5, 0.6]], "sum to 1"),
        ([0], [[np.nan, 1.0]], "finite"),
        ([0, 1], [[0.5, 0.5]], "one row an image"),
        ([0], [0.5, 0.5], "two columns"),
        ([2], [[0.5, 0.5]], "below 2"),
        ([[0, 1, 1]], [[0.5, 0.5]], r"of shape \(1, 3\)"),
    ],
)
def test_probabilities_that_are_none_are_named(labels, probabilities, words):
    with pytest.raises(ValueError, match=words):
        as_probabilities(labels, probabilities)


def test_float16_probabilities_pass():
    scores = np.random.default_rng(0).dirichlet(np.ones(50), 20).astype("float16")
    assert as_probabilities(np.zeros(20, int), scores)[1].dtype == np.float32


def test_multilabel_probabilities_need_no_sum():
    as_probabilities([[1, 1]], [[0.9, 0.8]])


def test_multiclass_decisions_are_the_largest_probability():
    np.testing.assert_array_equal(decide(np.array([0]), np.array([[0.2, 0.8]])), [1])


def test_multilabel_decisions_are_strictly_above_the_threshold():
    found = decide(np.array([[0, 0, 0]]), np.array([[0.5, 0.51, 0.2]]))
    np.testing.assert_array_equal(found, [[0, 1, 0]])
