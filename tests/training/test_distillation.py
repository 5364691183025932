"""A student learns from a teacher's answers what the formula says, and no more."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    small_classifier,
    timid_classifier,
    values,
)
from scipy.special import log_softmax, softmax
from text_sets import NAMES, PIECES, classifier, text_set
from texts import hub_backbone

import kerastl
from kerastl.features.cache import FeatureCache
from kerastl.features.sources import make_source
from kerastl.models.text_backbones import build_text_backbone
from kerastl.tasks.classification import MulticlassTask
from kerastl.tasks.task import bind
from kerastl.training.distillation import DistilledCrossentropy, teach

DATA = coloured(4)
RNG = np.random.default_rng(0)


def phase(**options):
    given = {"trainable": "head", "epochs": 2, "learning_rate": 0.1, **options}
    return kerastl.Phase("head", optimizer="sgd", **given)


def run(model, data=DATA, validation=None, phases=None, **options):
    options = {"batch_size": 4, "seed": 0, "verbose": 0, **options}
    phases = phases or [phase()]
    return kerastl.run_phases(model, data, validation, phases=phases, **options)


@pytest.mark.parametrize(("alpha", "soft"), [(0.5, 2.0), (0.0, 1.0), (1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_formula(alpha, soft, smoothing):
    labels = np.array([0, 2, 1, 1])
    student, teacher = RNG.normal(0, 2, (2, 4, 3))
    base = MulticlassTask(CLASSES).loss(smoothing)
    loss = DistilledCrossentropy(base, alpha, soft)
    loss = keras.losses.deserialize(keras.losses.serialize(loss))
    one_hot = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    hard = -(one_hot * log_softmax(student, axis=1)).sum(axis=1)
    taught, known = teacher / soft, student / soft
    gap = log_softmax(taught, axis=1) - log_softmax(known, axis=1)
    apart = (softmax(taught, axis=1) * gap).sum(axis=1)
    targets = np.concatenate([labels[:, None], teacher], axis=1).astype("float32")
    expected = (alpha * hard + (1 - alpha) * soft**2 * apart).mean()
    outputs = student.astype("float32")
    assert float(loss(targets, outputs)) == pytest.approx(expected, rel=1e-5)
    # Validation data have no teacher.
    assert float(loss(labels, outputs)) == pytest.approx(hard.mean(), rel=1e-5)


@pytest.mark.parametrize("cache", ["memory", "off"])
@pytest.mark.parametrize("soft", [1.0, 4.0])
def test_a_student_of_nothing_but_answers_gives_them_back(cache, soft):
    images = np.full((12, 16, 16, 3), 99, "uint8")
    answers = np.tile([0.6, 0.3, 0.1], (12, 1))
    model = small_classifier(dropout=0.0)
    phases = [phase(epochs=40, learning_rate=0.3)]
    options = {"teacher": answers, "distillation": (0.0, soft), "cache": cache}
    run(model, (images, DATA[1]), phases=phases, **options)
    found = kerastl.predict(model, images[:1]).probabilities[0]
    np.testing.assert_allclose(found, answers[0], atol=0.02)


def test_a_teacher_and_its_probabilities_teach_the_same():
    teacher = small_classifier(learnt=True)
    before = values(teacher)
    ends = []
    for given in (teacher, kerastl.predict(teacher, DATA[0]).probabilities):
        model = timid_classifier()
        history = run(model, validation=DATA, teacher=given)
        ends.append(model.get_layer("head_dense").get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert_same_weights(teacher, before)
    # Validated on the training images: both are the loss of their labels alone.
    clean, last = history.phases[0].clean, history.history["val_loss"][-1]
    assert clean["loss"] == pytest.approx(last, rel=1e-4)
    assert clean["accuracy"] == pytest.approx(history.history["val_accuracy"][-1])


def test_with_all_the_weight_on_labels_the_teacher_is_silent():
    ends = []
    for options in ({}, {"teacher": np.ones((12, 3)) / 3, "distillation": (1.0, 2.0)}):
        model = timid_classifier()
        run(model, **options)
        ends.append(model.get_layer("head_dense").get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


STREAM = tf.data.Dataset.from_tensor_slices(DATA).batch(4)
EVEN = np.ones((12, 3)) / 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"teacher": EVEN[:5]}, r"probabilities of shape \(12, 3\).*\(5, 3\)"),
        ({"teacher": EVEN * 2}, "rows of probabilities that sum to 1"),
        ({"teacher": small_classifier(CLASSES[::-1])}, "of the model's classes, in or"),
        ({"teacher": EVEN, "distillation": 0.5}, r"\(alpha, temperature\)"),
        ({"teacher": EVEN, "distillation": (2, 1)}, "at least 0 and at most 1"),
        ({"teacher": EVEN, "distillation": (0.5, 0)}, "`distillation` must be above 0"),
        ({"teacher": EVEN, "class_weight": "balanced"}, "`class_weight` must be None"),
        ({"teacher": EVEN, "metrics": []}, "`metrics` must be None beside a teacher"),
        ({"teacher": EVEN, "phases": [phase(mixup=0.2)]}, "`mixup` must be None"),
        ({"teacher": EVEN, "data": STREAM}, "None for a dataset of batches"),
    ],
)
def test_what_cannot_be_taught_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        run(small_classifier(), **options)
    assert not hasattr(caught.value, "__notes__")


def test_a_yes_or_no_is_not_taught():
    model = small_classifier(("no", "yes"), task="binary")
    with pytest.raises(ValueError, match="`teacher` must be None for this model"):
        run(model, (DATA[0], DATA[1] % 2), teacher=EVEN)


def test_a_teacher_of_texts_reads_them_by_its_own_encoder():
    texts = text_set(8)
    other = [*PIECES[:5], *PIECES[:4:-1]]
    encoder = kerastl.TextEncoder(other, sequence_length=12)
    network = build_text_backbone(hub_backbone(), encoder=encoder)
    teacher = kerastl.build_classifier(network, NAMES, dropout=0.0)
    dense = teacher.get_layer("head_dense")
    dense.set_weights([RNG.normal(size=w.shape) for w in dense.get_weights()])
    student = bind(classifier())
    train = make_source(student, texts, "train")
    taught = teach(student, train, teacher, FeatureCache("off"), 4).targets
    np.testing.assert_array_equal(taught[:, 0], texts.labels)
    answers = kerastl.predict(teacher, texts.texts).probabilities
    np.testing.assert_allclose(softmax(taught[:, 1:], axis=1), answers, rtol=1e-4)
