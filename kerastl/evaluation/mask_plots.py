"""Pictures of masks: image, truth, prediction, and where they differ."""

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import fail
from kerastl.evaluation.figures import (
    describe,
    new_figure,
    plain_text,
    plural,
    short_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IGNORE = 255
#: Of pixels of no class, of those that are right and wrong.
_NONE, _RIGHT, _WRONG = (255, 255, 255), (222, 222, 222), (213, 94, 0)
_LEGEND = 20


def class_colours(count: int) -> np.ndarray:
    """A colour for each class: dark grey for the first, then hues far apart.

    Returns:
        uint8 `(count, 3)`.
    """
    found = [(70, 70, 70)]
    for number in range(count - 1):
        # The golden angle: no two of any run of hues are close.
        hue = (0.58 + number * 0.618034) % 1.0
        light = (0.55, 0.42, 0.68)[number % 3]
        colour = colorsys.hls_to_rgb(hue, light, 0.75)
        found.append(tuple(round(255 * part) for part in colour))
    return np.array(found[:count], np.uint8)


def mask_colours(mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A mask as an image: each class in its colour, white where there is none."""
    table = np.tile(np.array(_NONE, np.uint8), (256, 1))
    table[: len(colours)] = colours
    return table[mask]


def overlay(
    image: np.ndarray, mask: np.ndarray, colours: np.ndarray, share: float = 0.5
) -> np.ndarray:
    """An image with its mask laid over it; class 0 and no class stay clear.

    Args:
        image: uint8 `(h, w, 3)` or `(h, w)`.
        mask: Indices `(h, w)`.
        colours: uint8 `(classes, 3)`.
        share: Of the mask's colour, 0 to 1.
    """
    image = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    image = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
    mixed = (1 - share) * image + share * mask_colours(mask, colours)
    clear = (mask == 0) | (mask == _IGNORE)
    return np.where(clear[..., None], image, np.rint(mixed)).astype(np.uint8)


def plot_masks(
    images: Sequence[np.ndarray],
    *,
    masks: Sequence[np.ndarray] | None = None,
    predicted: Sequence[np.ndarray] | None = None,
    class_names: Sequence[str] = (),
    colours: Any = None,
    figure: "Figure | None" = None,
) -> "Figure":
    """A row for each image: the image, its mask, what was predicted, the errors.

    Look at the errors before the numbers: thin borders are the network's stride, whole
    objects are not.

    Args:
        images: Pixels 0-255, `(h, w, 3)` or `(h, w)` each.
        masks: Indices `(h, w)` each, 255 where a pixel is of no class.
        predicted: Indices `(h, w)` each.
        class_names: For the legend; none: no legend.
        colours: uint8 `(classes, 3)`; None: `kerastl` chooses.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no image, or as many masks as images are not given.

    Example:
        >>> import numpy as np
        >>> image, mask = np.zeros((8, 8, 3), "uint8"), np.eye(8, dtype="uint8")
        >>> figure = plot_masks([image], masks=[mask], predicted=[mask])
        >>> [axes.get_title() for axes in figure.axes]
        ['image', 'truth', 'predicted', 'errors']
    """
    if not len(images):
        fail("images", "at least one image", "none")
    for name, given in (("masks", masks), ("predicted", predicted)):
        if given is not None and len(given) != len(images):
            fail(name, f"{len(images)}, one an image", len(given))
    # Lists, or one array of all: neither has a truth value of its own.
    highest = [] if masks is None else [_highest(np.asarray(mask)) for mask in masks]
    highest += [] if predicted is None else [int(np.max(each)) for each in predicted]
    count = max(len(class_names), *highest, 1) if highest else max(len(class_names), 1)
    known = class_colours(count + 1) if colours is None else np.asarray(colours)
    columns = ["image"] + ["truth"] * (masks is not None)
    columns += ["predicted"] * (predicted is not None)
    columns += ["errors"] * (masks is not None and predicted is not None)
    size = 2.2 * len(columns), 1.9 * len(images) + 0.5
    figure = figure or new_figure(*size)
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for row in range(len(images)):
        drawn = {"image": np.asarray(images[row])}
        if masks is not None:
            drawn["truth"] = mask_colours(masks[row], known)
        if predicted is not None:
            drawn["predicted"] = mask_colours(predicted[row], known)
        if "errors" in columns:
            drawn["errors"] = _errors(masks[row], predicted[row])
        for axis, name in zip(axes[row], columns, strict=True):
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
            pixels = drawn[name].astype(np.uint8)
            axis.imshow(pixels.squeeze(), interpolation="nearest", **grey)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(name, fontsize="small")
    _legend(figure, class_names, known)
    describe(axes[0, 0], _sentence(len(images), masks, predicted))
    return figure


def _highest(mask: np.ndarray) -> int:
    """The highest class of a mask, 0 where every pixel is ignored."""
    return int(mask[mask < _IGNORE].max(initial=0))


def _errors(mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Right pixels grey, wrong ones orange, those of no class white."""
    wrong = (mask != predicted)[..., None]
    found = np.where(wrong, np.array(_WRONG), np.array(_RIGHT))
    return np.where((mask == _IGNORE)[..., None], np.array(_NONE), found)


def _legend(figure: "Figure", names: Sequence[str], colours: np.ndarray) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colours[c] / 255, label=plain_text(short_name(name, 16)))
        for c, name in enumerate(names[:_LEGEND])
    ]
    if handles:
        place = {"loc": "outside lower center", "ncols": min(6, len(handles))}
        figure.legend(handles=handles, fontsize="x-small", **place)


def _sentence(count: int, masks: Any, predicted: Any) -> str:
    """What the figure shows, in words."""
    text = f"{plural(count, 'image')} with {'their' if count > 1 else 'its'} masks"
    if masks is None or predicted is None:
        return f"{text}."
    kept = [m != _IGNORE for m in masks]
    wrong = sum(
        int(((m != p) & k).sum())
        for m, p, k in zip(masks, predicted, kept, strict=True)
    )
    total = max(sum(int(k.sum()) for k in kept), 1)
    return f"{text}; {wrong / total:.1%} of their pixels are wrong."
