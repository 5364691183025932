"""A classifier's scores are those of its predictions, label by label."""

import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

import kerastl

IMAGES, LABELS = coloured(4)
ALL = kerastl.ImageSet(IMAGES, LABELS, CLASSES)


@pytest.fixture(scope="module")
def model():
    return small_classifier(learnt=True)


NAMES = [CLASSES[label] for label in LABELS]
PAIRS = {
    "integers": (IMAGES, LABELS),
    "names": (IMAGES, NAMES),
    "objects": [list(IMAGES), np.array(NAMES, object)],
    "pictures": ([Image.fromarray(image) for image in IMAGES], NAMES),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_pair_is_scored_as_a_set(model, pair):
    report, expected = kerastl.evaluate(model, pair), kerastl.evaluate(model, ALL)
    np.testing.assert_array_equal(report.confusion, expected.confusion)
    assert report.metrics == pytest.approx(expected.metrics)


@pytest.mark.parametrize("score", [kerastl.evaluate, kerastl.calibrate])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((IMAGES, ["yew"] * 12), r"of the model's classes.*\['yew'\]"),
        ((IMAGES, NAMES[:5]), "as many labels as images"),
        (["a.png", "b.png"], r"an \(images, labels\) pair"),
        ((IMAGES, LABELS, np.ones(12)), "three parts"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(model, score, data, words):
    with pytest.raises(ValueError, match=words):
        score(model, data)


def test_scores_are_scikit_learns(model):
    report = kerastl.evaluate(model, ALL, batch_size=5)
    made = kerastl.predict(model, IMAGES)
    assert report.accuracy == pytest.approx(accuracy_score(LABELS, made.indices))
    np.testing.assert_array_equal(
        report.confusion, confusion_matrix(LABELS, made.indices)
    )
    assert report.metrics["log_loss"] == pytest.approx(
        log_loss(LABELS, made.probabilities), rel=1e-4
    )
    assert (report.images, report.class_names) == (12, CLASSES)


def test_keras_own_evaluate_agrees(model):
    loss, accuracy = model.evaluate(IMAGES, LABELS, verbose=0)
    report = kerastl.evaluate(model, ALL)
    assert report.accuracy == pytest.approx(accuracy)
    assert report.metrics["log_loss"] == pytest.approx(loss, rel=1e-4)


def test_classes_in_another_order_are_matched_by_name(model):
    names = ("cedar", "ash", "beech")
    labels = np.array([names.index(CLASSES[label]) for label in LABELS])
    shuffled = kerastl.evaluate(model, kerastl.ImageSet(IMAGES, labels, names))
    plain = kerastl.evaluate(model, ALL)
    np.testing.assert_array_equal(shuffled.confusion, plain.confusion)
    assert shuffled.class_names == CLASSES


def test_some_of_the_classes_may_be_absent(model):
    two = LABELS != 1
    labels = (LABELS[two] == 2).astype(int)
    images = kerastl.ImageSet(IMAGES[two], labels, ("ash", "cedar"))
    report = kerastl.evaluate(model, images)
    right = kerastl.predict(model, IMAGES[two]).indices == LABELS[two]
    assert report.accuracy == pytest.approx(right.mean())
    assert report.per_class[1].images == 0


def test_the_set_keeps_its_labels(model):
    names = ("cedar", "ash", "beech")
    images = kerastl.ImageSet(IMAGES, LABELS, names)
    kerastl.evaluate(model, images)
    np.testing.assert_array_equal(images.labels, LABELS)


def test_the_binary_task_is_scored():
    model = small_classifier(["no", "yes"], task="binary", learnt=True)
    images = kerastl.ImageSet(IMAGES, LABELS % 2, ("no", "yes"))
    report = kerastl.evaluate(model, images)
    right = kerastl.predict(model, IMAGES).indices == LABELS % 2
    assert report.accuracy == pytest.approx(right.mean())
    assert "roc_auc" in report.metrics


def test_the_multilabel_task_is_scored():
    model = small_classifier(task="multilabel", learnt=True)
    labels = np.eye(3, dtype=int)[LABELS]
    labels[0] = 1
    report = kerastl.evaluate(model, kerastl.ImageSet(IMAGES, labels, CLASSES))
    right = (kerastl.predict(model, IMAGES).indices == labels).all(axis=1)
    assert report.accuracy == pytest.approx(right.mean())


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        (IMAGES, TypeError, "`image_set` must be an ImageSet"),
        (kerastl.ImageSet(IMAGES, None, ()), ValueError, "labelled images"),
        (kerastl.ImageSet((), np.zeros(0, int), CLASSES), ValueError, "labelled"),
        (
            kerastl.ImageSet(IMAGES, LABELS, ("ash", "beech", "yew")),
            ValueError,
            r"of the model's classes. Received: .*\['yew'\].*ash, beech, cedar",
        ),
        (
            kerastl.ImageSet(IMAGES, np.eye(3, dtype=int)[LABELS] | 1, CLASSES),
            ValueError,
            r"`labels` must be integers of shape \(n,\)",
        ),
    ],
)
def test_sets_that_cannot_be_scored_are_refused(model, images, error, sentence):
    with pytest.raises(error, match=sentence):
        kerastl.evaluate(model, images)
