"""Multiplications, against the products written out."""

import keras
import pytest
from keras import layers

from kerastl.models.backbones import build_backbone
from kerastl.models.blocks import (
    cut_points,
    multiplications,
    multiplications_below,
    truncate,
)

CASES = [
    (layers.Conv2D(4, 3, padding="same"), 8 * 8 * 3 * 3 * 5 * 4),
    (layers.Conv2D(4, 3, strides=2, padding="same"), 4 * 4 * 3 * 3 * 5 * 4),
    (layers.Conv2D(10, 3, groups=5, padding="same"), 8 * 8 * 3 * 3 * 1 * 10),
    (layers.DepthwiseConv2D(3, padding="same"), 8 * 8 * 3 * 3 * 5),
    (layers.SeparableConv2D(4, 3, padding="same"), 8 * 8 * (3 * 3 * 5 + 5 * 4)),
    (layers.Dense(7), 8 * 8 * 5 * 7),
    (layers.BatchNormalization(), 0),
    (layers.GlobalAveragePooling2D(), 0),
]


@pytest.mark.parametrize(("layer", "expected"), CASES)
def test_a_kernel_counts_once_for_each_place_of_the_output(layer, expected):
    images = keras.Input((8, 8, 5))
    assert multiplications(keras.Model(images, layer(images))) == expected


def test_a_dense_layer_on_vectors_is_its_kernel():
    x = keras.Input((5,))
    assert multiplications(keras.Model(x, layers.Dense(3)(x))) == 15


def test_an_embedding_multiplies_nothing():
    x = keras.Input((6,), dtype="int32")
    assert multiplications(keras.Model(x, layers.Embedding(100, 4)(x))) == 0


@pytest.mark.parametrize(
    "layer", [layers.Conv2D(4, 3, padding="same"), layers.Dense(7)]
)
def test_an_adapter_costs_what_its_kernel_costs_without_it(layer):
    images = keras.Input((8, 8, 5))
    model = keras.Model(images, layer(images))
    bare = multiplications(model)
    layer.enable_lora(2)
    assert multiplications(model) == bare


def test_a_shared_layer_counts_for_each_call():
    x = keras.Input((5,))
    dense = layers.Dense(5)
    assert multiplications(keras.Model(x, dense(dense(x)))) == 50


def test_a_network_within_a_network_counts_as_itself():
    x, y = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    inner = keras.Model(x, layers.Conv2D(4, 1)(x))
    outer = keras.Model(y, layers.Conv2D(2, 1)(inner(y)))
    assert multiplications(outer) == 64 * 3 * 4 + 64 * 4 * 2


def test_freezing_changes_no_cost():
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(3)(x))
    model.trainable = False
    assert multiplications(model) == 15


def test_what_lies_below_a_cut_point_costs_what_the_truncated_network_costs():
    model = build_backbone("MobileNetV2", image_size=32, alpha=0.35, weights=None)
    below = multiplications_below(model)
    inside = cut_points(model)[1:-1]
    assert len(inside) > 3
    expected = {cut: multiplications(truncate(model, cut)) for cut in inside}
    assert {cut: below[cut] for cut in inside} == expected
