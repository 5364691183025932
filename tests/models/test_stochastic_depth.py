"""Stochastic depth: the rates asked for, whole branches, and nothing else changed."""

from functools import cache

import keras
import numpy as np
import pytest
from families import heavy_on_jax
from networks import outputs, pixels, values

import kerastl
from kerastl.models.blocks import blocks
from kerastl.models.layers import is_noise

#: Keras counts EfficientNet's blocks from 0 and stops short of the rate.
LINES = {
    "EfficientNetB0": [b / 16 for b in (2, 4, 6, 7, 9, 10, 12, 13, 14)],
    "EfficientNetV2B0": [
        b / 21 for b in (2, 4, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20)
    ],
    "ConvNeXtTiny": [b / 17 for b in range(1, 18)],
}


SLOW = ("EfficientNetV2B0",)
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow]) if name in SLOW else name
    for name in LINES
]


def network(name, **options):
    return kerastl.build_backbone(name, image_size=32, weights=None, **options)


@cache
def dropping(name):
    """One for all tests that leave it as it is."""
    return network(name, stochastic_depth=0.4)


def noise(model):
    return [layer for layer in model.layers if is_noise(layer)]


@heavy_on_jax
@pytest.mark.parametrize("name", NAMES)
def test_the_rates_climb_in_a_straight_line(name):
    found = [layer.rate for layer in noise(dropping(name))]
    np.testing.assert_allclose(found, 0.4 * np.array(LINES[name]))


@heavy_on_jax
def test_a_rate_of_zero_drops_nothing():
    model, images = network("EfficientNetB0", stochastic_depth=0), pixels(2, 32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    expected = outputs(model, images)
    np.testing.assert_allclose(outputs(model, images, training=True), expected)


@heavy_on_jax
@pytest.mark.parametrize("name", NAMES)
def test_weights_predictions_and_blocks_are_those_without(name, tmp_path):
    plain, file = network(name), tmp_path / "network.weights.h5"
    plain.save_weights(file)
    options = {"image_size": 32, "stochastic_depth": 0.4}
    model = kerastl.build_backbone(name, weights=file, **options)
    assert list(blocks(model)) == list(blocks(plain))
    for ours, theirs in zip(values(model), values(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = pixels(2, 32)
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))


@heavy_on_jax
def test_the_branch_of_an_image_is_dropped_as_a_whole():
    top = noise(dropping("ConvNeXtTiny"))[-1]
    ones = np.ones((64, 2, 2, 3), "float32")
    found = keras.ops.convert_to_numpy(top(ones, training=True))
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.6], rtol=1e-6)
    np.testing.assert_array_equal(found, found[:, :1, :1, :1] * ones)


@heavy_on_jax
def test_frozen_blocks_drop_nothing():
    model, images = dropping("ConvNeXtTiny"), pixels(2, 32)
    expected = outputs(model, images)
    assert not np.array_equal(outputs(model, images, training=True), expected)
    model.trainable = False
    frozen = outputs(model, images, training=True)
    model.trainable = True
    np.testing.assert_array_equal(frozen, expected)


@pytest.mark.slow
def test_the_rates_survive_the_file(tmp_path):
    model = dropping("ConvNeXtTiny")
    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    rates = [[layer.rate for layer in noise(each)] for each in (model, again)]
    assert rates[0] == rates[1]
    images = pixels(2, 32)
    np.testing.assert_array_equal(outputs(again, images), outputs(model, images))


@pytest.mark.parametrize(
    ("name", "rate", "sentence"),
    [
        ("ResNet50", 0.2, "`stochastic_depth` must be None for ResNet50"),
        ("ConvNeXtTiny", 1.0, "`stochastic_depth` must be .*below 1"),
        ("ConvNeXtTiny", -0.1, "`stochastic_depth` must be at least 0"),
    ],
)
def test_rates_that_do_not_fit_are_refused(name, rate, sentence):
    with pytest.raises(ValueError, match=sentence):
        network(name, stochastic_depth=rate)
