"""Adapting a finished classifier: what is chosen, and that the report is true."""

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier, values

import kerastl
from kerastl.adaptation import ShiftReport, adapt, adapt_statistics
from kerastl.adaptation import adapting as module
from kerastl.adaptation.label_shift import PriorShift

pytestmark = pytest.mark.filterwarnings("ignore:Statistics of")
IMAGES, LABELS = coloured(10)
SOURCE = kerastl.ImageSet(IMAGES, LABELS, CLASSES)


def learnt():
    keras.utils.set_random_seed(0)
    return small_classifier(learnt=True)


def report_of(kind):
    prior = PriorShift(
        CLASSES, (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), "em", 30, 1.0, 0.7, 0.5
    )
    return ShiftReport(kind, 0.7, 0.5, prior)


def test_the_report_says_what_changed():
    model, target = learnt(), 255 - IMAGES
    before = kerastl.predict(model, target)
    report = adapt(model, (target, LABELS))
    after = kerastl.predict(model, target)
    assert report.method == "statistics"
    assert len(report.moved) == 6
    assert report.changed == (before.indices != after.indices).sum()
    assert report.after == {n: after.labels.count(n) for n in CLASSES}
    assert report.before == {n: before.labels.count(n) for n in CLASSES}
    assert report.source_accuracy is report.shift is None
    again = learnt()
    adapt_statistics(again, target)
    for one, other in zip(values(model), values(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert f"{report.changed} of 30 answers changed" in str(report)
    assert "only labels can tell" in str(report)


@pytest.mark.parametrize(
    ("kind", "method", "moved"),
    [
        ("none", "none", set()),
        ("prevalence", "prior", {"head_dense/bias"}),
        ("images", "statistics", None),
    ],
)
def test_what_has_changed_decides(kind, method, moved, monkeypatch):
    monkeypatch.setattr(module, "shift_report", lambda *a, **k: report_of(kind))
    model = learnt()
    report = adapt(model, 255 - IMAGES, source=SOURCE)
    assert report.method == method
    assert moved is None or set(report.moved) == moved
    assert report.shift.kind == kind
    found = kerastl.evaluate(model, SOURCE).accuracy
    assert report.source_accuracy[1] == pytest.approx(found)
    assert report.to_dict()["shift"]["kind"] == kind
    assert "accuracy on the source" in str(report)


def test_a_prior_needs_a_source():
    with pytest.raises(ValueError, match="`source` must be given"):
        adapt(learnt(), IMAGES, method="prior")
