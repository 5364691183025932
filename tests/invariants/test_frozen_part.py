"""Invariants 3, 4, 5 and 12: a frozen part computes the same, whatever trains above."""

import keras
import numpy as np
import pytest
from carriers import build, values

import kerastl
from kerastl import Phase
from kerastl.models.blocks import split_model


def below_head(model):
    at = next(n for n in (layer.name for layer in model.layers) if "head_pool" in n)
    return split_model(model, at)[0]


def inference_mode(model, images):
    return below_head(model).predict(images.astype("float32"), verbose=0)


def training_mode(model, images):
    """The features below the head, computed as `fit` computes them."""
    below = below_head(model)
    trainable = [v.value for v in below.trainable_variables]
    others = [v.value for v in below.non_trainable_variables]
    images = images.astype("float32")
    features, _ = below.stateless_call(trainable, others, images, training=True)
    return keras.ops.convert_to_numpy(features)


def test_a_frozen_backbone_is_deterministic_in_training_mode(model, data):
    kerastl.freeze(model)
    np.testing.assert_allclose(
        training_mode(model, data[0]),
        inference_mode(model, data[0]),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["residual", "efficientnet"])
def test_dropout_comes_back_when_unfrozen(classifier, data, name):
    model = classifier(name)
    kerastl.unfreeze(model, "all", batch_norm="frozen")
    calm = inference_mode(model, data[0])
    assert np.abs(training_mode(model, data[0]) - calm).max() > 2e-4


@pytest.mark.parametrize("name", ["residual", "efficientnet"])
def test_frozen_dropout_survives_save_and_load(classifier, data, tmp_path, name):
    model = classifier(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    calm = inference_mode(loaded, data[0])
    np.testing.assert_allclose(
        training_mode(loaded, data[0]), calm, rtol=1e-4, atol=1e-5
    )
    kerastl.unfreeze(loaded, "all", batch_norm="frozen")
    assert np.abs(training_mode(loaded, data[0]) - calm).max() > 2e-4


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_unfreezing_and_compiling_does_not_change_the_score(model, data, batch_norm):
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.05)
    kerastl.run_phases(model, data, phases=[phase], seed=0)
    images, labels = data[0].astype("float32"), data[1]
    before = model.evaluate(images, labels, verbose=0)
    kerastl.unfreeze(model, "all", batch_norm=batch_norm)
    model.compile(loss=model.loss, metrics=["accuracy"])
    after = model.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("frozen_first", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_a_flag_toggled_behind_the_back_is_caught(data, frozen_first, fitted):
    model = build()
    phase = Phase(
        "x", trainable="head" if frozen_first else "all", epochs=1, learning_rate=0.1
    )
    kerastl.run_phases(model, data, phases=[phase], seed=0)
    images, labels = data[0].astype("float32"), data[1]
    if fitted:
        model.fit(images, labels, verbose=0)
    before = values(model)
    kerastl.unfreeze(model, 1 if frozen_first else "head")
    guard = kerastl.TrainableGuard()
    with pytest.raises(ValueError, match="must train what it was compiled to train"):
        model.fit(images, labels, verbose=0, callbacks=[guard])
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_flag_toggled_by_a_callback_between_phases_is_caught(data):
    class Meddler(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.get_layer("conv2").trainable = True

    model = build()
    phase = Phase("head", trainable="head", epochs=1, learning_rate=0.1)
    before = values(model)
    with pytest.raises(ValueError, match="2 unfrozen since compile"):
        kerastl.run_phases(model, data, phases=[phase], seed=0, callbacks=[Meddler()])
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("trainable", ["head", 1])
def test_cached_training_ends_with_the_weights_of_uncached(model, data, trainable):
    phase = Phase("top", trainable=trainable, epochs=3, learning_rate=0.02)
    before, results = values(model), []
    for cache in ("auto", "off"):
        for weight, value in zip(model.weights, before, strict=True):
            weight.assign(value)
        history = kerastl.run_phases(
            model, data, data, phases=[phase], seed=0, batch_size=6, cache=cache
        )
        assert history.phases[0].cached == (cache == "auto")
        results.append(values(model))
    for cached, plain in zip(*results, strict=True):
        # One float32 rounding apart where a kernel sums in another order.
        np.testing.assert_allclose(cached, plain, rtol=2e-4, atol=2e-6)


def test_nothing_is_cached_below_a_layer_that_trains(data):
    model = build()
    phase = Phase("all", trainable="all", epochs=2, learning_rate=0.01)
    assert not kerastl.run_phases(model, data, phases=[phase], seed=0).phases[0].cached


def test_augmented_training_is_not_cached(data):
    model = build()
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.01)
    history = kerastl.run_phases(model, data, phases=[phase], seed=0, augment="light")
    assert not history.phases[0].cached


def test_augmentation_inside_a_network_is_never_cached(data):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.RandomFlip(seed=0)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.01)
    history = kerastl.run_phases(
        model,
        (data[0].astype("float32"), data[1]),
        phases=[phase],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        seed=0,
    )
    assert not history.phases[0].cached


def test_a_toggle_in_the_middle_of_fit_is_caught(data):
    class Meddler(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.get_layer("conv2").trainable = True

    model = build()
    phase = Phase("head", trainable="head", epochs=3, learning_rate=0.1)
    with pytest.raises(ValueError, match="2 unfrozen since compile"):
        kerastl.run_phases(model, data, phases=[phase], seed=0, callbacks=[Meddler()])


def test_statistics_of_a_network_trained_from_scratch_are_held_later(data):
    model = build("efficientnet")
    first = Phase("scratch", trainable="all", epochs=1, learning_rate=0.01)
    kerastl.run_phases(model, data, phases=[first, first], seed=0)
    before = values(model)
    kerastl.run_phases(model, data, phases=[first], seed=0)
    for weight, old, new in zip(model.weights, before, values(model), strict=True):
        if "moving" in weight.path:
            np.testing.assert_array_equal(old, new)
