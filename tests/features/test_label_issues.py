"""Suspect labels: planted ones are found, and nothing is found where nothing is."""

import csv

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge

import kerastl
from kerastl.features.label_issues import (
    _at_depths,
    _balanced,
    _probabilities,
    confident_issues,
)
from kerastl.features.probe import loo_ridge
from kerastl.metrics import find_label_issues
from kerastl.models.layers import feature_columns


def clouds(per_class=40, classes=3, spread=0.5, seed=0):
    """Well apart: points around the corners of a simplex."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    rows = 4 * np.eye(classes, 8)[labels] + spread * rng.normal(size=(len(labels), 8))
    return rows, labels


def flipped(labels, share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), int(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + 1) % (labels.max() + 1)
    return noisy, set(wrong.tolist())


def test_planted_flips_come_first():
    rows, labels = clouds()
    noisy, wrong = flipped(labels)
    found = find_label_issues(rows, noisy, class_names=("ash", "beech", "cedar"))
    assert {issue.place for issue in found.issues} == wrong
    assert set(found.ranking[: len(wrong)].tolist()) == wrong
    names = np.array(found.class_names)
    for issue in found.issues:
        assert issue.given == names[noisy[issue.place]]
        assert issue.suggested == names[labels[issue.place]]
    margins = [issue.margin for issue in found.issues]
    assert margins == sorted(margins)


def test_without_flips_nothing_is_found():
    found = find_label_issues(*clouds())
    assert len(found) == 0
    assert found.accuracy == 1.0
    assert "0 of 120 labels look wrong" in str(found)


def test_more_flips_than_chance_where_classes_overlap():
    rows, labels = clouds(100, spread=2.0)
    noisy, wrong = flipped(labels)
    found = find_label_issues(rows, noisy)
    hits = len(set(found.ranking[: len(wrong)].tolist()) & wrong)
    # At random a tenth of the first thirty would be flips; 9 or more come by chance
    # in fewer than 1 of 1,000 rankings.
    assert hits >= 9


def test_another_order_permutes_the_result():
    rows, labels = clouds(spread=1.5)
    noisy, _ = flipped(labels)
    order = np.random.default_rng(1).permutation(len(noisy))
    first = find_label_issues(rows, noisy)
    second = find_label_issues(rows[order], noisy[order])
    np.testing.assert_allclose(second.margins, first.margins[order], atol=1e-8)
    places = {order[issue.place] for issue in second.issues}
    assert places == {issue.place for issue in first.issues}


def test_confident_learning_by_its_own_rule():
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    probabilities = rng.dirichlet(np.ones(3), 60)
    found = confident_issues(codes, probabilities)
    limits = [probabilities[codes == c, c].mean() for c in range(3)]
    for row, code, suspect in zip(probabilities, codes, found, strict=True):
        claimed = [c for c in range(3) if row[c] >= limits[c]]
        best = max(claimed, key=lambda c, row=row: row[c], default=code)
        assert suspect == (best != code)
    assert 0 < found.sum() < 60


def test_it_agrees_with_cleanlab():
    filter_ = pytest.importorskip("cleanlab.filter")
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    probabilities = rng.dirichlet(np.ones(3), 90)
    theirs = filter_.find_label_issues(
        codes, probabilities, filter_by="confident_learning"
    )
    np.testing.assert_array_equal(confident_issues(codes, probabilities), theirs)


def test_probabilities_are_those_of_refits_without_the_image():
    rows, labels = clouds(10, spread=1.5)
    found = _probabilities(rows, labels)
    loo = loo_ridge(rows, labels)
    targets, decisions = np.eye(3)[labels], np.empty((len(rows), 3))
    for place in range(len(rows)):
        others = np.arange(len(rows)) != place
        # The strength stays: a penalty is fitted once.
        probe = Ridge(alpha=loo.penalties[loo.best]).fit(rows[others], targets[others])
        decisions[place] = probe.predict(rows[place : place + 1])[0]
    factors = np.log(found[:, 0] / found[:, 1]) / (decisions[:, 0] - decisions[:, 1])
    np.testing.assert_allclose(factors, factors[0], rtol=1e-5)
    np.testing.assert_allclose(
        found, softmax(factors[0] * decisions, axis=1), atol=1e-6
    )


def test_features_come_from_several_depths_of_equal_weight():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=64, weights=None
    )
    network = _at_depths(backbone)
    columns = feature_columns(network)
    assert list(columns.cuts) == [f"conv_pw_{n}_relu" for n in (3, 5, 7, 9, 11, 13)]
    rows = np.random.default_rng(0).normal(3, 1, (20, 5)) * [1, 1, 90, 90, 0]
    found = _balanced(rows, [2, 2, 1])
    assert found.shape == (20, 4)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    for part in (found[:, :2], found[:, 2:]):
        assert np.square(part).sum(axis=1).mean() == pytest.approx(1)


def test_an_image_alone_in_its_class_is_left_out():
    rows, labels = clouds(20, 2)
    labels[0] = 2
    found = find_label_issues(rows, labels)
    assert found.left_out == 1
    assert found.margins[0] == np.inf
    assert found.ranking[-1] == 0
    assert "1 images are alone" in str(found)


def test_files_are_named_and_written_to_a_table(image_folder, tmp_path):
    found = find_label_issues(image_folder, alpha=0.25, image_size=32)
    assert found.images == 12
    found.to_csv(tmp_path / "issues.csv")
    with (tmp_path / "issues.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    assert all("margin" in row for row in rows)
    train = kerastl.open_data(image_folder, validation=0.0).train
    assert all(issue.path in train.paths for issue in found.issues)


@pytest.mark.parametrize(
    ("data", "labels", "options", "words"),
    [
        (np.ones((4, 2)), [0, 1, 0, 1], {}, "different between images"),
        (np.eye(4), [0.5, 1, 0, 1], {}, "class indices"),
        (np.eye(4), [0, 1, 0, 1], {"class_names": ("a",)}, "at least 2 names"),
        (np.eye(4), [0, 1, 0, 1], {"batch_size": 0}, "at least 1"),
        (np.eye(4), [0, 0, 0, 0], {}, "two classes"),
    ],
)
def test_what_does_not_fit_is_said(data, labels, options, words):
    with pytest.raises(ValueError, match=words):
        find_label_issues(data, labels, **options)
