"""Pictures of learning rates: the loss over a sweep, and schedules over the steps."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.evaluation.figures import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    describe,
    panels,
)
from kerastl.evaluation.names import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ((GREEN, "*", 14), (VERMILION, "s", 7), (BLUE, "o", 7), (GREY, "D", 6))
_COLOURS = (BLUE, VERMILION, GREEN, GREY)
# One more than the colours, so that each pair of them comes once.
_LINES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))

#: Points of a curve; a schedule may have many thousand steps.
_POINTS = 400

#: Room above the highest loss before the fall, as a share of it, at least.
_HEADROOM = 0.25

Schedule = float | Callable[[int], Any]


def plot_learning_rates(
    rates: ArrayLike,
    losses: ArrayLike,
    *,
    smoothed: ArrayLike | None = None,
    suggestions: Mapping[str, float] | None = None,
    axes: "Axes | None" = None,
) -> "Figure":
    """Loss against the learning rate, and the rates to take.

    The lowest point is no rate to take: there training is about to fail.

    Args:
        rates: Learning rates `(n,)`, above 0 and rising.
        losses: Loss at each `(n,)`; those that are not finite are left out.
        smoothed: Smoothed losses `(n,)`; None draws the losses alone.
        suggestions: Rates to mark by name, among `rates` or not.
        axes: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no rate, or the numbers do not fit.

    Example:
        >>> figure = plot_learning_rates([0.01, 0.1, 1.0], [2.0, 1.0, 3.0])
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_xscale()
        ('learning rate', 'log')
    """
    x, y = _sweep(rates, losses, "losses")
    curve = y if smoothed is None else _sweep(rates, smoothed, "smoothed")[1]
    figure, (panel,) = panels(axes, 1, (6.0, 3.8))
    panel.set_xscale("log")
    if smoothed is not None:
        panel.plot(x, y, color=GREY, linewidth=0.8, alpha=0.6, label="each batch")
    label = "loss" if smoothed is None else "smoothed"
    panel.plot(x, curve, color=BLUE, linewidth=2, label=label)
    marks = dict(suggestions or {})
    for number, (name, rate) in enumerate(marks.items()):
        colour, marker, size = _MARKERS[number % len(_MARKERS)]
        panel.plot(
            [rate],
            [_height(x, curve, rate)],
            color=colour,
            marker=marker,
            markersize=size,
            markeredgecolor="white",
            linestyle="none",
            # The first on top: they may lie close.
            zorder=10 - number,
            label=plain_text(f"{name}: {rate:.1e}"),
        )
    panel.set_ylim(*_limits(y, curve))
    panel.set_xlabel("learning rate")
    panel.set_ylabel("loss")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="best")
    describe(panel, _sweep_text(x, curve, marks))
    return figure


def plot_schedule(
    schedules: Schedule | Mapping[str, Schedule],
    steps: int,
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """The learning rate of each step, of one schedule or several.

    Args:
        schedules: A Keras schedule, a number, or another function from a step to a
            rate; or several by name.
        steps: How many steps to draw, from 0; at least 1.
        axes: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no schedule.
        TypeError: If one is neither a number nor a function.

    Example:
        >>> import keras
        >>> cosine = keras.optimizers.schedules.CosineDecay(0.1, 100)
        >>> figure = plot_schedule({"cosine": cosine, "constant": 0.05}, 100)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['cosine', 'constant']
    """
    check_integer("steps", steps, 1)
    named = isinstance(schedules, Mapping)
    several = dict(schedules) if named else {"": schedules}
    if not several:
        fail("schedules", "at least one", "none")
    places = np.unique(np.linspace(0, steps - 1, _POINTS).round().astype(int))
    curves = {
        name: np.array([_rate(schedule, int(place)) for place in places])
        for name, schedule in several.items()
    }
    figure, (panel,) = panels(axes, 1, (6.0, 3.4))
    for number, (name, curve) in enumerate(curves.items()):
        panel.plot(
            places,
            curve,
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_LINES[number % len(_LINES)],
            linewidth=2,
            # A single step would be no line.
            marker="o" if len(places) == 1 else None,
            label=plain_text(name),
        )
    panel.set_ylim(bottom=0.0)
    panel.set_xlabel("step")
    panel.set_ylabel("learning rate")
    panel.grid(alpha=0.3)
    if named:
        panel.legend(fontsize="small", loc="best")
    describe(panel, _schedule_text(places, curves))
    return figure


def _sweep(
    rates: ArrayLike, losses: ArrayLike, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rates, and losses with gaps where they are not finite."""
    x, y = np.asarray(rates, float), np.asarray(losses, float)
    if x.ndim != 1 or not x.size:
        fail("rates", "of shape (n,), at least one", x.shape)
    if y.shape != x.shape:
        fail(name, f"of shape {x.shape}, as `rates`", y.shape)
    if not (np.isfinite(x) & (x > 0)).all() or (np.diff(x) <= 0).any():
        fail("rates", "finite, above 0 and rising", f"{x.min():g} to {x.max():g}")
    return x, np.where(np.isfinite(y), y, np.nan)


def _height(x: np.ndarray, curve: np.ndarray, rate: float) -> float:
    """Where the curve passes at a rate."""
    return float(np.interp(np.log(rate), np.log(x), curve))


def _limits(losses: np.ndarray, curve: np.ndarray) -> tuple[float | None, float | None]:
    """A picture of the fall: the end, where losses explode, would flatten it."""
    if not np.isfinite(curve).any():
        return None, None
    lowest = int(np.nanargmin(curve))
    highest = float(np.nanmax(curve[: lowest + 1]))
    top = highest + max(highest - float(curve[lowest]), _HEADROOM * abs(highest))
    bottom = float(np.nanmin(losses))
    room = 0.05 * (top - bottom) or 0.05
    return bottom - room, top + room


def _sweep_text(x: np.ndarray, curve: np.ndarray, marks: dict[str, float]) -> str:
    """What the picture shows, in a sentence or two."""
    text = f"Loss against the learning rate, {x[0]:.1e} to {x[-1]:.1e}"
    if np.isfinite(curve).any():
        lowest = int(np.nanargmin(curve))
        text += f", lowest {curve[lowest]:.3f} at {x[lowest]:.1e}"
    if marks:
        text += ". " + ", ".join(f"{name} {rate:.1e}" for name, rate in marks.items())
    return f"{text}."


def _rate(schedule: Schedule, step: int) -> float:
    """The rate of one step."""
    if callable(schedule):
        return float(schedule(step))
    if isinstance(schedule, bool) or not isinstance(schedule, int | float):
        kinds = "schedules, or numbers"
        fail("schedules", kinds, type(schedule).__name__, error=TypeError)
    return float(schedule)


def _schedule_text(places: np.ndarray, curves: dict[str, np.ndarray]) -> str:
    """What the picture shows, in a sentence or two."""
    parts = [
        f"{name + ': ' if name else ''}{curve[0]:.3g}, at most {curve.max():.3g} "
        f"at step {places[curve.argmax()]}, {curve[-1]:.3g} at the end"
        for name, curve in curves.items()
    ]
    steps = int(places[-1]) + 1
    return f"Learning rate over {steps} step{'s' * (steps != 1)}. {'; '.join(parts)}."
