"""Images with their labels, and the three parts that they are split into."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, their labels and the names of their classes.

    Pixels are 0-255, never 0-1: the preprocessing that a network needs lies
    inside the network.

    Attributes:
        images: File paths, or an array `(n, height, width)` or `(n, height,
            width, channels)` of pixels 0-255 with 1, 3 or 4 channels.
        labels: Integers `(n,)` in `[0, num_classes)`, or 0/1 `(n, num_classes)`
            where an image may have several labels, or None.
        class_names: One name for each class, in the order of the labels.
        name: What to call the set in reports.

    Raises:
        ValueError: If the lengths, shapes or labels do not agree.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((3, 8, 8, 3), "uint8")
        >>> pets = ImageSet(pixels, np.array([0, 1, 1]), ("cat", "dog"))
        >>> len(pets), pets.counts()
        (3, {'cat': 1, 'dog': 2})
    """

    images: tuple[str, ...] | np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        """Check the fields against each other and store them in one form."""
        object.__setattr__(self, "images", _as_images(self.images))
        object.__setattr__(self, "class_names", _as_names(self.class_names))
        if self.labels is not None:
            labels = _as_labels(self.labels, len(self.images), self.class_names)
            object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Counts and kind, never the pixels."""
        if self.paths is None:
            kind = f"array {self.images.shape} {self.images.dtype}"
        else:
            kind = "files"
        name = f"{self.name!r}, " if self.name else ""
        classes = f"{self.num_classes} classes"
        return f"ImageSet({name}{len(self)} images, {classes}, {kind})"

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The file paths, or None for a set of arrays."""
        return self.images if isinstance(self.images, tuple) else None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels is not None and self.labels.ndim == 2

    def counts(self) -> dict[str, int]:
        """Number of images of each class; empty without labels.

        Returns:
            Class name to count, in the order of the labels.
        """
        if self.labels is None:
            return {}
        if self.multilabel:
            counts = self.labels.sum(axis=0)
        else:
            counts = np.bincount(self.labels, minlength=self.num_classes)
        return {name: int(n) for name, n in zip(self.class_names, counts, strict=True)}

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ImageSet":
        """The images at `indices`, in that order.

        Args:
            indices: Integers `(k,)`, or booleans `(n,)`.

        Returns:
            A new set with the same class names.
        """
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        if self.paths is None:
            images = self.images[indices]
        else:
            images = tuple(self.images[i] for i in indices)
        labels = None if self.labels is None else self.labels[indices]
        return ImageSet(images, labels, self.class_names, self.name)


@dataclass(frozen=True)
class Splits:
    """The parts of a data set; unpacks into train, validation and test.

    Validation chooses; test is scored once, at the end.

    Attributes:
        train: What the network learns from.
        validation: What decisions are made on, or None.
        test: What is scored once, or None.

    Example:
        >>> import numpy as np
        >>> one = ImageSet(np.zeros((2, 8, 8)), np.array([0, 1]), ("a", "b"))
        >>> train, validation, test = Splits(one, None, None)
        >>> len(train), validation is None
        (2, True)
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None

    def __iter__(self) -> Iterator[ImageSet | None]:
        """Train, validation, test."""
        return iter((self.train, self.validation, self.test))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names that all parts share."""
        return self.train.class_names


def _as_images(images: Any) -> tuple[str, ...] | np.ndarray:
    if isinstance(images, (str, Path)):
        fail("images", "a sequence of paths, not one path", str(images))
    if isinstance(images, (list, tuple)) and all(
        isinstance(image, (str, Path)) for image in images
    ):
        return tuple(str(image) for image in images)
    if not hasattr(images, "shape"):
        fail("images", "file paths or an array", type(images).__name__, error=TypeError)
    pixels = np.asarray(images)
    rank_fits = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] in (1, 3, 4))
    if not rank_fits or 0 in pixels.shape[1:]:
        hint = "For one image, add a leading axis: image[None]."
        expected = "of shape (n, height, width) or (n, height, width, 1, 3 or 4)"
        fail("images", expected, pixels.shape, hint)
    if pixels.dtype.kind not in "uif":
        expected = "pixels 0-255 as integers or floats"
        fail("images", expected, str(pixels.dtype), error=TypeError)
    return pixels


def _as_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        fail("class_names", "a sequence of strings", names, error=TypeError)
    names = tuple(names)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        fail("class_names", "different from each other", twice)
    return names


def _as_labels(labels: Any, num_images: int, names: tuple[str, ...]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "uib":
        hint = "Cast them with labels.astype('int64')."
        fail("labels", "integers", str(labels.dtype), hint, TypeError)
    if labels.ndim not in (1, 2):
        fail("labels", "of shape (n,) or (n, num_classes)", labels.shape)
    if len(labels) != num_images:
        hint = "Give one label, or one row of labels, for each image."
        fail("labels", f"of length {num_images}, as `images`", len(labels), hint)
    if labels.ndim == 2:
        _check_rows(labels, names)
        return labels.astype(np.int64)
    labels = labels.astype(np.int64)
    if labels.size and (labels.min() < 0 or labels.max() >= len(names)):
        hint = f"`class_names` names {len(names)} classes."
        expected = f"in [0, {len(names) - 1}]"
        fail("labels", expected, [int(labels.min()), int(labels.max())], hint)
    return labels


def _check_rows(labels: np.ndarray, names: tuple[str, ...]) -> None:
    if labels.shape[1] != len(names):
        fail("labels", f"of shape (n, {len(names)}), as `class_names`", labels.shape)
    if not np.isin(labels, (0, 1)).all():
        fail("labels", "0 or 1 in each column", np.unique(labels)[:5].tolist())
