"""The reliability diagram: how right, given how sure."""

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from kerastl.evaluation.calibration import reliability_curve
from kerastl.evaluation.figures import BLUE, GREY, describe, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_reliability(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    bins: int = 15,
    axes: "Axes | None" = None,
) -> "Figure":
    """Accuracy against confidence, with the share of decisions in each bin.

    Points below the diagonal are over-confident. Look at the bars before believing a
    point: few images make it jump.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; for class indices, rows of sum 1.
        bins: Number of bins of equal width, at least 1.
        axes: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If the shapes disagree or `bins` is below 1.

    Example:
        >>> figure = plot_reliability([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> figure.axes[0].get_xlabel()
        'confidence'
    """
    curve = reliability_curve(labels, probabilities, bins=bins)
    figure, (panel,) = panels(axes, 1, (4.6, 4.4))
    panel.bar(
        curve.edges[:-1],
        curve.counts / curve.counts.sum(),
        width=1 / bins,
        align="edge",
        color="0.85",
        edgecolor="0.6",
        label="share of decisions",
    )
    panel.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="calibrated")
    filled = curve.counts > 0
    panel.plot(
        curve.confidence[filled],
        curve.accuracy[filled],
        color=BLUE,
        marker="o",
        clip_on=False,
        label=f"classifier (error {curve.error:.3f})",
    )
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    panel.set_aspect("equal")
    panel.legend(fontsize="small", loc="upper left")
    mean = float((curve.confidence * curve.counts)[filled].sum() / curve.counts.sum())
    right = float((curve.accuracy * curve.counts)[filled].sum() / curve.counts.sum())
    describe(
        panel,
        f"Reliability diagram of {curve.counts.sum()} decisions: mean confidence "
        f"{mean:.3f}, accuracy {right:.3f}, "
        f"expected calibration error {curve.error:.3f}.",
    )
    return figure
