"""Where the frozen part ends: below everything that may differ between epochs."""

import keras
import pytest
from keras import layers
from networks import small_classifier, small_network

import kerastl
from kerastl.features.planning import is_understood, possible_cuts
from kerastl.models.blocks import cut_points
from kerastl.models.lora import add_lora


def names(model):
    return [cut.name for cut in possible_cuts(model)]


def test_a_frozen_backbone_may_be_cut_up_to_the_pooling():
    model = small_classifier()
    assert names(model)[-1] == "head_pool_avg"
    assert set(names(model)) <= set(cut_points(model))


def test_cuts_begin_at_the_first_weights():
    assert names(small_classifier())[0] == "conv1"


def test_what_trains_and_all_above_is_no_cut():
    model = small_classifier()
    kerastl.unfreeze(model, "conv3", batch_norm="frozen")
    assert names(model)[-1] == "relu2"


def test_nothing_is_a_cut_when_all_trains():
    model = small_classifier()
    kerastl.unfreeze(model, "all")
    assert names(model) == []


@pytest.mark.parametrize("kind", ["norm", "bias"])
def test_the_frozen_part_ends_below_the_first_weight_of_a_kind_that_trains(kind):
    model = small_classifier()
    kerastl.unfreeze(model, kind)
    # bn1 is the first to have either.
    assert names(model) == ["conv1"]


def test_adapters_end_the_frozen_part():
    model = small_classifier()
    add_lora(model, rank=2, blocks=1)
    assert names(model)[-1] == "relu2"
    kerastl.freeze(model)
    assert names(model)[-1] == "head_pool_avg"


def test_active_dropout_ends_the_frozen_part():
    model = small_classifier(extra=layers.Dropout(0.5, name="drop"))
    assert names(model)[-1] == "head_pool_avg"
    model.get_layer("drop").trainable = True
    assert names(model)[-1] == "relu2"


def test_batch_statistics_without_affine_parameters_end_the_frozen_part():
    # It has no trainable variable, and yet its output changes.
    x = images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv", trainable=False)(x)
    x = layers.BatchNormalization(center=False, scale=False, name="statistics")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, layers.Dense(2)(x))
    assert names(model) == ["conv"]
    model.get_layer("statistics").trainable = False
    assert names(model)[1] == "statistics"


def test_random_layers_end_the_frozen_part():
    x = images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv", trainable=False)(x)
    x = layers.RandomFlip()(x)
    model = keras.Model(images, layers.Dense(2)(layers.Flatten()(x)))
    assert names(model) == ["conv"]


def test_a_cut_knows_its_size_and_the_work_below_it():
    cuts = {cut.name: cut for cut in possible_cuts(small_classifier())}
    assert cuts["relu1"].size == 8 * 8 * 4
    assert cuts["conv1"].below == 8 * 8 * 27 * 4
    assert cuts["head_pool_avg"].below == 64 * 108 + 16 * 144 + 4 * 144


def test_half_precision_activations_are_known():
    images = keras.Input((8, 8, 3))
    frozen = layers.Conv2D(4, 3, dtype="mixed_float16", name="c", trainable=False)
    x = layers.Flatten()(frozen(images))
    model = keras.Model(images, layers.Dense(2)(x))
    assert possible_cuts(model)[0].dtype == "float16"


@pytest.mark.parametrize(
    ("layer", "understood"),
    [
        (layers.Dropout(0.1), True),
        (layers.SpectralNormalization(layers.Conv2D(4, 3)), False),
    ],
)
def test_wrappers_are_looked_at_in_training_mode(layer, understood):
    assert is_understood(small_network(extra=layer)) == understood


def test_code_of_others_is_looked_at_in_training_mode():
    class Double(layers.Layer):
        def call(self, x):
            return 2 * x

    assert not is_understood(small_network(extra=Double()))
