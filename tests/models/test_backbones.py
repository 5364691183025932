"""Backbones: 0-255 in, their own preprocessing inside, flat, and saved whole."""

import keras
import numpy as np
import pytest
from families import BUILT_IN, PARAMS, build, pixels, speed

from kerastl.models.backbones import backbone_table, build_backbone, list_backbones
from kerastl.models.layers import Preprocessing
from kerastl.models.registry import REGISTRY

# Writing and reading the graphs of these takes longest.
LONG = ("NASNetMobile", "DenseNet121", "InceptionV3", "EfficientNetV2B0", "ResNet50")
ROUND_TRIP = [
    pytest.param(p.values[0], id=p.id, marks=[pytest.mark.slow]) if p.id in LONG else p
    for p in PARAMS
]


def scaled(member, images):
    """What the network's first convolution must see, by Keras's own function."""
    images = images.astype("float32")
    if member.name in BUILT_IN:
        utils = keras.applications.imagenet_utils
        return utils.preprocess_input(images, mode=BUILT_IN[member.name])
    return getattr(keras.applications, member.module).preprocess_input(images)


@pytest.mark.parametrize("member", PARAMS)
def test_no_model_with_noise_or_statistics_is_nested(member):
    nested = [
        layer
        for layer in build(member.name, member.size).layers
        if isinstance(layer, keras.Model)
    ]
    # ConvNeXt's own stem and downsampling are small Sequentials.
    assert not nested or member.name == "ConvNeXtTiny"
    kinds = {type(inner) for model in nested for inner in model.layers}
    assert kinds <= {keras.layers.Conv2D, keras.layers.LayerNormalization}


@pytest.mark.parametrize("member", PARAMS)
def test_preprocessing_is_that_of_keras(member):
    model = build(member.name, member.size)
    scalers = (Preprocessing, keras.layers.Rescaling, keras.layers.Normalization)
    last = [layer for layer in model.layers if isinstance(layer, scalers)][-1]
    front = keras.Model(model.input, last.output)
    images = pixels(member.size)
    expected = scaled(member, images)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(front(images.astype("float32"))),
        expected,
        atol=2e-5 * np.abs(expected).max(),
    )


@pytest.mark.parametrize("member", PARAMS)
def test_output_is_a_feature_map_of_the_documented_width(member):
    shape = build(member.name, member.size).output_shape
    assert len(shape) == 4
    assert shape[-1] == member.channels


@pytest.mark.parametrize("member", PARAMS)
def test_parameters_in_the_table_are_those_of_the_network(member):
    millions = build(member.name, member.size).count_params() / 1e6
    assert REGISTRY[member.name].parameters == round(millions, 1)


@pytest.mark.parametrize("member", ROUND_TRIP)
def test_a_saved_backbone_reads_back_the_same(member, tmp_path):
    model = build(member.name, member.size)
    model.save(tmp_path / "backbone.keras")
    again = keras.models.load_model(tmp_path / "backbone.keras")
    images = pixels(member.size)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again(images, training=False)),
        keras.ops.convert_to_numpy(model(images, training=False)),
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize(
    "name",
    [
        "MobileNet",
        pytest.param("MobileNetV2", marks=speed("MobileNetV2")),
        pytest.param("ResNet50", marks=pytest.mark.slow),
        pytest.param("EfficientNetV2B0", marks=pytest.mark.slow),
    ],
)
def test_the_network_is_the_one_keras_builds(name):
    model = build(name, 32)
    plain = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    plain.set_weights(model.get_weights())
    member = next(p.values[0] for p in PARAMS if p.values[0].name == name)
    images = pixels(32)
    inputs = images.astype("float32") if name in BUILT_IN else scaled(member, images)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(images, training=False)),
        keras.ops.convert_to_numpy(plain(inputs, training=False)),
        atol=1e-4,
    )


def test_uint8_and_float_pixels_give_the_same_features():
    model = build("MobileNet", 32)
    images = pixels(32)
    np.testing.assert_array_equal(
        model.predict(images, verbose=0),
        model.predict(images.astype("float32"), verbose=0),
    )


def test_a_plain_call_does_not_warn(recwarn):
    build("MobileNet", 32)(pixels(32))
    assert not recwarn.list


def test_the_preprocessing_layer_records_what_was_built():
    layer = build("MobileNet", 32).get_layer("preprocessing")
    assert (layer.backbone, layer.weights_source) == ("MobileNet", "none")
    assert layer.image_size == (32, 32)


def test_the_model_keeps_the_name_keras_gives_it():
    assert build("MobileNet", 32).name == "mobilenet_1.00_32"


def test_height_and_width_may_differ():
    model = build_backbone("MobileNet", alpha=0.25, image_size=(64, 32), weights=None)
    assert model.input_shape == (None, 64, 32, 3)


@pytest.mark.parametrize(("weights", "size"), [("tiny", 96), (None, 224)])
def test_image_size_defaults_to_that_of_the_weights(weights, size):
    model = build_backbone("MobileNet", alpha=0.25, weights=weights)
    assert model.input_shape == (None, size, size, 3)


def test_alpha_defaults_to_the_widest_bundled_network_for_tiny_weights():
    assert build_backbone("MobileNet", weights="tiny").output_shape[-1] == 512


def test_alpha_narrows_the_network():
    wide = build("MobileNet", 32)
    narrow = build_backbone("MobileNet", alpha=0.5, image_size=32, weights=None)
    assert narrow.output_shape[-1] * 2 == wide.output_shape[-1]


def test_too_small_images_are_refused_with_the_minimum():
    message = (
        r"`image_size` must be at least 75 for InceptionV3. Received: image_size=32\."
    )
    with pytest.raises(ValueError, match=message):
        build_backbone("InceptionV3", image_size=32, weights=None)


def test_a_width_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="`alpha` must be None or 1 for VGG16"):
        build_backbone("VGG16", alpha=0.5, weights=None)


@pytest.mark.parametrize("alpha", [0, -1.0])
def test_a_width_must_be_positive(alpha):
    with pytest.raises(ValueError, match="`alpha` must be above 0"):
        build_backbone("MobileNet", alpha=alpha, weights=None)


def test_channels_first_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="channels_last"):
        build_backbone("MobileNet", image_size=32, weights=None)


def test_dropout_of_a_frozen_backbone_is_off_in_training():
    model = build_backbone("EfficientNetB0", image_size=32, weights=None)
    noise = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    ones = np.ones((8, 2, 2, 4), "float32")
    noise[-1].trainable = False
    still = keras.ops.convert_to_numpy(noise[-1](ones, training=True))
    np.testing.assert_array_equal(still, ones)
    noise[-1].trainable = True
    active = keras.ops.convert_to_numpy(noise[-1](ones, training=True))
    assert np.any(active != ones)


def test_list_backbones_and_table_name_the_same_networks():
    names = tuple(row["name"] for row in backbone_table())
    assert list_backbones() == tuple(REGISTRY)
    assert names == (*REGISTRY, "MiniText", "MiniGPT")


def test_the_table_has_the_size_of_the_bundled_networks_of_texts():
    pytest.importorskip("keras_hub")
    rows = {row["name"]: row for row in backbone_table()}
    for name in ("MiniText", "MiniGPT"):
        counted = build_backbone(name).count_params() / 1e6
        assert rows[name]["parameters_millions"] == pytest.approx(counted, abs=0.05)


def test_table_shows_the_bundled_weights_only_where_there_are_any(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("kerastl.models.weights.keras_home", lambda: tmp_path)
    offline = {row["name"]: row["offline"] for row in backbone_table()}
    assert {name for name, text in offline.items() if text} == {
        "MobileNet",
        "MobileNetV2",
        "MiniText",
        "MiniGPT",
    }
    assert set(offline.values()) == {"tiny", ""}


def test_table_shows_imagenet_weights_that_are_in_keras_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("kerastl.models.weights.keras_home", lambda: tmp_path)
    (tmp_path / "models").mkdir()
    for name in (
        "mobilenet_2_5_160_tf_no_top.h5",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ):
        (tmp_path / "models" / name).touch()
    offline = {row["name"]: row["offline"] for row in backbone_table()}
    assert offline["MobileNet"] == "tiny, imagenet"
    assert offline["VGG16"] == "imagenet"
    assert offline["VGG19"] == ""
