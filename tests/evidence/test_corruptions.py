"""Images made worse by measured amounts."""

import numpy as np
import pytest
from networks import (
    CLASSES,
    outputs,
    pixels,
    small_classifier,
    small_network,
    teach_head,
)

import kerastl
from kerastl.evidence.corruptions import Change
from kerastl.metrics import corruption_report

WAYS = ("noise", "blur", "contrast", "brightness", "jpeg")


@pytest.fixture(scope="module")
def model():
    model, rng = small_classifier(), np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    teach_head(model)
    return model


@pytest.fixture(scope="module")
def data(model):
    images = pixels(24)
    labels = outputs(model, images).argmax(axis=1)
    labels[:4] = (labels[:4] + 1) % 3
    return kerastl.ImageSet(images, labels, CLASSES)


def test_nothing_changed_is_the_clean_score(model, data):
    report = corruption_report(model, data, sizes=[0.0])
    assert report.clean == kerastl.evaluate(model, data).accuracy
    assert [row.accuracy for row in report.rows] == [report.clean] * 5
    assert [row.measured for row in report.rows] == [0.0] * 5
    assert report.kept == 1.0
    store = Change(lambda i: data.images[i], "blur", 0)
    np.testing.assert_array_equal(store.rows(np.arange(3), 0.0), data.images[:3])


def test_each_way_changes_by_what_was_asked(model, data):
    report = corruption_report(model, data, sizes=[12.0, 30.0])
    assert len(report.rows) == 10
    for row in report.rows:
        # JPEG has a hundred qualities, and none between them.
        room = 0.25 if row.corruption == "jpeg" else 0.02
        assert row.measured == pytest.approx(row.asked, rel=room)
        assert row.interval[0] <= row.accuracy <= row.interval[1]


@pytest.mark.parametrize("way", WAYS)
def test_more_strength_changes_more(way, data):
    change = Change(lambda i: data.images[i], way, 0)
    sizes = [change.size(s, np.arange(8)) for s in (0.0, 0.1, 0.4, 0.7, 1.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0 < sizes[1]
    first = np.square(change.rows(np.arange(8), 0.4) - data.images[:8].astype(float))
    assert sizes[2] == pytest.approx(np.sqrt(first.mean()))


def test_the_accuracy_is_that_of_the_changed_images(model, data):
    [row] = corruption_report(
        model, data, corruptions=["brightness"], sizes=[60.0]
    ).rows
    change = Change(lambda i: data.images[i], "brightness", 0)
    strength = change.strength_of(60.0, np.arange(24))
    worse = np.rint((1 - strength) * data.images.astype("float32"))
    right = outputs(model, worse).argmax(axis=1) == data.labels
    assert row.accuracy == right.mean()


def test_noise_follows_from_the_seed_and_the_place(data):
    change = Change(lambda i: data.images[i], "noise", 3)
    together = change.rows(np.arange(5), 0.2)
    np.testing.assert_array_equal(change.rows(np.array([4]), 0.2)[0], together[4])
    other = Change(lambda i: data.images[i], "noise", 4).rows(np.arange(5), 0.2)
    assert (other != together).any()
    grey = Change(lambda i: np.full((len(i), 8, 8, 3), 128.0), "noise", 3)
    first, second = grey.rows(np.array([1, 2]), 0.2)
    assert (first != second).any()


def test_what_no_strength_reaches_is_said(model):
    flat = np.full((6, 16, 16, 3), 100, "uint8")
    data = kerastl.ImageSet(flat, np.zeros(6, int), CLASSES)
    report = corruption_report(model, data, corruptions=["blur"], sizes=[5.0])
    assert report.rows == ()
    assert report.unreachable == (("blur", 5.0),)
    assert "blur reaches no 5 here" in str(report)
    assert report.to_dict()["unreachable"] == [["blur", 5.0]]


def test_what_does_not_fit_is_said(model, data):
    with pytest.raises(ValueError, match="Did you mean 'blur'"):
        corruption_report(model, data, corruptions=["blurr"])
    with pytest.raises(ValueError, match="at least 0"):
        corruption_report(model, data, sizes=[-1])
    numbers = kerastl.build_regressor(small_network(), [1.0, 2.0], preprocessing="tf")
    with pytest.raises(ValueError, match="a classifier of images"):
        corruption_report(numbers, data)
