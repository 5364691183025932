"""Groups of images: the worst first, and chance is not a finding."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact
from sklearn import metrics as oracle

from kerastl.evaluation.slices import _holm
from kerastl.metrics import cohen_kappa, matthews_correlation, roc_auc, slice_report


def planted(count=400, seed=0):
    """Nine in ten right, but for the images of one hospital, of which none is."""
    rng = np.random.default_rng(seed)
    hospital = rng.choice(["north", "south", "west"], count)
    right = rng.uniform(size=count) < 0.9
    right[hospital == "west"] = False
    return np.ones(count, int), right.astype(int), hospital


def test_the_planted_slice_comes_first():
    labels, predicted, hospital = planted()
    brightness = np.random.default_rng(1).normal(size=len(labels))
    slices = {"brightness": brightness, "hospital": hospital}
    report = slice_report(labels, predicted, slices)
    first = report.slices[0]
    assert (first.by, first.value, first.accuracy) == ("hospital", "west", 0.0)
    assert first.images == (hospital == "west").sum()
    assert report.found[0] == first
    assert "worse than the rest: hospital west" in str(report)
    accuracies = [each.accuracy for each in report.slices]
    assert accuracies == sorted(accuracies)


def test_the_p_value_is_fishers_corrected_by_holm():
    labels, predicted, hospital = planted(120)
    report = slice_report(labels, predicted, {"hospital": hospital})
    right, raw = predicted == 1, {}
    for name in set(hospital.tolist()):
        inside = hospital == name
        table = [[(right & m).sum(), (~right & m).sum()] for m in (inside, ~inside)]
        raw[name] = fisher_exact(table).pvalue
    ranked = sorted(raw, key=raw.get)
    for rank, name in enumerate(ranked):
        expected = max(
            min(1.0, (len(ranked) - k) * raw[ranked[k]]) for k in range(rank + 1)
        )
        [found] = [s for s in report.slices if s.value == name]
        assert found.p_value == pytest.approx(expected)


def test_holm_lies_between_single_and_bonferroni():
    values = [0.04, 0.01, 0.03]
    assert _holm(values) == pytest.approx([0.06, 0.03, 0.06])
    assert np.all(np.array(_holm(values)) >= false_discovery_control(values))


def test_random_groups_are_rarely_found():
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(200):
        right = (rng.uniform(size=200) < 0.8).astype(int)
        slices = {"a": rng.integers(0, 4, 200).astype(str), "b": rng.normal(size=200)}
        flagged += bool(slice_report(np.ones(200, int), right, slices).found)
    # At 5 % the 99 % limit of 200 draws is 18.
    assert flagged <= 18


def test_small_groups_are_listed_last_and_not_tested():
    labels = np.ones(100, int)
    predicted = labels.copy()
    predicted[:5] = 0
    group = np.where(np.arange(100) < 5, "few", "many")
    report = slice_report(labels, predicted, {"group": group}, smallest=20)
    assert [each.value for each in report.slices] == ["many", "few"]
    assert report.slices[-1].p_value is None
    assert not report.found


def test_numbers_make_equal_groups():
    values = np.arange(100.0)
    report = slice_report(np.ones(100), np.ones(100), {"size": values}, bins=4)
    assert [each.images for each in report.slices] == [25] * 4
    assert report.slices[0].value == "0 to 24"


def test_one_value_for_all_is_no_group():
    report = slice_report([1] * 30, [1] * 30, {"size": [5.0] * 30, "x": ["a"] * 30})
    assert report.slices == ()
    assert report.to_dict()["found"] == []


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="one value an image, 2 of 'x'"):
        slice_report([1, 1], [1, 1], {"x": ["a"]})
    with pytest.raises(ValueError, match="as the labels"):
        slice_report([1, 1], [1], {})
    with pytest.raises(ValueError, match="finite"):
        slice_report([1, 1], [1, 1], {"x": [np.nan, 1.0]})


def test_agreement_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (2, 60))
    expected = oracle.matthews_corrcoef(labels, predicted)
    assert matthews_correlation(labels, predicted) == pytest.approx(expected)
    for weights in (None, "linear", "quadratic"):
        expected = oracle.cohen_kappa_score(labels, predicted, weights=weights)
        assert cohen_kappa(labels, predicted, weights=weights) == pytest.approx(
            expected
        )
    assert np.isnan(cohen_kappa([1, 1], [1, 1]))
    with pytest.raises(ValueError, match="must be one of"):
        cohen_kappa(labels, predicted, weights="cubic")


def test_the_area_of_several_classes_is_each_against_the_rest():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    expected = oracle.roc_auc_score(labels, scores, multi_class="ovr")
    assert roc_auc(np.eye(3, dtype=int)[labels], scores) == pytest.approx(expected)
