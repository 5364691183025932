"""A classifier's file is whole or absent, and reads back as it was."""

import json
import os
import stat
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    coloured,
    outputs,
    pixels,
    small_classifier,
    small_network,
    trains,
    values,
)

import kerastl


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_what_is_read_is_what_was_written(path):
    model = small_classifier(hidden=(4,), resize="crop", learnt=True)
    kerastl.save_model(model, path)
    loaded = kerastl.load_model(path)
    for old, new in zip(values(model), values(loaded), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(
        outputs(loaded, pixels()), outputs(model, pixels()), rtol=1e-5, atol=1e-5
    )
    assert kerastl.class_names(loaded) == CLASSES
    assert trains(loaded) == trains(model)


def test_only_the_file_is_left_in_the_folder(path):
    kerastl.save_model(small_classifier(), path)
    assert names(path.parent) == ["model.keras"]


def test_a_loaded_classifier_is_compiled_for_its_task(path):
    kerastl.save_model(small_classifier(["no", "yes"], task="binary"), path)
    images, labels = coloured(1)
    results = kerastl.load_model(path).evaluate(
        images, labels % 2, verbose=0, return_dict=True
    )
    assert results["loss"] == pytest.approx(np.log(2))
    assert "accuracy" in results


def test_the_optimizer_is_left_out(path):
    model = small_classifier()
    model.optimizer.build(model.trainable_variables)
    kerastl.save_model(model, path)
    assert model.optimizer is not None
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("config.json"))["compile_config"] == {}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    kerastl.save_model(small_classifier(), path)
    before = path.read_bytes()

    def full_disk(self, filepath, *args, **settings):
        filepath.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        kerastl.save_model(small_classifier(["a", "b"]), path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["model.keras"]


def test_an_interrupted_write_leaves_nothing(path, monkeypatch):
    def interrupt(self, filepath, *args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kerastl.save_model(small_classifier(), path)
    assert names(path.parent) == []


def test_a_file_is_replaced_unless_it_may_not_be(path):
    kerastl.save_model(small_classifier(["a", "b"]), path)
    with pytest.raises(ValueError, match="Pass overwrite=True"):
        kerastl.save_model(small_classifier(), path, overwrite=False)
    assert kerastl.class_names(kerastl.load_model(path)) == ("a", "b")
    kerastl.save_model(small_classifier(), path)
    assert kerastl.class_names(kerastl.load_model(path)) == CLASSES


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_any_other(path):
    kerastl.save_model(small_classifier(), path)
    plain = path.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("name", ["model.h5", "model", "model.KERAS.zip"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"a file name ending in \.keras"):
        kerastl.save_model(small_classifier(), tmp_path / name)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Make the folder .*nowhere.* first"):
        kerastl.save_model(small_classifier(), tmp_path / "nowhere" / "a.keras")


def test_a_foreign_model_is_not_saved(path):
    with pytest.raises(ValueError, match="a classifier built by build_classifier"):
        kerastl.save_model(small_network(), path)
    assert not path.exists()


def test_a_missing_file_is_refused(path):
    with pytest.raises(FileNotFoundError, match="`path` must be a model file"):
        kerastl.load_model(path)


def test_a_file_that_is_no_archive_is_refused(path):
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="a model file"):
        kerastl.load_model(path)


def test_a_file_cut_short_is_refused(path):
    kerastl.save_model(small_classifier(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="a model file"):
        kerastl.load_model(path)


def test_an_archive_of_something_else_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.txt", "sun")
    with pytest.raises(ValueError, match="cannot read it"):
        kerastl.load_model(path)


def test_a_file_with_damaged_weights_is_refused(path):
    kerastl.save_model(small_classifier(), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 60
    content[start : start + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read it"):
        kerastl.load_model(path)


def test_keras_alone_names_the_package_that_it_lacks(path, monkeypatch):
    kerastl.save_model(small_classifier(), path)
    known = keras.saving.get_custom_objects()
    monkeypatch.delitem(known, "kerastl>Preprocessing")
    with pytest.raises(TypeError) as caught:
        keras.models.load_model(path)
    _, _, said = str(caught.value).partition("Could not locate class ")
    assert said.startswith("'kerastl.Preprocessing'")


def test_a_keras_model_that_is_no_classifier_is_refused(path):
    small_network().save(path)
    with pytest.raises(ValueError, match="was not made by kerastl"):
        kerastl.load_model(path)


@keras.saving.register_keras_serializable("meadow")
class MeadowDropout(layers.Dropout):
    """A dropout of the user's, registered under the user's package."""


@keras.saving.register_keras_serializable("meadow")
class StochasticDepth(layers.Layer):
    """Registered stochastic depth, as keras-cv has one."""

    def call(self, x, training=None):
        return x * keras.random.uniform(keras.ops.shape(x)) if training else x


@pytest.mark.parametrize("noise", [MeadowDropout(0.5), StochasticDepth()])
def test_registered_noise_reads_back_and_is_still_frozen(path, noise):
    model = small_classifier(extra=noise, dropout=0, learnt=True)
    kerastl.save_model(model, path)
    loaded = kerastl.load_model(path)
    np.testing.assert_allclose(
        outputs(loaded, pixels(), training=True), outputs(loaded, pixels()), rtol=1e-5
    )


def test_mixed_precision_survives(path):
    model = small_classifier(precision="mixed_float16")
    kerastl.save_model(model, path)
    loaded = kerastl.load_model(path)
    assert loaded.get_layer("head_pool_avg").compute_dtype == "float16"
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
