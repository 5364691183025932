"""Forked processes, other backends, strategies: one sentence instead of a wait."""

import os

import keras
import pytest
from networks import coloured, pixels, small_classifier, small_network

import kerastl
from kerastl import _compat
from kerastl.models.adapting import adapt_backbone

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's strategies"
)


@pytest.fixture
def forked(monkeypatch, tmp_path):
    """A model and its file, as seen from a fork of the process that made them."""
    model = small_classifier()
    kerastl.save_model(model, tmp_path / "m.keras")
    kerastl.predict(model, pixels())
    parent = os.getpid()
    monkeypatch.setattr(_compat.os, "getpid", lambda: parent + 1)
    return model, tmp_path / "m.keras"


@pytest.mark.parametrize(
    "use",
    [
        lambda model, path: kerastl.predict(model, pixels()),
        lambda model, path: kerastl.fine_tune(model, coloured(), epochs=1),
        lambda model, path: kerastl.load_model(path),
        lambda model, path: kerastl.features.FeatureExtractor(
            adapt_backbone(small_network(), preprocessing="tf")
        ).fit_transform(pixels()),
    ],
)
def test_a_fork_of_a_process_that_used_the_backend_is_refused(forked, use):
    with pytest.raises(RuntimeError, match=r"was forked from process \d+.*'spawn'"):
        use(*forked)


def test_a_process_of_its_own_is_not_refused(forked, monkeypatch):
    monkeypatch.setattr(_compat, "_USED_BY", [])
    assert len(kerastl.predict(forked[0], pixels())) == 6


@on_tensorflow
@pytest.mark.parametrize("kind", ["mirrored", "one", "cpu"])
def test_a_model_built_outside_the_scope_is_refused(kind):
    import tensorflow as tf

    strategy = {
        "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
        "one": lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
        "cpu": lambda: kerastl.device_strategy("cpu"),
    }[kind]()
    options = {"recipe": "linear_probe", "epochs": 1, "verbose": 0}
    model = small_classifier()
    with pytest.raises(ValueError, match=r"`model` must be built in the scope of `str"):
        kerastl.fine_tune(model, coloured(), strategy=strategy, **options)
    with strategy.scope():
        model = small_classifier()
    kerastl.fine_tune(model, coloured(), strategy=strategy, **options)


@pytest.mark.parametrize("kind", ["auto", "cpu"])
def test_a_backend_without_distribution_has_one_device(monkeypatch, kind):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(keras.distribution, "list_devices", None)
    assert kerastl.device_strategy(kind).num_replicas_in_sync == 1
    assert len(_compat.device_names()) == 1
    with pytest.raises(ValueError, match="`kind` must be 'auto' or 'cpu' on this"):
        kerastl.device_strategy("mirrored")
