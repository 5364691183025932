"""Pictures of boxes: which objects were found, which missed, which invented."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerastl._checks import fail
from kerastl.evaluation.detection import overlaps
from kerastl.evaluation.figures import (
    BLUE,
    GREEN,
    VERMILION,
    describe,
    new_figure,
    plain_text,
    plural,
    short_name,
)
from kerastl.evaluation.mask_plots import class_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How each kind of box is drawn: told apart without colours too.
_STYLES = {
    "found": {"edgecolor": GREEN, "linestyle": "-"},
    "missed": {"edgecolor": BLUE, "linestyle": "--"},
    "invented": {"edgecolor": VERMILION, "linestyle": ":"},
}
_COLUMNS = 3

Truth = tuple[np.ndarray, np.ndarray]
Told = tuple[np.ndarray, np.ndarray, np.ndarray]


def judge_boxes(
    truth: Truth, told: Told, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which objects of an image were found, and which of those told are none.

    The surest choose first, each the free object of its class that it overlaps most.

    Args:
        truth: (boxes xyxy `(k, 4)`, classes `(k,)`).
        told: (boxes `(m, 4)`, classes `(m,)`, scores `(m,)`).
        threshold: Overlap from which an object counts as found.

    Returns:
        Booleans (found `(k,)`, invented `(m,)`).
    """
    found = np.zeros(len(truth[1]), bool)
    invented = np.ones(len(told[1]), bool)
    if not len(found) or not len(invented):
        return found, invented
    shared = overlaps(np.asarray(told[0], float), np.asarray(truth[0], float))
    shared[np.asarray(told[1])[:, None] != np.asarray(truth[1])] = 0
    for index in np.argsort(-np.asarray(told[2]), kind="stable"):
        rank = np.where(found, -1.0, shared[index])
        best = int(rank.argmax())
        if rank[best] >= threshold:
            found[best], invented[index] = True, False
    return found, invented


def plot_boxes(
    images: Sequence[np.ndarray],
    *,
    truth: Sequence[Truth] | None = None,
    told: Sequence[Told] | None = None,
    class_names: Sequence[str] = (),
    figure: "Figure | None" = None,
) -> "Figure":
    """Images with their boxes; of true and told ones, what was found and what was not.

    Found is a line in green, missed dashes in blue, invented dots in orange. With one
    of the two alone all its boxes are drawn.

    Args:
        images: Pixels 0-255, `(h, w, 3)` or `(h, w)` each.
        truth: For each image (boxes xyxy `(k, 4)` in its pixels, classes `(k,)`).
        told: For each image (boxes `(m, 4)`, classes `(m,)`, scores `(m,)`), those that
            are sure enough to be told.
        class_names: In the order of the classes; none: their numbers.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no image, or not one entry an image.

    Example:
        >>> import numpy as np
        >>> image, box = np.zeros((32, 32, 3), "uint8"), np.array([[4, 4, 20, 20]])
        >>> truth, told = [(box, [0])], [(box + 1, [0], [0.9])]
        >>> figure = plot_boxes([image], truth=truth, told=told)
        >>> figure.axes[0].get_title()
        '1 found, 0 missed, 0 invented'
    """
    if not len(images):
        fail("images", "at least one image", "none")
    for name, given in (("truth", truth), ("told", told)):
        if given is not None and len(given) != len(images):
            fail(name, f"{len(images)}, one an image", len(given))
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = figure or new_figure(3.2 * columns, 2.7 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    total = np.zeros(3, int)
    for number, image in enumerate(images):
        axis = axes[number]
        pixels = np.asarray(image).astype(np.uint8).squeeze()
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        true = truth[number] if truth is not None else None
        said = told[number] if told is not None else None
        counts = _draw(axis, true, said, class_names)
        total += counts
        if truth is not None and told is not None:
            words = zip(counts.tolist(), _STYLES, strict=True)
            axis.set_title(", ".join(f"{n} {w}" for n, w in words), fontsize="small")
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(images) :]:
        axis.set_axis_off()
    if truth is not None and told is not None:
        _legend(figure)
    describe(axes[0], _sentence(len(images), total, truth, told))
    return figure


def box_overlay(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, texts: Sequence[str]
) -> np.ndarray:
    """An image with boxes drawn on it, each in its class's colour, named at its top.

    Args:
        image: uint8 `(h, w, 3)`.
        boxes: Pixels xyxy `(k, 4)`.
        classes: Integers `(k,)`.
        texts: What to write at each.

    Returns:
        uint8 `(h, w, 3)`.
    """
    from PIL import Image, ImageDraw

    # The first colour is a background's.
    colours = class_colours(2 + int(max(classes, default=0)))[1:]
    drawn = Image.fromarray(np.asarray(image, np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(min(drawn.size) / 150))
    for box, kind, text in zip(boxes.tolist(), classes, texts, strict=True):
        colour = tuple(colours[int(kind)].tolist())
        pen.rectangle(box, outline=colour, width=line)
        left, top, right, bottom = pen.textbbox((box[0], box[1]), text)
        up = min(top, bottom - top + 2)
        pen.rectangle((left, top - up, right, bottom - up), fill=colour)
        pen.text((box[0], box[1] - up), text, fill=(255, 255, 255))
    return np.asarray(drawn)


def _draw(
    axis: "Axes", true: Truth | None, said: Told | None, names: Sequence[str]
) -> np.ndarray:
    """Draw one image's boxes; returns how many were found, missed and invented."""
    counts = np.zeros(3, int)
    if true is None and said is None:
        return counts
    found = invented = None
    if true is not None and said is not None:
        found, invented = judge_boxes(true, said)
        counts[:] = found.sum(), (~found).sum(), invented.sum()
    for index in range(len(true[1]) if true is not None else 0):
        kind = "missed" if found is None or not found[index] else ""
        if kind:
            _box(axis, true[0][index], _name(true[1][index], names), kind)
    for index in range(len(said[1]) if said is not None else 0):
        kind = "found" if invented is None or not invented[index] else "invented"
        text = f"{_name(said[1][index], names)} {said[2][index]:.2f}"
        _box(axis, said[0][index], text, kind)
    return counts


def _name(kind: int, names: Sequence[str]) -> str:
    return plain_text(short_name(names[int(kind)], 14)) if names else str(int(kind))


def _box(axis: "Axes", box: np.ndarray, text: str, kind: str) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = np.asarray(box, float).tolist()
    size = right - left, bottom - top
    axis.add_patch(Rectangle((left, top), *size, fill=False, lw=1.3, **_STYLES[kind]))
    colour = _STYLES[kind]["edgecolor"]
    place = {"fontsize": 5, "color": "white", "va": "bottom", "clip_on": True}
    frame = {"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
    axis.text(left, top, text, bbox=frame, **place)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=style["edgecolor"], ls=style["linestyle"], label=name)
        for name, style in _STYLES.items()
    ]
    place = {"loc": "outside lower center", "ncols": 3}
    figure.legend(handles=handles, fontsize="x-small", **place)


def _sentence(count: int, total: np.ndarray, truth: object, told: object) -> str:
    """What the figure shows, in words."""
    text = f"{plural(count, 'image')} with boxes"
    if truth is None or told is None:
        return f"{text}."
    found, missed, invented = total.tolist()
    objects = plural(found + missed, "object")
    return f"{text}: {found} of {objects} found, {invented} invented."
