"""The registry knows every network of `keras.applications`, by any spelling."""

import keras
import pytest

from kerastl.models.registry import REGISTRY, find_spec, match_spec


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
