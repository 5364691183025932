"""Kept pixels: the right ones in every place."""

import numpy as np
import pytest
from PIL import Image

from kerastl.data.images import PixelStore, decode_images, resize_images
from kerastl.data.sets import ImageSet

LIMITS = [10**9, 0]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 20, 30, 3), "uint8")


@pytest.fixture
def files(tmp_path, pixels):
    paths = [str(tmp_path / f"{i}.png") for i in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return ImageSet(tuple(paths), None, ())


@pytest.mark.parametrize("limit", LIMITS)
def test_rows_come_in_the_order_asked_for_and_as_often(files, limit):
    store = PixelStore(files, image_size=8, memory_limit=limit)
    expected = decode_images(files.paths, image_size=8)
    for wanted in ([5, 0, 5, 2], [6, 5], [3, 1, 4, 0]):
        found = store.rows(np.array(wanted))
        np.testing.assert_array_equal(found, expected[wanted])


@pytest.mark.parametrize("limit", LIMITS)
def test_rows_of_arrays_are_resized_as_elsewhere(pixels, limit):
    store = PixelStore(ImageSet(pixels, None, ()), image_size=8, memory_limit=limit)
    wanted = [4, 1, 4]
    expected = resize_images(pixels, image_size=8)[wanted]
    np.testing.assert_array_equal(store.rows(np.array(wanted)), expected)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_store_resizes_by_its_policy(files, resize):
    store = PixelStore(files, image_size=(8, 10), resize=resize)
    expected = decode_images(files.paths, image_size=(8, 10), resize=resize)
    np.testing.assert_array_equal(store.pixels(), expected)


@pytest.mark.parametrize("limit", LIMITS)
def test_writing_to_rows_does_not_change_the_store(files, limit):
    store = PixelStore(files, image_size=8, memory_limit=limit)
    first = store.rows(np.arange(7)).copy()
    store.rows(np.arange(7))[:] = 0
    np.testing.assert_array_equal(store.rows(np.arange(7)), first)


def test_an_image_that_could_not_be_read_is_read_when_it_can_be(files, tmp_path):
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[:200])
    store = PixelStore(files, image_size=8)
    with pytest.raises(ValueError, match=r"2\.png"):
        store.rows(np.arange(7))
    assert store.known_pixels() is None
    (tmp_path / "2.png").write_bytes(whole)
    expected = decode_images(files.paths, image_size=8)
    np.testing.assert_array_equal(store.rows(np.arange(7)), expected)
