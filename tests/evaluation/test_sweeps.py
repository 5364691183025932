import numpy as np
import pytest

from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.plots import plot_drift, plot_interpolation

STEPS = ([0.0, 0.5, 1.0], [0.6, 0.8, 0.7], [1.0, 0.6, 0.9])


def test_accuracy_and_loss_are_drawn_over_the_shares():
    accuracy, loss = plot_interpolation(*STEPS).axes
    np.testing.assert_allclose(accuracy.lines[0].get_xydata()[:, 0], STEPS[0])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), STEPS[1])
    np.testing.assert_allclose(loss.lines[0].get_ydata(), STEPS[2])
    assert accuracy.get_legend() is None


def test_the_star_stands_at_the_kept_share():
    accuracy, loss = plot_interpolation(*STEPS, best=1).axes
    np.testing.assert_allclose(accuracy.lines[1].get_xydata(), [[0.5, 0.8]])
    np.testing.assert_allclose(loss.lines[1].get_xydata(), [[0.5, 0.6]])


def test_words_give_both_ends_and_the_kept_one():
    text = alt_text(plot_interpolation(*STEPS, best=1))
    assert "accuracy: 0.600 before fine-tuning, 0.700 after, 0.800 at" in text
    assert "loss: 1.000 before fine-tuning, 0.900 after, 0.600 at" in text


def test_drift_is_drawn_block_by_block():
    (panel,) = plot_drift(["stem", "top"], [1.0, 0.8], [0.1, 0.4]).axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [1.0, 0.8])
    np.testing.assert_allclose(panel.lines[1].get_ydata(), [0.1, 0.4])
    assert [t.get_text() for t in panel.get_xticklabels()] == ["stem", "top"]
    assert "Most in top: CKA 0.800, relative distance 0.400." in alt_text(panel.figure)


def test_they_draw_on_axes_at_hand():
    from matplotlib.figure import Figure

    figure = Figure()
    pair = figure.subplots(1, 2)
    assert plot_interpolation(*STEPS, axes=pair) is figure
    assert plot_drift(["a"], [1.0], [0.0], axes=pair[0]) is figure


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_interpolation([], [], []), "at least one"),
        (lambda: plot_interpolation([0, 1], [0.5], [1, 1]), "2 numbers"),
        (lambda: plot_interpolation(*STEPS, best=3), "from 0 to 2"),
        (lambda: plot_drift(["a", "b"], [1.0], [0.0, 0.1]), "2 numbers"),
        (lambda: plot_drift([], [], []), "at least one"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
