"""`plots.batch` draws what training gets: sizes, labels, augmentation."""

import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier

import kerastl
from kerastl.features.sources import make_source


@pytest.fixture(scope="module")
def model():
    return small_classifier()


def drawn(figure):
    return np.stack([axes.images[0].get_array() for axes in figure.axes])


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


@pytest.mark.parametrize("augment", [None, "light", "strong"])
def test_the_images_are_the_first_ones_of_training(model, augment):
    images, labels = coloured(4, 24)
    data = kerastl.ImageSet(images, labels, CLASSES)
    figure = kerastl.plots.batch(model, data, augment=augment, count=5, seed=3)
    source = make_source(model, data, "train")
    batch = source.dataset(5, seed=3, shuffle=True, augment=augment)
    pixels, classes = next(iter(batch))
    shown = drawn(figure)
    assert shown.shape == (5, 16, 16, 3)
    np.testing.assert_allclose(shown, np.asarray(pixels), atol=1)
    assert titles(figure) == [CLASSES[label] for label in np.asarray(classes)]


def test_a_folder_is_read(model, image_folder):
    colours = small_classifier(("blue", "green", "red"))
    figure = kerastl.plots.batch(colours, image_folder, count=4)
    for pixels, name in zip(drawn(figure), titles(figure), strict=True):
        strongest = int(pixels.mean(axis=(0, 1)).argmax())
        assert ("red", "green", "blue")[strongest] == name


@pytest.mark.parametrize(("option", "value"), [("count", 0), ("seed", -1)])
def test_bad_arguments_are_refused(model, option, value):
    data = coloured(2, 24)
    with pytest.raises(ValueError, match=f"`{option}` must be"):
        kerastl.plots.batch(model, data, **{option: value})


def test_data_of_other_classes_are_refused(model):
    images, labels = coloured(2, 24)
    data = kerastl.ImageSet(images, labels, ("x", "y", "z"))
    with pytest.raises(ValueError, match="`data` must be"):
        kerastl.plots.batch(model, data)
