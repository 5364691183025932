"""Invariants 1 and 2: exactly the named weights train, and exactly they move."""

import keras
import numpy as np
import pytest
from carriers import build, moved, paths, values

import kerastl
from kerastl import Phase
from kerastl.models.freezing import model_blocks

HEAD = {"head_dense/kernel", "head_dense/bias"}


def layer_paths(model, names, kind="trainable"):
    """Paths of the weights of the named layers, BatchNorm left out."""
    return {
        weight.path
        for name in names
        for weight in model.get_layer(name).weights
        if not isinstance(model.get_layer(name), keras.layers.BatchNormalization)
        and not isinstance(model.get_layer(name), keras.layers.Normalization)
    }


def test_after_freeze_exactly_the_head_trains(model):
    kerastl.unfreeze(model, "all")
    kerastl.freeze(model)
    assert paths(model.trainable_variables) == HEAD


def test_after_unfreeze_the_head_and_the_last_block_train(model):
    kerastl.unfreeze(model, 1, batch_norm="frozen")
    last = list(model_blocks(model).values())[-1]
    assert paths(model.trainable_variables) == HEAD | layer_paths(model, last)


def test_all_trains_every_weight_that_is_not_a_statistic(model):
    kerastl.unfreeze(model, "all", batch_norm="train")
    names = [layer.name for layer in model.layers]
    affine = {
        weight.path
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in (layer.gamma, layer.beta)
    }
    expected = HEAD | layer_paths(model, names) | affine
    assert paths(model.trainable_variables) == expected


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_what_moves_is_what_trains(model, data, batch_norm):
    before = values(model)
    phase = Phase(
        "top",
        trainable=1,
        epochs=2,
        learning_rate=0.05,
        batch_norm=batch_norm,
        optimizer="sgd",
    )
    history = kerastl.run_phases(model, data, phases=[phase], seed=0, batch_size=9)
    expected = paths(model.trainable_variables)
    statistics = {
        weight.path
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for weight in (layer.moving_mean, layer.moving_variance)
    }
    if batch_norm == "train":
        expected |= statistics
    assert moved(model, before) == expected
    assert set(history.phases[0].moved) == expected


def test_the_official_idiom_would_have_moved_statistics(data):
    """What this library is for: the guide's own pattern, on this Keras."""
    inputs = keras.Input((32, 32, 3))
    keras.utils.set_random_seed(0)
    base = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
        ]
    )
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    before = values(model)
    kerastl.run_phases(
        model,
        (data[0].astype("float32"), data[1]),
        phases=[Phase("all", trainable="all", epochs=1, learning_rate=0.01)],
        loss=loss,
        seed=0,
    )
    names = {path.rsplit("/", 1)[-1] for path in moved(model, before)}
    assert names == {"kernel", "bias"}


def test_a_later_phase_leaves_no_flag_of_an_earlier_one(data):
    model = build()
    phases = [
        Phase("all", trainable="all", epochs=1, learning_rate=0.01, batch_norm="train"),
        Phase("head", trainable="head", epochs=1, learning_rate=0.01),
    ]
    history = kerastl.run_phases(model, data, phases=phases, seed=0)
    assert set(history.phases[1].moved) == HEAD


def test_random_weights_train_their_normalisation(classifier, data):
    model = classifier("efficientnet")
    before = values(model)
    phase = Phase("all", trainable="all", epochs=1, learning_rate=0.01)
    kerastl.run_phases(model, data, phases=[phase], seed=0)
    assert any("moving_mean" in path for path in moved(model, before))


def test_same_seed_same_weights_and_another_seed_others(data):
    def train(seed):
        model = build()
        phase = Phase("all", trainable="all", epochs=1, learning_rate=0.01)
        kerastl.run_phases(model, data, phases=[phase], seed=seed, batch_size=6)
        return values(model)

    for one, two in zip(train(1), train(1), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(
        np.array_equal(one, two) for one, two in zip(train(1), train(2), strict=True)
    )
