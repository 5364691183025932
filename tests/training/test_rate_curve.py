"""The moving average, the longest fall, and the rates that are read off a sweep."""

import json

import numpy as np
import pytest

from kerastl.training.rate_finder import RateCurve, smooth_losses, suggest_rates


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98])
def test_the_average_weighs_each_loss_by_its_age(smoothing):
    losses = np.random.default_rng(0).random(30)
    age = np.arange(30)[:, None] - np.arange(30)
    weights = np.where(age >= 0, smoothing ** np.abs(age).astype(float), 0.0)
    expected = (weights @ losses) / weights.sum(axis=1)
    np.testing.assert_allclose(smooth_losses(losses, smoothing), expected, rtol=1e-9)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="`smoothing` must be"):
        smooth_losses([1.0], smoothing)


def valley(noise=0.0):
    """Flat, down from 1e-4 to 1e-2 in a straight line, and up again."""
    rates = np.logspace(-6, 0, 61)
    x = np.log10(rates)
    losses = np.interp(x, [-6, -4, -2, 0], [1.0, 1.0, 0.2, 3.0])
    return rates, losses + noise * np.random.default_rng(0).normal(size=61)


def suggested(rates, losses):
    return suggest_rates(rates, losses, smoothing=0.0)


def test_the_rates_of_a_valley_with_straight_sides():
    found = suggested(*valley())
    # Nine tenths of a straight fall begin and end as far from its middle.
    assert found["valley"] == pytest.approx(1e-3)
    assert found["minimum"] == pytest.approx(1e-3)
    assert 1e-4 <= found["steepest"] <= 1e-2


def test_the_valley_is_between_a_tenth_and_nine_tenths_of_the_fall():
    x = np.linspace(-6, 0, 601)
    # A tenth is done at 1e-4, half at 1e-3.5, nine tenths at 1e-2.
    losses = np.interp(x, [-4.2, -4, -3.5, -2, -1, 0], [2.0, 1.9, 1.5, 1.1, 1.0, 9.0])
    assert suggested(10**x, losses)["valley"] == pytest.approx(1e-3, rel=0.03)


def test_the_valley_does_not_move_with_the_first_rate():
    x = np.linspace(-6, 0, 61)
    # It falls from the first step on, as over a head of zeros.
    losses = np.interp(x, [-6, -4, -2, 0], [1.0, 0.99, 0.2, 3.0])
    late = suggested(10 ** x[15:], losses[15:])["valley"]
    assert suggested(10**x, losses)["valley"] == pytest.approx(late)


def test_the_steepest_place_counts_factors_of_the_rate():
    x = np.linspace(-6, 0, 61)
    # First 0.5 a decade, later 2 a decade, where a step of the rate is much longer.
    losses = np.interp(x, [-5, -4, -3, -2.5, -1], [3.0, 2.5, 2.5, 1.5, 9.0])
    assert 10**-3.1 < suggested(10**x, losses)["steepest"] < 10**-2.4


def test_the_rates_are_read_off_the_average():
    rates, losses = valley(noise=0.05)
    found = suggest_rates(rates, losses, smoothing=0.8)
    assert found == suggested(rates, smooth_losses(losses, 0.8))
    assert found != suggested(rates, losses)


def test_the_start_where_few_batches_are_averaged_is_passed_over():
    rates, losses = valley()
    losses[:6] = [1.3, 1.25, 1.2, 1.15, 1.1, 1.05]
    assert suggested(rates, losses) == suggested(*valley())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_follows_a_loss_that_is_no_number_is_passed_over(value):
    rates, losses = valley()
    losses[-3:] = value
    assert suggested(rates, losses) == suggested(*valley())


@pytest.mark.parametrize(
    "losses",
    [
        np.ones(40),
        np.linspace(1, 5, 40),
        np.linspace(1, 0.998, 40),
        np.full(40, np.nan),
    ],
    ids=["flat", "rising", "hardly falling", "nan"],
)
def test_a_loss_that_does_not_fall_suggests_nothing(losses):
    assert suggested(np.logspace(-4, 0, 40), losses) == {}


def test_noise_alone_suggests_nothing():
    generator = np.random.default_rng(0)
    rates = np.logspace(-7, 1, 100)
    found = [suggest_rates(rates, 1 + generator.random(100), 0.9) for _ in range(200)]
    # One sweep of a hundred, so at most six of these but for odds of one to 200.
    assert sum(map(bool, found)) <= 6


def test_a_small_fall_counts_where_there_is_no_noise():
    rates, losses = valley()
    assert suggested(rates, 10 + 0.2 * losses)["minimum"] == pytest.approx(1e-3)


def test_too_few_points_suggest_nothing():
    assert suggested(np.logspace(-4, 0, 7), np.linspace(2, 1, 7)) == {}


def test_as_many_losses_as_rates_are_needed():
    with pytest.raises(ValueError, match=r"`losses` must be of shape \(4,\)"):
        suggested(np.logspace(-4, 0, 4), np.ones(3))


def curve(stopped=""):
    rates, losses = valley()
    return RateCurve(rates, losses, losses, suggested(rates, losses), stopped)


def test_the_suggestion_is_the_valleys():
    assert curve().suggestion == curve().suggestions["valley"]
    assert RateCurve(*valley(), np.ones(61), {}).suggestion is None


def test_it_prints_its_suggestions_and_how_it_ended():
    text = str(curve("stopped there: the loss is 4 times the lowest"))
    assert text.splitlines()[0] == "valley     1.0e-03"
    last = "61 rates from 1e-06 to 1e+00; stopped there: the loss is 4 times the lowest"
    assert text.splitlines()[-1] == last
    assert not curve().diverged
    assert curve("stopped").diverged


def test_it_says_when_there_is_none_and_when_the_sweep_was_too_short():
    rates, losses = valley()
    flat = RateCurve(rates, losses, np.ones(61), {})
    assert str(flat).startswith("no suggestion: the loss did not fall clearly")
    short = RateCurve(rates[:41], losses[:41], losses[:41], {})
    assert str(short).endswith("the loss still fell at the highest: raise `high`")


def test_it_is_json_ready():
    record = json.loads(json.dumps(curve("why").to_dict()))
    assert record["suggestion"] == record["suggestions"]["valley"]
    assert record["stopped"] == "why"
    assert len(record["rates"]) == len(record["losses"]) == len(record["smoothed"])


def test_it_plots_its_own_numbers():
    panel = curve().plot().axes[0]
    np.testing.assert_allclose(panel.lines[0].get_xdata(), curve().rates)
    assert len(panel.lines) == 2 + 3
