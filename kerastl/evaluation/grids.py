"""Images in a grid, with what they are and what they were taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.evaluation.arguments import as_probabilities
from kerastl.evaluation.captions import Caption, image_captions
from kerastl.evaluation.figures import GREY, VERMILION, describe, new_figure
from kerastl.evaluation.mistakes import most_confident_mistakes
from kerastl.evaluation.names import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show_images(
    images: Any,
    *,
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    probabilities: ArrayLike | None = None,
    count: int = 24,
    columns: int | None = None,
    figure: "Figure | None" = None,
) -> "Figure":
    """A grid of images with their classes and, if given, the classifier's answers.

    Pixels are 0-255, as the models of this library take them; show images before any
    preprocessing, not after.

    Args:
        images: `(n, h, w, 1 | 3 | 4)` or `(n, h, w)` pixels 0-255, or a sequence of
            single images (arrays or Pillow's) of any sizes.
        labels: Class indices `(n,)` or 0/1 labels `(n, classes)`.
        class_names: One name per class; None shows numbers.
        probabilities: Float `(n, classes)`. Wrong answers get an arrow, from the true
            to the predicted class, and a thick border.
        count: Images to draw at most, the first ones.
        columns: Images in a row; None chooses up to 6.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no image, the pixels are not 0-255, or numbers of
            images, labels and probabilities differ.

    Example:
        >>> pixels = np.zeros((2, 8, 8, 3), "uint8")
        >>> figure = show_images(pixels, labels=[1, 0], class_names=("cat", "dog"))
        >>> [axes.get_title() for axes in figure.axes]
        ['dog', 'cat']
    """
    check_integer("count", count, 1)
    total = len(images)
    if total == 0:
        fail("images", "at least one image", "none")
    captions = image_captions(total, labels, class_names, probabilities)[:count]
    shown = len(captions)
    opening = f"Grid of {shown} of {total} image{'s' * (total != 1)}"
    return _fill([images[i] for i in range(shown)], captions, opening, columns, figure)


def plot_mistakes(
    images: Any,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    count: int = 12,
    columns: int | None = None,
    figure: "Figure | None" = None,
) -> "Figure":
    """The images that the classifier got wrong with most confidence, the surest first.

    Look for wrong labels here before blaming the model. Only the mistakes are read
    from `images`, so it may be any object that gives an image for an index.

    Args:
        images: Pixels 0-255 as for `show_images`, one per label.
        labels: Class indices `(n,)` or 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`.
        class_names: One name per class; None shows numbers.
        count: Mistakes to draw at most.
        columns: Images in a row; None chooses up to 6.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure; without mistakes, a panel that says so.

    Raises:
        ValueError: If the numbers of images, labels and probabilities differ.

    Example:
        >>> figure = plot_mistakes(np.zeros((1, 8, 8)), [0], [[0.9, 0.1]])
        >>> figure.axes[0].texts[0].get_text()
        'No mistakes: 1 of 1 images right.'
    """
    labels, probabilities = as_probabilities(labels, probabilities)
    if len(images) != len(labels):
        fail("images", f"{len(labels)}, one per label", f"{len(images)} images")
    chosen = most_confident_mistakes(labels, probabilities, count)
    if chosen.size == 0:
        total = len(labels)
        return _nothing(f"No mistakes: {total} of {total} images right.", figure)
    captions = image_captions(
        len(chosen), labels[chosen], class_names, probabilities[chosen]
    )
    wrong = [images[int(index)] for index in chosen]
    opening = f"The {len(chosen)} most confident mistakes in {len(labels)} images"
    return _fill(wrong, captions, opening, columns, figure)


def _fill(
    images: list[Any],
    captions: list[Caption],
    opening: str,
    columns: int | None,
    figure: "Figure | None",
) -> "Figure":
    """Draw images with their captions and describe them."""
    if columns is None:
        columns = min(len(images), 6 if len(images) > 12 else 4)
    check_integer("columns", columns, 1)
    pixels = [_pixels(image) for image in images]
    rows = -(-len(images) // columns)
    lines = max(caption.text.count("\n") + bool(caption.text) for caption in captions)
    if figure is None:
        width = 2.1 if lines else 1.5
        ratio = np.median([each.shape[0] / each.shape[1] for each in pixels])
        height = width * float(np.clip(ratio, 0.4, 2.0)) + 0.16 * lines
        figure = new_figure(width * columns, height * rows + 0.1)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.remove()
    for axes, image, caption in zip(grid, pixels, captions, strict=False):
        _draw(axes, image, caption)
    listed = "; ".join(" ".join(each.text.split()) for each in captions if each.text)
    describe(grid[0], f"{opening}: {listed}." if listed else f"{opening}.")
    return figure.figure


def _draw(axes: "Axes", pixels: np.ndarray, caption: Caption) -> None:
    """One image; a wrong answer shows in its caption and its thick border."""
    # Smoothing would blur the few pixels of a small image into nothing.
    smooth = None if min(pixels.shape[:2]) > 48 else "nearest"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(plain_text(caption.text), fontsize=8)
    for spine in axes.spines.values():
        spine.set_color(VERMILION if caption.wrong else GREY)
        spine.set_linewidth(2.5 if caption.wrong else 0.5)


def _nothing(sentence: str, figure: "Figure | None") -> "Figure":
    """A panel that holds a sentence instead of images."""
    figure = new_figure(4.5, 1.2) if figure is None else figure
    axes = figure.subplots()
    axes.axis("off")
    axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes)
    describe(axes, sentence)
    return figure.figure


def _pixels(image: Any) -> np.ndarray:
    """One image as uint8 `(h, w)` or `(h, w, 3 | 4)`."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        fail("images", "images of shape (h, w), (h, w, 1), 3 or 4", array.shape)
    if array.dtype == np.uint8:
        return array
    values = array.astype(np.float32)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    # Resampling overshoots a little; preprocessed pixels are far off.
    centred = low < -0.5 and not (low > -26 and high > 26)
    if not np.isfinite([low, high]).all() or high > 281 or centred or 0 < high <= 1:
        hint = "Multiply pixels of 0 to 1 by 255; show images before preprocessing."
        fail("images", "pixels from 0 to 255", f"{low:g} to {high:g}", hint)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
