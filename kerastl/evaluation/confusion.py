"""The confusion matrix as a picture, for two classes or a hundred."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, fail
from kerastl.evaluation.figures import describe, panels
from kerastl.evaluation.names import plain_text, short_name
from kerastl.evaluation.reports import EvaluationReport, most_confused_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ANNOTATED = 20
_NAME_WIDTH = 22
_SHARES = {
    "true": "share of the true class",
    "predicted": "share of the predicted class",
    "all": "share of all images",
    "none": "images",
}


def plot_confusion(
    confusion: ArrayLike | EvaluationReport,
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
    describe(panel, _text(counts, names))
    return figure


def _matrix(
    confusion: ArrayLike | EvaluationReport, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Counts and class names."""
    counts: Any = confusion
    if isinstance(confusion, EvaluationReport):
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
    total = np.broadcast_to(counts.sum(axis=axis, keepdims=True), counts.shape)
    empty = np.full(counts.shape, np.nan)
    return np.divide(counts, total, out=empty, where=total > 0)


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


def _text(counts: np.ndarray, names: tuple[str, ...]) -> str:
    """What the matrix says, in words."""
    total, right = int(counts.sum()), int(np.trace(counts))
    share = f"{100 * right / total:.1f} % right" if total else "none scored"
    images = f"{total} image{'s' * (total != 1)}"
    text = f"Confusion matrix of {images} in {len(names)} classes, {share}."
    pairs = most_confused_pairs(counts, names, count=3)
    if pairs:
        listed = ", ".join(f"{p.true} as {p.predicted} ({p.images})" for p in pairs)
        text += f" Most confused: {listed}."
    return text
