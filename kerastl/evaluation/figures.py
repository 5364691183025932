"""What all figures share: size, style, saving, names that fit."""

import base64
import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, fail
from kerastl._files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def short_name(name: str, limit: int) -> str:
    """`name` on one line, its middle left out where it is longer than `limit`.

    Both ends stay: "American pit bull terrier" and its kin differ at either.

    Example:
        >>> short_name("Staffordshire bull terrier", 13)
        'Staffo…errier'
    """
    line = " ".join(str(name).split())
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 2
    return f"{line[: limit - 1 - tail]}…{line[len(line) - tail :]}"


def plain_text(text: str) -> str:
    """`text` for Matplotlib, which reads `$...$` as a formula."""
    return text.replace("$", r"\$")


# Okabe & Ito's blue, vermilion and green: told apart with any colour vision.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "0.45"

# The metadata field that each format keeps a description in.
_FIELDS = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_ATTRIBUTE = "kerastl_alt_text"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of `width` by `height` inches that notebooks can show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    # Jupyter learns to show figures only when pyplot starts: here it may never do so.
    bundle = functools.partial(_mimebundle, figure)
    figure._repr_mimebundle_ = bundle  # type: ignore[attr-defined]
    return figure


def panels(
    axes: "Axes | Sequence[Axes] | None", count: int, size: tuple[float, float]
) -> "tuple[Figure, list[Axes]]":
    """The figure and `count` axes side by side: the caller's, or new ones.

    `size` is a new figure's, in inches: width and height.
    """
    from matplotlib.axes import Axes

    if axes is None:
        figure = new_figure(*size)
        return figure, list(figure.subplots(1, count, squeeze=False)[0])
    found = [axes] if isinstance(axes, Axes) else list(getattr(axes, "flat", axes))
    if not all(isinstance(each, Axes) for each in found):
        fail("axes", "Matplotlib axes", type(axes).__name__, error=TypeError)
    if len(found) != count:
        fail("axes", f"{count} axes, one per panel", f"{len(found)} axes")
    # The second step leaves a subfigure for the figure that holds it.
    return found[0].figure.figure, found


def label_axes(
    panel: "Axes", x: str | None, y: str, sentence: str, *, legend: bool = True
) -> None:
    """What every panel ends with: names of its axes, a grid, a legend, its words."""
    if x is not None:
        panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(alpha=0.3)
    if legend:
        panel.legend(fontsize="small", loc="best")
    describe(panel, sentence)


def numbers(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """Floats `(n,)`, at least one, or exactly as many as there are points."""
    array = np.asarray(values, float)
    if array.ndim != 1 or not array.size:
        fail(name, "of shape (n,), at least one", array.shape)
    if length is not None and len(array) != length:
        fail(name, f"{length} numbers, one for each point", array.shape)
    return array


def plural(count: int, noun: str) -> str:
    """`"1 epoch"`, `"2 epochs"`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def describe(axes: "Axes", sentence: str) -> None:
    """Store what a panel shows, in words, for `alt_text`."""
    setattr(axes, _ATTRIBUTE, sentence)


def alt_text(figure: "Figure") -> str:
    """What a figure of this library shows, in words computed from its data.

    One sentence or more, for the `alt` attribute of a page or a screen reader; empty
    for figures of others.

    Example:
        >>> from kerastl.evaluation.plots import plot_history
        >>> alt_text(plot_history({"loss": [2.0, 1.0]}))
        'Training curves over 2 epochs. loss: training 2.000 to 1.000.'
    """
    found = [getattr(axes, _ATTRIBUTE, "") for axes in figure.axes]
    return " ".join(sentence for sentence in found if sentence)


def save_figure(figure: "Figure", path: str | os.PathLike, *, dpi: int = 120) -> None:
    """Write a figure to a file that carries its `alt_text`.

    The file appears whole or not at all: on a full disk an older one survives.

    Args:
        figure: A Matplotlib figure.
        path: Where to; the ending chooses the format: `.png`, `.svg` or `.pdf`.
        dpi: Pixels per inch of a PNG.

    Raises:
        ValueError: If the ending is another.
        FileNotFoundError: If the folder does not exist.
    """
    target = Path(path)
    ending = target.suffix.lower().removeprefix(".")
    check_choice("path's ending", ending, tuple(_FIELDS))
    check_integer("dpi", dpi, 1)
    if not target.parent.is_dir():
        hint = "Create its folder first."
        fail("path", "in a folder that exists", str(path), hint, FileNotFoundError)
    # Drawn in memory first, so that an error while drawing touches no file.
    drawn = io.BytesIO()
    metadata = {_FIELDS[ending]: alt_text(figure)} if alt_text(figure) else None
    figure.savefig(drawn, format=ending, dpi=dpi, metadata=metadata)
    with whole_file(target) as draft:
        draft.write_bytes(drawn.getvalue())


def _mimebundle(
    figure: "Figure", include: Any = None, exclude: Any = None
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What Jupyter shows for a figure: a PNG and its alternative text."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    data = {
        "image/png": base64.b64encode(drawn.getvalue()).decode("ascii"),
        "text/plain": alt_text(figure) or repr(figure),
    }
    return data, {"image/png": {"alt": alt_text(figure)}}
