"""Accuracy against time: what is worth its price."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail
from kerastl.evaluation.figures import BLUE, GREY, VERMILION, describe, panels
from kerastl.evaluation.names import plain_text, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME_WIDTH = 48


def pareto_front(seconds: ArrayLike, accuracies: ArrayLike) -> np.ndarray:
    """Which points no other one beats: none is as quick and as accurate, and better.

    Equal points beat each other in nothing: both are on the front.

    Args:
        seconds: Time of each `(n,)`, above 0; less is better.
        accuracies: Accuracy of each `(n,)`; more is better.

    Returns:
        Booleans `(n,)`.

    Raises:
        ValueError: If there is no point, or the numbers do not fit.

    Example:
        >>> pareto_front([1.0, 2.0, 3.0], [0.7, 0.6, 0.9]).tolist()
        [True, False, True]
    """
    times, scores = _points(seconds, accuracies)
    no_worse = (times <= times[:, None]) & (scores >= scores[:, None])
    better = (times < times[:, None]) | (scores > scores[:, None])
    return ~(no_worse & better).any(axis=1)


def plot_pareto(
    names: Sequence[str],
    seconds: ArrayLike,
    accuracies: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    axes: "Axes | None" = None,
) -> "Figure":
    """Accuracy against time an image, and the front of those that no other one beats.

    Points are numbered in the order of `names`. One below the front costs more than
    another that does as well; whether it is really worse the error bars tell.

    Args:
        names: One name for each point, `n` of them.
        seconds: Seconds an image `(n,)`, above 0.
        accuracies: Accuracy of each `(n,)`, 0 to 1.
        errors: Standard error of each accuracy `(n,)`, or None.
        axes: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no point, or the numbers do not fit.

    Example:
        >>> figure = plot_pareto(["small", "large"], [0.001, 0.01], [0.7, 0.8])
        >>> print(figure.axes[0].get_xlabel())
        ms an image
        1  small
        2  large
    """
    times, scores = _points(seconds, accuracies)
    if len(names) != len(times):
        fail("names", f"{len(times)}, one for each point", f"{len(names)} names")
    bars = None if errors is None else np.asarray(errors, float)
    if bars is not None and (bars.shape != times.shape or not (bars >= 0).all()):
        fail("errors", f"{len(times)} numbers of at least 0", bars.tolist())
    front = pareto_front(times, scores)
    figure, (panel,) = panels(axes, 1, (6.0, 3.8 + 0.16 * len(names)))
    order = np.flatnonzero(front)[np.argsort(times[front], kind="stable")]
    milliseconds = 1000 * times
    panel.step(
        milliseconds[order],
        scores[order],
        where="post",
        color=GREY,
        linestyle=":",
        label="best for its time",
    )
    for chosen, colour, marker, label in (
        (front, BLUE, "o", "not beaten"),
        (~front, VERMILION, "s", "beaten by a quicker one"),
    ):
        if chosen.any():
            panel.errorbar(
                milliseconds[chosen],
                scores[chosen],
                yerr=None if bars is None else bars[chosen],
                color=colour,
                marker=marker,
                linestyle="none",
                capsize=3,
                label=label,
            )
    _number_points(panel, milliseconds, scores)
    _scale_time(panel)
    # Names beside the points would run over each other.
    key = [f"{i}  {short_name(name, _NAME_WIDTH)}" for i, name in enumerate(names, 1)]
    text = plain_text("\n".join(["ms an image", *key]))
    panel.set_xlabel(text, fontsize=9, multialignment="left")
    panel.set_ylabel("accuracy")
    panel.margins(x=0.1, y=0.1)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="best")
    describe(panel, _text(names, times, scores, order))
    return figure


def _points(seconds: ArrayLike, accuracies: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two float arrays `(n,)` that can be drawn."""
    times, scores = np.asarray(seconds, float), np.asarray(accuracies, float)
    if times.ndim != 1 or not times.size:
        fail("seconds", "of shape (n,), at least one", times.shape)
    if scores.shape != times.shape:
        fail("accuracies", f"of shape {times.shape}, as `seconds`", scores.shape)
    if not (np.isfinite(times) & (times > 0)).all():
        fail("seconds", "finite and above 0", times.tolist())
    if not np.isfinite(scores).all():
        fail("accuracies", "finite", scores.tolist())
    return times, scores


def _number_points(panel: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    """Numbers beside the points, above and below in turns so that neighbours part."""
    for turn, place in enumerate(np.argsort(x, kind="stable")):
        panel.annotate(
            str(place + 1),
            (x[place], y[place]),
            xytext=(5, 5 if turn % 2 == 0 else -11),
            textcoords="offset points",
            fontsize=9,
        )


def _scale_time(panel: "Axes") -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


def _text(
    names: Sequence[str], times: np.ndarray, scores: np.ndarray, order: np.ndarray
) -> str:
    """What the picture shows, in a sentence or two."""
    listed = "; ".join(
        f"{short_name(names[i], _NAME_WIDTH)} {scores[i]:.3f} "
        f"at {1000 * times[i]:.3g} ms"
        for i in order
    )
    return (
        f"Accuracy against time for {len(times)} networks. "
        f"Not beaten by a quicker one: {listed}."
    )
