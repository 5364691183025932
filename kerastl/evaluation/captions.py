"""What to write above an image: its class, and what it was taken for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import fail
from kerastl.evaluation.arguments import as_labels, as_probabilities, decide
from kerastl.evaluation.names import short_name

_NAME_WIDTH = 22


@dataclass(frozen=True)
class Caption:
    """The text above one image.

    Attributes:
        text: One or two lines, or nothing.
        wrong: Whether the classifier's answer is wrong.
    """

    text: str
    wrong: bool = False


def image_captions(
    total: int,
    labels: ArrayLike | None,
    class_names: Sequence[str] | None,
    probabilities: ArrayLike | None,
) -> list[Caption]:
    """One caption per image, from what is known about it.

    Args:
        total: Number of images.
        labels: Class indices `(n,)`, 0/1 labels `(n, classes)`, or None.
        class_names: One name per class; None shows numbers.
        probabilities: Float `(n, classes)`, or None.

    Returns:
        `total` captions: `"true"`, `"predicted (p)"`, or `"true"` above
        `"-> predicted (p)"` where the two differ.

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
