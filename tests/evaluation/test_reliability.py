import numpy as np

from kerastl.evaluation.calibration import reliability_curve
from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.score_plots import plot_reliability

LABELS = [0, 1, 0, 0]
PROBABILITIES = [[0.9, 0.1], [0.75, 0.25], [0.55, 0.45], [0.3, 0.7]]


def test_points_are_the_bins_that_hold_decisions():
    axes = plot_reliability(LABELS, PROBABILITIES, bins=5).axes[0]
    curve = reliability_curve(LABELS, PROBABILITIES, bins=5)
    line = axes.lines[1]
    filled = curve.counts > 0
    np.testing.assert_allclose(line.get_xdata(), curve.confidence[filled])
    np.testing.assert_allclose(line.get_ydata(), curve.accuracy[filled])


def test_bars_are_shares_of_the_decisions():
    axes = plot_reliability(LABELS, PROBABILITIES, bins=2).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0, 1])


def test_the_description_tells_confidence_accuracy_and_error():
    text = alt_text(plot_reliability(LABELS, PROBABILITIES, bins=1))
    assert "4 decisions: mean confidence 0.725, accuracy 0.500" in text
    assert "error 0.225" in text
