"""A frozen network's outputs: in order, whole, and without a trace."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    assert_same_weights,
    outputs,
    pixels,
    small_classifier,
    small_network,
    values,
)

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.features.files import extract
from kerastl.features.network import (
    extract_features,
    is_deterministic,
    replica_count,
    run_batches,
)
from kerastl.features.sources import make_source


def averages():
    """A network whose output is computed by hand: the mean of each channel."""
    images = keras.Input((4, 4, 3))
    return keras.Model(images, layers.GlobalAveragePooling2D()(images))


IMAGES = pixels(7, 4)
MEANS = IMAGES.mean(axis=(1, 2))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_outputs_come_in_order_whatever_the_batch(batch_size):
    made = run_batches(averages(), lambda i: IMAGES[i], 7, batch_size=batch_size)
    np.testing.assert_allclose(made, MEANS, rtol=1e-5)
    assert made.dtype == np.float32


def test_every_image_is_read_once():
    asked = []

    def rows(indices):
        asked.extend(indices)
        return IMAGES[indices]

    run_batches(averages(), rows, 7, batch_size=4)
    assert asked == list(range(7))


def test_batches_of_one_size_reach_the_network():
    seen = []
    network = averages()
    plain = network.predict_on_batch
    network.predict_on_batch = lambda batch: seen.append(batch.shape) or plain(batch)
    run_batches(network, lambda i: IMAGES[i], 7, batch_size=4)
    assert seen == [(4, 4, 4, 3)] * 2


def test_no_image_makes_an_empty_array():
    made = run_batches(averages(), lambda i: IMAGES[i], 0)
    assert (made.shape, made.dtype) == ((0, 3), np.float32)


def test_progress_ends_at_the_total():
    told = []
    run_batches(
        averages(),
        lambda i: IMAGES[i],
        7,
        batch_size=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_inference_changes_no_weight_and_repeats_itself():
    model = small_classifier(extra=layers.Dropout(0.5), learnt=True)
    kerastl.unfreeze(model, "all", batch_norm="train")
    before = values(model)
    first, second = (run_batches(model, lambda i: pixels()[i], 6) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, outputs(model, pixels()), rtol=1e-4, atol=1e-5)
    assert_same_weights(model, before)


def test_features_of_a_set_are_the_networks_outputs():
    network = small_network()
    images = kerastl.ImageSet(pixels(), None, ())
    made = extract_features(network, images, image_size=16, batch_size=4)
    np.testing.assert_allclose(made, outputs(network, pixels()), rtol=1e-4, atol=1e-4)


def test_images_of_another_size_are_resized_first():
    images = kerastl.ImageSet(np.full((2, 9, 5, 3), 40, "uint8"), None, ())
    made = extract_features(averages(), images, image_size=4, resize="crop")
    np.testing.assert_allclose(made, 40)


def network_with(layer, trainable):
    network = small_network(extra=layer)
    for each in network.layers:
        each.trainable = False
    layer.trainable = trainable
    return network


def test_a_frozen_network_is_deterministic():
    network = network_with(layers.ReLU(), True)
    assert is_deterministic(network, pixels().astype("float32"))


@pytest.mark.parametrize("layer", [layers.Dropout(0.5), layers.BatchNormalization()])
def test_noise_and_batch_statistics_are_noticed(layer):
    assert not is_deterministic(network_with(layer, True), pixels().astype("float32"))


def test_looking_for_noise_leaves_no_trace():
    network = network_with(layers.Dropout(0.5, seed=3), True)
    network.get_layer("bn1").trainable = True
    before = [np.array(v) for v in network.variables]
    is_deterministic(network, pixels().astype("float32"))
    for variable, old in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old, err_msg=variable.path)


def test_a_model_without_a_strategy_has_one_replica():
    assert replica_count(averages()) == 1


@pytest.mark.parametrize(
    "data",
    [
        ({"left": np.zeros((2, 4)), "right": np.zeros((2, 4))}, 1),
        ({"left": np.zeros((2, 4)), "right": 3.0}, np.zeros(2)),
        (np.zeros((2, 16, 16, 3)), np.int64(1)),
        (5, np.zeros(2)),
    ],
)
def test_a_number_is_no_array_of_rows(data):
    with pytest.raises(ValueError, match="pair of one row an example"):
        make_source(small_network(), data, "train")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_an_image(batch_size):
    data = ImageSet(np.zeros((2, 32, 32, 3), "uint8"), None, ())
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        extract("MobileNet", data, alpha=0.25, image_size=32, batch_size=batch_size)
