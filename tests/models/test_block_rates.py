"""Rates by depth or by name: for exactly the blocks meant, in a part of a model too."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import coloured, small_classifier, small_network, values

import kerastl
from kerastl.models.optimizers import (
    block_layers,
    current_multipliers,
    layer_multipliers,
    layerwise_optimizer,
    variable_multipliers,
)
from kerastl.tasks.compiling import compile_model
from kerastl.tasks.task import bind


def open_classifier(trainable="all"):
    model = small_classifier(learnt=True)
    kerastl.unfreeze(model, trainable, batch_norm="affine")
    return model


def by_path(pairs):
    return {variable.path: multiplier for variable, multiplier in pairs}


def test_decay_goes_down_by_blocks_from_the_head():
    found = layer_multipliers(open_classifier(), layer_decay=0.5)
    assert found["head_dense"] == 1.0
    for number, wanted in ((3, 0.5), (2, 0.25), (1, 0.125)):
        assert found[f"conv{number}"] == found[f"bn{number}"] == wanted


def test_the_stem_of_a_known_network_is_slowest():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    model = kerastl.build_classifier(backbone, ["cat", "dog"])
    found = layer_multipliers(model, layer_decay=0.5)
    assert len(block_layers(model)) == 15
    assert found["conv1"] == min(found.values()) == 0.5**14
    assert found["conv_pw_13"] == found["conv_dw_13"] == 0.5


def test_decay_goes_down_inside_a_nested_network():
    x = images = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(small_network()(x))
    model = keras.Model(images, layers.Dense(3, name="dense")(x))
    found = by_path(variable_multipliers(model, layer_decay=0.5))
    kernels = [f"conv{number}/kernel" for number in (1, 2, 3)]
    assert [found[path] for path in kernels] == [0.125, 0.25, 0.5]
    assert found["dense/kernel"] == 1.0


def all_head():
    """Two dense layers and no image: a head without a backbone."""
    x = keras.Input((8,))
    return keras.Model(x, layers.Dense(3)(layers.Dense(8)(x)))


def test_a_model_that_is_all_head_learns_at_the_full_rate():
    model = all_head()
    model.compile(layerwise_optimizer("adam", model, layer_decay=0.5), "mse")
    assert {row.multiplier for row in kerastl.rates.learning_rates(model).rows} == {1.0}
    assert [row.block for row in kerastl.trainable_report(model).rows] == ["head"]
    data = np.ones((4, 8), "float32"), np.zeros((4, 3), "float32")
    norms = kerastl.rates.relative_gradient_norms(model, data, loss="mse")
    assert list(norms) == ["head"]


@pytest.mark.parametrize("trainable", [1, "block_1"])
def test_a_model_that_is_all_head_has_no_blocks_to_open(trainable):
    with pytest.raises(ValueError, match="all of it is its head"):
        kerastl.unfreeze(all_head(), trainable)


def test_what_a_block_gets_does_not_depend_on_what_trains():
    whole = by_path(variable_multipliers(open_classifier(), layer_decay=0.5))
    upper = by_path(variable_multipliers(open_classifier(1), layer_decay=0.5))
    assert len(upper) < len(whole)
    assert upper.items() <= whole.items()


def test_names_mean_exactly_that_part():
    named = {"block_2": 0.25, "head": 10}
    found = by_path(variable_multipliers(open_classifier(), multipliers=named))
    for path, multiplier in found.items():
        own = {"2": 0.25, "e": 10.0}.get(path.partition("/")[0][-1], 1.0)
        assert multiplier == own, path


def test_a_layers_own_number_counts_more_than_its_blocks():
    named = {"conv2": 0.5, "block_2": 0.25}
    found = layer_multipliers(open_classifier(), multipliers=named)
    assert (found["conv2"], found["bn2"]) == (0.5, 0.25)


def test_both_are_multiplied():
    named = {"block_3": 0.5}
    found = layer_multipliers(open_classifier(), layer_decay=0.5, multipliers=named)
    assert (found["conv3"], found["conv2"]) == (0.25, 0.25)


def test_pairs_are_as_good_as_a_dictionary():
    model, named = open_classifier(), {"block_3": 0.5, "head": 2.0}
    assert variable_multipliers(
        model, multipliers=tuple(named.items())
    ) == variable_multipliers(model, multipliers=named)


def test_layers_of_a_nested_model_are_found():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="deep")], name="inner"
    )
    x = images = keras.Input((8, 8, 3))
    for layer in (inner, layers.Conv2D(2, 3, name="outer")):
        x = layer(x)
    x = layers.Dense(2, name="last")(layers.GlobalAveragePooling2D()(x))
    found = by_path(
        variable_multipliers(keras.Model(images, x), multipliers={"deep": 0.5})
    )
    assert {path.split("/")[-2]: m for path, m in found.items()} == {
        "deep": 0.5,
        "outer": 1.0,
        "last": 1.0,
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "`layer_decay` must be given, or `multipliers`"),
        ({"layer_decay": 0.0}, "`layer_decay` must be above 0 and at most 1"),
        ({"layer_decay": 1.5}, "`layer_decay` must be above 0 and at most 1"),
        ({"multipliers": {"block_2": -1.0}}, r"`multipliers\['block_2'\]` must be at"),
        ({"multipliers": {"block_2": float("nan")}}, r"`multipliers\['block_2'\]`"),
        ({"multipliers": {"block_2": float("inf")}}, r"`multipliers\['block_2'\]`"),
        ({"multipliers": {"blok_2": 0.5}}, "Did you mean 'block_2'"),
        ({"multipliers": {"zzz": 0.5}}, "The last are: block_2, block_3, head"),
        ({"multipliers": {"block_1": 0.5}}, "of what trains.*'block_1'.*frozen"),
        ({"multipliers": {"relu3": 0.5}}, "of what trains.*'relu3'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        layerwise_optimizer("sgd", open_classifier(2), **settings)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="a Keras optimizer or its name"):
        layerwise_optimizer("sdg", open_classifier(), layer_decay=0.5)


def test_the_state_of_a_pattern_stays_behind():
    model = open_classifier()
    pattern = keras.optimizers.SGD(0.25, momentum=0.5)
    pattern.build(model.trainable_variables)
    pattern.iterations.assign(7)
    made = layerwise_optimizer(pattern, model, layer_decay=0.5)
    assert (made.momentum, float(made.learning_rate)) == (0.5, 0.25)
    assert int(made.iterations) == 0
    assert not made.built


def test_a_models_own_compile_takes_it():
    model = open_classifier()
    rule = layerwise_optimizer(
        keras.optimizers.SGD(0.01), model, multipliers={"block_1": 0, "block_2": 0}
    )
    model.compile(rule, loss=model.loss)
    before = values(model)
    images, labels = coloured(2)
    model.fit(images.astype("float32"), labels, verbose=0)
    for weight, old, new in zip(model.weights, before, values(model), strict=True):
        still = weight.path.split("/")[0] in ("conv1", "bn1", "conv2", "bn2")
        if still or "moving" in weight.path or "seed" in weight.path:
            np.testing.assert_array_equal(new, old, err_msg=weight.path)
        elif weight.path.endswith("kernel"):
            assert (new != old).any(), weight.path


def test_a_part_of_a_model_learns_at_the_wholes_rates():
    model = open_classifier(2)
    _, part = kerastl.features.split_model(model, "relu1")
    compile_model(part, loss="mse", layer_decay=0.5, bound=bind(model))
    part.optimizer.build(part.trainable_variables)
    pairs = by_path(variable_multipliers(model, layer_decay=0.5))
    found = current_multipliers(part.optimizer, part.trainable_variables)
    assert [pairs[v.path] for v in part.trainable_variables] == found
    assert set(found) == {0.25, 0.5, 1.0}


def test_compiling_needs_no_multipliers():
    model = open_classifier()
    compile_model(model)
    assert type(model.optimizer) is keras.optimizers.AdamW


def test_float16_is_still_scaled():
    model = small_classifier(precision="mixed_float16")
    compile_model(model, layer_decay=0.5)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert current_multipliers(model.optimizer, model.trainable_variables) == [1.0] * 2


def test_biases_and_normalisation_stay_exempt_from_decay():
    def no_loss(labels, predicted):
        return 0.0 * keras.ops.sum(predicted, axis=-1)

    model = small_classifier(hidden=(4,))
    for layer in model.layers:
        layer.set_weights([np.full(w.shape, 0.5) for w in layer.get_weights()])
    kerastl.unfreeze(model, "all", batch_norm="affine")
    compile_model(
        model, loss=no_loss, learning_rate=0.01, weight_decay=0.1, layer_decay=0.5
    )
    images, labels = coloured(1)
    model.train_on_batch(images.astype("float32"), labels)
    rates = by_path(variable_multipliers(model, layer_decay=0.5))
    for variable in model.trainable_variables:
        rate = rates[variable.path] * (variable.name == "kernel")
        found = keras.ops.convert_to_numpy(variable)
        shrunk = 0.5 * (1 - 0.01 * 0.1 * rate)
        np.testing.assert_allclose(found, shrunk, rtol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(
    ("multipliers", "error", "hint"),
    [
        ("auto_rgn", ValueError, "Only Phase"),
        (3, TypeError, "=3"),
        ([1], TypeError, ""),
    ],
)
def test_multipliers_of_another_kind_are_refused(multipliers, error, hint):
    sentence = f"must be a dictionary of names and numbers.*{hint}"
    with pytest.raises(error, match=sentence):
        layerwise_optimizer("adamw", open_classifier(), multipliers=multipliers)
