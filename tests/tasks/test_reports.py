import json

import numpy as np
import pytest
import sklearn.metrics as oracle

from kerastl.evaluation.metrics import most_confused_pairs, wilson_interval
from kerastl.tasks.classification import classification_report

FLOWERS = ("daisy", "rose", "tulip")
SINGLE = ("balanced_accuracy", "matthews_correlation", "cohen_kappa")


def simulated(n=60, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True)


def simulated_multilabel():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, (30, 3))
    return labels, np.clip(0.4 * labels + 0.6 * generator.random((30, 3)), 0, 1)


def test_accuracy_comes_with_its_wilson_limits():
    labels, probabilities = simulated()
    report = classification_report(labels, probabilities, FLOWERS)
    right = int((probabilities.argmax(axis=1) == labels).sum())
    assert report.accuracy == pytest.approx(right / 60)
    assert report.accuracy_interval == wilson_interval(right, 60)


def test_baseline_is_the_share_of_the_majority_class():
    probabilities = np.full((4, 3), 1 / 3)
    assert classification_report([2, 2, 1, 2], probabilities, FLOWERS).baseline == 0.75


def test_multilabel_baseline_is_the_share_of_the_commonest_label_set():
    labels = [[1, 0], [1, 0], [0, 1], [1, 1]]
    probabilities = np.full((4, 2), 0.2)
    report = classification_report(labels, probabilities, ("a", "b"), task="multilabel")
    assert report.baseline == 0.5


def test_rows_match_scikit_learn():
    labels, probabilities = simulated()
    report = classification_report(labels, probabilities, FLOWERS)
    expected = oracle.classification_report(
        labels, probabilities.argmax(axis=1), target_names=FLOWERS, output_dict=True
    )
    for row in report.per_class:
        theirs = expected[row.name]
        ours = (row.precision, row.recall, row.f1, row.images)
        np.testing.assert_allclose(
            ours, [theirs[k] for k in ("precision", "recall", "f1-score", "support")]
        )
    assert report.metrics["macro_f1"] == pytest.approx(
        expected["macro avg"]["f1-score"]
    )


def test_confusion_matrix_sums_to_the_images():
    labels, probabilities = simulated()
    report = classification_report(labels, probabilities, FLOWERS)
    np.testing.assert_array_equal(
        report.confusion, oracle.confusion_matrix(labels, probabilities.argmax(axis=1))
    )


@pytest.mark.parametrize(
    ("task", "extra"),
    [
        ("multiclass", {*SINGLE, "roc_auc", "top_5_accuracy"}),
        ("binary", {*SINGLE, "roc_auc", "average_precision"}),
        (
            "multilabel",
            {"micro_f1", "label_accuracy", "roc_auc", "average_precision"},
        ),
    ],
)
def test_each_task_has_its_metrics(task, extra):
    classes = {"multiclass": 6, "binary": 2, "multilabel": 3}[task]
    data = simulated_multilabel() if task == "multilabel" else simulated(60, classes)
    report = classification_report(*data, tuple("abcdef"[:classes]), task=task)
    shared = {"macro_f1", "weighted_f1", "log_loss", "brier"}
    assert set(report.metrics) == shared | extra | {"expected_calibration_error"}


def test_class_one_is_the_positive_class_of_the_binary_task():
    labels, probabilities = simulated(40, 2)
    report = classification_report(labels, probabilities, ("no", "yes"), task="binary")
    expected = oracle.roc_auc_score(labels, probabilities[:, 1])
    assert report.metrics["roc_auc"] == pytest.approx(expected)


def test_multilabel_accuracy_is_that_of_whole_images():
    labels, probabilities = simulated_multilabel()
    report = classification_report(labels, probabilities, FLOWERS, task="multilabel")
    expected = oracle.accuracy_score(labels, (probabilities > 0.5).astype(int))
    assert report.accuracy == pytest.approx(expected)
    assert report.confusion is None


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_one_image_gives_plain_finite_json(task):
    labels = [[1, 0]] if task == "multilabel" else [0]
    report = classification_report(labels, [[0.9, 0.1]], ("a", "b"), task=task)
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert record["accuracy"] == 1.0
    assert record["images"] == 1


def test_json_keeps_every_number():
    labels, probabilities = simulated()
    report = classification_report(labels, probabilities, FLOWERS, seconds=1.5)
    record = report.to_dict()
    assert record["confusion"] == report.confusion.tolist()
    assert record["per_class"][1]["name"] == "rose"
    assert sum(each["decisions"] for each in record["calibration"]) == 60
    assert record["seconds"] == 1.5
    assert record["metrics"] == report.metrics


def test_a_class_absent_from_the_labels_has_no_recall():
    report = classification_report([0, 0], [[0.9, 0.1, 0.0]] * 2, FLOWERS)
    assert (report.per_class[1].recall, report.per_class[1].f1) == (None, None)
    assert (report.per_class[1].images, report.per_class[0].recall) == (0, 1.0)


def test_most_confused_pairs_are_sorted_by_images():
    table = np.array([[5, 1, 0], [3, 9, 0], [0, 2, 2]])
    found = most_confused_pairs(table, FLOWERS, count=2)
    assert [(p.true, p.predicted, p.images) for p in found] == [
        ("rose", "daisy", 3),
        ("tulip", "rose", 2),
    ]
    assert [p.share for p in found] == [0.25, 0.5]


def test_looking_for_confused_pairs_leaves_the_matrix_alone():
    table = np.array([[5, 1], [3, 9]])
    most_confused_pairs(table, FLOWERS[:2])
    np.testing.assert_array_equal(table, [[5, 1], [3, 9]])


def test_without_mistakes_nothing_is_confused():
    assert classification_report([0, 1, 2], np.eye(3), FLOWERS).most_confused == ()


@pytest.mark.parametrize(
    ("labels", "probabilities", "names", "task", "words"),
    [
        (np.eye(3), np.eye(3), FLOWERS, "multiclass", "argmax"),
        ([0, 1], np.eye(3)[:2], FLOWERS, "multilabel", r"of shape \(n, classes\)"),
        ([0, 1], np.eye(3)[:2], FLOWERS, "binary", r"of shape \(n, 2\)"),
        ([0, 1], np.eye(3)[:2], FLOWERS[:2], "multiclass", "3 names"),
        ([0, 1], np.eye(3)[:2], FLOWERS, "multi", "Did you mean 'multi"),
    ],
)
def test_what_does_not_fit_together_is_named(labels, probabilities, names, task, words):
    with pytest.raises(ValueError, match=words):
        classification_report(labels, probabilities, names, task=task)


def test_negative_seconds_are_named():
    with pytest.raises(ValueError, match="`seconds`"):
        classification_report([0], [[1.0, 0.0]], ("a", "b"), seconds=-1.0)
