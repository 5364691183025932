"""Pictures of sweeps and schedules show the numbers they were given."""

import keras
import numpy as np
import pytest

from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.plots import plot_learning_rates, plot_schedule

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
LOSSES = [1.1, 0.9, 0.3, 0.2, 40.0]
SMOOTH = [1.0, 1.0, 0.5, 0.25, 5.0]


def drawn(**options):
    marks = {"valley": 1e-3, "minimum": 10**-2.5}
    given = {"smoothed": SMOOTH, "suggestions": marks, **options}
    return plot_learning_rates(RATES, LOSSES, **given)


def test_losses_and_their_average_stand_at_their_rates():
    panel = drawn().axes[0]
    raw, smooth = panel.lines[:2]
    np.testing.assert_array_equal(raw.get_xydata(), np.c_[RATES, LOSSES])
    np.testing.assert_array_equal(smooth.get_xydata(), np.c_[RATES, SMOOTH])
    assert panel.get_xscale() == "log"


def test_suggestions_stand_on_the_average_and_say_their_rates():
    panel = drawn().axes[0]
    valley, minimum = panel.lines[2:]
    np.testing.assert_allclose(valley.get_xydata(), [[1e-3, 1.0]])
    # Halfway between two points of a logarithmic axis.
    np.testing.assert_allclose(minimum.get_xydata(), [[10**-2.5, 0.75]])
    words = [text.get_text() for text in panel.get_legend().get_texts()]
    assert words == ["each batch", "smoothed", "valley: 1.0e-03", "minimum: 3.2e-03"]


def test_the_explosion_at_the_end_does_not_flatten_the_fall():
    low, high = drawn().axes[0].get_ylim()
    assert low < 0.2
    assert 1.0 < high < 2.0


def test_losses_without_an_average_are_drawn_alone():
    panel = plot_learning_rates(RATES, LOSSES).axes[0]
    (line,) = panel.lines
    np.testing.assert_array_equal(line.get_ydata(), LOSSES)


@pytest.mark.parametrize("losses", [[np.nan] * 5, [1.0, np.inf, np.nan, 0.5, 2.0]])
def test_losses_that_are_not_finite_leave_gaps(losses):
    panel = plot_learning_rates(RATES, losses).axes[0]
    expected = [value if np.isfinite(value) else np.nan for value in losses]
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), expected)


def test_a_sweep_is_described_in_words():
    expected = (
        "Loss against the learning rate, 1.0e-04 to 1.0e+00, lowest 0.250 at 1.0e-01. "
        "valley 1.0e-03, minimum 3.2e-03."
    )
    assert alt_text(drawn()) == expected


def test_both_draw_on_axes_at_hand():
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    assert drawn(axes=axes[0]) is axes[0].figure
    assert plot_schedule(0.1, 5, axes=axes[1]) is axes[1].figure


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], []), "at least one"),
        (([1e-3, 1e-4], [1.0, 1.0]), "above 0 and rising"),
        (([0.0, 1e-4], [1.0, 1.0]), "above 0 and rising"),
        (([1e-4, 1e-3], [1.0]), "`losses` must be of shape"),
    ],
)
def test_a_sweep_that_cannot_be_drawn_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        plot_learning_rates(*arguments)


def test_an_average_of_another_length_is_named():
    with pytest.raises(ValueError, match="`smoothed` must be of shape"):
        plot_learning_rates([1e-4, 1e-3], [1.0, 1.0], smoothed=[1.0])


def test_a_schedule_is_drawn_step_by_step():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 8)
    panel = plot_schedule(schedule, 8).axes[0]
    (line,) = panel.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(8))
    expected = [0.05 * (1 + np.cos(np.pi * step / 8)) for step in range(8)]
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-5)
    assert panel.get_legend() is None


def test_a_long_schedule_is_drawn_at_some_of_its_steps():
    (line,) = plot_schedule(lambda step: step / 1e5, 100_000).axes[0].lines
    steps = line.get_xdata()
    assert (steps[0], steps[-1]) == (0, 99_999)
    assert len(steps) == 400
    np.testing.assert_allclose(line.get_ydata(), steps / 1e5)


def test_several_schedules_are_told_by_name():
    figure = plot_schedule({"flat": 0.5, "falling": lambda step: 1 - step / 10}, 10)
    panel = figure.axes[0]
    words = [text.get_text() for text in panel.get_legend().get_texts()]
    assert words == ["flat", "falling"]
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), [0.5] * 10)
    expected = (
        "Learning rate over 10 steps. flat: 0.5, at most 0.5 at step 0, 0.5 at the "
        "end; falling: 1, at most 1 at step 0, 0.1 at the end."
    )
    assert alt_text(figure) == expected


def test_many_schedules_look_different():
    panel = plot_schedule({str(number): number for number in range(6)}, 3).axes[0]
    looks = {(line.get_color(), str(line.get_linestyle())) for line in panel.lines}
    assert len(looks) == 6


@pytest.mark.parametrize(
    ("schedules", "steps", "error", "words"),
    [
        (0.1, 0, ValueError, "`steps` must be at least 1"),
        ({}, 5, ValueError, "`schedules` must be at least one"),
        ("cosine", 5, TypeError, "`schedules` must be schedules, or numbers"),
        ({"a": None}, 5, TypeError, "`schedules` must be schedules, or numbers"),
    ],
)
def test_schedules_that_cannot_be_drawn_are_named(schedules, steps, error, words):
    with pytest.raises(error, match=words):
        plot_schedule(schedules, steps)
