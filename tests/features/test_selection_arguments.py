import numpy as np
import pytest

from kerastl.features.probe import (
    as_features,
    as_posteriors,
    linear_probe_score,
    loo_ridge,
)
from kerastl.selection.transferability import SCORES, gbc, knn_score, leep

LABELS = np.repeat([0, 1, 2], 4)
FEATURES = np.random.default_rng(0).normal(size=(12, 3))
HOLED = FEATURES.copy()
HOLED[[2, 5], 1] = np.nan
ENDLESS = np.where(FEATURES > 1.2, np.inf, FEATURES)
BAD = {
    "nan": (HOLED, LABELS, r"`features` must be finite.*2 of 12 rows"),
    "inf": (ENDLESS, LABELS, r"`features` must be finite"),
    "constant": (np.full((12, 3), 7.0), LABELS, "different between images.*12 equal"),
    "one class": (FEATURES, LABELS * 0 + 5, "at least two classes.*class 5"),
    "too long": (FEATURES, LABELS[:-1], "`labels` must be as many.*11 labels for 12"),
    "too few": (FEATURES[:3], LABELS[::4], "fewer classes than images.*3 classes on 3"),
    "maps": (FEATURES.reshape(12, 1, 3), LABELS, r"\(n, d\).*\(12, 1, 3\).*Pool"),
    "empty": (FEATURES[:0], LABELS[:0], r"\(n, d\).*\(0, 3\)"),
    "one-hot": (FEATURES, np.eye(3)[LABELS], r"\(n,\).*argmax"),
    "fractions": (FEATURES, LABELS + 0.5, "`labels` must be whole numbers"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", SCORES)
def test_bad_input_is_one_sentence(name, case):
    features, labels, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        SCORES[name](features, labels)


@pytest.mark.parametrize("score", [linear_probe_score, loo_ridge, knn_score, gbc])
def test_a_class_of_one_image_is_named(score):
    labels = np.append(LABELS[:-1], 9)
    with pytest.raises(ValueError, match=r"at least 2 images of each class.*class 9"):
        score(FEATURES, labels)


@pytest.mark.parametrize("name", ["logme", "h_score", "nleep"])
def test_a_class_of_one_image_will_do_where_nothing_is_left_out(name):
    assert np.isfinite(SCORES[name](FEATURES, np.append(LABELS[:-1], 9)))


def test_words_are_no_features():
    with pytest.raises(TypeError, match="`features` must be an array of real numbers"):
        as_features([["a"], ["b"]], [0, 1])


def test_words_are_no_labels():
    with pytest.raises(TypeError, match="`labels` must be whole numbers"):
        as_features(FEATURES, ["cat"] * 12)


def test_float32_rounding_is_no_variation():
    noise = np.float32(0.3) + np.float32(3e-8) * (LABELS[:, None] > 0)
    with pytest.raises(ValueError, match="different between images"):
        as_features(noise, LABELS)


def test_one_column_that_varies_is_enough():
    features = np.ones((12, 3))
    features[:, 1] = LABELS
    assert as_features(features, LABELS).rows.shape == (12, 3)


@pytest.mark.parametrize("name", SCORES)
def test_any_whole_numbers_are_labels(name):
    renamed = np.array([40, -3, 7])[LABELS].astype("float32")
    found = SCORES[name](FEATURES.astype("float32"), renamed)
    assert found == pytest.approx(SCORES[name](FEATURES, LABELS), abs=1e-5)


@pytest.mark.parametrize(
    "rows", [np.eye(3)[LABELS] * 2, np.eye(3)[LABELS] * 1.6 - 0.2, FEATURES]
)
def test_logits_are_no_probabilities(rows):
    with pytest.raises(ValueError, match="`probabilities` must be rows of at least 0"):
        leep(rows, LABELS)


def test_probabilities_take_the_checks_of_labels():
    with pytest.raises(ValueError, match=r"rows of `probabilities`.*11 labels"):
        leep(np.eye(3)[LABELS], LABELS[1:])


def test_rows_of_rounded_probabilities_are_made_to_sum_to_1():
    rows = np.full((12, 3), 0.333)
    np.testing.assert_allclose(as_posteriors(rows, LABELS).rows, 1 / 3)


def test_the_counts_and_means_of_the_classes():
    data = as_features([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]], [4, 4, -2])
    np.testing.assert_array_equal(data.classes, [-2, 4])
    np.testing.assert_array_equal(data.codes, [1, 1, 0])
    np.testing.assert_array_equal(data.counts, [1, 2])
    np.testing.assert_array_equal(data.class_means, [[5, 6], [2, 0]])
