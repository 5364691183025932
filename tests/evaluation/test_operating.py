"""Thresholds: against every threshold there is, and Bayes's rule."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from kerastl.metrics import operating_point, threshold_at


def sample(count=80, seed=0, digits=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    scores = 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 1.5)))
    return labels, scores if digits is None else scores.round(digits)


def every_threshold(scores):
    """One between any two scores, and one beyond either end."""
    values = np.unique(scores)
    between = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - 1], between, [values[-1] + 1]])


def rates(labels, scores, threshold):
    called = scores >= threshold
    found = called[labels == 1].mean()
    spared = (~called[labels == 0]).mean()
    right = labels[called].mean() if called.any() else np.nan
    return found, spared, right


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("seed", range(5))
def test_the_aim_is_reached_at_the_least_price(seed, digits):
    labels, scores = sample(seed=seed, digits=digits)
    table = np.array([rates(labels, scores, t) for t in every_threshold(scores)])
    for wanted in (0.5, 0.9, 1.0):
        found, spared, _ = rates(
            labels, scores, threshold_at(labels, scores, sensitivity=wanted)
        )
        assert found >= wanted
        assert spared == table[table[:, 0] >= wanted, 1].max()
        found, spared, _ = rates(
            labels, scores, threshold_at(labels, scores, specificity=wanted)
        )
        assert spared >= wanted
        assert found == table[table[:, 1] >= wanted, 0].max()
    reachable = np.nanmax(table[table[:, 0] > 0, 2])
    found, _, right = rates(
        labels, scores, threshold_at(labels, scores, precision=reachable)
    )
    assert right >= reachable
    assert found == table[(table[:, 2] >= reachable), 0].max()


@pytest.mark.parametrize("costs", [(1.0, 1.0), (1.0, 9.0), (5.0, 1.0)])
@pytest.mark.parametrize("digits", [None, 1])
def test_costs_are_the_least_of_all_thresholds(costs, digits):
    labels, scores = sample(200, digits=digits)

    def cost(threshold):
        called = scores >= threshold
        false = (called & (labels == 0)).sum(), (~called & (labels == 1)).sum()
        return costs[0] * false[0] + costs[1] * false[1]

    chosen = cost(threshold_at(labels, scores, costs=costs))
    assert chosen == min(map(cost, every_threshold(scores)))


def test_a_dearer_miss_lowers_the_threshold():
    labels, scores = sample(200)
    found = [threshold_at(labels, scores, costs=(1, k)) for k in (0.2, 1, 5, 25)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_of_calibrated_probabilities_it_is_near_bayes():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 200_000)
    labels = (rng.uniform(0, 1, len(scores)) < scores).astype(int)
    assert threshold_at(labels, scores, costs=(1, 3)) == pytest.approx(0.25, abs=0.03)


def test_rates_are_those_of_the_confusion_matrix():
    labels, scores = sample()
    point = operating_point(labels, scores, threshold=0.4)
    called = (scores >= 0.4).astype(int)
    tn, fp, fn, tp = oracle.confusion_matrix(labels, called).ravel()
    assert (point.true_positives, point.false_positives) == (tp, fp)
    assert (point.true_negatives, point.false_negatives) == (tn, fn)
    assert point.sensitivity == oracle.recall_score(labels, called)
    assert point.precision == oracle.precision_score(labels, called)
    assert point.specificity == oracle.recall_score(labels, called, pos_label=0)
    assert point.negative_precision == oracle.precision_score(
        labels, called, pos_label=0
    )
    low, high = point.interval("sensitivity")
    assert low < point.sensitivity < high
    assert point.to_dict()["sensitivity_interval"] == [low, high]
    assert f"{tp} of {tp + fn}" in str(point)


def test_at_its_own_prevalence_precision_stays():
    labels, scores = sample()
    point = operating_point(labels, scores, threshold=0.4)
    found = point.at_prevalence(point.prevalence)
    assert found == pytest.approx((point.precision, point.negative_precision))
    # 99 % each way, one in a hundred ill: half of the alarms are false.
    point = operating_point(
        [1] * 100 + [0] * 100, [1] * 99 + [0] + [0] * 99 + [1], threshold=0.5
    )
    assert point.at_prevalence(0.01)[0] == pytest.approx(0.5)


def test_a_rate_of_nothing_is_none():
    point = operating_point([0, 0], [0.1, 0.2], threshold=0.5)
    assert (point.sensitivity, point.precision, point.specificity) == (None, None, 1.0)
    assert point.to_dict()["precision_interval"] is None
    with pytest.raises(ValueError, match="both classes"):
        point.at_prevalence(0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of sensitivity"),
        ({"sensitivity": 0.9, "precision": 0.9}, "one of sensitivity"),
        ({"sensitivity": 0.0}, "above 0"),
        ({"costs": (1,)}, "of a false negative"),
        ({"costs": (1, 0)}, "above 0"),
        ({"precision": 1.0}, "The highest that these scores reach is 0.667"),
    ],
)
def test_what_cannot_be_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        threshold_at([1, 0, 1], [0.5, 0.7, 0.6], **options)
    with pytest.raises(ValueError, match="of both classes"):
        threshold_at([1, 1], [0.5, 0.7], sensitivity=0.9)
