"""The temperature is where the log-loss is least: identities, slopes and limits."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import log_loss

from kerastl.evaluation.calibration import expected_calibration_error, fit_temperature

RNG = np.random.default_rng(0)


def sampled(count=600, classes=4, spread=2.0):
    """Logits, and labels drawn from their own softmax: calibrated by construction."""
    logits = RNG.normal(0, spread, (count, classes))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (RNG.random((count, 1)) > chances).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


LOGITS, LABELS = sampled()
MANY = (RNG.random(LOGITS.shape) < expit(LOGITS)).astype(int)
ONE, ANSWERS = LOGITS[:, 0], MANY[:, 0]

CASES = {
    "multiclass": (LOGITS, LABELS),
    "two columns": (LOGITS[:, :2], (LABELS == 1).astype(int)),
    "one logit": (ONE, ANSWERS),
    "one column": (ONE[:, None], ANSWERS),
    "multilabel": (LOGITS, MANY),
}
each_case = pytest.mark.parametrize("case", CASES)


def loss(case, temperature):
    """Mean log-loss of the logits at a temperature, from its definition."""
    logits, labels = CASES[case]
    scaled = np.asarray(logits) / temperature
    if case in ("multiclass", "two columns"):
        return -log_softmax(scaled, axis=1)[np.arange(len(labels)), labels].mean()
    scaled = scaled.reshape(labels.shape)
    return -np.where(labels == 1, log_expit(scaled), log_expit(-scaled)).mean()


@each_case
def test_the_slope_is_zero_there(case):
    best = fit_temperature(*CASES[case])
    step = 1e-5 * best
    slope = (loss(case, best + step) - loss(case, best - step)) / (2 * step)
    assert abs(slope) < 1e-7
    assert loss(case, best) < min(loss(case, 1.02 * best), loss(case, best / 1.02))


@each_case
def test_scipy_finds_the_same(case):
    found = minimize_scalar(
        lambda t: loss(case, np.exp(t)), bounds=(-5, 5), options={"xatol": 1e-10}
    )
    np.testing.assert_allclose(
        fit_temperature(*CASES[case]), np.exp(found.x), rtol=1e-5
    )


@each_case
@pytest.mark.parametrize("factor", [3.0, 0.01, 1e4])
def test_scaled_logits_have_the_scaled_temperature(case, factor):
    logits, labels = CASES[case]
    np.testing.assert_allclose(
        fit_temperature(factor * logits, labels),
        factor * fit_temperature(logits, labels),
        rtol=1e-9,
    )


@each_case
def test_the_loss_is_never_higher(case):
    assert loss(case, fit_temperature(*CASES[case])) <= loss(case, 1.0)


def test_a_shift_of_all_logits_of_an_image_changes_nothing():
    shifted = LOGITS + RNG.normal(0, 50, (len(LOGITS), 1))
    np.testing.assert_allclose(
        fit_temperature(shifted, LABELS), fit_temperature(LOGITS, LABELS), rtol=1e-9
    )


def test_calibrated_logits_have_a_temperature_near_one():
    logits, labels = sampled(20_000)
    assert abs(fit_temperature(logits, labels) - 1) < 0.03


def test_over_confidence_is_taken_back():
    logits, labels = sampled(4000)
    best = fit_temperature(3 * logits, labels)
    before, after = (softmax(3 * logits / t, axis=1) for t in (1.0, best))
    assert expected_calibration_error(labels, before) > 0.1
    assert expected_calibration_error(labels, after) < 0.03
    assert log_loss(labels, after) < log_loss(labels, before)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_two_columns_are_one_logit():
    logits, labels = CASES["two columns"]
    single = logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(
        fit_temperature(logits, labels), fit_temperature(single, labels), rtol=1e-9
    )


def test_one_mistake_among_the_certain_is_the_closed_form():
    # n images with a margin m, one of them wrong: the best probability is (n-1)/n.
    logits = np.tile([5.0, 0.0], (10, 1))
    labels = np.arange(10) == 0
    expected = 5 / np.log(9)
    np.testing.assert_allclose(fit_temperature(logits, labels.astype(int)), expected)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1], "every image is right"),
        ([3.0, -1.0], [1, 0], "every image is right"),
        ([[2.0, 0.0], [0.0, 1.0]], [1, 0], "no better than a guess"),
        ([[0.0, 0.0], [0.0, 0.0]], [1, 0], "no better than a guess"),
    ],
)
def test_without_a_best_one_it_stays_one_and_says_why(logits, labels, words):
    with pytest.warns(UserWarning, match=f"stays 1: .*{words}"):
        assert fit_temperature(logits, labels) == 1.0


def test_otherwise_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_temperature(LOGITS, LABELS)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (LOGITS[:5], LABELS[:4], r"of shape \(4, classes\)"),
        (LOGITS, MANY[:, :3], r"of shape \(600, 3\)"),
        (LOGITS[:, :2], np.full(600, 2), "class indices below 2"),
        (ONE, LABELS, "0 or 1 for a single logit"),
        (np.full((2, 2), np.nan), [0, 1], "finite"),
        (LOGITS[None], LABELS, "of shape"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        fit_temperature(logits, labels)
