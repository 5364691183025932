"""Augmentation: identity at zero, closed forms elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from kerastl.data.augmentation import (
    PRESETS,
    Augmentation,
    draw,
    draw_changes,
    tones,
    transforms,
    windows,
)
from kerastl.data.changes_tensorflow import change, crop, move, recolour
from kerastl.features.keys import views_key

MIDDLE = np.full((1, 9), 0.5)
RANDOM = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3)).astype("float32")


def moved(images, augmentation, draws):
    height, width = images.shape[1:3]
    maps = transforms(augmentation, draws, height, width)
    fill = augmentation.fill
    return np.asarray(move(images, maps, size=(height, width), fill=fill))


def test_zeros_give_the_identity_map():
    maps = transforms(Augmentation(), draw(5, 0, 0), 7, 9)
    np.testing.assert_array_equal(maps, np.tile([1, 0, 0, 0, 1, 0, 0, 0], (5, 1)))


def test_the_identity_map_leaves_each_pixel():
    np.testing.assert_array_equal(moved(RANDOM, Augmentation(), draw(3, 0, 0)), RANDOM)


def test_the_whole_window_leaves_each_pixel():
    boxes = windows(transforms(Augmentation(), draw(3, 0, 0), 7, 9), 7, 9)
    np.testing.assert_array_equal(np.asarray(crop(RANDOM, boxes, size=(7, 9))), RANDOM)


def test_images_of_an_unknown_number_are_cropped_one_by_one_to_the_same_bits():
    import tensorflow as tf

    boxes = windows(transforms(PRESETS["light"], draw(3, 0, 0), 7, 9), 7, 9)
    signature = [tf.TensorSpec((None, 7, 9, 3)), tf.TensorSpec((None, 4))]
    cut = tf.function(lambda *given: crop(*given, size=(7, 9)), signature)
    graph = cut.get_concrete_function().graph
    # A crop whose number the graph does not know would make old TensorFlows warn.
    assert "CropAndResize" not in {node.type for node in graph.get_operations()}
    np.testing.assert_array_equal(cut(RANDOM, boxes), crop(RANDOM, boxes, size=(7, 9)))


def test_factors_of_one_leave_each_colour():
    factors = tones(Augmentation(), draw(3, 0, 0))
    np.testing.assert_array_equal(np.asarray(recolour(RANDOM, factors)), RANDOM)


@pytest.mark.parametrize("way", ["map", "window"])
def test_a_flip_mirrors_left_and_right(way):
    draws = np.zeros((3, 9))
    chance = Augmentation(flip=True)
    result = moved(RANDOM, chance, draws)
    if way == "window":
        boxes = windows(transforms(chance, draws, 7, 9), 7, 9)
        result = np.asarray(crop(RANDOM, boxes, size=(7, 9)))
    np.testing.assert_array_equal(result, RANDOM[:, :, ::-1])


def test_half_of_the_images_are_flipped():
    maps = transforms(Augmentation(flip=True), draw(4000, 1, 0), 8, 8)
    # Four standard deviations of a fair coin thrown 4000 times.
    assert abs(np.mean(maps[:, 0] < 0) - 0.5) < 4 * 0.5 / 4000**0.5


def test_a_quarter_turn_is_rot90():
    square = RANDOM[:, :, :7]
    draws = MIDDLE.repeat(3, axis=0)
    draws[:, 1] = 1.0
    turned = moved(square, Augmentation(rotation=90), draws)
    np.testing.assert_allclose(turned, np.rot90(square, 1, axes=(1, 2)), atol=1e-2)


def test_a_shift_moves_by_its_share():
    draws = MIDDLE.repeat(3, axis=0)
    draws[:, 4] = 1.0
    shifted = moved(RANDOM, Augmentation(translation=0.5), draws)
    np.testing.assert_allclose(shifted[:, :, :5], RANDOM[:, :, 4:], atol=1e-3)


def test_a_window_and_its_map_give_the_same_pixels():
    chance = Augmentation(flip=True, area=(0.3, 1.0), aspect=1.5)
    maps = transforms(chance, draw(3, 0, 0), 7, 9)
    by_map = np.asarray(move(RANDOM, maps, size=(7, 9), fill="reflect"))
    by_window = np.asarray(crop(RANDOM, windows(maps, 7, 9), size=(7, 9)))
    np.testing.assert_allclose(by_window, by_map, atol=0.5)


@pytest.mark.parametrize("preset", ["light", "standard", "resized_crop"])
def test_windows_stay_inside_the_image(preset):
    boxes = windows(transforms(PRESETS[preset], draw(20000, 0, 0), 96, 96), 96, 96)
    assert boxes.min() >= 0
    assert boxes.max() <= 1


def test_windows_show_the_share_of_area_asked_for():
    chance = Augmentation(area=(0.25, 0.36))
    maps = transforms(chance, draw(2000, 0, 0), 64, 64)
    shares = np.abs(maps[:, 0] * maps[:, 4])
    assert shares.min() >= 0.2499
    assert shares.max() <= 0.3601
    np.testing.assert_allclose(shares.mean(), 0.305, atol=0.003)


def test_no_window_shows_black():
    white = np.full((512, 8, 8, 3), 255, "float32")
    boxes = windows(transforms(PRESETS["standard"], draw(512, 0, 0), 8, 8), 8, 8)
    result = np.asarray(crop(white, boxes, size=(8, 8)))
    np.testing.assert_allclose(result, 255, atol=1e-3)


@pytest.mark.parametrize("fill", ["reflect", "nearest"])
def test_beyond_the_border_is_no_black(fill):
    white = np.full((64, 8, 8, 3), 255, "float32")
    chance = Augmentation(rotation=45, translation=0.3, area=(0.5, 2.0), fill=fill)
    np.testing.assert_allclose(moved(white, chance, draw(64, 0, 0)), 255, atol=1e-3)


def stepwise(images, bright, contrast, saturation):
    """Brightness, contrast and saturation one after the other, in NumPy."""
    luma = [0.299, 0.587, 0.114]
    images = images * bright
    mean = (images @ luma).mean(axis=(1, 2), keepdims=True)[..., None]
    images = (images - mean) * contrast + mean
    gray = (images @ luma)[..., None]
    return np.clip((images - gray) * saturation + gray, 0, 255)


@pytest.mark.parametrize(
    "factors", [(1.3, 1, 1), (1, 0.6, 1), (1, 1, 0.0), (0.8, 1.4, 1.7)]
)
def test_recolouring_is_the_three_steps(factors):
    expected = stepwise(RANDOM.astype("float64"), *factors)
    table = np.tile(np.float32(factors), (3, 1))
    np.testing.assert_allclose(np.asarray(recolour(RANDOM, table)), expected, atol=1e-2)


def test_tones_fill_their_range():
    chance = Augmentation(brightness=0.1, contrast=0.2, saturation=0.3)
    factors = tones(chance, draw(5000, 0, 0))
    np.testing.assert_allclose(factors.min(axis=0), [0.9, 0.8, 0.7], atol=0.01)
    np.testing.assert_allclose(factors.max(axis=0), [1.1, 1.2, 1.3], atol=0.01)


def test_digits_never_flip():
    assert not PRESETS["digits"].flip
    maps = transforms(PRESETS["digits"], draw(2000, 0, 0), 28, 28)
    # A mirror image would turn the determinant negative.
    assert np.all(maps[:, 0] * maps[:, 4] - maps[:, 1] * maps[:, 3] > 0)
    assert np.all(maps[:, 0] > 0.5)


def test_a_row_depends_on_seed_epoch_and_index_only():
    np.testing.assert_array_equal(draw(10, 3, 2)[:4], draw(4, 3, 2))
    assert not np.array_equal(draw(4, 3, 2), draw(4, 3, 1))
    assert not np.array_equal(draw(4, 3, 2), draw(4, 2, 2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rotation": 181}, "at most 180"),
        ({"aspect": 0.5}, "at least 1"),
        ({"translation": -1}, "at least 0"),
        ({"brightness": 1.0}, "below 1"),
        ({"contrast": 1.0}, "below 1"),
        ({"saturation": 1.5}, "at most 1"),
        ({"area": (0.5, 0.2)}, "least <= most"),
        ({"fill": "black"}, "one of 'reflect', 'nearest'"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Augmentation(**values)


ERASING = Augmentation(erasing=0.5, erased=(0.1, 0.3))


def erased(count, chance=ERASING, size=(40, 60)):
    """The rectangles, and which images have one."""
    boxes = draw_changes(chance, count, size, 0, 0)["erased"]
    return boxes, boxes.any(axis=1)


def test_rectangles_are_as_many_and_as_large_as_asked_for():
    boxes, chosen = erased(4000)
    assert chosen.mean() == pytest.approx(0.5, abs=0.03)
    top, left, bottom, right = boxes[chosen].T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= 40).all()
    assert (right <= 60).all()
    shares = (bottom - top) * (right - left) / 2400
    # Sides are whole pixels, and none is longer than the image's.
    assert 0.05 < shares.min() < 0.11
    assert 0.28 < shares.max() < 0.33
    assert shares.mean() == pytest.approx(0.2, abs=0.01)


def test_inside_is_the_mean_colour_and_outside_the_image():
    images = np.random.default_rng(0).uniform(0, 255, (8, 40, 60, 3)).astype("float32")
    boxes, chosen = erased(8)
    assert 0 < chosen.sum() < 8
    made = change(images, {"erased": boxes}, ERASING, (40, 60)).numpy()
    for image, new, (top, left, bottom, right) in zip(
        images, made, boxes.astype(int), strict=True
    ):
        inside = np.zeros((40, 60), bool)
        inside[top:bottom, left:right] = True
        np.testing.assert_array_equal(new[~inside], image[~inside])
        wanted = np.broadcast_to(image.mean(axis=(0, 1)), new[inside].shape)
        np.testing.assert_allclose(new[inside], wanted, rtol=1e-4)


def test_erasing_leaves_the_other_numbers_alone():
    both = replace(PRESETS["standard"], erasing=1.0)
    plain, more = (
        draw_changes(chance, 5, (8, 8), 3, 1) for chance in (PRESETS["standard"], both)
    )
    assert set(more) - set(plain) == {"erased"}
    for name, rows in plain.items():
        np.testing.assert_array_equal(rows, more[name])


def test_what_is_erased_is_in_the_key_of_kept_views():
    chances = Augmentation(erasing=0.2), Augmentation(erasing=0.3), ERASING
    assert len({views_key(chance, 0) for chance in chances}) == 3


@pytest.mark.parametrize("preset", ["xray", "ultrasound"])
def test_sides_stay_where_sides_mean_something(preset):
    maps = transforms(PRESETS[preset], draw(2000, 0, 0), 64, 64)
    # Upright to five degrees, and never mirrored.
    assert np.all(maps[:, 0] > 0)
    assert np.all(maps[:, 4] > 0)
    angles = np.degrees(np.arctan2(maps[:, 3], maps[:, 0]))
    assert np.abs(angles).max() < 5.01
    assert PRESETS[preset].saturation == 0


def test_a_slide_is_turned_any_way():
    maps = transforms(PRESETS["microscopy"], draw(2000, 0, 0), 64, 64)
    angles = np.degrees(np.arctan2(maps[:, 3], maps[:, 0]))
    counts, _ = np.histogram(angles, 8, (-180, 180))
    assert counts.min() > 150
    mirrored = maps[:, 0] * maps[:, 4] - maps[:, 1] * maps[:, 3] < 0
    assert 900 < mirrored.sum() < 1100


@pytest.mark.parametrize("preset", ["night", "fog"])
def test_a_road_stays_below(preset):
    maps = transforms(PRESETS[preset], draw(500, 0, 0), 64, 64)
    assert np.all(maps[:, 4] > 0)
    assert np.all(maps[:, [1, 3]] == 0)
    assert PRESETS[preset].is_window
