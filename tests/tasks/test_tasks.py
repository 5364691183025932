"""Loss, metrics and decoding of a task agree with each other, on logits."""

import math

import keras
import numpy as np
import pytest
from networks import coloured, small_classifier
from scipy.special import expit, log_softmax, softmax

from kerastl.tasks.classification import (
    SmoothedSparseCrossentropy,
)
from kerastl.tasks.classification import (
    classification_task as make_task,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (7, 4)).astype("float32")
LABELS = np.array([0, 1, 2, 3, 3, 2, 0])
MANY = RNG.integers(0, 2, (7, 4))
YES = RNG.normal(0, 2, (7, 1)).astype("float32")
ANSWERS = np.array([0, 1, 1, 0, 1, 0, 0])


def yes_no_loss(logits, labels):
    """Mean binary cross-entropy, from its definition."""
    p = expit(logits.astype("float64"))
    return -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("column", [False, True])
def test_multiclass_loss_is_cross_entropy(smoothing, column):
    targets = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    by_hand = -np.mean(np.sum(targets * log_softmax(LOGITS, axis=1), axis=1))
    labels = LABELS[:, None] if column else LABELS
    loss = make_task("multiclass", 4).loss(smoothing)(labels, LOGITS)
    np.testing.assert_allclose(float(loss), by_hand, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_multilabel_loss_is_binary_cross_entropy(smoothing):
    targets = MANY * (1 - smoothing) + smoothing / 2
    loss = make_task("multilabel", 4).loss(smoothing)(MANY.astype("float32"), LOGITS)
    np.testing.assert_allclose(float(loss), yes_no_loss(LOGITS, targets), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_loss_takes_flat_labels(smoothing):
    targets = ANSWERS[:, None] * (1 - smoothing) + smoothing / 2
    loss = make_task("binary", 2).loss(smoothing)(ANSWERS, YES)
    np.testing.assert_allclose(float(loss), yes_no_loss(YES, targets), rtol=1e-5)


def accuracy(task, labels, logits):
    (metric,) = task.metrics()
    assert metric.name == "accuracy"
    metric.update_state(labels, logits)
    return float(metric.result())


def test_multiclass_accuracy_counts_the_largest_logit():
    share = np.mean(LOGITS.argmax(axis=1) == LABELS)
    assert accuracy(make_task("multiclass", 4), LABELS, LOGITS) == pytest.approx(share)


def test_binary_accuracy_cuts_logits_at_zero():
    logits = np.array([[0.2], [0.4], [-0.2], [3.0]], "float32")
    # Cut at 0.5, as for probabilities, only two would be right.
    assert accuracy(make_task("binary", 2), np.array([1, 1, 0, 1]), logits) == 1.0


def test_multilabel_accuracy_cuts_each_logit_at_zero():
    share = np.mean((LOGITS > 0) == MANY)
    labels = MANY.astype("float32")
    found = accuracy(make_task("multilabel", 4), labels, LOGITS)
    assert found == pytest.approx(share)


def test_multiclass_probabilities_are_the_softmax():
    made = make_task("multiclass", 4).decode(LOGITS)
    np.testing.assert_allclose(made, softmax(LOGITS.astype("float64"), axis=1))


def test_multilabel_probabilities_are_the_sigmoid():
    made = make_task("multilabel", 4).decode(LOGITS)
    np.testing.assert_allclose(made, expit(LOGITS.astype("float64")))


def test_binary_probabilities_are_two_columns_and_the_logit_is_the_second():
    made = make_task("binary", 2).decode(YES)
    np.testing.assert_allclose(made[:, 1], expit(YES[:, 0].astype("float64")))
    np.testing.assert_allclose(made.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel"])
def test_probabilities_of_huge_logits_are_finite(name):
    task = make_task(name, 2)
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]])[:, : task.units]
    made = task.decode(logits)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made, made.round())


SHARES = RNG.dirichlet([0.5] * 4, 7).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_multiclass_loss_takes_shares_of_classes(smoothing):
    targets = SHARES * (1 - smoothing) + smoothing / 4
    by_hand = -np.mean(np.sum(targets * log_softmax(LOGITS, axis=1), axis=1))
    loss = make_task("multiclass", 4).loss(smoothing)(SHARES, LOGITS)
    np.testing.assert_allclose(float(loss), by_hand, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_loss_takes_shares_of_two_classes(smoothing):
    pair = RNG.dirichlet([0.5, 0.5], 7).astype("float32")
    targets = pair[:, 1:] * (1 - smoothing) + smoothing / 2
    loss = make_task("binary", 2).loss(smoothing)(pair, YES)
    np.testing.assert_allclose(float(loss), yes_no_loss(YES, targets), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["multiclass", "binary"])
def test_one_hot_shares_cost_what_their_classes_cost(name, smoothing):
    classes, logits = (2, YES) if name == "binary" else (4, LOGITS)
    labels = LABELS % classes
    loss = make_task(name, classes).loss(smoothing)
    hard, soft = loss(labels, logits), loss(np.eye(classes)[labels], logits)
    np.testing.assert_allclose(float(soft), float(hard), rtol=1e-5)


def test_two_labels_with_two_logits_are_no_pair_of_shares():
    logits, labels = LOGITS[:, :2], MANY[:, :2].astype("float32")
    loss = make_task("multilabel", 2).loss()(labels, logits)
    np.testing.assert_allclose(float(loss), yes_no_loss(logits, labels), rtol=1e-5)


def test_the_loss_of_class_indices_is_kerass_own_to_the_bit():
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(make_task("multiclass", 4).loss()(LABELS, LOGITS)) == float(
        own(LABELS, LOGITS)
    )


def test_accuracy_on_shares_counts_the_largest():
    share = np.mean(LOGITS.argmax(axis=1) == SHARES.argmax(axis=1))
    assert 0 < share < 1
    assert accuracy(make_task("multiclass", 4), SHARES, LOGITS) == pytest.approx(share)


def test_binary_accuracy_on_shares_counts_the_larger():
    shares = np.array([[0.3, 0.7], [0.6, 0.4], [0.1, 0.9], [0.8, 0.2]], "float32")
    logits = np.array([[1.0], [1.0], [-1.0], [-1.0]], "float32")
    assert accuracy(make_task("binary", 2), shares, logits) == 0.5


def test_multilabel_accuracy_rounds_shares():
    shares = np.array([[0.7, 0.2], [0.4, 1.0]], "float32")
    logits = np.array([[1.0, -1.0], [1.0, 1.0]], "float32")
    assert accuracy(make_task("multilabel", 2), shares, logits) == 0.75


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_losses_and_metrics_can_be_saved(task):
    unit = make_task(task, 2)
    labels = MANY[:, :2] if task == "multilabel" else ANSWERS
    logits = LOGITS[:, : unit.units]
    for part in (unit.loss(), *unit.metrics()):
        saved = keras.saving.serialize_keras_object(part)
        loaded = keras.saving.deserialize_keras_object(saved)
        assert type(loaded) is type(part)
        assert float(loaded(labels, logits)) == float(part(labels, logits))


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_training_on_shares_is_validated_on_labels(task):
    model = small_classifier(2, task=task)
    images, labels = coloured(4)
    labels = labels % 2
    shares = np.eye(2, dtype="float32")[labels] * 0.8 + 0.1
    hard = np.eye(2)[labels] if task == "multilabel" else labels
    history = model.fit(
        images, shares, validation_data=(images, hard), epochs=2, verbose=0
    ).history
    loss, share = model.evaluate(images, hard, verbose=0)
    np.testing.assert_allclose(history["val_loss"][-1], loss, rtol=1e-5)
    np.testing.assert_allclose(history["val_accuracy"][-1], share, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("multiclass", SHARES),
        ("multiclass", np.eye(4)[LABELS]),
        ("multiclass", LABELS),
        ("multilabel", RNG.random((7, 4))),
        ("multilabel", MANY),
    ],
)
def test_targets_are_labels_or_shares(name, labels):
    make_task(name, 4).check_batch(labels)


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        ("multiclass", SHARES * 0.9, "rows that sum to 1.*a row of sum 0.9"),
        ("multiclass", 2 * SHARES - 0.25, "shares from 0 to 1"),
        ("multiclass", SHARES[:, :3], r"pass labels.argmax\(axis=-1\)"),
        ("multiclass", [0, 4], "from 0 to 3"),
        ("multilabel", MANY * 2, "shares from 0 to 1"),
        ("multilabel", np.full((2, 4), np.nan), "shares from 0 to 1"),
    ],
)
def test_targets_that_do_not_fit_are_refused(name, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_task(name, 4).check_batch(np.array(labels))


@pytest.mark.parametrize(
    ("task", "classes", "chance"),
    [
        ("multiclass", 3, math.log(3)),
        ("multiclass", 2, math.log(2)),
        ("binary", 2, math.log(2)),
        ("multilabel", 3, math.log(2)),
    ],
)
def test_the_first_loss_of_a_new_head_is_that_of_knowing_nothing(task, classes, chance):
    model = small_classifier(classes, task=task)
    images, labels = coloured(2)
    labels = np.eye(3)[labels] if task == "multilabel" else labels % classes
    loss = model.evaluate(images, labels, verbose=0)[0]
    assert loss == pytest.approx(chance, rel=1e-6)
    assert make_task(task, classes).chance_loss == pytest.approx(chance)


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        ("multiclass", [0, 4], "from 0 to 3 for 4 classes.*values from 0.* to 4"),
        ("multiclass", [-1, 2], "from 0 to 3 for 4 classes.*values from -1.* to 2"),
        ("multiclass", [0.5, 1.0], "whole numbers"),
        ("multiclass", [np.nan, 1.0], "whole numbers"),
        ("multiclass", np.eye(4), r"one-hot labels pass labels.argmax\(axis=-1\)"),
        ("multilabel", [0, 1], r"of shape \(n, 4\)"),
        ("multilabel", np.ones((2, 3)), r"of shape \(n, 4\)"),
        ("multilabel", np.full((2, 4), 0.5), "zeros and ones"),
    ],
)
def test_labels_that_do_not_fit_are_refused(name, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_task(name, 4).check(np.array(labels))


@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel"])
def test_labels_that_are_words_are_refused(name):
    words = np.array(["ash", "beech"])
    with pytest.raises(TypeError, match=r"`labels` must be numbers.*For names pass"):
        make_task(name, 2).check(words)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("multiclass", [0, 3]),
        ("multiclass", [[0], [3]]),
        ("multiclass", [0.0, 3.0]),
        ("multiclass", []),
        ("multilabel", MANY),
        ("multilabel", np.zeros((0, 4))),
    ],
)
def test_labels_that_fit_pass(name, labels):
    make_task(name, 4).check(np.array(labels))


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_stays_below_one(value):
    with pytest.raises(ValueError, match="`label_smoothing` must be"):
        make_task("multiclass", 3).loss(value)


@pytest.mark.parametrize(
    ("name", "classes", "sentence"),
    [
        ("binary", 3, "two names for the binary task"),
        ("multiclass", 1, "at least two names"),
        ("multi-class", 3, "Did you mean 'multiclass'"),
    ],
)
def test_a_task_that_does_not_fit_its_classes_is_refused(name, classes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_task(name, classes)


def test_only_the_binary_task_has_fewer_units_than_classes():
    units = [make_task(n, 2).units for n in ("multiclass", "multilabel", "binary")]
    assert units == [2, 2, 1]
    assert make_task("multilabel", 1).units == 1


def test_the_smoothed_loss_can_be_saved():
    loss = SmoothedSparseCrossentropy(4, 0.3)
    saved = keras.saving.serialize_keras_object(loss)
    loaded = keras.saving.deserialize_keras_object(saved)
    assert float(loaded(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))
