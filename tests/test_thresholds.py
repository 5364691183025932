"""A threshold: chosen on validation, kept in the model, reported on other images."""

import numpy as np
import pytest
from networks import CLASSES, outputs, pixels, small_classifier, small_network

import kerastl
from kerastl.metrics import choose_threshold, operating_point, threshold_at
from kerastl.models.record import forget_settings

NAMES = ("no", "yes")


def answers(model, images):
    """The logit of the second class over the first."""
    logits = outputs(model, images)
    return logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)


def overlapping(model, seed=0, count=60):
    """Images whose classes the model tells apart at times, whatever it says of them."""
    images = pixels(count, seed=seed + 1)
    found = answers(model, images)
    noise = np.random.default_rng(seed).normal(size=count) * found.std()
    labels = (found + noise > np.median(found)).astype(int)
    return kerastl.ImageSet(images, labels, NAMES)


@pytest.fixture(params=["binary", "multiclass"])
def model(request):
    model = small_classifier(NAMES, task=request.param)
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 0.4, weight.shape))
    return model


def scores(model, data):
    return kerastl.predict(model, data).probabilities[:, 1]


def test_it_decides_from_then_on_and_in_the_file(model, tmp_path):
    data, other = overlapping(model), overlapping(model, 5)
    given = scores(model, data)
    choice = choose_threshold(model, data, test=other, specificity=0.9)
    assert choice.threshold == threshold_at(data.labels, given, specificity=0.9)
    assert choice.positive == "yes"
    expected = operating_point(
        other.labels, scores(model, other), threshold=choice.threshold
    )
    assert choice.tested == expected
    called = (scores(model, other) >= choice.threshold).astype(int)
    assert (called != (scores(model, other) >= 0.5)).any()
    found = kerastl.predict(model, other)
    np.testing.assert_array_equal(found.indices, called)
    chosen = found.probabilities[np.arange(len(called)), called]
    np.testing.assert_array_equal(found.confidences, chosen)
    report = kerastl.evaluate(model, other)
    assert report.accuracy == (called == other.labels).mean()
    assert report.threshold == choice.threshold
    assert "threshold for yes" in str(report)
    kerastl.save_model(model, tmp_path / "model.keras")
    again = kerastl.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(kerastl.predict(again, other).indices, called)


def test_probabilities_and_weights_stay(model):
    before, logits = scores(model, overlapping(model)), outputs(model, pixels())
    choose_threshold(model, overlapping(model), costs=(1, 5))
    np.testing.assert_array_equal(scores(model, overlapping(model)), before)
    np.testing.assert_array_equal(outputs(model, pixels()), logits)


def test_images_that_chose_it_are_refused_as_a_test(model):
    data = overlapping(model)
    mixed = kerastl.ImageSet(
        np.concatenate([pixels(4, seed=9), data.images[:2]]), [0, 1] * 3, NAMES
    )
    with pytest.raises(ValueError, match=r"`test` must be of other images.*2 shared"):
        choose_threshold(model, data, test=mixed, sensitivity=0.9)
    assert kerastl.predict(model, data).threshold is None
    choose_threshold(model, data, sensitivity=0.9)
    with pytest.warns(UserWarning, match="chosen on 2 of these 6 images"):
        kerastl.evaluate(model, mixed)


def test_calibrating_keeps_the_decisions(model):
    data, other = overlapping(model), overlapping(model, 5)
    choose_threshold(model, data, sensitivity=0.9)
    before, old = kerastl.predict(model, other).indices, scores(model, other)
    kerastl.calibrate(model, data)
    assert np.abs(scores(model, other) - old).max() > 1e-3
    np.testing.assert_array_equal(kerastl.predict(model, other).indices, before)


@pytest.mark.filterwarnings("ignore:The model's threshold was chosen")
def test_other_weights_lose_it():
    model = small_classifier(NAMES, task="binary", learnt=True)
    dense = model.get_layer("head_dense")
    # Near chance, where training begins.
    dense.set_weights([0.1 * weight for weight in dense.get_weights()])
    data = overlapping(model)
    # It begins with most of them wrong: any step is better than none.
    data = kerastl.ImageSet(data.images, 1 - data.labels, NAMES)
    choose_threshold(model, data, sensitivity=0.9)
    phase = kerastl.Phase("head", trainable="head", epochs=10, learning_rate=3e-2)
    history = kerastl.run_phases(model, data, data, phases=[phase], verbose=0)
    assert history.phases[0].moved
    assert kerastl.predict(model, data).threshold is None


def test_its_loss_is_told(model):
    choose_threshold(model, overlapping(model), sensitivity=0.9)
    with pytest.warns(UserWarning, match="threshold was chosen for other weights"):
        forget_settings(model)
    assert kerastl.predict(model, overlapping(model)).threshold is None


def test_a_model_of_three_classes_is_refused():
    model = small_classifier(CLASSES)
    data = kerastl.ImageSet(pixels(6), np.arange(6) % 3, CLASSES)
    with pytest.raises(ValueError, match="a classifier of two classes"):
        choose_threshold(model, data, sensitivity=0.9)
    numbers = kerastl.build_regressor(small_network(), [1.0, 2.0], preprocessing="tf")
    with pytest.raises(ValueError, match="a classifier of two classes"):
        choose_threshold(numbers, data, sensitivity=0.9)
