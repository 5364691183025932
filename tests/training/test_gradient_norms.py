"""Relative gradient norms equal the closed form, and measuring changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import assert_same_weights, coloured, small_classifier, values

import kerastl
from kerastl.models.record import read_record, set_temperature
from kerastl.training.gradient_norms import (
    measured_variables,
    over_largest,
    relative_gradient_norms,
)


def linear_network(scale=1.0):
    """Mixed channels, averaged, mixed again: all linear."""
    images = keras.Input((2, 2, 3))
    x = layers.Conv2D(4, 1, use_bias=False, name="mix")(images)
    x = layers.Rescaling(scale, name="scale")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(images, layers.Dense(2, use_bias=False, name="last")(x))


def arrays(count=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 2, 2, 3)).astype("float32")
    return images, rng.normal(size=(count, 2)).astype("float32")


def by_hand(model, images, labels):
    """Relative norms of mean((x A B - y)^2) for A and B."""
    first = model.get_layer("mix").get_weights()[0].reshape(3, 4).astype("float64")
    last = model.get_layer("last").get_weights()[0].astype("float64")
    x = images.mean(axis=(1, 2)).astype("float64")
    pull = 2 * (x @ first @ last - labels) / labels.size
    own = {
        "block_1": (x.T @ pull @ last.T, first),
        "head": (first.T @ x.T @ pull, last),
    }
    return {
        name: np.linalg.norm(gradient) / np.linalg.norm(weights)
        for name, (gradient, weights) in own.items()
    }


def test_one_batch_of_a_linear_network_has_a_closed_form():
    model, data = linear_network(), arrays()
    found = relative_gradient_norms(model, data, loss="mse", batches=1)
    wanted = by_hand(model, *data)
    assert list(found) == list(wanted)
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-5)


def test_batches_are_averaged():
    import tensorflow as tf

    model, (images, labels) = linear_network(), arrays(9)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    found = relative_gradient_norms(model, data, loss="mse", batches=2)
    rows = [by_hand(model, images[s], labels[s]) for s in (slice(3), slice(3, 6))]
    for block, value in found.items():
        np.testing.assert_allclose(value, np.mean([r[block] for r in rows]), rtol=1e-5)


def test_the_largest_becomes_one_and_ratios_stay():
    model, data = linear_network(), arrays()
    raw = relative_gradient_norms(model, data, loss="mse")
    ones = relative_gradient_norms(model, data, loss="mse", normalize=True)
    assert max(ones.values()) == 1.0
    ratio = raw["block_1"] / raw["head"]
    np.testing.assert_allclose(ones["block_1"] / ones["head"], ratio, rtol=1e-9)


def test_a_block_without_gradient_is_zero():
    found = relative_gradient_norms(linear_network(0.0), arrays(), loss="mse")
    assert found == {"block_1": 0.0, "head": 0.0}


def test_frozen_blocks_are_measured_as_open_ones_are():
    model, data = small_classifier(learnt=True), coloured(2)
    kerastl.freeze(model)
    frozen = relative_gradient_norms(model, data, batches=1)
    kerastl.unfreeze(model, "all", batch_norm="affine")
    assert list(frozen) == ["block_1", "block_2", "block_3", "head"]
    assert min(frozen.values()) > 0
    opened = relative_gradient_norms(model, data, batches=1)
    np.testing.assert_allclose(list(opened.values()), list(frozen.values()), rtol=1e-5)


def test_batch_norm_is_left_out():
    model = small_classifier()
    kerastl.unfreeze(model, "all", batch_norm="train")
    found = measured_variables(model)
    names = [v.path for own in found.values() for v in own]
    assert names == [
        "conv1/kernel",
        "conv2/kernel",
        "conv3/kernel",
        "head_dense/kernel",
        "head_dense/bias",
    ]


def test_a_layer_shared_with_a_nested_model_counts_once():
    images = keras.Input((2, 2, 3))
    shared = layers.Conv2D(3, 1, name="shared")
    inside = keras.Input((2, 2, 3))
    inner = keras.Model(inside, shared(inside), name="inner")
    x = layers.GlobalAveragePooling2D()(inner(shared(images)))
    model = keras.Model(images, layers.Dense(1)(x))
    found = [v.path for own in measured_variables(model).values() for v in own]
    assert len(found) == len(set(found)) == 4


def test_measuring_leaves_no_trace():
    model = small_classifier(learnt=True, dropout=0.5)
    kerastl.unfreeze(model, "all", batch_norm="train")
    before, seeds = values(model), [np.array(v) for v in model.non_trainable_variables]
    flags = [layer.trainable for layer in model.layers]
    optimizer = model.optimizer
    relative_gradient_norms(model, coloured(2))
    assert_same_weights(model, before)
    for old, new in zip(seeds, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(np.array(new), old)
    assert [layer.trainable for layer in model.layers] == flags
    assert model.optimizer is optimizer
    assert not optimizer.built


def test_a_calibrated_model_is_measured_as_it_is_trained():
    model = small_classifier(learnt=True)
    bare = relative_gradient_norms(model, coloured(4))
    set_temperature(model, 5.0)
    assert relative_gradient_norms(model, coloured(4)) == bare
    assert read_record(model).temperature == 5.0


def test_the_seed_decides_which_images_are_drawn():
    model, data = small_classifier(learnt=True), coloured(8)
    drawn = [
        relative_gradient_norms(model, data, batches=1, batch_size=4, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_infinite_norms_are_the_largest():
    found = over_largest({"a": np.inf, "b": 2.0, "c": 4.0, "d": 0.0})
    assert found == {"a": 1.0, "b": 0.5, "c": 1.0, "d": 0.0}
    assert over_largest({"a": 0.0}) == {"a": 0.0}


def test_a_new_head_is_refused():
    with pytest.raises(ValueError, match=r"not all zero.*'head'.*Train the head first"):
        relative_gradient_norms(small_classifier(), coloured(2))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batches": 0}, "`batches` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        relative_gradient_norms(small_classifier(learnt=True), coloured(2), **settings)


def test_a_model_without_a_task_needs_a_loss():
    with pytest.raises(ValueError, match="`loss` must be given for this model"):
        relative_gradient_norms(linear_network(), arrays())
