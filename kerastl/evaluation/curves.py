"""Curves of training: loss and accuracy over the epochs, phases marked."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import fail
from kerastl.evaluation.figures import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    describe,
    panels,
)
from kerastl.evaluation.names import plain_text, short_name

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
