"""Image sets refuse what does not agree and keep what does."""

import numpy as np
import pytest
from PIL import Image

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
        ([0.0, 1.0, 1.0, 0.0], TypeError, r"astype\('int64'\)"),
        ([0.5, 1.5, 1.0, 0.0], TypeError, "pass `target_names`"),
        (np.eye(3)[[0, 1, 2, 0]], TypeError, r"argmax\(axis=-1\)"),
        (np.full((4, 3), 1 / 3), TypeError, r"argmax\(axis=-1\)"),
        (np.array([[1.0, 1, 0]] * 4), TypeError, r"astype\('int64'\)"),
        (["cat", "dog", "cow", "dog"], TypeError, r"of the classes .*\['cow'\]"),
        ([["cat"], ["cat", "dog"], [], []], ValueError, "one row of 0 and 1 for each"),
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
        (np.zeros((32, 32, 3)), ValueError, "leading axis"),
        (np.zeros((4, 3, 32, 32)), ValueError, r"transpose\(0, 2, 3, 1\)"),
        (Image.new("L", (8, 8)), TypeError, "Pass a list, of one image too"),
        ([np.zeros((8, 8)), np.zeros((8, 9))], ValueError, "images of one size"),
        (np.zeros((4, 0, 8)), ValueError, "of shape"),
        (np.zeros((4, 8, 8), bool), TypeError, "pixels 0-255"),
        ("folder", ValueError, "not one path"),
        ([1, 2], TypeError, "arrays of pixels or PIL images"),
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


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["dog", "cat", "dog", "owl"], NAMES, [1, 0, 1, 2]),
        (np.array(["9", "10", "9", "10"]), (), [0, 1, 0, 1]),
        (np.array(["b", "a", "b", "a"], object), ("b", "a"), [0, 1, 0, 1]),
        (np.array([2, 0, 1, 1], object), NAMES, [2, 0, 1, 1]),
    ],
)
def test_class_names_are_labels_too(labels, names, expected):
    images = ImageSet(PIXELS, labels, names)
    assert images.labels.tolist() == expected
    assert images.class_names == (names or ("9", "10"))


@pytest.mark.parametrize("kind", ["int64", "bool", "uint8"])
def test_what_looks_one_hot_is_said_once(kind):
    labels = np.eye(3)[[0, 1, 2, 0]].astype(kind)
    with pytest.warns(UserWarning, match=r"look one-hot.*argmax\(axis=-1\)"):
        images = ImageSet(PIXELS, labels, NAMES)
    assert images.multilabel
    images.subset([0, 1])
    mixed = ImageSet(PIXELS, np.array([[1, 1, 0], *np.eye(3)], int), NAMES)
    assert mixed.subset([1, 2, 3]).multilabel


@pytest.mark.parametrize(
    "kind", [lambda names: np.array(names), lambda names: np.array(names, object), list]
)
def test_paths_in_an_array_are_paths(kind):
    images = ImageSet(kind(["a.png", "b.png"]), [0, 1], ("a", "b"))
    assert images.paths == ("a.png", "b.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "P"])
def test_opened_images_are_read_as_their_files(tmp_path, mode):
    deep = Image.fromarray(PIXELS[0].astype("uint16") * 256)
    image = deep if mode == "I;16" else Image.fromarray(PIXELS[0]).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(tmp_path / "a.png")
    held, filed = ImageSet([image, image], None), ImageSet([tmp_path / "a.png"], None)
    assert held.images.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(held.image(1), filed.image(0))
