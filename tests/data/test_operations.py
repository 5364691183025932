"""RandAugment: each operation is Pillow's, drawn for each image by itself."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerastl.data.augmentation import (
    OPERATIONS,
    PRESETS,
    Augmentation,
    after,
    colour_steps,
    draw_changes,
    draw_operations,
    moving_maps,
)
from kerastl.data.changes_tensorflow import change, move, operate

# Below some 300 pixels equalizing changes nothing, for Pillow either.
COUNT, HEIGHT, WIDTH = 3, 41, 37
IDENTITY = np.tile([1.0, 0, 0, 0, 1, 0, 0, 0], (COUNT, 1))


def smooth_noise():
    """Images whose grey levels are not evenly spread."""
    random = np.random.default_rng(0)
    images = random.gamma(2.0, 30.0, (COUNT, HEIGHT, WIDTH, 3))
    return np.clip(images, 5, 240).astype("uint8")


IMAGES = smooth_noise()


def operated(name, sign=1.0, magnitude=0.5):
    """All images after one operation, as kerastl does it."""
    chosen = np.full((COUNT, 1), OPERATIONS.index(name))
    signs = np.full((COUNT, 1), sign)
    steps, strengths = colour_steps(chosen, signs, magnitude)
    images = tf.constant(IMAGES, tf.float32)
    return operate(images, tf.constant(steps), tf.constant(strengths)).numpy()


def by_pillow(function):
    made = [np.asarray(function(Image.fromarray(image))) for image in IMAGES]
    return np.stack(made).astype("float32")


def enhanced(kind, factor):
    return by_pillow(lambda image: kind(image).enhance(factor))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_factors_are_pillows(name, kind, sign):
    # 0.45 of 1 at half the magnitude; Pillow rounds on the way.
    expected = enhanced(kind, 1 + sign * 0.45)
    np.testing.assert_allclose(operated(name, sign), expected, atol=2)


@pytest.mark.parametrize(("magnitude", "bits"), [(0.25, 7), (0.5, 6), (1.0, 4)])
def test_posterize_is_pillows(magnitude, bits):
    expected = by_pillow(lambda image: ImageOps.posterize(image, bits))
    made = operated("posterize", magnitude=magnitude)
    np.testing.assert_array_equal(made, expected)


def test_solarize_is_pillows():
    expected = by_pillow(lambda image: ImageOps.solarize(image, 128))
    np.testing.assert_array_equal(operated("solarize", magnitude=0.5), expected)
    assert np.any(operated("solarize") != IMAGES)


def test_autocontrast_is_pillows():
    expected = by_pillow(ImageOps.autocontrast)
    np.testing.assert_allclose(operated("autocontrast"), expected, atol=1)


def test_equalize_is_pillows():
    made = operated("equalize")
    np.testing.assert_array_equal(made, by_pillow(ImageOps.equalize))
    assert made.max() == 255 > IMAGES.max()


def test_images_of_one_colour_pass_autocontrast_and_equalize():
    images = tf.fill((2, 8, 8, 3), 77.0)
    strengths = tf.ones((2, 1, 3))
    for step in (4, 5):
        made = operate(images, tf.fill((2, 1), step), strengths)
        np.testing.assert_array_equal(made, images)


@pytest.mark.parametrize("name", ["identity", *OPERATIONS[1:6]])
def test_operations_that_move_leave_the_colours(name):
    np.testing.assert_array_equal(operated(name), IMAGES)


@pytest.mark.parametrize("name", OPERATIONS[6:12])
def test_at_no_magnitude_only_the_statistics_change_colours(name):
    # Solarize inverts what is 255, which no image here is.
    np.testing.assert_allclose(operated(name, magnitude=0.0), IMAGES, atol=1e-3)


def moved(name, sign=1.0, magnitude=1.0):
    """All images after one operation that moves."""
    chosen = np.full((COUNT, 1), OPERATIONS.index(name))
    maps = moving_maps(chosen, np.full((COUNT, 1), sign), magnitude, HEIGHT, WIDTH)
    maps = after(IDENTITY, maps)
    size = (HEIGHT, WIDTH)
    return move(tf.constant(IMAGES), maps, size=size, fill="nearest").numpy()


@pytest.mark.parametrize("name", ["identity", *OPERATIONS[6:]])
def test_operations_on_colours_move_nothing(name):
    np.testing.assert_array_equal(moved(name), IMAGES)


def pulled(shift):
    """Each image read at `position + shift(position)`, in SciPy."""
    from scipy.ndimage import map_coordinates

    y, x = np.mgrid[:HEIGHT, :WIDTH].astype("float64")
    right, down = x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2
    dx, dy = shift(right, down)
    made = np.empty(IMAGES.shape)
    for i in range(COUNT):
        for channel in range(3):
            source = IMAGES[i, ..., channel].astype("float64")
            places = [y + dy, x + dx]
            made[i, ..., channel] = map_coordinates(
                source, places, order=1, mode="nearest"
            )
    return made


TURN = np.deg2rad(30)
SHIFTS = {
    "shear_x": lambda x, y: (0.3 * y, 0 * y),
    "shear_y": lambda x, y: (0 * x, 0.3 * x),
    "translate_x": lambda x, y: (0 * x + WIDTH * 150 / 331, 0 * y),
    "translate_y": lambda x, y: (0 * x, 0 * y + HEIGHT * 150 / 331),
    "rotate": lambda x, y: (
        x * np.cos(TURN) - y * np.sin(TURN) - x,
        x * np.sin(TURN) + y * np.cos(TURN) - y,
    ),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_moves_at_full_magnitude_are_torchvisions(name):
    np.testing.assert_allclose(moved(name), pulled(SHIFTS[name]), atol=0.2)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_sign_turns_a_move_around(name):
    assert not np.allclose(moved(name), moved(name, sign=-1.0), atol=1)


def test_two_moves_are_one_after_the_other():
    names = ["rotate", "translate_x"]
    chosen = np.tile([OPERATIONS.index(name) for name in names], (COUNT, 1))
    both = moving_maps(chosen, np.ones((COUNT, 2)), 0.5, HEIGHT, WIDTH)
    first, second = (
        moving_maps(chosen[:, i : i + 1], np.ones((COUNT, 1)), 0.5, HEIGHT, WIDTH)
        for i in range(2)
    )
    # A position of the result goes back through the second first.
    point = np.array([3.0, 4.0, 1.0])
    np.testing.assert_allclose(
        both @ point, (first @ (second @ point)[..., None])[..., 0]
    )


def test_each_image_has_operations_of_its_own():
    chosen, signs = draw_operations(2800, 2, 0, 0)
    counts = np.bincount(chosen.ravel(), minlength=len(OPERATIONS))
    # 400 of each are expected; four standard deviations are 77.
    np.testing.assert_allclose(counts, 400, atol=77)
    assert abs(signs.mean()) < 4 / 5600**0.5


def test_a_row_depends_on_seed_epoch_and_index_only():
    chosen, signs = draw_operations(9, 2, 3, 1)
    few = draw_operations(4, 2, 3, 1)
    np.testing.assert_array_equal(chosen[:4], few[0])
    np.testing.assert_array_equal(signs[:4], few[1])
    assert not np.array_equal(draw_operations(9, 2, 3, 2)[0], chosen)
    assert not np.array_equal(draw_operations(9, 2, 4, 1)[0], chosen)


def test_images_get_the_same_change_in_any_company():
    images = np.random.default_rng(1).integers(0, 256, (12, 16, 16, 3)).astype("uint8")
    chance = PRESETS["randaugment"]
    changes = draw_changes(chance, 12, (16, 16), 0, 0)
    whole = change(tf.constant(images), changes, chance, (16, 16)).numpy()
    for i in range(12):
        alone = {name: tf.constant(row[i : i + 1]) for name, row in changes.items()}
        made = change(tf.constant(images[i : i + 1]), alone, chance, (16, 16))
        np.testing.assert_allclose(made[0], whole[i], atol=1e-3)


def test_operations_come_after_the_rest():
    chance = Augmentation(flip=True, operations=1, magnitude=1.0)
    changes = draw_changes(chance, 40, (16, 16), 0, 0)
    plain = draw_changes(Augmentation(flip=True), 40, (16, 16), 0, 0)
    chosen, _ = draw_operations(40, 1, 0, 0)
    still = ~np.isin(chosen[:, 0], range(1, 6))
    # Where nothing else moves, the flips are those of the preset without operations.
    mirrored = plain["geometry"][:, 3] < plain["geometry"][:, 1]
    np.testing.assert_array_equal(changes["geometry"][still, 0] < 0, mirrored[still])
    assert mirrored[still].any()
    assert not mirrored[still].all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operations": -1}, "`operations` must be at least 0"),
        ({"magnitude": 1.5}, "`magnitude` must be at least 0 and at most 1"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Augmentation(**values)
