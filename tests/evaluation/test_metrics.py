import numpy as np
import pytest
import sklearn.metrics as oracle

from kerastl.evaluation import metrics


@pytest.fixture
def pair():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 60)
    predicted = np.where(
        generator.random(60) < 0.6, labels, generator.integers(0, 6, 60)
    )
    return labels, predicted


@pytest.fixture
def many():
    generator = np.random.default_rng(4)
    labels = (generator.random((30, 5)) < 0.4).astype(int)
    flipped = generator.random((30, 5)) < 0.2
    labels[:, 4] = 0
    return labels, np.where(flipped, 1 - labels, labels)


def test_accuracy_matches_scikit_learn(pair):
    assert metrics.accuracy(*pair) == pytest.approx(oracle.accuracy_score(*pair))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_averages_the_classes_that_occur_in_the_labels(pair):
    expected = oracle.balanced_accuracy_score(*pair)
    assert metrics.balanced_accuracy(*pair) == pytest.approx(expected)


def test_balanced_accuracy_of_one_answer_is_one_over_the_classes():
    assert metrics.balanced_accuracy([0] * 9 + [1, 2], [0] * 11) == pytest.approx(1 / 3)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_f1_matches_scikit_learn(pair, average):
    expected = oracle.f1_score(*pair, average=average, zero_division=0)
    assert metrics.f1(*pair, average=average) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_multilabel_f1_matches_scikit_learn(many, average):
    expected = oracle.f1_score(*many, average=average, zero_division=0)
    assert metrics.f1(*many, average=average) == pytest.approx(expected)


def test_macro_f1_leaves_out_a_class_that_occurs_nowhere():
    assert metrics.f1([0, 0, 3], [0, 0, 3]) == 1.0


def test_f1_is_nan_when_nothing_is_there_and_nothing_found():
    assert np.isnan(metrics.f1(np.zeros((3, 2)), np.zeros((3, 2)), average="micro"))


@pytest.mark.parametrize("fixture", ["pair", "many"])
def test_per_class_scores_are_shares_of_their_counts(request, fixture):
    labels, predicted = request.getfixturevalue(fixture)
    classes = 7 if labels.ndim == 1 else 5
    found = metrics.per_class_scores(labels, predicted, num_classes=classes)
    for index in range(classes):
        if labels.ndim == 1:
            true, given = labels == index, predicted == index
        else:
            true, given = labels[:, index] == 1, predicted[:, index] == 1
        hits, support, total = (true & given).sum(), true.sum(), given.sum()
        expected = {
            "precision": hits / total if total else np.nan,
            "recall": hits / support if support else np.nan,
            "f1": 2 * hits / (support + total) if support + total else np.nan,
            "support": support,
            "predicted": total,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][index], value, err_msg=name)


def test_one_column_of_labels_is_one_class():
    found = metrics.per_class_scores([[1], [0], [1]], [[1], [1], [0]])
    assert {name: values.tolist() for name, values in found.items()} == {
        "precision": [0.5],
        "recall": [0.5],
        "f1": [0.5],
        "support": [2],
        "predicted": [2],
    }


def test_confusion_of_a_single_class_is_one_cell():
    assert metrics.confusion_matrix([0, 0], [0, 0], 1).tolist() == [[2]]


def test_per_class_scores_count_what_was_given_to_each_class():
    found = metrics.per_class_scores([0, 0, 1], [1, 1, 1], num_classes=3)
    np.testing.assert_array_equal(found["predicted"], [0, 3, 0])


def test_precision_of_a_class_never_predicted_is_unknown():
    assert np.isnan(metrics.per_class_scores([0, 1], [1, 1])["precision"][0])


def test_confusion_matrix_has_true_classes_in_rows(pair):
    expected = oracle.confusion_matrix(*pair, labels=range(8))
    np.testing.assert_array_equal(metrics.confusion_matrix(*pair, 8), expected)


def test_subset_accuracy_matches_scikit_learn(many):
    assert metrics.subset_accuracy(*many) == pytest.approx(oracle.accuracy_score(*many))


def test_label_accuracy_is_one_minus_hamming_loss(many):
    expected = 1 - oracle.hamming_loss(*many)
    assert metrics.label_accuracy(*many) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.accuracy([0, 1], [0]), r"`predicted` must be of shape \(2,\)"),
        (lambda: metrics.accuracy([[0, 1]], [[0, 1]]), "subset_accuracy"),
        (lambda: metrics.balanced_accuracy([[0, 1]], [[0, 1]]), "Use `f1`"),
        (lambda: metrics.subset_accuracy([0, 1], [0, 1]), "Use `accuracy`"),
        (lambda: metrics.label_accuracy([0, 1], [0, 1]), "Use `accuracy`"),
        (lambda: metrics.f1([0], [0], average="marco"), "Did you mean 'macro'"),
        (lambda: metrics.confusion_matrix([0, 2], [0, 1], 2), "`labels` .* below 2"),
        (lambda: metrics.confusion_matrix([0, 1], [0, 2], 2), "`predicted` .* below 2"),
        (lambda: metrics.confusion_matrix([[1]], [[1]], 1), "no confusion matrix"),
        (
            lambda: metrics.per_class_scores([[0, 1]], [[0, 1]], num_classes=3),
            "the columns",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
