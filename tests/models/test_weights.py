"""Weights: the variables are the file's arrays, or one sentence says why not."""

import hashlib
import json
import shutil
import urllib.error
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from families import heavy_on_jax, speed
from keras.src.utils import file_utils

from kerastl.models import weights as weight_files
from kerastl.models import weights as weights_module
from kerastl.models.backbones import build_backbone
from kerastl.models.registry import REGISTRY, find_spec
from kerastl.models.weights import (
    cached_imagenet_file,
    tiny_weights,
    weights_digest,
)

TINY = Path(weights_module.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def trained():
    """A narrow MobileNet whose every array is its own: nothing is all zero or one."""
    model = build_backbone("MobileNet", alpha=0.25, image_size=32, weights=None)
    generator = np.random.default_rng(1)
    model.set_weights(
        [generator.uniform(0.5, 1.5, w.shape).astype("float32") for w in model.weights]
    )
    return model


def rebuilt(weights):
    return build_backbone("MobileNet", alpha=0.25, image_size=32, weights=weights)


def write(model, path):
    """Save a model's weights in the format of the path's ending."""
    if path.suffix == ".npz":
        np.savez(path, *model.get_weights())
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        with pytest.warns(UserWarning, match="HDF5"):
            model.save(path)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty Keras folder."""
    monkeypatch.setattr(weights_module, "keras_home", lambda: tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """Every download fails as it does without a network."""

    def fail(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)


# --- files -------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".weights.h5", ".npz"])
def test_variables_equal_the_files_arrays(trained, tmp_path, ending):
    again = rebuilt(write(trained, tmp_path / f"backbone{ending}"))
    for loaded, saved in zip(again.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_a_file_in_keras_older_format_is_read(trained, tmp_path):
    legacy = tmp_path / "backbone.h5"
    save_legacy(trained, legacy)
    assert weights_digest(rebuilt(legacy).weights) == weights_digest(trained.weights)


def save_legacy(model, path):
    """Write Keras's older format by hand: groups by layer, arrays by weight name."""
    layers = [layer for layer in model.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            ordered = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{w.name}:0" for w in ordered]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, ordered, strict=True):
                group[name] = keras.ops.convert_to_numpy(variable)


def test_optimizer_states_in_a_file_do_not_count(tmp_path):
    model = build_backbone("EfficientNetB0", image_size=32, weights=None)
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "b0.weights.h5"
    model.save_weights(path)
    again = build_backbone("EfficientNetB0", image_size=32, weights=path)
    assert weights_digest(again.weights) == weights_digest(model.weights)


def test_random_states_in_a_file_do_not_count(trained, tmp_path):
    path = write(trained, tmp_path / "backbone.weights.h5")
    with h5py.File(path, "a") as file:
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")
    assert weights_digest(rebuilt(path).weights) == weights_digest(trained.weights)


@pytest.mark.parametrize("ending", [".weights.h5", ".npz"])
def test_a_file_of_another_width_is_refused(trained, tmp_path, ending):
    path = write(trained, tmp_path / f"narrow{ending}")
    with pytest.raises(ValueError, match=r"file of MobileNet .* or another width\."):
        build_backbone("MobileNet", alpha=0.5, image_size=32, weights=path)


@pytest.mark.parametrize("ending", [".weights.h5", ".npz"])
def test_a_file_of_another_network_is_refused(trained, tmp_path, ending):
    path = write(trained, tmp_path / f"mobilenet{ending}")
    with pytest.raises(ValueError, match="has 135 arrays, the network 26"):
        build_backbone("VGG16", image_size=32, weights=path)


def test_a_classifiers_file_is_refused(trained, tmp_path):
    x = keras.layers.GlobalAveragePooling2D()(trained.output)
    classifier = keras.Model(trained.input, keras.layers.Dense(3)(x))
    path = write(classifier, tmp_path / "classifier.weights.h5")
    with pytest.raises(ValueError, match=r"137 arrays, the network 135.*or has a top"):
        rebuilt(path)


def test_a_refused_file_changes_no_variable(trained, tmp_path):
    path = write(trained, tmp_path / "narrow.npz")
    model = build_backbone("MobileNet", alpha=0.5, image_size=32, weights=None)
    before = weights_digest(model.weights)
    with pytest.raises(ValueError, match="another width"):
        weight_files.load_weights_file(model, path, network="MobileNet")
    assert weights_digest(model.weights) == before


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".npz"])
def test_a_file_that_is_no_weights_file_is_refused(tmp_path, ending):
    path = tmp_path / f"text{ending}"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"must be a readable weights file.*Received"):
        rebuilt(path)


def test_a_truncated_file_is_refused(trained, tmp_path):
    path = write(trained, tmp_path / "cut.weights.h5")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="must be a readable weights file"):
        rebuilt(path)


def test_weights_that_did_not_arrive_are_noticed(trained, tmp_path, monkeypatch):
    path = write(trained, tmp_path / "backbone.weights.h5")
    monkeypatch.setattr(keras.Model, "load_weights", lambda model, path: None)
    with pytest.raises(ValueError, match="differ from the file's arrays"):
        rebuilt(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a file that exists.*gone\.npz"):
        rebuilt(tmp_path / "gone.npz")


def test_an_unknown_source_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'imagnet'\. Did you mean 'imagenet'\?"):
        rebuilt("imagnet")


def test_weights_of_another_type_are_refused():
    with pytest.raises(TypeError, match="`weights` must be 'imagenet', 'tiny', None"):
        rebuilt(3)


# --- tiny --------------------------------------------------------------------


@pytest.mark.parametrize("entry", tiny_weights(), ids=lambda entry: entry.file)
def test_tiny_weights_are_the_bundled_arrays(entry):
    model = build_backbone(entry.name, alpha=entry.alpha, weights="tiny")
    with np.load(TINY / entry.file) as file:
        for loaded, name in zip(model.get_weights(), file.files, strict=True):
            np.testing.assert_array_equal(loaded, file[name].astype("float32"))
            assert loaded.dtype == np.float32


@heavy_on_jax
def test_tiny_weights_are_in_the_order_of_keras_own_network():
    model = build_backbone("MobileNetV2", alpha=0.5, weights="tiny")
    plain = keras.applications.MobileNetV2(
        alpha=0.5, weights=None, include_top=False, input_shape=(96, 96, 3)
    )
    with np.load(TINY / "mobilenet_v2_0.50_tiny_imagenet_96.npz") as file:
        plain.set_weights([file[name].astype("float32") for name in file.files])
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(images.astype("float32"))),
        keras.ops.convert_to_numpy(plain(images / np.float32(127.5) - 1)),
        atol=1e-3,
    )


def test_the_card_keeps_the_licence_of_the_data():
    card = (TINY / "README.md").read_text("utf-8")
    assert "non-commercial research and" in card
    assert all(entry.file in card for entry in tiny_weights())


@pytest.mark.parametrize(("name", "alpha"), [("ResNet50", None), ("MobileNet", 1.0)])
def test_tiny_weights_of_another_network_are_refused_with_a_list(name, alpha):
    message = "bundled for MobileNet alpha=0.25, MobileNet alpha=0.5, MobileNetV2 alpha"
    with pytest.raises(ValueError, match=message):
        build_backbone(name, alpha=alpha, weights="tiny")


def test_a_damaged_bundled_file_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(TINY, tmp_path / "tiny")
    damaged = tmp_path / "tiny" / tiny_weights()[0].file
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(bytes(content))
    monkeypatch.setattr(weights_module, "BUNDLED_FOLDER", tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"undamaged file \(sha256"):
        build_backbone("MobileNet", alpha=0.25, weights="tiny")


def test_the_record_describes_the_files():
    record = json.loads((TINY / "record.json").read_text("utf-8"))
    for stem, entry in record.items():
        content = (TINY / f"{stem}.npz").read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


# --- imagenet ----------------------------------------------------------------


def test_imagenet_weights_in_keras_folder_need_no_network(trained, home, no_network):
    save_legacy(trained, home / "models" / "mobilenet_2_5_224_tf_no_top.h5")
    model = rebuilt("imagenet")
    assert weights_digest(model.weights) == weights_digest(trained.weights)
    assert model.get_layer("preprocessing").weights_source == "imagenet"


def test_each_size_takes_its_own_file(trained, home, no_network):
    save_legacy(trained, home / "models" / "mobilenet_2_5_224_tf_no_top.h5")
    build_backbone("MobileNet", alpha=0.25, image_size=144, weights="imagenet")
    with pytest.raises(FileNotFoundError, match=r"mobilenet_2_5_128_tf_no_top.h5"):
        build_backbone("MobileNet", alpha=0.25, image_size=128, weights="imagenet")


def test_without_network_the_error_names_file_folder_and_variable(home, no_network):
    with pytest.raises(FileNotFoundError) as caught:
        build_backbone("VGG16", image_size=32, weights="imagenet")
    message = str(caught.value)
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in message
    assert str(home / "models") in message
    assert "KERAS_HOME" in message
    assert "\n" not in message


def test_a_file_whose_published_checksum_disagrees_is_refused_and_kept(
    home, no_network
):
    path = home / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(b"not the weights")
    with pytest.raises(ValueError, match=r"md5 6d6bbae143d8.*Delete it"):
        build_backbone("VGG16", image_size=32, weights="imagenet")
    assert path.read_bytes() == b"not the weights"


def test_a_width_without_imagenet_weights_is_refused(home):
    with pytest.raises(ValueError, match=r"one of 0.25, 0.5, 0.75, 1 for MobileNet"):
        build_backbone("MobileNet", alpha=0.3, weights="imagenet")


def test_a_download_is_loaded(trained, home, tmp_path, monkeypatch):
    source = tmp_path / "published.h5"
    save_legacy(trained, source)
    monkeypatch.setattr(
        "keras.src.utils.file_utils.urlretrieve",
        lambda url, target, progress: shutil.copy(source, target),
    )
    assert weights_digest(rebuilt("imagenet").weights) == weights_digest(
        trained.weights
    )


def test_a_folder_that_keras_cannot_write_to_is_named(home, monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda *a, **k: "/elsewhere/file.h5")
    with pytest.raises(FileNotFoundError, match=r"is not writable.*/elsewhere/file"):
        rebuilt("imagenet")


def test_efficientnet_scales_its_input_as_keras_does_under_imagenet(
    home, no_network, monkeypatch, tmp_path
):
    model = build_backbone("EfficientNetB0", image_size=32, weights=None)
    file = home / "models" / "efficientnetb0_notop.h5"
    save_legacy(model, file)
    monkeypatch.setattr(weights_module, "check_sum", lambda *arguments: None)
    loaded = build_backbone("EfficientNetB0", image_size=32, weights="imagenet")
    front = keras.Model(loaded.input, loaded.get_layer("imagenet_scaling").output)
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)) * 1.0
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(front(images)),
        (images / 255 - mean) / deviation,
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_efficientnet_trained_on_other_scaling_is_refused(tmp_path):
    plain = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    path = write(plain, tmp_path / "plain.weights.h5")
    with pytest.raises(ValueError, match="normalises with ImageNet's means"):
        build_backbone("EfficientNetB0", image_size=32, weights=path)


@heavy_on_jax
def test_branches_that_drop_do_not_lose_imagenet_weights(home, no_network, monkeypatch):
    plain = build_backbone("ConvNeXtTiny", image_size=32, weights=None)
    save_legacy(plain, home / "models" / "convnext_tiny_notop.h5")
    monkeypatch.setattr(weights_module, "check_sum", lambda *arguments: None)
    loaded = build_backbone(
        "ConvNeXtTiny", image_size=32, weights="imagenet", stochastic_depth=0.1
    )
    assert weights_digest(loaded.weights) == weights_digest(plain.weights)


def test_a_damaged_imagenet_file_without_checksum_is_refused(trained, home, no_network):
    path = home / "models" / "mobilenet_2_5_224_tf_no_top.h5"
    save_legacy(trained, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"a readable weights file of MobileNet"):
        rebuilt("imagenet")


def test_imagenet_weights_that_did_not_arrive_are_noticed(
    trained, home, no_network, monkeypatch
):
    save_legacy(trained, home / "models" / "mobilenet_2_5_224_tf_no_top.h5")
    monkeypatch.setattr(keras.Model, "load_weights", lambda model, path: None)
    with pytest.raises(ValueError, match="differ from the file's arrays"):
        rebuilt("imagenet")


def test_keras_own_way_to_fetch_comes_back(home, no_network):
    before = file_utils.get_file
    with pytest.raises(FileNotFoundError):
        rebuilt("imagenet")
    assert file_utils.get_file is before


#: One network per way in which a file is named; every network in the slow run.
NAMED = [
    ("MobileNet", 0.5, 160),
    ("MobileNetV2", 1.4, 96),
    ("MobileNetV3Small", 0.75, 224),
    ("VGG16", 1.0, 32),
    ("NASNetMobile", 1.0, 32),
    ("EfficientNetB0", 1.0, 32),
]
NAMED = [pytest.param(*case, marks=speed(case[0])) for case in NAMED]
EVERY = [pytest.param(name, 1.0, 96, marks=pytest.mark.slow) for name in REGISTRY]


@pytest.mark.parametrize(("name", "alpha", "size"), [*NAMED, *EVERY])
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_a_file_is_known_by_the_name_that_keras_gives_it(
    name, alpha, size, home, monkeypatch
):
    asked = []

    def get_file(fname, *arguments, **options):
        asked.append(fname)
        raise InterruptedError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    options = {"alpha": alpha} if name.startswith("MobileNet") else {}
    with pytest.raises(InterruptedError):
        getattr(keras.applications, name)(
            include_top=False, input_shape=(size, size, 3), **options
        )
    where = {"alpha": alpha, "image_size": (size, size)}
    assert cached_imagenet_file(find_spec(name), **where) is None
    (home / "models" / asked[0]).touch()
    found = cached_imagenet_file(find_spec(name), **where)
    assert found == home / "models" / asked[0]


# --- digest ------------------------------------------------------------------


def test_the_digest_sees_one_changed_number(trained):
    before = weights_digest(trained.weights)
    arrays = trained.get_weights()
    changed = [array.copy() for array in arrays]
    changed[-1].flat[0] += 1e-6
    trained.set_weights(changed)
    assert weights_digest(trained.weights) != before
    trained.set_weights(arrays)
    assert weights_digest(trained.weights) == before


def test_the_digest_tells_labels_shapes_and_order_apart():
    ones, pair = np.ones((1, 2), "float32"), np.arange(2, dtype="float32")
    same = weights_digest([ones, pair])
    assert weights_digest([np.asfortranarray(ones), pair.copy()]) == same
    assert weights_digest([pair, ones]) != same
    assert weights_digest([ones[0], pair]) != same
    assert weights_digest([ones, pair], "torch") != same
