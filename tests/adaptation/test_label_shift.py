"""Other shares of the classes: closed forms, and when they are not all that changed."""

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, outputs, pixels, small_classifier, values
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import kerastl
from kerastl.adaptation import PriorShift, estimate_prior, set_prior, shift_report
from kerastl.adaptation.domain_rows import DomainRows
from kerastl.adaptation.label_shift import (
    black_box,
    domain_auc,
    prior_of_rows,
    saerens,
)
from kerastl.features.classical import classical_head, fold_pipeline, set_head
from kerastl.models.record import read_record, set_temperature

PRIOR, SHARES = np.full(3, 1 / 3), np.array([0.7, 0.2, 0.1])
RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


def normals(count, shares, seed, shift=0.0):
    """Points of three normal classes, and their exact posteriors at even shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, count, p=shares)
    rows = CENTRES[labels] + random.normal(size=(count, 2)) + shift
    logs = norm.logpdf(rows[:, None, :], CENTRES[None]).sum(axis=2)
    return rows, softmax(logs, axis=1), labels


def both(shares=SHARES, shift=0.0, seed=0):
    rows, given, labels = normals(4000, PRIOR, seed)
    new, answers, _ = normals(4000, shares, seed + 100, shift)
    return DomainRows(rows, given, labels), DomainRows(new, answers)


def test_em_never_lowers_the_likelihood_and_ends_at_its_top():
    _, given, _ = normals(400, SHARES, 0)
    ratios = given / PRIOR

    def likelihood(shares):
        return np.log(ratios @ shares).sum()

    found = saerens(given, PRIOR)
    assert found.sum() == pytest.approx(1)
    random = np.random.default_rng(0)
    # Concave in the shares: no others are likelier, near or far.
    for other in (*random.dirichlet(np.ones(3), 200), PRIOR, SHARES):
        for step in (1.0, 0.01):
            mixed = (1 - step) * found + step * other
            assert likelihood(mixed) <= likelihood(found) + 1e-9


def test_em_of_certain_answers_counts_them():
    given = np.eye(3)[[0, 0, 0, 1, 2, 2, 2, 2]]
    np.testing.assert_allclose(saerens(given, [0.2, 0.5, 0.3]), [3 / 8, 1 / 8, 1 / 2])


def test_known_confusions_give_the_shares_exactly():
    random = np.random.default_rng(0)
    for _ in range(5):
        given = random.dirichlet(np.ones(4) * 0.5 + 8 * np.eye(4)[0], 4)
        given = np.stack([np.roll(row, i) for i, row in enumerate(given)], axis=1)
        prior, shares = random.dirichlet(np.ones(4) * 5, 2)
        predicted = given @ shares
        found = black_box(given * prior, predicted, prior, 1.0)
        np.testing.assert_allclose(found, shares, atol=1e-10)
        solved = np.linalg.solve(given * prior, predicted) * prior
        np.testing.assert_allclose(found, solved, atol=1e-10)


def test_the_confusions_are_those_of_labels_by_answers():
    # Of 10, 20 and 30 images; none of the second is taken for the third.
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    predicted = np.r_[[0] * 8, [1] * 2, [1] * 15, [0] * 5, [2] * 21, [0] * 9]
    table = np.array([[0.8, 0.25, 0.3], [0.2, 0.75, 0.0], [0.0, 0.0, 0.7]])
    answers = np.rint(1000 * table @ SHARES).astype(int)
    new = np.repeat([0, 1, 2], answers)
    rows = RNG.normal(size=(1060, 2))
    known = DomainRows(rows[:60], np.eye(3)[predicted], labels)
    other = DomainRows(rows[60:], np.eye(3)[new])
    found = prior_of_rows(known, other, CLASSES, method="bbse", seed=0)
    np.testing.assert_allclose(found.target, SHARES, atol=1e-8)
    np.testing.assert_allclose(found.source, [1 / 6, 2 / 6, 3 / 6])


def test_alike_confusions_are_refused():
    with pytest.raises(ValueError, match=r"above 1000.*bbse, at 5e"):
        black_box(np.ones((2, 2)), np.ones(2), np.ones(2), 5e4)


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_shares_alone_are_found_and_explain_the_domain(method):
    found = prior_of_rows(*both(), CLASSES, method=method, seed=0)
    # 4000 points of classes that overlap: some standard errors.
    np.testing.assert_allclose(found.target, SHARES, atol=0.08)
    assert found.auc > 0.6
    assert found.weighted_auc < 0.56
    assert not found.unexplained


def test_moved_images_are_told_from_other_shares():
    found = prior_of_rows(*both(PRIOR, shift=0.8), CLASSES, method="em", seed=0)
    # The shares are far off without a sign of it; the features are not explained.
    assert np.abs(np.array(found.target) - PRIOR).max() > 0.15
    assert found.unexplained
    assert "do not set them" in str(found)


def test_equal_domains_are_not_told_apart():
    found = prior_of_rows(*both(PRIOR), CLASSES, method="em", seed=0)
    assert abs(found.auc - 0.5) < 0.06
    assert abs(found.weighted_auc - 0.5) < 0.06


def test_the_area_is_scikit_learns_and_weights_count():
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (300, 1)), random.normal(1, 1, (300, 1))
    exact = roc_auc_score(np.repeat([0, 1], 300), np.concatenate([one, other])[:, 0])
    assert domain_auc(one, other) == pytest.approx(exact, abs=0.02)
    # Importance weights of the densities make one domain of them.
    weights = np.exp(one[:, 0] - 0.5)
    assert abs(domain_auc(one, other, weights) - 0.5) < 0.07


def learnt():
    keras.utils.set_random_seed(0)
    return small_classifier(learnt=True)


IMAGES, LABELS = coloured(12)


@pytest.mark.filterwarnings("ignore:The target's images")
def test_labels_of_the_target_change_no_bit():
    model, found = learnt(), []
    known = kerastl.ImageSet(IMAGES, LABELS, CLASSES)
    for target in (IMAGES, (IMAGES, LABELS[::-1].copy()), known):
        found.append(estimate_prior(model, known, target))
    assert found[0] == found[1] == found[2]


@pytest.mark.filterwarnings("ignore:The target's images")
def test_a_models_answers_are_what_is_estimated_from():
    model = learnt()
    known, answers = kerastl.ImageSet(IMAGES, LABELS, CLASSES), pixels(20, seed=4)
    found = estimate_prior(model, known, answers)
    wanted = saerens(kerastl.predict(model, answers).probabilities, PRIOR)
    np.testing.assert_allclose(found.target, wanted, atol=1e-4)
    assert found.images == 20
    assert shift_report(model, known, answers).prior == found


def test_other_images_are_warned_of():
    with pytest.warns(UserWarning, match="differ by more than the shares"):
        estimate_prior(learnt(), (IMAGES, LABELS), 255 - IMAGES)


@pytest.mark.parametrize(
    ("target", "kind"), [(IMAGES, "none"), (255 - IMAGES, "images")]
)
def test_the_report_names_the_kind(target, kind):
    report = shift_report(learnt(), (IMAGES, LABELS), target)
    assert report.kind == kind
    assert report.to_dict()["prior"]["images"] == 36


def test_a_class_without_validation_images_is_refused():
    one = kerastl.ImageSet(IMAGES[:9], LABELS[:9] % 2, CLASSES)
    with pytest.raises(ValueError, match=r"images of every class.*none of cedar"):
        estimate_prior(learnt(), one, IMAGES)


RATIO = np.array([2.0, 0.5, 0.1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_reweighted_exactly(temperature):
    model = learnt()
    set_temperature(model, temperature)
    before = kerastl.predict(model, IMAGES).probabilities
    set_prior(model, RATIO)
    wanted = before * RATIO
    wanted /= wanted.sum(axis=1, keepdims=True)
    found = kerastl.predict(model, IMAGES).probabilities
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_yes_or_no_is_reweighted_exactly():
    keras.utils.set_random_seed(0)
    model = small_classifier(("no", "yes"), task="binary", learnt=True)
    before = kerastl.predict(model, IMAGES).probabilities
    set_prior(model, {"yes": 0.2, "no": 1.8})
    wanted = before * [1.8, 0.2]
    wanted /= wanted.sum(axis=1, keepdims=True)
    found = kerastl.predict(model, IMAGES).probabilities
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_equal_shares_change_no_bit():
    model = learnt()
    before = outputs(model, IMAGES)
    set_prior(model, np.ones(3))
    np.testing.assert_array_equal(outputs(model, IMAGES), before)


def test_a_prior_is_taken_back_to_the_bit_and_never_set_twice(tmp_path):
    model = learnt()
    before = values(model)
    set_prior(model, RATIO)
    once = values(model)
    set_prior(model, RATIO)
    for one, other in zip(once, values(model), strict=True):
        np.testing.assert_array_equal(one, other)
    kerastl.save_model(model, tmp_path / "model.keras")
    again = kerastl.load_model(tmp_path / "model.keras")
    assert read_record(again).prior
    set_prior(again, None)
    for one, other in zip(before, values(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not read_record(again).prior


@pytest.mark.filterwarnings("ignore:Phase 'head' began")
def test_training_takes_a_prior_back():
    model = learnt()
    bias = np.array(model.get_layer("head_dense").bias)
    set_prior(model, RATIO)
    phase = kerastl.Phase(
        "head", trainable="head", epochs=1, learning_rate=1e-30, optimizer="sgd"
    )
    with pytest.warns(UserWarning, match="prior that was set is taken back"):
        kerastl.run_phases(model, (IMAGES, LABELS), phases=[phase], verbose=0)
    np.testing.assert_allclose(model.get_layer("head_dense").bias, bias, atol=1e-7)
    assert not read_record(model).prior


def test_another_head_knows_no_prior():
    model = learnt()
    set_prior(model, RATIO)
    rows = RNG.normal(size=(30, 4))
    head = classical_head("ridge").fit(rows, np.arange(30) % 3)
    set_head(model, head)
    bias = model.get_layer("head_dense").get_weights()[1]
    np.testing.assert_allclose(bias, fold_pipeline(head)[1], rtol=1e-5)
    assert not read_record(model).prior


def shift(**changes):
    given = {"class_names": CLASSES, "source": (0.2, 0.3, 0.5)}
    given |= {"target": (0.4, 0.3, 0.3), "method": "em", "images": 9}
    given |= {"condition": 1.0, "auc": 0.8, "weighted_auc": 0.5}
    return PriorShift(**given | changes)


def test_an_estimate_is_set_as_its_ratio():
    ends = []
    for prior in (shift(), [2.0, 1.0, 0.6]):
        model = learnt()
        set_prior(model, prior)
        ends.append(outputs(model, IMAGES))
    np.testing.assert_allclose(*ends, rtol=1e-6)


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (shift(weighted_auc=0.7), "images look as before.*AUC 0.70"),
        (shift(class_names=("a", "b", "c")), "of the classes ash, beech, cedar"),
        ({"ash": 1.0}, "given for ash, beech, cedar"),
        ([1.0, 2.0], "3 finite numbers of at least 0"),
        ([1.0, -2.0, 1.0], "3 finite numbers of at least 0"),
        (np.zeros(3), "above 0 for a class"),
    ],
)
def test_what_cannot_be_set_is_refused(prior, sentence):
    model = learnt()
    before = values(model)
    with pytest.raises(ValueError, match=sentence):
        set_prior(model, prior)
    for one, other in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_calibration_does_not_know_a_prior():
    model = learnt()
    set_prior(model, RATIO)
    with pytest.raises(ValueError, match="without the prior of a target"):
        kerastl.calibrate(model, kerastl.ImageSet(IMAGES, LABELS, CLASSES))
