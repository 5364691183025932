"""Arrays change as tensors do: the closed forms are tested there."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from kerastl.data import changes_numpy, changes_tensorflow
from kerastl.data.augmentation import PRESETS, Augmentation, draw_changes
from kerastl.data.mixing import Mixing

SIZES = [(33, 41), (48, 32)]
# Reflected and turned so far that most pixels come from beyond the border.
FAR = Augmentation(rotation=180, area=(0.5, 4.0), aspect=2.0, translation=1.0)
CHANCES = {
    **PRESETS,
    "reflected far": FAR,
    "repeated far": replace(FAR, fill="nearest"),
    "erased": Augmentation(erasing=0.7),
    "all": replace(PRESETS["randaugment"], rotation=20, operations=3, erasing=0.5),
}


def smooth_noise(count, size, channels=3):
    """Images in flat patches: a position rounded another way finds the same pixel."""
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 5, 5, channels))
    rows = np.linspace(0, 3.99, size[0])
    columns = np.linspace(0, 3.99, size[1])
    return coarse[:, rows.astype(int)][:, :, columns.astype(int)].astype("uint8")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CHANCES)
def test_each_preset_changes_arrays_as_tensors(name, size):
    images, chance = smooth_noise(9, size), CHANCES[name]
    changes = draw_changes(chance, 9, size, seed=2, epoch=1)
    found = changes_numpy.change(images, changes, chance, size)
    expected = changes_tensorflow.change(images, changes, chance, size).numpy()
    assert found.dtype == np.float32
    assert np.abs(expected - images).max() > 1, "nothing was changed"
    # Grey levels at a limit of posterising and equalizing may fall to either side.
    far = np.abs(found - expected) > 0.05
    assert far.mean() < (1e-3 if chance.operations else 1e-9)


def test_images_of_one_channel_move_as_tensors():
    images = smooth_noise(4, (20, 30), channels=1)
    for chance in (Augmentation(flip=True, area=(0.5, 1)), FAR):
        changes = draw_changes(chance, 4, (20, 30), 0, 0)
        found = changes_numpy.change(images, changes, chance, (20, 30))
        expected = changes_tensorflow.change(images, changes, chance, (20, 30))
        np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_a_window_of_one_pixel_is_what_tensorflow_cuts(size):
    images = smooth_noise(3, (9, 8)).astype("float32")
    boxes = np.float32([[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.9], [0.3, 0.9, 0.8, 0.1]])
    found = changes_numpy.crop(images, boxes, size=size)
    expected = changes_tensorflow.crop(images, boxes, size=size)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_given_images_are_not_written_to():
    images = smooth_noise(4, (24, 24)).astype("float32")
    before = images.copy()
    chance = replace(CHANCES["all"], flip=False, area=(1.0, 1.0), aspect=1.0)
    changes = draw_changes(chance, 4, (24, 24), 0, 0)
    changes_numpy.operate(images, changes["steps"], changes["strengths"])
    changes_numpy.erase(images, np.tile(np.float32([2, 2, 9, 9]), (4, 1)))
    changes_numpy.recolour(images, np.full((4, 3), 0.5, "float32"))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0)])
@pytest.mark.parametrize("columns", [False, True])
def test_batches_are_mixed_as_tensors(mixing, columns):
    images = smooth_noise(8, (12, 9)).astype("float32")
    labels = np.arange(8) % 3
    labels = np.eye(3, dtype="float32")[labels] if columns else labels
    mixture = mixing.draw(8, 8, (12, 9), seed=1, epoch=0)
    assert (mixture["share"] < 1).any(), "nothing was mixed"
    found = changes_numpy.mix_images(images, mixture)
    expected = changes_tensorflow.mix_images(tf.constant(images), mixture)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    shares = changes_numpy.mix_labels(labels, mixture, 3)
    tensors = changes_tensorflow.mix_labels(tf.constant(labels), mixture, 3)
    np.testing.assert_allclose(shares, tensors, atol=1e-6)
    assert shares.dtype == np.float32
