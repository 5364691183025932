"""The layers of a saved model: preprocessing, logits, and noise that can be frozen."""

import json

import keras
import numpy as np
import pytest
from networks import pixels

from kerastl.models.layers import (
    PREPROCESSING_MODES,
    ClassLogits,
    Preprocessing,
    hold_statistics,
    is_holding_statistics,
    is_noise,
    make_freezable,
)

NOISE = [
    keras.layers.Dropout(0.5),
    keras.layers.AlphaDropout(0.5),
    keras.layers.SpatialDropout2D(0.5),
    keras.layers.GaussianDropout(0.5),
    keras.layers.GaussianNoise(0.5),
]
KINDS = [type(layer).__name__ for layer in NOISE]
X = np.random.default_rng(0).normal(1, 2, (4, 5, 5, 8)).astype("float32")


class DropPath(keras.layers.Layer):
    """Somebody's stochastic depth: no kin of Keras's dropout."""

    def call(self, x, training=None):
        return keras.random.uniform(keras.ops.shape(x)) * x if training else x


@keras.saving.register_keras_serializable("garden")
class GardenDropout(keras.layers.Dropout):
    """A dropout registered by somebody else."""


def again(layer):
    """A copy of the layer, made from its saved form."""
    return keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )


def copy(layer):
    return type(layer).from_config(layer.get_config())


def training_mode(layer):
    return keras.ops.convert_to_numpy(layer(X, training=True))


def expected(mode, images):
    """What the papers' code does with RGB 0-255."""
    x = images.astype("float64")
    if mode == "tf":
        return x / 127.5 - 1
    if mode == "caffe":
        return x[..., ::-1] - [103.939, 116.779, 123.68]
    if mode == "torch":
        return (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return x


@pytest.mark.parametrize("mode", PREPROCESSING_MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_preprocessing_is_the_papers(mode, dtype):
    layer = Preprocessing(mode)
    made = keras.ops.convert_to_numpy(layer(pixels().astype(dtype)))
    np.testing.assert_allclose(made, expected(mode, pixels()), rtol=1e-5, atol=1e-5)
    assert made.dtype == np.float32


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch"])
def test_preprocessing_rounds_to_bfloat16_once_at_the_end(mode):
    made = Preprocessing(mode, dtype="mixed_bfloat16")(pixels())
    rounded = keras.ops.cast(Preprocessing(mode)(pixels()), "bfloat16")
    assert keras.backend.standardize_dtype(made.dtype) == "bfloat16"
    np.testing.assert_array_equal(
        keras.ops.cast(made, "float32"), keras.ops.cast(rounded, "float32")
    )


def test_preprocessing_keeps_its_record_when_saved():
    layer = Preprocessing("torch", backbone="X", weights="tiny", image_size=(8, 9))
    copied = again(layer)
    assert (copied.mode, copied.backbone) == ("torch", "X")
    assert (copied.weights_source, copied.image_size) == ("tiny", (8, 9))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"`mode` must be one of .*'tensorflow'"):
        Preprocessing("tensorflow")


def test_logits_pass_unchanged_in_float32_under_every_policy():
    layer = ClassLogits({"task": "binary"}, dtype="mixed_float16")
    made = layer(keras.ops.cast(X[:, 0, 0], "float16"))
    assert keras.backend.standardize_dtype(made.dtype) == "float32"
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(made), X[:, 0, 0].astype("float16")
    )


def test_logits_are_divided_by_the_temperature():
    layer = ClassLogits({"task": "binary", "temperature": 2.5})
    made = keras.ops.convert_to_numpy(layer(X[:, 0, 0]))
    np.testing.assert_allclose(made, X[:, 0, 0] / 2.5, rtol=1e-6)


def test_a_copy_has_a_temperature_of_its_own():
    layer = ClassLogits({"task": "binary", "temperature": 1.0})
    copy(layer).record["temperature"] = 2.0
    assert layer.record["temperature"] == 1.0


def test_the_record_travels_as_json():
    record = {"class_names": ["Ähre", "b"], "image_size": [8, 8]}
    saved = keras.saving.serialize_keras_object(ClassLogits(record))
    loaded = keras.saving.deserialize_keras_object(json.loads(json.dumps(saved)))
    assert loaded.record == record


@pytest.mark.parametrize("layer", NOISE, ids=KINDS)
def test_frozen_noise_hands_its_input_through(layer):
    layer = copy(layer)
    make_freezable(layer)
    layer.trainable = False
    np.testing.assert_array_equal(training_mode(layer), X)


@pytest.mark.parametrize("layer", NOISE, ids=KINDS)
def test_thawed_noise_is_noise_in_training_only(layer):
    layer = copy(layer)
    make_freezable(layer)
    layer.trainable = False
    layer.trainable = True
    assert not np.array_equal(training_mode(layer), X)
    np.testing.assert_array_equal(layer(X, training=False), X)


@pytest.mark.parametrize("layer", NOISE, ids=KINDS)
def test_frozen_noise_stays_frozen_when_saved(layer):
    layer = copy(layer)
    make_freezable(layer)
    layer.trainable = False
    np.testing.assert_array_equal(training_mode(again(layer)), X)


@pytest.mark.parametrize("layer", [DropPath(), GardenDropout(0.5)], ids=["path", "own"])
def test_other_peoples_noise_is_frozen_too(layer):
    make_freezable(layer)
    layer.trainable = False
    np.testing.assert_array_equal(training_mode(layer), X)


def test_a_registered_class_keeps_its_registered_name():
    layer = GardenDropout(0.25)
    make_freezable(layer)
    assert type(layer) is not GardenDropout
    assert type(again(layer)) is GardenDropout
    assert again(layer).rate == 0.25


def test_making_freezable_twice_changes_nothing_more():
    layer = keras.layers.Dropout(0.5)
    make_freezable(layer)
    once = type(layer)
    make_freezable(layer)
    assert type(layer) is once


def test_layers_that_are_no_noise_are_left_alone():
    layer = keras.layers.Dense(3)
    make_freezable(layer)
    assert type(layer) is keras.layers.Dense
    assert not is_noise(layer)


class GardenNormalization(keras.layers.BatchNormalization):
    """A BatchNorm of somebody else's."""


NORMS = [keras.layers.BatchNormalization, GardenNormalization]


@pytest.mark.parametrize("kind", NORMS)
def test_held_statistics_normalise_and_stay_in_training(kind):
    layer = kind()
    layer.build(X.shape)
    rng = np.random.default_rng(1)
    gamma, beta, mean = rng.normal(size=(3, 8))
    variance = rng.uniform(0.5, 2, 8)
    layer.set_weights([gamma, beta, mean, variance])
    hold_statistics(layer, True)
    closed_form = (X - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta
    np.testing.assert_allclose(training_mode(layer), closed_form, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, mean.astype("float32"))
    np.testing.assert_array_equal(layer.moving_variance, variance.astype("float32"))


@pytest.mark.parametrize("kind", NORMS)
def test_released_statistics_move_again(kind):
    layer = kind()
    layer.build(X.shape)
    hold_statistics(layer, True)
    hold_statistics(layer, True)
    hold_statistics(layer, False)
    assert type(layer) is kind
    training_mode(layer)
    share = 1 - layer.momentum
    np.testing.assert_allclose(
        layer.moving_mean, share * X.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6
    )


def test_held_statistics_are_held_when_saved():
    layer = keras.layers.BatchNormalization()
    hold_statistics(layer, True)
    assert is_holding_statistics(again(layer))
