"""Batches: exact pixels, and chance that follows from the seed alone."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerastl.data.augmentation import Augmentation
from kerastl.data.images import PixelStore, load_pixels
from kerastl.data.sets import ImageSet
from kerastl.data.sources import batches

PRESETS = ["light", "standard", "strong", "resized_crop", "randaugment", "digits"]
PRESETS += ["microscopy", "fog"]


def noise(count, side=8):
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, side, side, 3), "uint8")


@pytest.fixture
def arrays():
    """Eleven images; the label is the index."""
    names = tuple(f"class {i}" for i in range(11))
    return ImageSet(noise(11), np.arange(11), names)


@pytest.fixture
def files(tmp_path):
    """Eleven JPEG files; the label is the index."""
    paths = []
    for i, pixels in enumerate(noise(11, 20)):
        paths.append(str(tmp_path / f"{i}.jpg"))
        Image.fromarray(pixels).save(paths[-1])
    return ImageSet(tuple(paths), np.arange(11), tuple(map(str, range(11))))


def gathered(data):
    """(images, labels) of one epoch, in its order."""
    found = [(images.numpy(), labels.numpy()) for images, labels in data]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def by_index(data):
    images, labels = gathered(data)
    return images[np.argsort(labels)]


@pytest.mark.parametrize("limit", [10**9, 0])
def test_plain_batches_are_the_loaded_pixels_as_floats(files, limit):
    data = batches(files, image_size=12, batch_size=4, memory_limit=limit)
    images, labels = gathered(data)
    np.testing.assert_array_equal(images, load_pixels(files, image_size=12))
    np.testing.assert_array_equal(labels, np.arange(11))
    assert images.dtype == np.float32


def test_a_second_epoch_without_chance_is_the_first(files):
    data = batches(files, image_size=12, batch_size=4)
    np.testing.assert_array_equal(gathered(data)[0], gathered(data)[0])


@pytest.mark.parametrize("kind", ["gray", "alpha", "float", "other size"])
def test_arrays_of_any_kind_are_the_loaded_pixels(kind):
    pixels = {
        "gray": noise(5)[..., 0],
        "alpha": np.concatenate([noise(5), noise(5)[..., :1]], axis=-1),
        "float": noise(5).astype("float64") * 0.9,
        "other size": noise(5, 11),
    }[kind]
    images = ImageSet(pixels, np.arange(5), tuple("abcde"))
    result = gathered(batches(images, image_size=8, batch_size=2))[0]
    np.testing.assert_array_equal(result, load_pixels(images, image_size=8))


@pytest.mark.parametrize("preset", PRESETS)
def test_an_image_changes_alike_whatever_the_batches_and_the_order(arrays, preset):
    options = {"image_size": 8, "augment": preset, "seed": 4}
    one = by_index(batches(arrays, batch_size=3, **options))
    other = by_index(batches(arrays, batch_size=11, shuffle=True, **options))
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_augmented_pixels_stay_0_to_255_and_change_by_epoch(arrays, preset):
    data = batches(arrays, image_size=8, augment=preset, seed=0)
    first, second = gathered(data)[0], gathered(data)[0]
    assert first.min() >= 0
    assert first.max() <= 255
    assert np.abs(first - second).max() > 1


@pytest.mark.parametrize("preset", [*PRESETS, None])
def test_the_same_seed_gives_the_same_epochs(arrays, preset):
    def two_epochs(seed):
        options = {"augment": preset, "shuffle": True, "seed": seed}
        data = batches(arrays, image_size=8, batch_size=3, **options)
        return [gathered(data)[0] for _ in range(2)]

    np.testing.assert_array_equal(two_epochs(1), two_epochs(1))
    assert not np.array_equal(two_epochs(1), two_epochs(2))


def test_a_later_start_continues_the_epochs(arrays):
    options = {"image_size": 8, "augment": "light", "shuffle": True, "seed": 1}
    data = batches(arrays, **options)
    gathered(data)
    second = gathered(data)
    later = gathered(batches(arrays, epoch=1, **options))
    np.testing.assert_array_equal(second[0], later[0])
    np.testing.assert_array_equal(second[1], later[1])


def test_without_a_seed_two_pipelines_differ(arrays):
    one, other = (batches(arrays, image_size=8, shuffle=True) for _ in range(2))
    orders = [gathered(data)[1].tolist() for data in (one, one, one, other)]
    assert len(set(map(tuple, orders))) > 1


def test_no_global_state_is_changed(arrays):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    gathered(batches(arrays, image_size=8, augment="strong", shuffle=True))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_shuffling_holds_each_image_once_and_reorders_each_epoch(arrays):
    data = batches(arrays, image_size=8, batch_size=4, shuffle=True, seed=0)
    (first, order), (_, other) = gathered(data), gathered(data)
    np.testing.assert_array_equal(np.sort(order), np.arange(11))
    assert not np.array_equal(order, other)
    np.testing.assert_array_equal(first, arrays.images[order])


def test_zero_strength_is_the_identity(arrays):
    data = batches(arrays, image_size=8, augment=Augmentation(), seed=0)
    np.testing.assert_array_equal(gathered(data)[0], arrays.images)


def test_digits_are_never_mirrored():
    ramp = np.tile(np.arange(0, 240, 15, dtype="uint8"), (200, 16, 1))
    images = ImageSet(ramp, np.zeros(200, int), ("ramp",))
    result = gathered(batches(images, image_size=16, augment="digits", seed=0))[0]
    assert np.all(result[:, :, 8:].mean((1, 2, 3)) > result[:, :, :8].mean((1, 2, 3)))


def test_light_mirrors_some():
    ramp = np.tile(np.arange(0, 240, 15, dtype="uint8"), (50, 16, 1))
    images = ImageSet(ramp, np.zeros(50, int), ("ramp",))
    result = gathered(batches(images, image_size=16, augment="light", seed=0))[0]
    falls = result[:, :, 8:].mean((1, 2, 3)) < result[:, :, :8].mean((1, 2, 3))
    assert 0 < falls.sum() < 50


@pytest.mark.parametrize(("drop", "steps", "rows"), [(False, 3, None), (True, 2, 4)])
def test_length_and_shapes_are_known_beforehand(arrays, drop, steps, rows):
    data = batches(arrays, image_size=(8, 6), batch_size=4, drop_remainder=drop)
    assert len(data) == steps == len(list(data))
    assert data.element_spec[0] == tf.TensorSpec((rows, 8, 6, 3), tf.float32)
    assert data.element_spec[1] == tf.TensorSpec((rows,), tf.int32)


def test_several_labels_come_as_floats():
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    data = batches(ImageSet(noise(3), labels, ("a", "b")), image_size=8)
    result = gathered(data)[1]
    np.testing.assert_array_equal(result, labels)
    assert result.dtype == np.float32


def test_without_labels_images_come_alone():
    data = batches(ImageSet(noise(3), None, ()), image_size=8, batch_size=2)
    assert [images.shape[0] for images in data] == [2, 1]


def test_pixels_are_decoded_once_and_shared(files, monkeypatch):
    from kerastl.data import images as stores

    decoded = []
    plain = stores.decode_images

    def count(paths, **options):
        decoded.extend(paths)
        return plain(paths, **options)

    monkeypatch.setattr(stores, "decode_images", count)
    store = PixelStore(files, image_size=12)
    for _ in range(2):
        data = batches(
            files, image_size=12, augment="light", shuffle=True, pixels=store
        )
        gathered(data)
        gathered(data)
    assert sorted(decoded) == sorted(files.paths)


def test_a_set_beyond_the_limit_is_decoded_each_time(files):
    rows = 11 * 12 * 12 * 3
    assert PixelStore(files, image_size=12, memory_limit=rows).keeps
    assert not PixelStore(files, image_size=12, memory_limit=rows - 1).keeps


def test_a_store_gives_all_pixels_with_progress(files):
    seen = []
    store = PixelStore(files, image_size=12)
    pixels = store.pixels(progress=lambda *done: seen.append(done))
    np.testing.assert_array_equal(pixels, load_pixels(files, image_size=12))
    assert seen[-1] == (11, 11)


def test_a_store_without_memory_gives_the_same_pixels(files):
    store = PixelStore(files, image_size=12, memory_limit=0)
    np.testing.assert_array_equal(store.pixels(), load_pixels(files, image_size=12))


def test_an_array_of_the_right_kind_is_not_copied(arrays):
    assert not PixelStore(arrays, image_size=8).keeps


def test_another_sets_store_is_refused(arrays, files):
    store = PixelStore(files, image_size=8)
    with pytest.raises(ValueError, match="the store of this image set"):
        batches(arrays, image_size=8, pixels=store)


def test_a_store_of_another_size_is_refused(arrays):
    store = PixelStore(arrays, image_size=12)
    with pytest.raises(ValueError, match="a store of size"):
        batches(arrays, image_size=8, pixels=store)


def test_scaled_pixels_are_refused(arrays):
    scaled = ImageSet(arrays.images / 255.0, arrays.labels, arrays.class_names)
    with pytest.raises(ValueError, match="Multiply by 255"):
        batches(scaled, image_size=8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"augment": "standart"}, "Did you mean 'standard'"),
        ({"image_size": 0}, "positive integer"),
        ({"resize": "zoom"}, "one of 'stretch'"),
        ({"seed": -1}, "at least 0"),
        ({"batch_size": 12, "drop_remainder": True}, "at most 11"),
    ],
)
def test_bad_arguments_are_refused(arrays, options, words):
    with pytest.raises(ValueError, match=words):
        batches(arrays, **{"image_size": 8, **options})


def test_an_empty_set_is_refused(arrays):
    with pytest.raises(ValueError, match="a set with images"):
        batches(arrays.subset([]), image_size=8)
