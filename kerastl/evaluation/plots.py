"""Figures of training: histories, rates, sweeps."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
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
    plain_text,
    short_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_POINTS_PER_CHARACTER = 5.0


def plot_history(
    history: Any,
    *,
    metrics: Sequence[str] | None = None,
    axes: "Sequence[Axes] | Axes | None" = None,
) -> "Figure":
    """Curves of a training run: one panel each for the loss and the accuracy.

    Phases are named above the panels and parted by vertical lines; the star is the best
    epoch: the recorded one, or else the lowest `val_loss`.

    Args:
        history: What `run_phases` or `Model.fit` returned, or a dict of lists with one
            number an epoch.
        metrics: Which values to draw, one panel each, without `val_`. None draws the
            loss and the first accuracy.
        axes: Matplotlib axes to draw on, one per panel; None makes a new figure.

    Returns:
        The Matplotlib figure. Nothing is shown: in a notebook it is the cell's value.

    Raises:
        TypeError: If `history` is nothing like a history.
        ValueError: If it holds no epoch, or not one of `metrics`.

    Example:
        >>> figure = plot_history({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]})
        >>> [each.get_ylabel() for each in figure.axes]
        ['loss']
    """
    record = _record(history)
    names = _panel_names(record, metrics)
    figure, found = panels(axes, len(names), (4.8 * len(names), 3.8))
    phases = _phases(history)
    best = _best(history, record)
    for panel, name in zip(found, names, strict=True):
        _draw_curves(panel, record, name)
        _mark_phases(panel, phases)
        _mark_best(panel, record, name, best)
        panel.legend(fontsize="small")
        describe(panel, _curve_text(record, name))
    describe(found[0], _run_text(record, phases, best) + _curve_text(record, names[0]))
    return figure


def _record(history: Any) -> dict[str, np.ndarray]:
    """The lists of a history as float arrays."""
    record = history if isinstance(history, Mapping) else None
    if record is None:
        record = getattr(history, "history", None)
    if not isinstance(record, Mapping):
        hint = "Pass what `fit` or `run_phases` returned."
        fail("history", "a training history", type(history).__name__, hint, TypeError)
    arrays = {name: np.atleast_1d(np.asarray(v, float)) for name, v in record.items()}
    if not any(array.size for array in arrays.values()):
        hint = "Nothing was trained: `fit` with at least one epoch first."
        fail("history", "of at least one epoch", f"{len(arrays)} empty lists", hint)
    return arrays


def _panel_names(
    record: dict[str, np.ndarray], metrics: Sequence[str] | None
) -> list[str]:
    """The values to draw: those asked for, or the loss and the first accuracy."""
    known = [name for name in record if not name.startswith("val_")]
    if metrics is not None:
        unknown = [name for name in metrics if name not in known]
        if unknown or not metrics:
            listed = ", ".join(known)
            fail("metrics", "names in the history", metrics, f"It holds {listed}.")
        return list(metrics)
    accuracies = [name for name in known if "acc" in name.lower()]
    names = [name for name in ("loss", *accuracies[:1]) if name in known]
    return names or known[:1] or [name.removeprefix("val_") for name in record][:1]


def _epochs(record: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The epoch numbers, from 1, at which a value was taken."""
    total = max(array.size for array in record.values())
    taken = record[name].size
    # With `validation_freq=k` Keras keeps a value for each k-th epoch only.
    return np.arange(1, taken + 1) * max(total // max(taken, 1), 1)


def _draw_curves(panel: "Axes", record: dict[str, np.ndarray], name: str) -> None:
    """Training and validation curves, told apart by marker, line and colour."""
    from matplotlib.ticker import MaxNLocator

    total = max(array.size for array in record.values())
    # Markers show a single epoch; on long runs they would hide the line.
    every = max(1, total // 20)
    styles = (
        ("", "training", BLUE, "o", "-"),
        ("val_", "validation", VERMILION, "s", "--"),
    )
    for prefix, label, colour, marker, line in styles:
        if prefix + name in record:
            panel.plot(
                _epochs(record, prefix + name),
                record[prefix + name],
                color=colour,
                marker=marker,
                markersize=4,
                markevery=every,
                linestyle=line,
                label=label,
            )
    panel.set_xlim(0.5, total + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("epoch")
    panel.set_ylabel(plain_text(name.replace("_", " ")))
    panel.grid(alpha=0.3)


def _phases(history: Any) -> tuple[tuple[str, int, int], ...]:
    """Name, first epoch and end of each phase, counted from 0."""
    return tuple(
        (str(phase.name), int(phase.start), int(phase.stop))
        for phase in getattr(history, "phases", ())
        if phase.stop > phase.start
    )


def _mark_phases(panel: "Axes", phases: tuple[tuple[str, int, int], ...]) -> None:
    """A line between phases and a name above each: a number where none fits."""
    if not phases:
        return
    figure = panel.figure.figure
    points = panel.get_window_extent().width * 72 / figure.dpi
    total = max(stop for _, _, stop in phases)
    room = [(b - a) / total * points / _POINTS_PER_CHARACTER - 1 for _, a, b in phases]
    names = [" ".join(name.split()) for name, _, _ in phases]
    numbered = any(len(name) > space for name, space in zip(names, room, strict=True))
    for number, (name, (_, start, stop)) in enumerate(zip(names, phases, strict=True)):
        if start:
            panel.axvline(start + 0.5, color=GREY, linestyle=":", linewidth=1.2)
        panel.annotate(
            str(number + 1) if numbered else plain_text(name),
            ((start + stop + 1) / 2, 1.0),
            xycoords=panel.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=GREY,
        )
    if numbered:
        key = ", ".join(
            f"{i} {short_name(n, 40)}" for i, n in enumerate(names, start=1)
        )
        width = max(20, int(points / _POINTS_PER_CHARACTER))
        panel.set_xlabel("epoch\n" + plain_text(textwrap.fill(key, width)), fontsize=9)


def _best(history: Any, record: dict[str, np.ndarray]) -> tuple[int, str, float] | None:
    """Epoch from 0 (-1: the start), monitor and value of the best; None: unknown."""
    best = getattr(history, "best", None)
    if best is not None:
        return int(best.epoch), str(best.monitor), float(best.value)
    values = record.get("val_loss", np.empty(0))
    finite = np.isfinite(values)
    if not finite.any():
        return None
    index = int(np.where(finite, values, np.inf).argmin())
    return int(_epochs(record, "val_loss")[index]) - 1, "val_loss", float(values[index])


def _mark_best(
    panel: "Axes",
    record: dict[str, np.ndarray],
    name: str,
    best: tuple[int, str, float] | None,
) -> None:
    """A star on the validation curve (or else the training curve)."""
    if best is None:
        return
    drawn = f"val_{name}" if f"val_{name}" in record else name
    where = np.flatnonzero(_epochs(record, drawn) == best[0] + 1)
    panel.plot(
        [best[0] + 1] * where.size,
        record[drawn][where],
        color=GREEN,
        marker="*",
        markersize=15,
        linestyle="none",
        # Below the curves, so that a single epoch's own marker stays visible.
        zorder=1.5,
        label=f"best: {_best_name(best[0])}",
    )


def _best_name(epoch: int) -> str:
    """The best epoch in words."""
    return "the start" if epoch < 0 else f"epoch {epoch + 1}"


def _run_text(
    record: dict[str, np.ndarray],
    phases: tuple[tuple[str, int, int], ...],
    best: tuple[int, str, float] | None,
) -> str:
    """A sentence or two about the run."""
    total = max(array.size for array in record.values())
    text = f"Training curves over {total} epoch{'s' * (total != 1)}"
    if phases:
        names = ", ".join(f"{name} ({stop - start})" for name, start, stop in phases)
        text += f" in {len(phases)} phase{'s' * (len(phases) != 1)}: {names}"
    if best is not None:
        text += f". Best: {_best_name(best[0])} ({best[1]} {best[2]:.3f})"
    return text + ". "


def _curve_text(record: dict[str, np.ndarray], name: str) -> str:
    """A sentence about one panel: where each curve starts and ends."""
    parts = []
    for key, label in ((name, "training"), (f"val_{name}", "validation")):
        values = record.get(key, np.empty(0))
        if values.size == 1:
            parts.append(f"{label} {values[0]:.3f}")
        elif values.size:
            parts.append(f"{label} {values[0]:.3f} to {values[-1]:.3f}")
    return f"{name}: {', '.join(parts)}."


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
