"""Choosing without target labels: closed forms, guards, and a score that fails."""

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier
from scipy.special import softmax
from scipy.stats import entropy

import kerastl
from kerastl.adaptation import Candidate, target_scores
from kerastl.adaptation.choosing import mutual_information
from kerastl.evaluation.metrics import wilson_interval

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
CENTRES = 8 * np.eye(3)


def features(seed=0):
    return CENTRES[LABELS] + np.random.default_rng(seed).normal(size=(60, 3))


def sure(predicted, by=6.0):
    return softmax(by * np.eye(3)[predicted], axis=1)


def candidate(predicted, by=6.0, source=LABELS):
    return Candidate(sure(source), sure(predicted, by), features(0), features(1))


def test_information_has_its_closed_forms():
    assert mutual_information(np.full((5, 3), 1 / 3)) == 0
    assert mutual_information(np.eye(3)[[1, 1, 1]]) == 0
    assert mutual_information(np.eye(4)) == pytest.approx(np.log(4))
    rows = RNG.dirichlet(np.ones(3), 20)
    # Of the joint distribution of image and answer, against their independence.
    joint = rows / 20
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    wanted = entropy(joint.ravel(), apart.ravel())
    assert mutual_information(rows) == pytest.approx(wanted)
    assert mutual_information(rows[::-1]) == pytest.approx(wanted)


def test_circular_is_one_where_the_domains_are_separable_and_alike():
    scores = target_scores({"one": candidate(LABELS)}, LABELS)
    assert scores.rows[0].circular == 1.0
    assert scores.rows[0].source_accuracy == 1.0
    assert scores.rows[0].predicted == (20, 20, 20)
    # What learnt the classes turned by one is wrong about every source image.
    turned = target_scores({"one": candidate((LABELS + 1) % 3)}, LABELS)
    assert turned.rows[0].circular == 0.0
    mute = target_scores({"one": candidate(0 * LABELS)}, LABELS)
    assert mute.rows[0].circular == pytest.approx(1 / 3)


def test_one_answer_to_everything_is_never_chosen():
    first = candidate(LABELS, 0.1)
    for _ in range(100):
        predicted = RNG.integers(0, 3, 60)
        predicted[:3] = 0, 1, 2
        mute = candidate(np.full(60, RNG.integers(3)), RNG.uniform(1, 50))
        given = {"first": first, "other": candidate(predicted), "mute": mute}
        for by in ("mutual_information", "circular"):
            assert target_scores(given, LABELS).choose(by).name != "mute"
    alone = target_scores({"first": first, "mute": mute}, LABELS)
    assert "never answers 2 of the classes" in alone.rows[1].left_out
    assert alone.choose().reason == "no other candidate may be trusted"


def test_what_unlearns_the_source_is_left_out():
    wrong = LABELS.copy()
    wrong[:4] = (wrong[:4] + 1) % 3
    given = {"first": candidate(LABELS, 0.5), "wrong": candidate(LABELS, source=wrong)}
    scores = target_scores(given, LABELS)
    assert scores.rows[1].left_out == "loses 6.7 points on the source"
    assert scores.choose().name == "first"
    wrong[2:4] = LABELS[2:4]
    given["wrong"] = candidate(LABELS, source=wrong)
    assert target_scores(given, LABELS).choose().name == "wrong"


def test_some_labels_decide():
    good, bad = LABELS.copy(), (LABELS + 1) % 3
    given = {"bad": candidate(bad, 9.0), "good": candidate(good, 1.0)}
    assert target_scores(given, LABELS).choose().name == "bad"
    places = np.arange(9)
    scores = target_scores(given, LABELS, labelled=(places, LABELS[:9]))
    assert scores.choose().name == "good"
    assert scores.rows[1].labelled_accuracy == 1.0
    assert scores.rows[1].labelled_interval == wilson_interval(9, 9)
    assert "9 labelled target images: 100.0% (70.1% to 100.0%)" in str(scores)


def density(features, temperature=0.05):
    """Soft neighbourhood density: Saito et al. (2021), arXiv:2108.10860, eq. 3."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near = unit @ unit.T / temperature
    np.fill_diagonal(near, -np.inf)
    shares = softmax(near, axis=1)
    logs = np.log(np.maximum(shares, 1e-300))
    return float(-(shares * logs).sum(axis=1).mean())


def test_density_prefers_what_collapsed_and_is_therefore_no_score_here():
    right = sure(LABELS)
    collapsed = sure(0 * LABELS) + 1e-3 * RNG.random((60, 3))
    # All the rows are neighbours of all: nothing is denser, and nothing knows less.
    assert density(collapsed) > density(right)
    assert density(collapsed) == pytest.approx(np.log(59), rel=1e-3)
    assert mutual_information(collapsed / collapsed.sum(axis=1)[:, None]) < 1e-4


def test_models_are_scored_on_images_and_target_labels_change_nothing():
    images, labels = coloured(8)
    keras.utils.set_random_seed(0)
    models = {"one": small_classifier(learnt=True)}
    models["two"] = small_classifier(learnt=True)
    known = kerastl.ImageSet(images, labels, CLASSES)
    found = [
        target_scores(models, known, target).to_rows()
        for target in (255 - images, (255 - images, labels[::-1]))
    ]
    assert found[0] == found[1]
    report = kerastl.evaluate(models["one"], known)
    assert found[0][0]["source_accuracy"] == pytest.approx(report.accuracy)
    answers = kerastl.predict(models["one"], 255 - images).probabilities
    wanted = mutual_information(answers)
    assert found[0][0]["mutual_information"] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (({}, LABELS), "at least one name and model"),
        (({"one": small_classifier()}, LABELS), "`target` must be given"),
        (({"one": Candidate(sure(LABELS)[:9], sure(LABELS))}, LABELS), "probabilities"),
    ],
)
def test_what_cannot_be_scored_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        target_scores(*given)
