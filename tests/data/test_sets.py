"""Image sets refuse what does not agree and keep what does."""

import numpy as np
import pytest

from kerastl.data.sets import ImageSet, Splits

PIXELS = np.arange(4 * 64, dtype="uint8").reshape(4, 8, 8)
NAMES = ("cat", "dog", "owl")


def test_counts_follow_the_order_of_the_labels_and_show_empty_classes():
    images = ImageSet(PIXELS, np.array([1, 0, 1, 1]), NAMES)
    assert images.counts() == {"cat": 1, "dog": 3, "owl": 0}


def test_counts_of_several_labels_are_column_sums():
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    assert ImageSet(PIXELS, labels, NAMES).counts() == {"cat": 2, "dog": 3, "owl": 0}


@pytest.mark.parametrize("indices", [[3, 1], np.array([3, 1]), (3, 1)])
def test_subset_keeps_images_and_labels_together_in_the_given_order(indices):
    part = ImageSet(PIXELS, np.array([0, 1, 2, 0]), NAMES).subset(indices)
    np.testing.assert_array_equal(part.images, PIXELS[[3, 1]])
    np.testing.assert_array_equal(part.labels, [0, 1])


def test_subset_takes_booleans_as_a_mask():
    part = ImageSet(("a", "b", "c"), [0, 1, 2], NAMES).subset([True, False, True])
    assert part.paths == ("a", "c")


def test_paths_are_none_for_arrays():
    assert ImageSet(PIXELS, None, NAMES).paths is None


def test_splits_unpack_into_three():
    one = ImageSet(PIXELS, None, NAMES)
    train, validation, test = Splits(one, None, None)
    assert train is one
    assert validation is None
    assert test is None


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([0, 1], ValueError, "`labels` must be of length 4"),
        ([0, 1, 2, 3], ValueError, r"in \[0, 2\]. Received: labels=\[0, 3\]"),
        ([0, -1, 2, 1], ValueError, r"labels=\[-1, 2\]"),
        ([0.0, 1.0, 1.0, 0.0], TypeError, "must be integers"),
        (["cat", "dog", "cat", "dog"], TypeError, "must be integers"),
        (np.zeros((4, 2), int), ValueError, r"of shape \(n, 3\)"),
        (np.full((4, 3), 2), ValueError, "0 or 1 in each column"),
        (np.zeros((4, 3, 1), int), ValueError, "of shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, error, words):
    with pytest.raises(error, match=words):
        ImageSet(PIXELS, labels, NAMES)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (PIXELS[0], ValueError, "leading axis"),
        (np.zeros((4, 3, 8, 8)), ValueError, "height, width, channels"),
        (np.zeros((4, 32, 32, 17)), ValueError, "height, width, channels"),
        (np.zeros((4, 0, 8)), ValueError, "of shape"),
        (np.zeros((4, 8, 8), bool), TypeError, "pixels 0-255"),
        ("folder", ValueError, "not one path"),
        ([1, 2], TypeError, "file paths or an array"),
    ],
)
def test_images_that_are_none_are_refused(images, error, words):
    with pytest.raises(error, match=words):
        ImageSet(images, None, NAMES)


def test_class_names_are_different():
    with pytest.raises(ValueError, match="different from each other"):
        ImageSet(PIXELS, None, ("cat", "cat"))


def test_class_names_are_strings():
    with pytest.raises(TypeError, match="sequence of strings"):
        ImageSet(PIXELS, None, (1, 2))
