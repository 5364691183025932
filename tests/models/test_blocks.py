"""Blocks: every layer in exactly one, grouped as the network's authors did."""

import keras
import pytest
from families import PARAMS, build, heavy_on_jax

from kerastl.models.adapting import adapt_backbone
from kerastl.models.blocks import blocks, split_model, truncate


def leaf_names(model):
    """Names of the innermost layers of a model."""
    names = []
    for layer in model.layers:
        names += leaf_names(layer) if isinstance(layer, keras.Model) else [layer.name]
    return names


@pytest.mark.parametrize("member", PARAMS)
def test_every_layer_is_in_exactly_one_block(member):
    model = build(member.name, member.size)
    listed = [name for names in blocks(model).values() for name in names]
    assert sorted(listed) == sorted(leaf_names(model))


@pytest.mark.parametrize("member", PARAMS)
def test_blocks_are_as_many_as_the_paper_has(member):
    assert len(blocks(build(member.name, member.size))) == member.blocks


@pytest.mark.parametrize("member", PARAMS)
def test_every_block_holds_a_weight_that_is_no_normalisation(member):
    model = build(member.name, member.size)
    # 4-D and 2-D kernels are convolutions and dense layers.
    kernels = {
        variable.path.split("/")[-2]
        for variable in model.weights
        if len(variable.shape) in (2, 4)
    }
    for names in blocks(model).values():
        assert kernels & set(names)


@pytest.mark.parametrize("member", PARAMS)
def test_blocks_are_ordered_from_input_to_output(member):
    model = build(member.name, member.size)
    order = leaf_names(model)
    ends = [max(map(order.index, names)) for names in blocks(model).values()]
    assert ends == sorted(ends) or member.name == "NASNetMobile"
    assert "preprocessing" in next(iter(blocks(model).values()))


def test_mobilenet_blocks_are_stem_and_thirteen_separable_convolutions():
    found = blocks(build("MobileNet", 32))
    assert list(found) == ["stem", *(f"block_{i}" for i in range(1, 14))]
    assert found["block_2"] == (
        "conv_pad_2",
        "conv_dw_2",
        "conv_dw_2_bn",
        "conv_dw_2_relu",
        "conv_pw_2",
        "conv_pw_2_bn",
        "conv_pw_2_relu",
    )


@heavy_on_jax
def test_a_shortcut_belongs_to_the_block_it_leads_into():
    found = blocks(build("ResNet50", 32))
    assert {"conv3_block1_0_conv", "conv3_block1_0_bn"} <= set(found["conv3_block1"])
    xception = build("Xception", 71)
    shortcut = [
        layer.name
        for layer in xception.layers
        if layer.name.startswith("conv2d") and layer.filters == 256
    ]
    assert set(shortcut) < set(blocks(xception)["block3"])


@heavy_on_jax
def test_nasnet_adjusts_earlier_features_in_the_cell_that_uses_them():
    found = blocks(build("NASNetMobile", 32))
    assert "adjust_conv_projection_6" in found["normal_6"]
    assert "adjust_conv_1_5" in found["normal_5"]


@heavy_on_jax
def test_trailing_normalisation_joins_the_last_block():
    assert blocks(build("ResNet50V2", 32))["conv5_block3"][-2:] == (
        "post_bn",
        "post_relu",
    )
    assert "relu" in blocks(build("DenseNet121", 32))["conv5"]


@heavy_on_jax
def test_convolutions_after_the_last_block_form_the_top():
    found = blocks(build("MobileNetV2", 32))
    assert found["top"] == ("Conv_1", "Conv_1_bn", "out_relu")


@heavy_on_jax
def test_inception_stem_ends_where_the_branches_part():
    model = build("InceptionV3", 75)
    stem = blocks(model)["stem"]
    assert sum(isinstance(model.get_layer(n), keras.layers.Conv2D) for n in stem) == 5


def test_an_unnamed_activation_after_a_blocks_end_belongs_to_the_block():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.MaxPooling2D(1, name="block1_pool")(inputs)
    x = keras.layers.ReLU(name="alone")(x)
    x = keras.layers.Conv2D(3, 1, name="conv")(x)
    x = keras.layers.MaxPooling2D(1, name="block2_pool")(x)
    model = keras.Model(inputs, x, name="vgg16")
    found = blocks(adapt_backbone(model, preprocessing="none"))
    assert found["block1"][-1] == "alone"


def test_a_layer_that_leads_into_two_blocks_belongs_to_the_earlier():
    inputs = keras.Input((8, 8, 3))
    side = keras.layers.Conv2D(3, 1, name="side")(inputs)
    first = keras.layers.MaxPooling2D(1, name="block1_pool")(side)
    relu = keras.layers.ReLU(name="relu")(first)
    total = keras.layers.Add(name="total")([side, relu, first])
    second = keras.layers.MaxPooling2D(1, name="block2_pool")(total)
    model = keras.Model(inputs, second, name="vgg16")
    assert blocks(adapt_backbone(model, preprocessing="none")) == {
        "block1": ("images", "preprocessing", "side", "block1_pool"),
        "block2": ("relu", "total", "block2_pool"),
    }


def test_a_nested_models_inner_layers_are_listed():
    found = blocks(build("ConvNeXtTiny", 32))
    assert "convnext_tiny_stem_conv" in found["stem"]
    assert "convnext_tiny_downsampling_conv_0" in found["stage_1_block_0"]


@heavy_on_jax
def test_names_do_not_depend_on_what_was_built_before():
    first = blocks(build("InceptionV3", 75))
    keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3))
    from kerastl.models.backbones import build_backbone

    again = blocks(build_backbone("InceptionV3", image_size=75, weights=None))
    assert list(first) == list(again)
    assert [*map(len, first.values())] == [*map(len, again.values())]


def classifier():
    """MobileNet with a head, flat in one graph."""
    backbone = build("MobileNet", 32)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(backbone.output)
    x = keras.layers.Dense(3, name="head_dense")(x)
    return keras.Model(backbone.input, x)


def test_a_classifier_has_its_backbones_blocks_when_the_head_is_excluded():
    found = blocks(classifier(), exclude=("head_pool", "head_dense"))
    assert found == blocks(build("MobileNet", 32))


def test_a_head_that_is_not_excluded_is_the_top():
    assert blocks(classifier())["top"] == ("head_pool", "head_dense")


@heavy_on_jax
def test_a_truncated_network_keeps_its_blocks():
    whole = blocks(build("ResNet50", 32))
    part = blocks(truncate(build("ResNet50", 32), "conv3_block4_out"))
    assert part == {name: whole[name] for name in list(whole)[: 1 + 3 + 4]}


def own_network():
    """conv-bn-relu, a residual unit of the same, conv-bn-relu-pool."""

    def unit(x, index):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"conv{index}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{index}")(x)
        return keras.layers.ReLU(name=f"relu{index}")(x)

    inputs = keras.Input((16, 16, 3), name="in")
    first = unit(inputs, 1)
    second = unit(first, 2)
    x = keras.layers.Add(name="sum")([first, second])
    x = unit(x, 3)
    return keras.Model(inputs, keras.layers.MaxPooling2D(name="pool")(x), name="own")


def test_a_foreign_network_is_cut_into_blocks_with_a_convolution_each():
    assert blocks(own_network()) == {
        "block_1": ("in", "conv1", "bn1", "relu1"),
        "block_2": ("conv2", "bn2", "relu2", "sum"),
        "block_3": ("conv3", "bn3", "relu3", "pool"),
    }


def test_a_foreign_network_without_cuts_inside_is_one_block():
    inputs = keras.Input((8, 8, 3), name="in")
    sides = [keras.layers.Conv2D(2, 1, name=f"side{i}")(inputs) for i in range(2)]
    joined = keras.layers.Concatenate(name="joined")(sides)
    assert list(blocks(keras.Model(inputs, joined))) == ["block_1"]


def test_an_adapted_keras_network_is_recognised_by_its_name():
    plain = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(32, 32, 3), name="mobilenet"
    )
    adapted = adapt_backbone(plain, preprocessing="tf")
    assert list(blocks(adapted)) == list(blocks(build("MobileNet", 32)))


def test_a_known_name_with_unknown_layers_falls_back_to_cut_points():
    own = own_network()
    impostor = keras.Model(own.input, own.output, name="mobilenet")
    found = blocks(adapt_backbone(impostor, preprocessing="tf"))
    assert list(found) == ["block_1", "block_2", "block_3"]


def test_the_second_half_of_a_network_has_blocks_too():
    _, suffix = split_model(build("MobileNet", 32), "conv_pw_11_relu")
    assert list(blocks(suffix)) == [f"block_{i}" for i in range(1, 5)]


def test_a_model_that_is_no_graph_is_refused():
    with pytest.raises(TypeError, match=r"`model` must be a functional keras.Model"):
        blocks(keras.Sequential([keras.layers.Dense(1)]))


def nested(base, *, after=()):
    """The network inside another graph, as `base(x)` puts it there."""
    images = keras.Input((16, 16, 3), name="images")
    x = base(keras.layers.Rescaling(1 / 255, name="scale")(images), training=False)
    for layer in after:
        x = layer(x)
    return keras.Model(images, x)


def test_a_nested_networks_blocks_are_found_where_asked():
    model = nested(own_network(), after=[keras.layers.ReLU(name="last")])
    assert len(blocks(model)) == 1
    assert blocks(model, nested=True) == {
        "block_1": ("images", "scale", "in", "conv1", "bn1", "relu1"),
        "block_2": ("conv2", "bn2", "relu2", "sum"),
        "block_3": ("conv3", "bn3", "relu3", "pool", "last"),
    }


def test_blocks_of_nested_and_outer_networks_are_numbered_in_one_row():
    model = nested(own_network(), after=[keras.layers.Conv2D(4, 1, name="more")])
    found = blocks(model, nested=True)
    assert list(found) == ["block_1", "block_2", "block_3", "block_4"]
    assert found["block_3"] == ("conv3", "bn3", "relu3", "pool")
    assert found["block_4"] == ("more",)


def test_a_model_of_which_all_is_excluded_has_no_blocks():
    x = keras.Input((8,), name="x")
    model = keras.Model(x, keras.layers.Dense(3, name="dense")(x))
    assert blocks(model, exclude=("x", "dense")) == {}
