"""A calibrated classifier: the temperature is inside, and everything agrees on it."""

import keras
import numpy as np
import pytest
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    outputs,
    small_classifier,
    values,
)

import kerastl
from kerastl.evaluation.calibration import fit_temperature
from kerastl.models.record import read_record, set_temperature
from kerastl.prediction import calibrate

IMAGES, LABELS = coloured(8)
TASKS = {"multiclass": CLASSES, "binary": CLASSES[:2], "multilabel": CLASSES}
each_task = pytest.mark.parametrize("task", TASKS)


def labels_of(task):
    """Labels, every third of them arbitrary, so that no classifier is always right."""
    random = np.random.default_rng(0).integers(0, 3, len(LABELS))
    labels = np.where(np.arange(len(LABELS)) % 3 == 0, random, LABELS)
    if task == "multilabel":
        rows = np.eye(3, dtype=int)[labels]
        # Several labels, or it would look one-hot.
        rows[0] = 1
        return rows
    return labels % len(TASKS[task])


def image_set(task="multiclass"):
    return kerastl.ImageSet(IMAGES, labels_of(task), TASKS[task])


def classifier(task="multiclass", sharpness=4.0):
    """A classifier that has learnt a little and is far too sure of it."""
    keras.utils.set_random_seed(0)
    model = small_classifier(TASKS[task], task=task, learnt=True)
    kernel, bias = model.get_layer("head_dense").get_weights()
    logits = outputs(model, IMAGES)
    # Towards the labels: otherwise no temperature is better than a guess.
    labels = labels_of(task)
    aims = np.eye(3)[labels] if task == "multiclass" else labels.reshape(logits.shape)
    features = keras.Model(model.input, model.get_layer("head_dense").input)
    x = outputs(features, IMAGES)
    kernel = np.linalg.lstsq(x - x.mean(axis=0), aims - aims.mean(axis=0), rcond=1e-3)[
        0
    ]
    bias = -x.mean(axis=0) @ kernel
    scale = sharpness / np.std(x @ kernel + bias)
    model.get_layer("head_dense").set_weights([scale * kernel, scale * bias])
    return model


@each_task
def test_the_logits_are_divided_by_the_fitted_temperature(task):
    model = classifier(task)
    before = outputs(model, IMAGES)
    expected = fit_temperature(before, labels_of(task))
    result = calibrate(model, image_set(task))
    np.testing.assert_allclose(result.temperature, expected, rtol=1e-4)
    assert read_record(model).temperature == result.temperature != 1.0
    np.testing.assert_allclose(outputs(model, IMAGES), before / expected, rtol=1e-4)


@each_task
def test_the_scores_are_those_of_evaluate_before_and_after(task):
    model = classifier(task)
    before = kerastl.evaluate(model, image_set(task))
    result = calibrate(model, image_set(task))
    after = kerastl.evaluate(model, image_set(task))
    for name in ("log_loss", "expected_calibration_error"):
        assert result.before[name] == pytest.approx(before.metrics[name], rel=1e-5)
        assert result.after[name] == pytest.approx(after.metrics[name], rel=1e-4)
    assert result.after["log_loss"] < result.before["log_loss"]
    assert after.accuracy == before.accuracy
    assert result.images == 24


def test_no_weight_changes():
    model = classifier()
    before = values(model)
    calibrate(model, image_set())
    assert_same_weights(model, before)


def test_functions_compiled_before_know_the_temperature():
    model = classifier()
    data = IMAGES.astype("float32")
    plain = model.predict(data, verbose=0)
    first = model.evaluate(data, labels_of("multiclass"), verbose=0)
    result = calibrate(model, image_set())
    np.testing.assert_allclose(
        model.predict(data, verbose=0), plain / result.temperature, rtol=1e-5
    )
    second = model.evaluate(data, labels_of("multiclass"), verbose=0)
    assert first[0] == pytest.approx(result.before["log_loss"], rel=1e-4)
    assert second[0] == pytest.approx(result.after["log_loss"], rel=1e-4)


def test_calibrating_again_finds_the_same():
    model = classifier()
    first = calibrate(model, image_set())
    second = calibrate(model, image_set())
    assert second.temperature == pytest.approx(first.temperature, rel=1e-5)
    assert second.before["log_loss"] == pytest.approx(first.after["log_loss"], rel=1e-5)


@pytest.mark.parametrize("load", [kerastl.load_model, keras.models.load_model])
def test_the_temperature_is_in_the_file(load, tmp_path):
    model = classifier()
    calibrate(model, image_set())
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    assert read_record(loaded).temperature == read_record(model).temperature
    np.testing.assert_array_equal(outputs(loaded, IMAGES), outputs(model, IMAGES))


def test_a_file_from_before_has_a_temperature_of_one(tmp_path):
    model = classifier()
    before = outputs(model, IMAGES)
    del model.get_layer("class_logits").record["temperature"]
    model.save(tmp_path / "old.keras")
    loaded = kerastl.load_model(tmp_path / "old.keras")
    assert read_record(loaded).temperature == 1.0
    np.testing.assert_array_equal(outputs(loaded, IMAGES), before)


def test_other_models_keep_their_temperature():
    one, other = classifier(), classifier()
    calibrate(one, image_set())
    assert read_record(other).temperature == 1.0


def test_a_temperature_of_one_gives_the_heads_own_logits_back():
    model = classifier()
    before = outputs(model, IMAGES)
    set_temperature(model, 2.0)
    set_temperature(model, 1.0)
    np.testing.assert_array_equal(outputs(model, IMAGES), before)


def test_the_same_temperature_keeps_what_is_compiled():
    model = classifier()
    model.predict(np.zeros((1, *model.input_shape[1:])), verbose=0)
    compiled = model.predict_function
    set_temperature(model, 1.0)
    assert model.predict_function is compiled
    set_temperature(model, 2.0)
    assert model.predict_function is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_a_number_above_zero(value):
    with pytest.raises(ValueError, match="`temperature` must be"):
        set_temperature(classifier(), value)


def test_a_result_prints_both_scores():
    result = calibrate(classifier(), image_set())
    text = str(result)
    assert f"{result.temperature:.3f}" in text
    assert f"{result.after['log_loss']:.4f}" in text
    assert result.to_dict()["before"] == result.before


def test_images_without_labels_or_of_other_classes_are_refused():
    model = classifier()
    with pytest.raises(ValueError, match="labelled images"):
        calibrate(model, kerastl.ImageSet(IMAGES, None, ()))
    strange = kerastl.ImageSet(IMAGES, LABELS, ("ash", "beech", "yew"))
    with pytest.raises(ValueError, match="of the model's classes"):
        calibrate(model, strange)
    assert read_record(model).temperature == 1.0


def test_a_pair_calibrates_as_a_set():
    names = [CLASSES[label] for label in labels_of("multiclass")]
    given = image_set(), (IMAGES, labels_of("multiclass")), (list(IMAGES), names)
    found = {calibrate(classifier(), data).temperature for data in given}
    assert len(found) == 1
    assert found != {1.0}
