"""Figures of training: histories, rates, sweeps."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    label_axes,
    numbers,
    panels,
    plain_text,
    plural,
    short_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS_PER_CHARACTER = 5.0
_CURVES = (
    ("", "training", BLUE, "o", "-"),
    ("val_", "validation", VERMILION, "s", "--"),
)


def plot_history(
    history: Any,
    *,
    metrics: Sequence[str] | None = None,
    axes: "Sequence[Axes] | Axes | None" = None,
) -> "Figure":
    """Curves of a training run: one panel each for the loss and the accuracy.

    Phases are named above the panels and parted by vertical lines; the star is the best
    epoch: the recorded one, or else the lowest `val_loss`. Training curves are measured
    under augmentation and dropout, and may lie below the validation's for that alone:
    hollow diamonds at the ends of phases are scores of training images as they are.

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
    run = _Run.of(history)
    names = _panel_names(run, metrics)
    figure, found = panels(axes, len(names), (4.8 * len(names), 3.8))
    for panel, name in zip(found, names, strict=True):
        _draw_curves(panel, run, name)
        shown = plain_text(name.replace("_", " "))
        label_axes(panel, "epoch", shown, run.curve_text(name))
        _mark_phases(panel, run.phases)
    describe(found[0], run.text() + run.curve_text(names[0]))
    return figure


@dataclass(frozen=True)
class _Run:
    """A training run.

    Attributes:
        record: Value's name -> one number for each epoch at which it was taken.
        phases: Name, first epoch and end of each phase, counted from 0.
        recorded: The best epoch as the history tells it, or None.
        clean: At the last epoch of a phase, scores of training images as they are.
    """

    record: dict[str, np.ndarray]
    phases: tuple[tuple[str, int, int], ...]
    recorded: Any
    clean: dict[int, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, history: Any) -> "_Run":
        """What a history holds."""
        record = history
        if not isinstance(history, Mapping):
            record = getattr(history, "history", None)
        if not isinstance(record, Mapping):
            hint = "Pass what `fit` or `run_phases` returned."
            kind = type(history).__name__
            fail("history", "a training history", kind, hint, TypeError)
        arrays = {k: np.atleast_1d(np.asarray(v, float)) for k, v in record.items()}
        if not any(array.size for array in arrays.values()):
            hint = "Nothing was trained: `fit` with at least one epoch first."
            fail("history", "of at least one epoch", f"{len(arrays)} empty lists", hint)
        phases = tuple(
            (" ".join(str(phase.name).split()), int(phase.start), int(phase.stop))
            for phase in getattr(history, "phases", ())
            if phase.stop > phase.start
        )
        clean = {
            int(phase.stop): phase.clean
            for phase in getattr(history, "phases", ())
            if getattr(phase, "clean", None)
        }
        return cls(arrays, phases, getattr(history, "best", None), clean)

    @property
    def best(self) -> tuple[int, str, float] | None:
        """Epoch from 0 (-1: the start), monitor and value; None: unknown."""
        if self.recorded is not None:
            best = self.recorded
            return int(best.epoch), str(best.monitor), float(best.value)
        values = self.record.get("val_loss", np.empty(0))
        finite = np.isfinite(values)
        if not finite.any():
            return None
        index = int(np.where(finite, values, np.inf).argmin())
        return int(self.epochs("val_loss")[index]) - 1, "val_loss", float(values[index])

    @property
    def total(self) -> int:
        """Number of epochs."""
        return max(array.size for array in self.record.values())

    @property
    def best_name(self) -> str:
        """The best epoch in words."""
        epoch = self.best[0] if self.best else -1
        return "the start" if epoch < 0 else f"epoch {epoch + 1}"

    def epochs(self, name: str) -> np.ndarray:
        """The epoch numbers, from 1, at which a value was taken."""
        taken = self.record[name].size
        # With `validation_freq=k` Keras keeps a value for each k-th epoch only.
        return np.arange(1, taken + 1) * max(self.total // max(taken, 1), 1)

    def text(self) -> str:
        """A sentence or two about the run."""
        text = f"Training curves over {plural(self.total, 'epoch')}"
        if self.phases:
            names = ", ".join(f"{name} ({b - a})" for name, a, b in self.phases)
            text += f" in {plural(len(self.phases), 'phase')}: {names}"
        if self.best is not None:
            text += f". Best: {self.best_name} ({self.best[1]} {self.best[2]:.3f})"
        return text + ". "

    def curve_text(self, name: str) -> str:
        """A sentence about one panel: where each curve starts and ends."""
        parts = []
        for prefix, label, *_ in _CURVES:
            values = self.record.get(prefix + name, np.empty(0))
            if values.size:
                last = f" to {values[-1]:.3f}" if values.size > 1 else ""
                parts.append(f"{label} {values[0]:.3f}{last}")
        parts += [
            f"{_CLEAN} {scores[name]:.3f} in epoch {epoch}"
            for epoch, scores in self.clean.items()
            if name in scores
        ]
        return f"{name}: {', '.join(parts)}."


_CLEAN = "training, images as they are"


def _panel_names(run: _Run, metrics: Sequence[str] | None) -> list[str]:
    """The values to draw: those asked for, or the loss and what tells the best epoch.

    Where no epoch is told to be the best, the first accuracy.
    """
    record = run.record
    known = list(dict.fromkeys(name.removeprefix("val_") for name in record))
    if metrics is not None:
        unknown = [name for name in metrics if name not in known]
        if unknown or not metrics:
            listed = ", ".join(known)
            fail("metrics", "names in the history", metrics, f"It holds {listed}.")
        return list(metrics)
    monitor = getattr(run.recorded, "monitor", "").removeprefix("val_")
    accuracies = [name for name in known if "acc" in name.lower()]
    second = [monitor] if monitor in known else accuracies[:1]
    names = dict.fromkeys(name for name in ("loss", *second) if name in known)
    return list(names) or known[:1]


def _draw_curves(panel: "Axes", run: _Run, name: str) -> None:
    """Training and validation curves, and a star on the best epoch."""
    from matplotlib.ticker import MaxNLocator

    # Markers show a single epoch; on long runs they would hide the line.
    every = max(1, run.total // 20)
    for prefix, label, colour, marker, line in _CURVES:
        if prefix + name in run.record:
            panel.plot(
                run.epochs(prefix + name),
                run.record[prefix + name],
                color=colour,
                marker=marker,
                markersize=4,
                markevery=every,
                linestyle=line,
                label=label,
            )
    clean = {epoch: known[name] for epoch, known in run.clean.items() if name in known}
    if clean:
        panel.plot(
            list(clean),
            list(clean.values()),
            color=BLUE,
            marker="D",
            markersize=6,
            markerfacecolor="none",
            linestyle="none",
            label=_CLEAN,
        )
    panel.set_xlim(0.5, run.total + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if run.best is None:
        return
    drawn = f"val_{name}" if f"val_{name}" in run.record else name
    where = np.flatnonzero(run.epochs(drawn) == run.best[0] + 1)
    panel.plot(
        [run.best[0] + 1] * where.size,
        run.record[drawn][where],
        color=GREEN,
        marker="*",
        markersize=15,
        linestyle="none",
        # Below the curves, so that a single epoch's own marker stays visible.
        zorder=1.5,
        label=f"best: {run.best_name}",
    )


def _mark_phases(panel: "Axes", phases: tuple[tuple[str, int, int], ...]) -> None:
    """A line between phases and a name above each: a number where none fits."""
    if not phases:
        return
    points = panel.get_window_extent().width * 72 / panel.figure.figure.dpi
    total = max(stop for _, _, stop in phases)
    numbered = any(
        len(name) > (stop - start) / total * points / _POINTS_PER_CHARACTER - 1
        for name, start, stop in phases
    )
    for number, (name, start, stop) in enumerate(phases, 1):
        if start:
            panel.axvline(start + 0.5, color=GREY, linestyle=":", linewidth=1.2)
        panel.annotate(
            str(number) if numbered else plain_text(name),
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
        named = (
            f"{i} {short_name(name, 40)}" for i, (name, *_) in enumerate(phases, 1)
        )
        key = textwrap.fill(
            ", ".join(named), max(20, int(points / _POINTS_PER_CHARACTER))
        )
        panel.set_xlabel("epoch\n" + plain_text(key), fontsize=9)


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
    x = numbers("rates", rates)
    if not (np.isfinite(x) & (x > 0)).all() or (np.diff(x) <= 0).any():
        fail("rates", "finite, above 0 and rising", f"{x.min():g} to {x.max():g}")
    y = _with_gaps(x, losses, "losses")
    curve = y if smoothed is None else _with_gaps(x, smoothed, "smoothed")
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
            [float(np.interp(np.log(rate), np.log(x), curve))],
            color=colour,
            marker=marker,
            markersize=size,
            markeredgecolor="white",
            linestyle="none",
            # The first on top: they may lie close.
            zorder=10 - number,
            label=plain_text(f"{name}: {rate:.1e}"),
        )
    text = f"Loss against the learning rate, {x[0]:.1e} to {x[-1]:.1e}"
    if np.isfinite(curve).any():
        panel.set_ylim(*_loss_limits(y, curve))
        lowest = int(np.nanargmin(curve))
        text += f", lowest {curve[lowest]:.3f} at {x[lowest]:.1e}"
    if marks:
        text += ". " + ", ".join(f"{name} {rate:.1e}" for name, rate in marks.items())
    label_axes(panel, "learning rate", "loss", f"{text}.")
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
    parts = []
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
        parts.append(
            f"{name + ': ' if name else ''}{curve[0]:.3g}, at most {curve.max():.3g} "
            f"at step {places[curve.argmax()]}, {curve[-1]:.3g} at the end"
        )
    panel.set_ylim(bottom=0.0)
    text = f"Learning rate over {plural(steps, 'step')}. {'; '.join(parts)}."
    label_axes(panel, "step", "learning rate", text, legend=named)
    return figure


def _with_gaps(rates: np.ndarray, losses: ArrayLike, name: str) -> np.ndarray:
    """Losses, one for each rate, with gaps where they are not finite."""
    y = np.asarray(losses, float)
    if y.shape != rates.shape:
        fail(name, f"of shape {rates.shape}, as `rates`", y.shape)
    return np.where(np.isfinite(y), y, np.nan)


def _loss_limits(losses: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """A picture of the fall: the end, where losses explode, would flatten it."""
    lowest = int(np.nanargmin(curve))
    highest = float(np.nanmax(curve[: lowest + 1]))
    top = highest + max(highest - float(curve[lowest]), _HEADROOM * abs(highest))
    bottom = float(np.nanmin(losses))
    room = 0.05 * (top - bottom) or 0.05
    return bottom - room, top + room


def _rate(schedule: Schedule, step: int) -> float:
    """The rate of one step."""
    if callable(schedule):
        return float(schedule(step))
    if isinstance(schedule, bool) or not isinstance(schedule, int | float):
        kinds = "schedules, or numbers"
        fail("schedules", kinds, type(schedule).__name__, error=TypeError)
    return float(schedule)


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
    shares = numbers("alphas", alphas)
    columns = {
        "accuracy": numbers("accuracies", accuracies, len(shares)),
        "loss": numbers("losses", losses, len(shares)),
    }
    if best is not None and not 0 <= best < len(shares):
        fail("best", f"from 0 to {len(shares) - 1}", best)
    figure, found = panels(axes, 2, (9.0, 3.6))
    for panel, (name, values) in zip(found, columns.items(), strict=True):
        panel.plot(shares, values, color=BLUE, marker="o", markersize=4)
        text = f"{name}: {values[0]:.3f} before fine-tuning, {values[-1]:.3f} after"
        if best is not None:
            style = {"color": GREEN, "marker": "*", "markersize": 14}
            where = [shares[best]], [values[best]]
            panel.plot(*where, linestyle="none", zorder=1.5, label="kept", **style)
            text += f", {values[best]:.3f} at a share of {shares[best]:g}"
        x = "share of the fine-tuned weights"
        label_axes(panel, x, name, f"{text}.", legend=best is not None)
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
    alignment = numbers("cka", cka, len(blocks))
    moved = numbers("distances", distances, len(blocks))
    figure, (panel,) = panels(axes, 1, (max(5.0, 0.4 * len(blocks) + 2), 3.8))
    places = np.arange(len(blocks))
    panel.plot(places, alignment, color=BLUE, marker="o", label="CKA")
    style = {"color": VERMILION, "marker": "s", "linestyle": "--"}
    panel.plot(places, moved, label="relative distance", **style)
    names = [plain_text(name) for name in blocks]
    panel.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    panel.set_ylim(bottom=0)
    most = int(np.argmax(moved))
    text = (
        f"Change of the features in {len(blocks)} blocks. Most in {blocks[most]}: "
        f"CKA {alignment[most]:.3f}, relative distance {moved[most]:.3f}."
    )
    label_axes(panel, None, "after against before", text)
    return figure
