"""Cut points: found exactly, and cutting there changes no number."""

import keras
import numpy as np
import pytest
from families import PARAMS, build, heavy_on_jax, pixels, speed

from kerastl.models.blocks import (
    cut_points,
    multiplications,
    split_model,
    truncate,
)


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


# --- several tensors ---------------------------------------------------------


@pytest.fixture
def unet():
    """Two skips past the deepest layer, statistics and dropout, one output."""
    x = keras.Input((16, 16, 3), name="in")
    conv = {"padding": "same", "activation": "relu"}
    one = keras.layers.Conv2D(4, 3, **conv, name="down1")(x)
    two = keras.layers.MaxPooling2D(name="pool1")(one)
    two = keras.layers.Conv2D(6, 3, **conv, name="down2")(two)
    deep = keras.layers.MaxPooling2D(name="pool2")(two)
    deep = keras.layers.Conv2D(8, 3, **conv, name="deep")(deep)
    deep = keras.layers.BatchNormalization(name="norm")(deep)
    y = keras.layers.UpSampling2D(name="up2")(deep)
    y = keras.layers.Concatenate(name="join2")([y, two])
    y = keras.layers.Conv2D(6, 3, **conv, name="conv2")(y)
    y = keras.layers.UpSampling2D(name="up1")(y)
    y = keras.layers.Concatenate(name="join1")([y, one])
    y = keras.layers.Conv2D(2, 3, padding="same", name="out")(y)
    return keras.Model(x, y, name="unet")


def test_a_u_net_is_cut_with_its_skips(unet):
    prefix, suffix = split_model(unet, ("down1", "down2", "norm"))
    images = pixels(16).astype("float32")
    np.testing.assert_array_equal(
        to_numpy(suffix(prefix(images, training=False), training=False)),
        to_numpy(unet(images, training=False)),
    )
    shapes = [(None, 16, 16, 4), (None, 8, 8, 6), (None, 4, 4, 8)]
    assert [tensor.shape for tensor in prefix.outputs] == shapes
    assert [tensor.shape for tensor in suffix.inputs] == shapes
    inside = {layer.name for layer in suffix.layers if layer.weights}
    assert inside == {"conv2", "out"}
    assert suffix.get_layer("out").kernel is unet.get_layer("out").kernel


def test_a_part_with_several_inputs_trains_in_fit(unet):
    prefix, suffix = split_model(unet, ("down1", "down2", "norm"))
    features = prefix.predict(pixels(16).astype("float32"), verbose=0)
    before = to_numpy(unet.get_layer("out").kernel).copy()
    suffix.compile("sgd", "mse")
    suffix.fit(features, np.ones((2, 16, 16, 2)), verbose=0)
    assert np.any(to_numpy(unet.get_layer("out").kernel) != before)


def test_a_skip_that_was_not_named_is_told(unet):
    with pytest.raises(ValueError, match=r"'down1' leads to them, and past them"):
        split_model(unet, ("down2", "norm"))


@pytest.fixture
def masked():
    """Token ids and a padding mask, which each of two blocks takes."""
    ids = keras.Input((6,), dtype="int32", name="ids")
    mask = keras.Input((6,), dtype="int32", name="mask")
    x = keras.layers.Embedding(9, 4, name="embedding")(ids)
    for number in (1, 2):
        there = keras.ops.cast(keras.ops.expand_dims(mask, -1), "float32")
        x = keras.layers.Dense(4, activation="tanh", name=f"block{number}")(x * there)
    return keras.Model({"ids": ids, "mask": mask}, x, name="masked")


def tokens():
    rng = np.random.default_rng(0)
    there = np.arange(6) < np.array([[3], [6]])
    return {"ids": rng.integers(1, 9, (2, 6)) * there, "mask": there.astype("int32")}


def test_the_models_own_inputs_go_along(masked):
    prefix, suffix = split_model(masked, ("block1",))
    carried = prefix(tokens())
    assert [tensor.shape[1:] for tensor in carried] == [(6, 4), (6,)]
    np.testing.assert_array_equal(to_numpy(suffix(carried)), to_numpy(masked(tokens())))
    assert suffix.inputs[1].dtype == "int32"


def test_a_model_that_was_split_can_still_be_written(masked, tmp_path):
    prefix, suffix = split_model(masked, "block1")
    for model in (masked, prefix, suffix):
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        rows = prefix(tokens()) if model is suffix else tokens()
        pairs = zip(
            keras.tree.flatten(loaded(rows)),
            keras.tree.flatten(model(rows)),
            strict=True,
        )
        assert all(np.array_equal(to_numpy(a), to_numpy(b)) for a, b in pairs)


def test_masks_and_ids_do_not_hinder_a_cut(masked):
    inside = [name for name in cut_points(masked) if "multiply" not in name]
    assert inside == ["embedding", "block1", "block2"]
    prefix, suffix = split_model(masked, "block1")
    carried = prefix(tokens())
    assert [tensor.shape[1:] for tensor in carried] == [(6, 4), (6,)]
    np.testing.assert_array_equal(to_numpy(suffix(carried)), to_numpy(masked(tokens())))


def test_what_is_made_of_the_mask_alone_is_made_again_behind_the_cut():
    ids = keras.Input((6,), dtype="int32", name="ids")
    mask = keras.Input((6,), dtype="int32", name="mask")
    there = keras.ops.cast(keras.ops.expand_dims(mask, -1), "float32")
    x = keras.layers.Embedding(9, 4, name="embedding")(ids)
    for number in (1, 2):
        x = keras.layers.Dense(4, name=f"block{number}")(x * there)
    model = keras.Model({"ids": ids, "mask": mask}, x)
    prefix, suffix = split_model(model, "block1")
    made = suffix(prefix(tokens()))
    np.testing.assert_array_equal(to_numpy(made), to_numpy(model(tokens())))


def test_a_float_input_is_carried_by_no_cut():
    shape = {"shape": (3,), "name": "shape"}
    first, second = keras.Input((3,), name="first"), keras.Input(**shape)
    hidden = keras.layers.Dense(3, name="hidden")(first)
    joined = keras.layers.Add(name="joined")([hidden, second])
    model = keras.Model([first, second], keras.layers.Dense(1, name="out")(joined))
    assert cut_points(model) == ("joined", "out")


def test_the_mask_that_an_embedding_makes_is_not_lost():
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.Embedding(9, 4, mask_zero=True, name="embedding")(ids)
    x = keras.layers.Dense(4, name="dense")(x)
    model = keras.Model(ids, keras.layers.LSTM(3, name="lstm")(x), name="masked")
    prefix, suffix = split_model(model, ("dense",))
    ids = tokens()["ids"]
    # As arrays: what a prefix kept would otherwise still wear Keras's own mask.
    carried = [to_numpy(tensor) for tensor in prefix(ids)]
    np.testing.assert_array_equal(to_numpy(suffix(carried)), to_numpy(model(ids)))
    assert "dense" not in cut_points(model)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ((), "layers that the rest takes"),
        (("in",), "'in' is not one"),
        (("out",), "'out' is not one"),
        (("down1", "down2", "norm", "pool1"), "'pool1' is not one"),
        (("down1", "down1"), "named, once"),
        (("down1", "dwon2"), "Did you mean 'down2'"),
    ],
)
def test_names_that_make_no_cut_are_refused(at, message, unet):
    with pytest.raises(ValueError, match=message):
        split_model(unet, at)


def test_a_layer_called_twice_is_no_part_of_a_cut():
    x = keras.Input((4,), name="in")
    shared = keras.layers.Dense(4, name="shared")
    model = keras.Model(x, keras.layers.Dense(2, name="last")(shared(shared(x))))
    with pytest.raises(ValueError, match="called, and named, once"):
        split_model(model, ("shared",))


# --- other ways to write a model ---------------------------------------------


def written(way):
    """One network as a Sequential, or with its output in a list."""
    x = keras.Input((8, 8, 3), name="in")
    layers = [
        keras.layers.Conv2D(4, 3, name="conv1"),
        keras.layers.Conv2D(2, 3, name="conv2"),
    ]
    if way == "sequential":
        return keras.Sequential([x, *layers])
    return keras.Model(x, [layers[1](layers[0](x))])


@pytest.mark.parametrize("way", ["sequential", "list"])
def test_a_model_is_cut_however_it_is_written(way):
    model = written(way)
    images = pixels(8).astype("float32")
    prefix, suffix = split_model(model, "conv1")
    whole = to_numpy(keras.tree.flatten(model(images))[0])
    np.testing.assert_array_equal(to_numpy(suffix(prefix(images))), whole)
    np.testing.assert_array_equal(to_numpy(truncate(model, "conv2")(images)), whole)
    assert cut_points(model)[-2:] == ("conv1", "conv2")
    assert suffix.weights[0] is model.layers[-1].kernel
    assert multiplications(model) == 36 * 27 * 4 + 16 * 36 * 2


@pytest.mark.parametrize("at", [("a",), ("stem", "a"), ("b",)])
def test_an_output_of_the_model_is_no_place_to_split_at(at):
    x = keras.Input((4,))
    stem = keras.layers.Dense(3, name="stem")(x)
    a = keras.layers.Dense(3, name="a")(stem)
    b = keras.layers.Dense(2, name="b")(a)
    model = keras.Model(x, [a, b])
    with pytest.raises(ValueError, match="`at` must be layers inside: no output of"):
        split_model(model, at)
