"""Figures of results: confusion, reliability, score against cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, fail
from kerastl.evaluation.calibration import reliability_curve
from kerastl.evaluation.figures import (
    BLUE,
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
from kerastl.evaluation.metrics import most_confused_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_ANNOTATED = 20
_NAME_WIDTH = 22
# In the list below the points there is more room.
_LISTED_WIDTH = 48
_SHARES = {
    "true": "share of the true class",
    "predicted": "share of the predicted class",
    "all": "share of all images",
    "none": "images",
}


def plot_confusion(
    confusion: Any,
    class_names: Sequence[str] | None = None,
    *,
    normalize: str | None = "true",
    axes: "Axes | None" = None,
) -> "Figure":
    """A confusion matrix: rows are true classes, columns predicted ones.

    By default each row is divided by its sum, so that a rare class's mistakes show as
    much as a common one's. Cells are labelled up to 20 classes.

    Args:
        confusion: Counts `(classes, classes)`, or an `EvaluationReport`.
        class_names: One name per class; None takes the report's, or numbers.
        normalize: `"true"` divides by rows, `"predicted"` by columns, `"all"` by the
            number of images; None shows counts.
        axes: Matplotlib axes to draw on; None makes a new figure that grows with the
            number of classes.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If the matrix is not square counts, the names do not fit it, or the
            report is multi-label.

    Example:
        >>> figure = plot_confusion([[9, 1], [2, 8]], ("cat", "dog"))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['cat', 'dog']
    """
    from matplotlib.colors import PowerNorm

    check_choice("normalize", normalize or "none", tuple(_SHARES))
    counts, names = _matrix(confusion, class_names)
    classes = len(counts)
    side = _side(names)
    figure, (panel,) = panels(axes, 1, (side + 0.6, side))
    shown = _normalized(counts, normalize)
    # Grey is not in the colour map: rows or columns without images have no share.
    panel.set_facecolor("0.9")
    top = max(counts.max(), 1) if normalize is None else 1.0
    # A square root, so that a few mistakes in a hundred are seen.
    image = panel.imshow(shown, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=top))
    points = panel.get_window_extent().width * 72 / figure.dpi / classes
    if classes <= _MOST_ANNOTATED and points >= 12:
        _annotate(panel, shown, counts, normalize, points)
    else:
        label = _SHARES[normalize or "none"]
        figure.colorbar(image, ax=panel, aspect=40, fraction=0.03, label=label)
    _name_classes(panel, names, points)
    total, right = int(counts.sum()), int(np.trace(counts))
    share = f"{100 * right / total:.1f} % right" if total else "none scored"
    text = (
        f"Confusion matrix of {plural(total, 'image')} in {classes} classes, {share}."
    )
    pairs = most_confused_pairs(counts, names, count=3)
    if pairs:
        listed = ", ".join(f"{p.true} as {p.predicted} ({p.images})" for p in pairs)
        text += f" Most confused: {listed}."
    describe(panel, text)
    return figure


def _matrix(
    confusion: Any, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Counts and class names."""
    counts: Any = confusion
    if hasattr(confusion, "confusion"):
        counts = confusion.confusion
        class_names = confusion.class_names if class_names is None else class_names
        if counts is None:
            hint = "Its `per_class` rows tell each label's mistakes."
            fail("confusion", "a report with one class per image", "multilabel", hint)
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        fail("confusion", "of shape (classes, classes)", counts.shape)
    whole = counts.dtype.kind in "iuf" and np.array_equal(counts, np.round(counts))
    if not whole or counts.min() < 0:
        hint = "Pass counts and choose the shares with `normalize`."
        fail("confusion", "counts of images", f"{counts.dtype} values", hint)
    if class_names is None:
        class_names = [str(index) for index in range(len(counts))]
    if len(class_names) != len(counts):
        received = f"{len(class_names)} names"
        fail("class_names", f"{len(counts)} names, one per class", received)
    return counts.astype(np.int64), tuple(str(name) for name in class_names)


def _normalized(counts: np.ndarray, normalize: str | None) -> np.ndarray:
    """Counts or shares; nan where there is nothing to divide by."""
    if normalize is None:
        return counts.astype(float)
    axis = {"true": 1, "predicted": 0, "all": None}[normalize]
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=axis, keepdims=True)


def _side(names: tuple[str, ...]) -> float:
    """Height in inches of a new figure: room for the cells and for the names."""
    if len(names) > 20:
        return min(0.2 * len(names), 20.0) + 1.6
    # Few classes get cells as wide as their names, which then need no turning.
    longest = max(len(short_name(name, _NAME_WIDTH)) for name in names)
    cell = float(np.clip(0.1 * longest, 0.55, 1.1)) if len(names) <= 8 else 0.55
    return max(len(names) * cell, 2.4) + 1.6


def _annotate(
    panel: "Axes",
    shown: np.ndarray,
    counts: np.ndarray,
    normalize: str | None,
    points: float,
) -> None:
    """Numbers in the cells: percent, with the counts below where there is room."""
    # Above half the values, seven tenths of the scale, white reads better than black.
    dark = 0.5 * (1.0 if normalize else max(counts.max(), 1))
    for (row, column), value in np.ndenumerate(shown):
        count = counts[row, column]
        if np.isnan(value) or (count == 0 and row != column and len(counts) > 10):
            continue
        text = str(count) if normalize is None else f"{100 * value:.0f}"
        if normalize is not None and points >= 36:
            text = f"{text} %\n({count})"
        panel.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=float(np.clip(points / 3.6, 5, 10)),
            color="white" if value > dark else "black",
        )


def _name_classes(panel: "Axes", names: tuple[str, ...], points: float) -> None:
    """Names on both axes, as many and as large as fit."""
    step = int(np.ceil(6 / points))
    size = float(np.clip(0.75 * points, 5, 10))
    places = np.arange(0, len(names), step)
    short = [plain_text(short_name(names[index], _NAME_WIDTH)) for index in places]
    # A character is about 0.6 of the font's size wide.
    fits = max(map(len, short)) * 0.6 * size < points * step
    panel.set_xticks(places, short, fontsize=size, rotation=0 if fits else 90)
    panel.set_yticks(places, short, fontsize=size)
    panel.set_xlabel("predicted class")
    panel.set_ylabel("true class")


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
    weights = curve.counts[filled]
    mean = np.average(curve.confidence[filled], weights=weights)
    right = np.average(curve.accuracy[filled], weights=weights)
    describe(
        panel,
        f"Reliability diagram of {weights.sum()} decisions: mean confidence "
        f"{mean:.3f}, accuracy {right:.3f}, "
        f"expected calibration error {curve.error:.3f}.",
    )
    return figure


def pareto_front(seconds: ArrayLike, accuracies: ArrayLike) -> np.ndarray:
    """Which points `(n,)` no other one beats in time and accuracy.

    Equal points beat each other in nothing: both are on the front.

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
    short = [short_name(name, _LISTED_WIDTH) for name in names]
    listed = ["ms an image", *(f"{i}  {name}" for i, name in enumerate(short, 1))]
    panel.margins(x=0.1, y=0.1)
    best = (f"{short[i]} {scores[i]:.3f} at {milliseconds[i]:.3g} ms" for i in order)
    text = (
        f"Accuracy against time for {len(times)} networks. "
        f"Not beaten by a quicker one: {'; '.join(best)}."
    )
    label_axes(panel, None, "accuracy", text)
    key = plain_text("\n".join(listed))
    panel.set_xlabel(key, fontsize=9, multialignment="left")
    return figure


def _points(seconds: ArrayLike, accuracies: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two float arrays `(n,)` that can be drawn."""
    times = numbers("seconds", seconds)
    scores = np.asarray(accuracies, float)
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
