import numpy as np
import pytest
import sklearn.metrics as oracle

from kerastl.evaluation import metrics as scores
from kerastl.evaluation.metrics import accuracy


@pytest.fixture
def multiclass():
    generator = np.random.default_rng(0)
    return generator.integers(0, 7, 80), generator.dirichlet(np.ones(7), 80)


@pytest.fixture
def binary():
    generator = np.random.default_rng(1)
    positive = np.round(generator.random(50), 1)
    return generator.integers(0, 2, 50), np.stack([1 - positive, positive], axis=1)


@pytest.fixture
def multilabel():
    generator = np.random.default_rng(2)
    return generator.integers(0, 2, (40, 3)), generator.random((40, 3))


def rank_area(labels, values):
    above = values[labels == 1][:, None] - values[labels == 0][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_accuracy_matches_scikit_learn(multiclass, k):
    expected = oracle.top_k_accuracy_score(*multiclass, k=k, labels=range(7))
    assert scores.top_k_accuracy(*multiclass, k=k) == pytest.approx(expected)


def test_top_1_accuracy_is_the_accuracy_even_with_ties(binary):
    labels, probabilities = binary
    expected = accuracy(labels, probabilities.argmax(axis=1))
    assert scores.top_k_accuracy(labels, probabilities, k=1) == expected


def test_top_k_accuracy_with_all_classes_is_one(multiclass):
    assert scores.top_k_accuracy(*multiclass, k=7) == 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_log_loss_matches_scikit_learn(multiclass, dtype):
    labels, probabilities = multiclass
    probabilities = np.eye(7)[[0] * 40 + [1] * 40] * 0.5 + probabilities * 0.5
    probabilities[:5] = np.eye(7)[:5]
    probabilities = probabilities.astype(dtype)
    expected = oracle.log_loss(labels, probabilities, labels=range(7))
    assert scores.log_loss(labels, probabilities) == pytest.approx(expected, rel=1e-5)


def test_log_loss_of_uniform_probabilities_is_log_of_the_classes():
    assert scores.log_loss([0, 3], np.full((2, 4), 0.25)) == pytest.approx(np.log(4))


def test_multilabel_log_loss_is_the_mean_of_binary_ones(multilabel):
    labels, probabilities = multilabel
    columns = [oracle.log_loss(labels[:, j], probabilities[:, j]) for j in range(3)]
    assert scores.log_loss(*multilabel) == pytest.approx(np.mean(columns))


def test_brier_is_the_mean_squared_distance_to_the_truth(multiclass):
    labels, probabilities = multiclass
    pairs = zip(labels, probabilities, strict=True)
    expected = np.mean([np.sum((p - np.eye(7)[y]) ** 2) for y, p in pairs])
    assert scores.brier(labels, probabilities) == pytest.approx(expected)


def test_brier_of_two_classes_is_the_binary_score(binary):
    labels, probabilities = binary
    expected = oracle.brier_score_loss(labels, probabilities[:, 1])
    assert scores.brier(labels, probabilities) == pytest.approx(expected)


def test_multilabel_brier_is_the_mean_of_binary_ones(multilabel):
    labels, probabilities = multilabel
    columns = [
        oracle.brier_score_loss(labels[:, j], probabilities[:, j]) for j in range(3)
    ]
    assert scores.brier(*multilabel) == pytest.approx(np.mean(columns))


def test_roc_auc_is_the_share_of_pairs_in_order(binary):
    labels, probabilities = binary
    expected = rank_area(labels, probabilities[:, 1])
    assert scores.roc_auc(labels, probabilities[:, 1]) == pytest.approx(expected)


def test_multilabel_roc_auc_leaves_out_a_class_without_positives(multilabel):
    labels, probabilities = multilabel
    labels[:, 1] = 0
    expected = np.mean([rank_area(labels[:, j], probabilities[:, j]) for j in (0, 2)])
    assert scores.roc_auc(labels, probabilities) == pytest.approx(expected)


def test_roc_auc_without_negatives_is_nan():
    assert np.isnan(scores.roc_auc([1, 1], [0.2, 0.3]))


def test_average_precision_is_the_mean_precision_at_positives(multilabel):
    labels, values = multilabel
    expected = []
    for j in range(3):
        found = labels[np.argsort(-values[:, j]), j]
        precision = np.cumsum(found) / np.arange(1, len(found) + 1)
        expected.append(precision[found == 1].mean())
    assert scores.average_precision(labels, values) == pytest.approx(np.mean(expected))


def test_average_precision_leaves_out_a_class_without_positives():
    labels, values = [[1, 0], [0, 0]], [[0.9, 0.9], [0.1, 0.1]]
    assert scores.average_precision(labels, values) == 1.0


def test_average_precision_without_positives_is_nan():
    assert np.isnan(scores.average_precision([0, 0], [0.2, 0.3]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scores.top_k_accuracy([0], [[0.5, 0.5]], k=3), "at most 2"),
        (lambda: scores.top_k_accuracy([[0, 1]], [[0.5, 0.5]], k=1), "class indices"),
        (lambda: scores.roc_auc([0, 2], [0.5, 0.5]), "0 or 1"),
        (lambda: scores.roc_auc([0, 1], [[0.5, 0.5], [0.5, 0.5]]), r"\[:, 1\]"),
        (lambda: scores.roc_auc([0, 1], [0.5, np.nan]), "finite"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
