"""Invariants 7 to 11: what goes in is checked, what comes out is in order and kept."""

import hashlib
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from carriers import CLASSES, SIZE, build, values
from PIL import Image

import kerastl
from kerastl import Phase
from kerastl.models.weights import tiny_weights

HEAD = Phase("head", trainable="head", epochs=2, learning_rate=0.05)


@pytest.mark.parametrize(
    ("scale", "shift", "found"),
    [(1 / 255, 0, "0 to"), (2 / 255, -1, "-"), (2.0, 0, "0 to")],
)
def test_pixels_that_are_not_0_to_255_are_refused(data, scale, shift, found):
    model = build()
    before = values(model)
    images = data[0].astype("float32") * scale + shift
    with pytest.raises(ValueError, match="255"):
        kerastl.run_phases(model, (images, data[1]), phases=[HEAD])
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_dataset_of_batches_is_checked_too(data):
    import tensorflow as tf

    images = data[0].astype("float32") / 255
    batches = tf.data.Dataset.from_tensor_slices((images, data[1])).batch(6)
    with pytest.raises(ValueError, match="pixels from 0 to 255"):
        kerastl.run_phases(build(), batches, phases=[HEAD])


def test_a_dataset_of_batches_trains_uncached(data):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(data).batch(6)
    model = build()
    history = kerastl.run_phases(model, batches, batches, phases=[HEAD], seed=0)
    assert not history.phases[0].cached
    assert set(history.phases[0].moved) == {"head_dense/kernel", "head_dense/bias"}


@pytest.mark.parametrize("labels", [np.full(18, 3), np.full(18, -1), np.full(18, 0.5)])
def test_labels_out_of_range_are_refused(data, labels):
    with pytest.raises(ValueError, match="`labels` must be"):
        kerastl.run_phases(build(), (data[0], labels), phases=[HEAD])


def test_tiny_weights_are_the_arrays_of_the_file():
    entry = next(row for row in tiny_weights() if row.alpha == 0.25)
    model = kerastl.build_backbone(entry.name, alpha=entry.alpha, weights="tiny")
    path = Path(kerastl.__file__).parent / "models" / "tiny" / entry.file
    with np.load(path) as file:
        stored = [file[name] for name in file.files]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    for weight, array in zip(model.get_weights(), stored, strict=True):
        np.testing.assert_array_equal(weight, array.astype("float32"))


def write_classes(root, counts, seed=0):
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (12, 12, 3)).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def content(part):
    return {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in part.paths}


def test_splits_share_neither_paths_nor_content(tmp_path):
    write_classes(tmp_path, {"a": 9, "b": 9})
    twin = (tmp_path / "a" / "0.png").read_bytes()
    for number in range(4):
        (tmp_path / "a" / f"copy{number}.png").write_bytes(twin)
    for seed in range(5):
        splits = kerastl.load_images(tmp_path, validation=0.3, test=0.3, seed=seed)
        parts = list(splits)
        for i, one in enumerate(parts):
            assert set(one.counts()) == {"a", "b"} and min(one.counts().values()) > 0
            for other in parts[i + 1 :]:
                assert not set(one.paths) & set(other.paths)
                assert not content(one) & content(other)


def test_a_leak_in_brought_splits_is_dropped_by_name(tmp_path):
    write_classes(tmp_path / "train", {"a": 4, "b": 4}, seed=1)
    write_classes(tmp_path / "test", {"a": 3, "b": 3}, seed=2)
    leaked = tmp_path / "test" / "a" / "0.png"
    (tmp_path / "train" / "a" / "leak.png").write_bytes(leaked.read_bytes())
    with pytest.warns(UserWarning, match=r"leak\.png"):
        splits = kerastl.load_images(tmp_path, validation=0.25)
    assert not any("leak.png" in path for path in splits.train.paths)
    with pytest.raises(ValueError, match=r"leak\.png"):
        kerastl.load_images(tmp_path, validation=0.25, on_leak="error")


def test_predictions_paths_and_labels_come_in_one_order(tmp_path, data):
    write_classes(tmp_path, dict.fromkeys(CLASSES, 4))
    model = build()
    kerastl.run_phases(model, data, phases=[HEAD], seed=0)
    images = kerastl.load_images(tmp_path, validation=0.0).train
    together = kerastl.predict(model, images, batch_size=5)
    assert together.paths == images.paths
    for path, row in zip(images.paths, together.probabilities, strict=True):
        alone = kerastl.predict(model, path).probabilities[0]
        np.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-6)


def test_evaluate_counts_what_predict_says(data):
    model = build()
    kerastl.run_phases(model, data, phases=[HEAD], seed=0)
    images = kerastl.ImageSet(data[0], data[1], CLASSES)
    right = kerastl.predict(model, data[0]).indices == data[1]
    assert kerastl.evaluate(model, images).accuracy == pytest.approx(right.mean())


def test_inference_changes_no_weight_and_repeats(model, data):
    kerastl.unfreeze(model, "all", batch_norm="train")
    before = values(model)
    first = kerastl.predict(model, data[0]).probabilities
    images = kerastl.ImageSet(data[0], data[1], CLASSES)
    kerastl.evaluate(model, images)
    second = kerastl.predict(model, data[0]).probabilities
    np.testing.assert_array_equal(first, second)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_a_saved_model_agrees_with_the_one_in_memory(model, data, tmp_path, batch_norm):
    phase = Phase(
        "top", trainable=1, epochs=1, learning_rate=0.01, batch_norm=batch_norm
    )
    kerastl.run_phases(model, data, phases=[phase], seed=0)
    expected = kerastl.predict(model, data[0]).probabilities
    kerastl.save_model(model, tmp_path / "ours.keras")
    model.save(tmp_path / "plain.keras")
    loaded = [kerastl.load_model(tmp_path / "ours.keras")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.append(keras.models.load_model(tmp_path / "plain.keras"))
    for copy in loaded:
        got = kerastl.predict(copy, data[0]).probabilities
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert kerastl.class_names(copy) == CLASSES


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="SavedModel is TensorFlow's"
)
def test_an_exported_model_agrees_with_the_one_in_memory(data, tmp_path):
    import tensorflow as tf

    model = build()
    kerastl.run_phases(model, data, phases=[HEAD], seed=0)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    images = data[0].astype("float32")
    np.testing.assert_allclose(
        served.serve(images), model.predict(images, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_uint8_and_float_pixels_agree(model, data):
    whole = kerastl.predict(model, data[0]).probabilities
    floats = kerastl.predict(model, data[0].astype("float32")).probabilities
    np.testing.assert_array_equal(whole, floats)
    assert data[0].shape[1] == SIZE
