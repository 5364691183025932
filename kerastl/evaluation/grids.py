"""Grids of images: examples, and the most confident mistakes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.evaluation.figures import (
    GREY,
    VERMILION,
    describe,
    new_figure,
    plain_text,
    plural,
    short_name,
)
from kerastl.evaluation.metrics import as_labels, as_probabilities, decide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_NAME_WIDTH = 22


class Caption(NamedTuple):
    """The text above an image, two lines at most, and whether the answer is wrong."""

    text: str
    wrong: bool = False


def image_captions(
    total: int,
    labels: ArrayLike | None,
    class_names: Sequence[str] | None,
    probabilities: ArrayLike | None,
) -> list[Caption]:
    """One caption per image, from what is known about it.

    `"true"`, `"predicted (p)"`, or `"true"` above `"-> predicted (p)"` where the two
    differ. Class indices `(n,)` or 0/1 labels `(n, classes)`.

    Raises:
        ValueError: If the numbers of images, labels, probabilities and names differ.
    """
    given = None if labels is None else as_labels("labels", labels)
    answers = None if probabilities is None else np.asarray(probabilities)
    if given is not None and answers is not None:
        given, answers = as_probabilities(given, answers)
    elif answers is not None:
        # Without labels nothing says whether one or several classes apply: one does.
        answers = as_probabilities(np.zeros(len(answers), int), answers)[1]
    for name, array in (("labels", given), ("probabilities", answers)):
        if array is not None and len(array) != total:
            fail(name, f"{total}, one per image", f"{len(array)} rows")
    if answers is not None:
        names = _names(class_names, answers.shape[1], exact=True)
        if given is not None:
            return [_answer(*each, names) for each in zip(given, answers, strict=True)]
        return [Caption(f"{names[p.argmax()]} ({p.max():.2f})") for p in answers]
    if given is None:
        return [Caption("")] * total
    several = given.ndim == 2
    classes = given.shape[1] if several else int(given.max()) + 1
    names = _names(class_names, classes, exact=several)
    return [Caption(_label_text(label, names)) for label in given]


def _answer(label: np.ndarray, probabilities: np.ndarray, names: list[str]) -> Caption:
    """The caption of one image whose class and answer are known."""
    predicted = decide(label[None], probabilities[None])[0]
    sure = f"({probabilities.max():.2f})"
    if label.ndim:
        # The surest wrong label: what the picture must be looked at for.
        certainty = np.where(predicted == label, -1.0, np.abs(probabilities - 0.5))
        index = int(certainty.argmax())
        sure = f"\n({names[index]}: {probabilities[index]:.2f})"
    true = _label_text(label, names)
    if np.array_equal(predicted, label):
        return Caption(true if label.ndim else f"{true} {sure}")
    gap = "" if label.ndim else " "
    return Caption(f"{true}\n-> {_label_text(predicted, names)}{gap}{sure}", wrong=True)


def _label_text(label: np.ndarray, names: list[str]) -> str:
    """The class, or the classes, in words."""
    if not label.ndim:
        return names[label]
    present = [names[index] for index in np.flatnonzero(label)]
    return short_name(", ".join(present) or "none", _NAME_WIDTH)


def _names(
    class_names: Sequence[str] | None, classes: int, *, exact: bool
) -> list[str]:
    """Short names of all classes, or their numbers."""
    if class_names is None:
        return [str(index) for index in range(classes)]
    found = len(class_names)
    if found < classes or (exact and found != classes):
        fail("class_names", f"{classes} names, one per class", f"{found} names")
    return [short_name(name, _NAME_WIDTH) for name in class_names]


def most_confident_mistakes(
    labels: ArrayLike, probabilities: ArrayLike, k: int = 12
) -> np.ndarray:
    """Indices of the `k` wrong images that the classifier was surest of, surest first.

    A multi-label image counts with its surest wrong label. There may be fewer, or none.

    Example:
        >>> most_confident_mistakes([0, 0, 1], [[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]], 2)
        array([1, 0])
    """
    check_integer("k", k, 1)
    labels, probabilities = as_probabilities(labels, probabilities)
    wrong = decide(labels, probabilities) != labels
    if labels.ndim == 1:
        sureness = np.where(wrong, probabilities.max(axis=1), -1.0)
    else:
        sure = np.maximum(probabilities, 1 - probabilities)
        sureness = np.where(wrong, sure, -1.0).max(axis=1)
    order = np.argsort(-sureness, kind="stable")[:k]
    return order[sureness[order] >= 0]


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
            single images (arrays or Pillow's) of any sizes, or an `ImageSet`, whose
            labels and names are taken where none are given.
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
    if labels is None and getattr(images, "class_names", ()):
        labels, class_names = images.labels, class_names or images.class_names
    if total == 0:
        fail("images", "at least one image", "none")
    captions = image_captions(total, labels, class_names, probabilities)[:count]
    shown = len(captions)
    subject = f"Grid of {shown} of {plural(total, 'image')}"
    return _draw_grid(
        [_row(images, i) for i in range(shown)], captions, subject, columns, figure
    )


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
        return _sentence_instead(
            f"No mistakes: {total} of {total} images right.", figure
        )
    captions = image_captions(
        len(chosen), labels[chosen], class_names, probabilities[chosen]
    )
    wrong = [_row(images, int(index)) for index in chosen]
    subject = f"The {len(chosen)} most confident mistakes in {len(labels)} images"
    return _draw_grid(wrong, captions, subject, columns, figure)


def _draw_grid(
    images: list[Any],
    captions: list[Caption],
    subject: str,
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
        _draw_image(axes, image, caption)
    listed = "; ".join(" ".join(each.text.split()) for each in captions if each.text)
    describe(grid[0], f"{subject}: {listed}." if listed else f"{subject}.")
    return figure.figure


def _draw_image(axes: "Axes", pixels: np.ndarray, caption: Caption) -> None:
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


def _sentence_instead(sentence: str, figure: "Figure | None") -> "Figure":
    """A panel that holds a sentence instead of images."""
    figure = new_figure(4.5, 1.2) if figure is None else figure
    axes = figure.subplots()
    axes.axis("off")
    axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes)
    describe(axes, sentence)
    return figure.figure


def _row(images: Any, index: int) -> Any:
    """One image of several, or of an `ImageSet`."""
    return images.image(index) if hasattr(images, "image") else images[index]


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
    if not np.isfinite([low, high]).all() or high > 281 or centred or 0 < high <= 2:
        hint = "Multiply pixels of 0 to 1 by 255; show images before preprocessing."
        fail("images", "pixels from 0 to 255", f"{low:g} to {high:g}", hint)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
