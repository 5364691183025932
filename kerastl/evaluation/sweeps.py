"""Curves over something that was varied: shares of weights, blocks of a network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail
from kerastl.evaluation.figures import (
    BLUE,
    GREEN,
    VERMILION,
    describe,
    panels,
)
from kerastl.evaluation.names import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_interpolation(
    alphas: ArrayLike,
    accuracies: ArrayLike,
    losses: ArrayLike,
    *,
    best: int | None = None,
    axes: "Sequence[Axes] | Axes | None" = None,
) -> "Figure":
    """Accuracy and loss of weights between two models.

    Left is the model before fine-tuning, right the one after. The star is chosen by
    the same images as it is drawn for, so it lies a little too high.

    Args:
        alphas: Share of the second model's weights `(n,)`.
        accuracies: Accuracy at each `(n,)`, 0 to 1.
        losses: Loss at each `(n,)`.
        best: Position of the one to mark with a star; None: none.
        axes: Two Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no point, or the numbers do not fit.

    Example:
        >>> figure = plot_interpolation([0, 0.5, 1], [0.6, 0.8, 0.7], [1.0, 0.6, 0.9])
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['accuracy', 'loss']
    """
    shares = _column("alphas", alphas)
    columns = {
        "accuracy": _column("accuracies", accuracies, len(shares)),
        "loss": _column("losses", losses, len(shares)),
    }
    if best is not None and not 0 <= best < len(shares):
        fail("best", f"from 0 to {len(shares) - 1}", best)
    figure, found = panels(axes, 2, (9.0, 3.6))
    for panel, (name, values) in zip(found, columns.items(), strict=True):
        panel.plot(shares, values, color=BLUE, marker="o", markersize=4)
        if best is not None:
            style = {"color": GREEN, "marker": "*", "markersize": 14}
            where = [shares[best]], [values[best]]
            panel.plot(*where, linestyle="none", zorder=1.5, label="kept", **style)
            panel.legend(fontsize="small")
        panel.set_xlabel("share of the fine-tuned weights")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        text = f"{name}: {values[0]:.3f} before fine-tuning, {values[-1]:.3f} after"
        if best is not None:
            text += f", {values[best]:.3f} at a share of {shares[best]:g}"
        describe(panel, text + ".")
    return figure


def plot_drift(
    blocks: Sequence[str],
    cka: ArrayLike,
    distances: ArrayLike,
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """How far training moved the features of each block, from input to output.

    Two lines on one scale: alignment falls from 1, distance rises from 0.

    Args:
        blocks: One name a block, `n` of them.
        cka: Linear CKA before and after `(n,)`, 0 to 1; nan is left out.
        distances: Distance relative to the features' own size `(n,)`.
        axes: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no block, or the numbers do not fit.

    Example:
        >>> figure = plot_drift(["stem", "block_1"], [1.0, 0.8], [0.0, 0.4])
        >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
        ['stem', 'block_1']
    """
    alignment = _column("cka", cka, len(blocks))
    moved = _column("distances", distances, len(blocks))
    figure, (panel,) = panels(axes, 1, (max(5.0, 0.4 * len(blocks) + 2), 3.8))
    places = np.arange(len(blocks))
    panel.plot(places, alignment, color=BLUE, marker="o", label="CKA")
    style = {"color": VERMILION, "marker": "s", "linestyle": "--"}
    panel.plot(places, moved, label="relative distance", **style)
    names = [plain_text(name) for name in blocks]
    panel.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    panel.set_ylabel("after against before")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    most = int(np.argmax(moved))
    describe(
        panel,
        f"Change of the features in {len(blocks)} blocks. Most in {blocks[most]}: "
        f"CKA {alignment[most]:.3f}, relative distance {moved[most]:.3f}.",
    )
    return figure


def _column(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """Floats `(n,)`, at least one."""
    array = np.asarray(values, float)
    if array.ndim != 1 or not array.size:
        fail(name, "of shape (n,), at least one", array.shape)
    if length is not None and len(array) != length:
        fail(name, f"{length} numbers, one for each point", array.shape)
    return array
