"""A phase checks itself, and its rate follows the closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kerastl.training.phase import BestEpoch, Phase, PhaseRecord, TrainingHistory


def phase(**settings):
    given = {"trainable": "all", "epochs": 4, "learning_rate": 0.1, **settings}
    return Phase("name", **given)


def rates(settings, steps_per_epoch):
    """The rate before each step of the phase."""
    schedule = phase(**settings).rate_schedule(steps_per_epoch)
    count = phase(**settings).epochs * steps_per_epoch
    return np.array([float(schedule(step)) for step in range(count)])


def test_a_constant_rate_is_a_number():
    assert phase().rate_schedule(10) == 0.1


def test_cosine_goes_from_the_peak_to_zero():
    made = rates({"schedule": "cosine"}, 5)
    by_hand = [0.1 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    np.testing.assert_allclose(made, by_hand, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("warmup", [1, 1.5, 0.25])
def test_warmup_climbs_in_equal_steps_then_cosine(warmup):
    made = rates({"schedule": "cosine", "warmup": warmup}, 8)
    climb, total = round(warmup * 8), 32
    first = 0.1 / climb
    by_hand = [
        first + (0.1 - first) * step / climb
        if step < climb
        else 0.1 * (1 + math.cos(math.pi * (step - climb) / (total - climb))) / 2
        for step in range(total)
    ]
    np.testing.assert_allclose(made, by_hand, rtol=1e-4, atol=1e-7)
    assert made[0] > 0
    assert made.max() == pytest.approx(0.1)


def test_warmup_then_constant_stays_at_the_peak():
    made = rates({"warmup": 1}, 4)
    assert (np.diff(made[:5]) > 0).all()
    np.testing.assert_allclose(made[4:], 0.1, rtol=1e-5)


def test_warmup_may_take_the_whole_phase():
    made = rates({"warmup": 4, "schedule": "cosine"}, 2)
    assert (np.diff(made) > 0).all()


def test_a_warmup_shorter_than_a_step_is_none():
    assert phase(warmup=0.01).rate_schedule(4) == 0.1


def test_names_may_come_as_a_list():
    assert phase(trainable=["a", "b"]).trainable == ("a", "b")


def test_multipliers_are_kept_as_pairs():
    given = {"block_1": 0.5, "head": 2}
    made = phase(multipliers=given)
    given["head"] = 3
    assert made.multipliers == (("block_1", 0.5), ("head", 2))
    assert hash(made) == hash(replace(made))
    assert replace(made, epochs=2).multipliers == made.multipliers


def test_measured_multipliers_are_told_from_given_ones():
    assert phase(multipliers="auto_rgn").has_auto_rates
    assert not phase(multipliers={"head": 1}).has_auto_rates
    assert not phase().has_auto_rates


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"epochs": 0}, ValueError, "`epochs` must be at least 1"),
        ({"epochs": 1.5}, TypeError, "`epochs` must be an integer"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` must be above 0"),
        ({"learning_rate": "1e-3"}, TypeError, "`learning_rate` must be a number"),
        ({"batch_norm": "freeze"}, ValueError, "Did you mean 'frozen'"),
        ({"schedule": "sawtooth"}, ValueError, "`schedule` must be one of"),
        ({"warmup": 5}, ValueError, "`warmup` must be at least 0 and at most 4"),
        ({"warmup": -1}, ValueError, "`warmup` must be"),
        ({"patience": 0}, ValueError, "`patience` must be at least 1"),
        ({"trainable": None}, ValueError, "`trainable` must be a string"),
        ({"trainable": True}, TypeError, "`trainable` must be an integer"),
        ({"trainable": -1}, ValueError, "`trainable` must be at least 0"),
        ({"layer_decay": 0.0}, ValueError, "`layer_decay` must be above 0"),
        ({"layer_decay": 1.1}, ValueError, "`layer_decay` must be above 0 and at most"),
        ({"multipliers": {"a": -1}}, ValueError, r"`multipliers\['a'\]` must be at"),
        ({"multipliers": {"a": "b"}}, TypeError, r"`multipliers\['a'\]` must be a num"),
        ({"multipliers": "rgn"}, ValueError, "Did you mean 'auto_rgn'"),
        ({"multipliers": 0.5}, TypeError, "`multipliers` must be a dictionary"),
        (
            {"multipliers": "auto_rgn", "layer_decay": 0.5},
            ValueError,
            "`layer_decay` must be None with 'auto_rgn'",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(settings, error, sentence):
    with pytest.raises(error, match=sentence):
        phase(**settings)


def test_only_the_name_is_positional():
    with pytest.raises(TypeError):
        Phase("name", "all", 1, 0.1)


HISTORY = TrainingHistory(
    {"loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 2.75]},
    (
        PhaseRecord("head", 0, 2, ("a", "b"), ("a",), 1.25, cached=True),
        PhaseRecord("all", 2, 3, ("a", "b"), ("a", "b"), 4.0, stopped="too wild"),
    ),
    BestEpoch("head", 1, "val_loss", 2.5),
)


def test_a_row_an_epoch_with_its_phase():
    assert HISTORY.rows() == [
        {"phase": "head", "epoch": 1, "loss": 3.0, "val_loss": 3.5},
        {"phase": "head", "epoch": 2, "loss": 2.0, "val_loss": 2.5},
        {"phase": "all", "epoch": 3, "loss": 1.0, "val_loss": 2.75},
    ]


def test_the_account_tells_what_happened():
    first, second, last = str(HISTORY).splitlines()
    assert "head: 2 epochs, 1 of 2" in first
    assert "cached" in first
    assert second.startswith("all: 1 epoch, ")
    assert "too wild" in second
    assert "cached" not in second
    assert last == "best val_loss 2.5000 in head, epoch 2"
