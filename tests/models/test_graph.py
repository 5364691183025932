"""Cut points: found exactly, and cutting there changes no number."""

import keras
import numpy as np
import pytest
from families import PARAMS, build, heavy_on_jax, pixels, speed

from kerastl.models.blocks import cut_points, split_model, truncate


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def residual():
    """in -> conv1 -> (conv2 + shortcut) -> sum -> out."""
    x = keras.Input((8, 8, 3), name="in")
    first = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(x)
    second = keras.layers.Conv2D(4, 3, padding="same", name="conv2")(first)
    total = keras.layers.Add(name="sum")([first, second])
    return keras.Model(x, keras.layers.ReLU(name="out")(total), name="residual")


def reachable(model, removed):
    """Whether output is reached from input around a layer: an independent oracle."""
    reached = set()
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            sources = [None]
        else:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            sources = [tensor._keras_history.operation.name for tensor in inputs]
        open_way = any(source is None or source in reached for source in sources)
        if layer.name != removed and open_way:
            reached.add(layer.name)
    return model.layers[-1].name in reached


def test_a_layer_with_a_shortcut_around_it_is_no_cut_point(residual):
    assert cut_points(residual) == ("in", "conv1", "sum", "out")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=speed(name)) for name in ("MobileNetV2", "VGG16")]
)
def test_cut_points_are_the_layers_without_which_nothing_arrives(name):
    model = build(name, 32)
    expected = [
        layer.name for layer in model.layers if not reachable(model, layer.name)
    ]
    assert list(cut_points(model)) == expected


@pytest.mark.parametrize("member", PARAMS)
def test_cut_points_are_as_many_as_measured_elsewhere(member):
    assert len(cut_points(build(member.name, member.size))) == member.cuts


@heavy_on_jax
def test_nasnet_has_cut_points_on_its_input_side_and_at_its_end_only():
    names = cut_points(build("NASNetMobile", 32))
    assert names[:4] == ("images", "preprocessing", "stem_conv1", "stem_bn1")
    assert names[4] == "normal_concat_12"


@pytest.mark.parametrize(
    ("name", "at"),
    [
        pytest.param(name, at, marks=speed(name))
        for name, at in (
            ("MobileNet", "preprocessing"),
            ("MobileNet", "conv_pw_6_relu"),
            ("ResNet50", "conv4_block1_out"),
            ("ConvNeXtTiny", "convnext_tiny_downsampling_block_1"),
        )
    ],
)
def test_suffix_of_prefix_is_the_model_exactly(name, at):
    model = build(name, 32)
    prefix, suffix = split_model(model, at)
    images = pixels(32).astype("float32")
    np.testing.assert_array_equal(
        to_numpy(suffix(prefix(images, training=False), training=False)),
        to_numpy(model(images, training=False)),
    )


def test_the_parts_share_the_models_variables(residual):
    prefix, suffix = split_model(residual, "conv1")
    assert prefix.weights[0] is residual.get_layer("conv1").kernel
    assert suffix.weights[0] is residual.get_layer("conv2").kernel
    assert len(prefix.weights) + len(suffix.weights) == len(residual.weights)


def test_splitting_leaves_the_model_as_it_was(residual, tmp_path):
    before = cut_points(residual)
    split_model(residual, "sum")
    split_model(residual, "conv1")
    assert cut_points(residual) == before
    residual.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = pixels(8).astype("float32")
    np.testing.assert_array_equal(to_numpy(again(images)), to_numpy(residual(images)))


def test_a_suffix_can_be_split_again(residual):
    _, suffix = split_model(residual, "conv1")
    middle, last = split_model(suffix, "sum")
    features = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")
    np.testing.assert_array_equal(
        to_numpy(last(middle(features))), to_numpy(suffix(features))
    )


def test_a_truncated_network_gives_the_layers_output(residual):
    images = pixels(8).astype("float32")
    part = truncate(residual, "conv1")
    np.testing.assert_array_equal(
        to_numpy(part(images)), to_numpy(residual.get_layer("conv1")(images))
    )
    assert part.weights[0] is residual.get_layer("conv1").kernel


def test_truncating_at_the_last_layer_gives_the_whole_network(residual):
    assert len(truncate(residual, "out").layers) == len(residual.layers)


def test_a_sum_written_with_a_plus_sign_is_a_cut_point():
    x = keras.Input((4,), name="in")
    y = keras.layers.ReLU(name="out")(x + keras.layers.Dense(4, name="inside")(x))
    names = cut_points(keras.Model(x, y))
    assert len(names) == 3
    assert (names[0], names[2]) == ("in", "out")


def test_a_layer_used_twice_is_no_cut_point():
    x = keras.Input((4,), name="in")
    shared = keras.layers.Dense(4, name="shared")
    y = keras.layers.Dense(4, name="last")(shared(shared(x)))
    assert cut_points(keras.Model(x, y)) == ("in", "last")


def test_two_inputs_are_joined_before_the_first_cut_point():
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    joined = keras.layers.Add(name="joined")([keras.layers.ReLU()(left), right])
    names = cut_points(keras.Model([left, right], joined))
    assert names == ("joined",)


@pytest.mark.parametrize("cut", [split_model, truncate])
def test_an_unknown_layer_is_refused_with_the_nearest_name(cut, residual):
    with pytest.raises(ValueError, match=r"`at` must be a layer of residual.*'conv1'"):
        cut(residual, "konv1")


def test_no_layer_is_suggested_where_nothing_can_be_cut(residual):
    with pytest.raises(ValueError, match=r"Did you mean 'conv1'"):
        split_model(residual, "conv_2")


@pytest.mark.parametrize("cut", [split_model, truncate])
def test_a_layer_that_is_no_cut_point_is_refused_with_its_neighbours(cut, residual):
    with pytest.raises(ValueError, match="nearest are 'conv1' and 'sum'"):
        cut(residual, "conv2")


@pytest.mark.parametrize("at", ["in", "out"])
def test_a_split_that_leaves_one_part_empty_is_refused(at, residual):
    with pytest.raises(ValueError, match="layers on both sides"):
        split_model(residual, at)


def test_a_network_without_a_cut_inside_is_refused():
    x = keras.Input((4,), name="in")
    sides = [keras.layers.Dense(2, name=f"side{i}")(x) for i in range(2)]
    model = keras.Model(x, keras.layers.Add(name="sum")(sides), name="wide")
    with pytest.raises(ValueError, match="wide has none inside"):
        split_model(model, "side0")


@pytest.mark.parametrize("function", [cut_points, lambda m: split_model(m, "a")])
def test_a_model_that_is_no_graph_is_refused(function):
    with pytest.raises(TypeError, match=r"`model` must be a functional keras.Model"):
        function(keras.Sequential([keras.layers.Dense(1)]))
