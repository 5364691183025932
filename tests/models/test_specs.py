"""The registry knows every network of `keras.applications`, by any spelling."""

import dataclasses

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

import kerastl
from kerastl.models import weights as weights_module
from kerastl.models.backbones import backbone_table
from kerastl.models.blocks import blocks
from kerastl.models.registry import REGISTRY, BlockEnd, find_spec, match_spec
from kerastl.models.weights import weights_digest


def test_registry_holds_exactly_the_networks_of_keras_applications():
    networks = {
        name
        for name in dir(keras.applications)
        if name[0].isupper() and "_" not in name
    }
    assert set(REGISTRY) == networks


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mobilenet_v2", "MobileNetV2"),
        ("MOBILENET", "MobileNet"),
        ("efficientnet-b0", "EfficientNetB0"),
        ("EfficientNetV2-S", "EfficientNetV2S"),
        ("convnext_tiny", "ConvNeXtTiny"),
        ("resnet_50", "ResNet50"),
    ],
)
def test_find_spec_ignores_case_hyphens_and_underscores(spelling, name):
    assert find_spec(spelling).name == name


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"Received: name='mobilnet'.*'MobileNet'\?"):
        find_spec("mobilnet")


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="must be a string"):
        find_spec(16)


def test_match_spec_gives_none_for_a_stranger():
    assert match_spec("my_network") is None


@pytest.mark.parametrize(
    ("name", "minimum", "native"),
    [
        ("VGG16", 32, 224),
        ("InceptionV3", 75, 299),
        ("InceptionResNetV2", 75, 299),
        ("Xception", 71, 299),
        ("NASNetLarge", 32, 331),
        ("EfficientNetB7", 32, 600),
        ("EfficientNetV2M", 32, 480),
    ],
)
def test_sizes_are_those_of_keras(name, minimum, native):
    assert (REGISTRY[name].minimum_size, REGISTRY[name].native_size) == (
        minimum,
        native,
    )


@pytest.mark.parametrize("name", ["InceptionV3", "Xception"])
def test_minimum_size_is_the_smallest_keras_accepts(name):
    side = REGISTRY[name].minimum_size - 1
    with pytest.raises(ValueError, match="at least"):
        getattr(keras.applications, name)(
            weights=None, include_top=False, input_shape=(side, side, 3)
        )


def test_every_entry_states_licence_source_and_blocks():
    for spec in REGISTRY.values():
        assert spec.licence
        assert spec.weights_source
        assert spec.block_ends
        assert spec.preprocessing in ("tf", "caffe", "torch", "none")


# --- a new family ------------------------------------------------------------


def RegNetX(  # noqa: N802
    input_tensor=None, input_shape=None, include_top=True, weights="imagenet"
):
    """A network as Keras would add it: a stem, two stages, weights of its own."""
    assert not include_top
    x = keras.layers.Conv2D(4, 3, strides=2, name="stem_conv")(input_tensor)
    x = keras.layers.ReLU(name="stem_relu")(x)
    for stage in (1, 2):
        y = keras.layers.Conv2D(4, 3, padding="same", name=f"stage{stage}_conv")(x)
        y = keras.layers.BatchNormalization(name=f"stage{stage}_bn")(y)
        x = keras.layers.Add(name=f"stage{stage}_add")([x, y])
    model = keras.Model(keras.utils.get_source_inputs(input_tensor), x, name="regnetx")
    if weights == "imagenet":
        name = "regnetx_notop.weights.h5"
        model.load_weights(
            file_utils.get_file(name, f"http://nowhere/{name}", cache_subdir="models")
        )
    return model


@pytest.fixture
def family(monkeypatch, tmp_path):
    """The family's registry entry, an empty Keras folder, and no network."""
    rules = (BlockEnd("stem_relu", "stem"), BlockEnd(r"(stage\d)_add", r"\1"))
    spec = dataclasses.replace(
        REGISTRY["ResNet50"],
        name="RegNetX",
        family="RegNet",
        preprocessing="torch",
        block_ends=rules,
        imagenet_file="{name}_notop.weights.h5",
    )
    monkeypatch.setitem(REGISTRY, "RegNetX", spec)
    monkeypatch.setattr(keras.applications, "RegNetX", RegNetX, raising=False)
    monkeypatch.setattr(weights_module, "keras_home", lambda: tmp_path)

    def no_network(*arguments):
        raise OSError("no network")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    (tmp_path / "models").mkdir()
    return spec


@pytest.mark.parametrize("rules", [True, False])
def test_a_new_family_needs_a_registry_entry_alone(family, rules, monkeypatch):
    if not rules:
        bare = dataclasses.replace(family, block_ends=())
        monkeypatch.setitem(REGISTRY, "RegNetX", bare)
    backbone = kerastl.build_backbone("regnet-x", image_size=32, weights=None)
    names = list(blocks(backbone))
    assert names == (
        ["stem", "stage1", "stage2"] if rules else ["block_1", "block_2", "block_3"]
    )
    model = kerastl.build_classifier(backbone, ("ash", "beech"))
    kerastl.freeze(model)
    assert len(model.trainable_variables) == 2
    kerastl.unfreeze(model, 1)
    trained = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert trained == {"stage2_conv", "stage2_bn", "head_dense"}


def test_a_new_familys_weights_come_as_keras_fetches_them(family, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"regnetx_notop.*put it there"):
        kerastl.build_backbone("RegNetX", image_size=32)
    source = kerastl.build_backbone("RegNetX", image_size=32, weights=None)
    source.set_weights(
        [np.full(w.shape, n + 0.5) for n, w in enumerate(source.weights)]
    )
    source.save_weights(tmp_path / "models" / "regnetx_notop.weights.h5")
    loaded = kerastl.build_backbone("RegNetX", image_size=32)
    assert weights_digest(loaded.weights) == weights_digest(source.weights)
    row = next(row for row in backbone_table() if row["name"] == "RegNetX")
    assert row["offline"] == "imagenet"
