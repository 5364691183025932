"""BiT-HyperRule: the table at its boundaries, and the rate step by step."""

import numpy as np
import pytest

from kerastl.training.schedules import bit_hyperrule

SMALL = (500, 100, (200, 300, 400), 0.0)
MEDIUM = (10_000, 500, (3_000, 6_000, 9_000), 0.1)
LARGE = (20_000, 500, (6_000, 12_000, 18_000), 0.1)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (1, SMALL),
        (19_999, SMALL),
        (20_000, MEDIUM),
        (499_999, MEDIUM),
        (500_000, LARGE),
    ],
)
def test_the_number_of_images_chooses_length_and_mixup(images, expected):
    rule = bit_hyperrule(images, image_size=224)
    assert (rule.steps, rule.warmup, rule.boundaries, rule.mixup) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((95, 97), (160, 128)),  # 9,215 pixels, one less than 96 x 96
        (96, (512, 480)),
        ((64, 144), (512, 480)),  # 9,216 pixels
        (32, (160, 128)),
    ],
)
def test_the_area_chooses_the_size(size, expected):
    rule = bit_hyperrule(1000, image_size=size)
    assert (rule.resize, rule.crop) == expected


def test_the_optimizer_is_the_papers():
    rule = bit_hyperrule(1000, image_size=32)
    assert (rule.optimizer, rule.batch_size) == ("sgd", 512)
    assert rule.learning_rate == 0.003


@pytest.mark.parametrize("images", [1000, 50_000, 600_000])
def test_the_rate_climbs_and_drops_tenfold_after_each_boundary(images):
    rule = bit_hyperrule(images, image_size=32)
    schedule = rule.schedule()
    first, second, third = rule.boundaries
    steps = [0, rule.warmup // 2, rule.warmup, first, first + 1, second]
    steps += [second + 1, third, third + 1, rule.steps - 1]
    shares = [1 / rule.warmup, (1 + 1 / rule.warmup) / 2, 1, 1, 0.1, 0.1]
    shares += [0.01, 0.01, 0.001, 0.001]
    found = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(found, 0.003 * np.array(shares), rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "size", "sentence"),
    [
        (0, 32, "`images` must be at least 1"),
        (10, 0, "`image_size` must be a positive integer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(images, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        bit_hyperrule(images, image_size=size)
