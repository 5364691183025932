"""The ported tutorials: what is frozen stays, statistics included, the rest moves."""

import importlib
from pathlib import Path

import keras
import numpy as np
import pytest

from kerastl.features import FeatureExtractor

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def phases(monkeypatch):
    """Runs an example: its model, and for each call of `fit` the paths that moved."""
    monkeypatch.syspath_prepend(EXAMPLES)
    found, fit = [], keras.Model.fit

    def watched(model, *args, **options):
        # Tracing takes most of the time, and the invariants' tests trace.
        model.run_eagerly = True
        before = [np.array(weight) for weight in model.weights]
        fitted = fit(model, *args, **options | {"verbose": 0})
        pairs = zip(model.weights, before, strict=True)
        moved = {w.path for w, old in pairs if not np.array_equal(w, old)}
        found.append({path for path in moved if "seed_generator" not in path})
        return fitted

    def run(name):
        with monkeypatch.context() as patched:
            patched.setattr(keras.Model, "fit", watched)
            model = importlib.import_module(name).main(tiny=True)
        return model, *found

    return run


def paths(*layers, statistics=False):
    """Paths of the layers' weights, BatchNorm's statistics only where asked for."""
    weights = [weight for layer in layers for weight in layer.weights]
    return {w.path for w in weights if statistics or "moving_" not in w.path}


def tiny_blocks(network, *numbers, kinds=("conv", "bn")):
    """The layers with weights of blocks of `tiny.network`."""
    return [network.get_layer(f"{kind}{n}") for n in numbers for kind in kinds]


def test_the_guide_of_keras(phases):
    model, first, second = phases("keras_guide")
    head, base = model.layers[-1], model.get_layer("tiny")
    assert first == paths(head)
    assert second == paths(head, *tiny_blocks(base, 1, 2, 3))


def test_the_tutorial_of_tensorflow(phases):
    model, first, second = phases("tensorflow_tutorial")
    head, base = model.layers[-1], model.get_layer("tiny")
    assert first == paths(head)
    assert second == paths(head, *tiny_blocks(base, 3))


def test_efficientnet_under_a_head_with_batchnorm_of_its_own(phases):
    model, first, second = phases("efficientnet")
    head = paths(model.get_layer("top_bn"), model.layers[-1], statistics=True)
    assert first == head
    assert second == head | paths(*tiny_blocks(model, 3, kinds=["conv"]))


def test_a_classifier_of_keras_hub(phases):
    pytest.importorskip("keras_hub")
    model, first, second = phases("keras_hub_classifier")
    head = model.get_layer("predictions")
    block = [x for x in model.backbone.layers if x.name.startswith("stack1_")]
    assert first == paths(head)
    assert second == paths(head, *block)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="keras-cv is for TensorFlow"
)
def test_yolov8_of_keras_cv(phases):
    pytest.importorskip("keras_cv")
    model, first, second = phases("keras_cv_yolov8")
    assert_only_the_top_was_opened(model, model.backbone, first, second)


def test_retinanet_of_keras_hub(phases):
    pytest.importorskip("keras_hub")
    model, first, second = phases("keras_hub_retinanet")
    assert_only_the_top_was_opened(model, model.backbone.image_encoder, first, second)


def assert_only_the_top_was_opened(model, encoder, first, second):
    """First all but the encoder moves; then of it the weights that train, no others."""
    inside = {w.path for w in encoder.weights}
    opened = {w.path for w in encoder.trainable_weights}
    assert opened and opened < inside
    assert not first & inside
    assert second & inside == opened
    # Levels at which no object lies train no boxes; every class is scored everywhere.
    scores = {w.path for w in model.weights if "class" in w.path or "cls" in w.path}
    scores = {path for path in scores if "moving_" not in path}
    assert scores and scores <= first and scores <= second


def test_a_worker_of_ray_data_gives_each_file_its_features(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    photos = sorted((EXAMPLES.parent / "data" / "shapes").glob("*/*.jpg"))[:66:22]
    rows = {"place": np.array([2, 0, 1]), "path": np.array(list(map(str, photos)))}
    made = importlib.import_module("ray_data").Reader()(rows)
    expected = FeatureExtractor("MobileNet").fit_transform(rows["path"])
    np.testing.assert_array_equal(made["features"], expected)
    np.testing.assert_array_equal(made["place"], rows["place"])
    assert np.abs(np.diff(expected, axis=0)).max() > 0.1, "the photos look alike"
