"""What is asked of places in an image, and how it moves with the image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from kerastl._checks import fail


class DenseLabels(ABC):
    """What is asked of places in images: masks, or boxes.

    An `ImageSet` takes one as its `labels`. A subclass says what the targets of some
    images are at a network's size, moved by the maps that moved the images.

    Attributes:
        class_names: Names of the classes, in the order of their indices.

    Example:
        >>> import numpy as np
        >>> from kerastl.data.masks import Masks
        >>> masks = Masks(np.zeros((3, 8, 8), int), ("sky", "road"))
        >>> isinstance(masks, DenseLabels), len(masks[[2, 0]])
        (True, 2)
    """

    class_names: tuple[str, ...]
    #: What augmentation puts beyond an image's border instead of what it says.
    border: ClassVar[str | None] = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def subset(self, indices: np.ndarray) -> "DenseLabels":
        """Those of the images at `indices`, integers `(k,)`, in that order."""

    @abstractmethod
    def digests(self) -> np.ndarray:
        """A hash `(n,)` of what is asked of each image."""

    @abstractmethod
    def presence(self) -> np.ndarray:
        """Whether an image has anything of a class: booleans `(n, num_classes)`."""

    @abstractmethod
    def rows(
        self,
        indices: np.ndarray,
        *,
        image_size: tuple[int, int],
        resize: str,
        maps: np.ndarray | None = None,
    ) -> np.ndarray:
        """The targets of the images at `indices`, at a network's size.

        Args:
            indices: Integers `(b,)`.
            image_size: `(height, width)` of the network's images.
            resize: How the images are brought to it: see `placement`.
            maps: How each image is moved then, float `(b, 8)`: the point `(x, y)` of
                the result shows the point `(m0 x + m1 y + m2, m3 x + m4 y + m5)`,
                counted from the centre of the first pixel. None: not at all.

        Returns:
            One row an image, all of one shape.
        """

    def check_images(self, images: Any, name: str) -> None:
        """Raise unless these can be what is asked of the images."""
        return

    def __getitem__(self, indices: Any) -> "DenseLabels":
        """Those at integers or booleans `(k,)`."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        return self.subset(indices.astype(np.int64))


@dataclass(frozen=True)
class Placement:
    """Where an image of one size lies in one of another: what `resize` does.

    Attributes:
        window: Left, top, right, bottom of what is seen of the image, in its pixels.
        place: Left, top, right, bottom of where that lies in the result.
    """

    window: tuple[float, float, float, float]
    place: tuple[int, int, int, int]


def placement(size: tuple[int, int], target: tuple[int, int], resize: str) -> Placement:
    """Where an image lies after it is resized: the one place that says so.

    Args:
        size: `(width, height)` of the image.
        target: `(width, height)` that it is brought to.
        resize: `"stretch"`, `"crop"` or `"pad"`.
    """
    (width, height), (wide, tall) = size, target
    whole, full = (0, 0, width, height), (0, 0, wide, tall)
    if resize == "stretch" or size == target:
        return Placement(whole, full)
    scale = resize_scale(size, target, resize)
    if resize == "crop":
        left, top = (width - wide / scale) / 2, (height - tall / scale) / 2
        box = max(left, 0), max(top, 0), min(width - left, width), height - top
        return Placement(box, full)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (wide - inner[0]) // 2, (tall - inner[1]) // 2
    return Placement(whole, (x, y, x + inner[0], y + inner[1]))


def resize_scale(size: tuple[int, int], target: tuple[int, int], resize: str) -> float:
    """By how much an image grows that keeps its shape."""
    ratios = target[0] / size[0], target[1] / size[1]
    return max(ratios) if resize == "crop" else min(ratios)


@dataclass(frozen=True, eq=False)
class DenseTargets:
    """Dense labels at a network's size, by index, as the loss takes them.

    Attributes:
        labels: What is asked.
        image_size: `(height, width)` of the network's images.
        resize: How the images are brought to it.
        encode: From the labels' rows to what the loss takes; None: those themselves.
        views: How each image is moved in each version that was made of it before
            training, `(views, n, 8)`; None: not at all.
    """

    labels: DenseLabels
    image_size: tuple[int, int]
    resize: str
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    views: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @cached_property
    def _one(self) -> np.ndarray:
        return self.rows(np.zeros(1, np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array of them all."""
        return (len(self), *self._one.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes of an array of them all."""
        return self._one.ndim

    @property
    def dtype(self) -> np.dtype:
        """Type of their numbers."""
        return self._one.dtype

    def rows(
        self,
        indices: np.ndarray,
        view: np.ndarray | None = None,
        maps: np.ndarray | None = None,
    ) -> np.ndarray:
        """The targets at `indices`, of those versions or moved by those maps."""
        if self.views is not None:
            version = np.zeros(len(indices), np.int64) if view is None else view
            maps = self.views[version, indices]
        given = {"image_size": self.image_size, "resize": self.resize, "maps": maps}
        made = self.labels.rows(indices, **given)
        return made if self.encode is None else self.encode(made)

    def moved(self, views: Sequence[np.ndarray]) -> "DenseTargets":
        """The same for versions of the images that were moved by these maps."""
        return replace(self, views=np.stack(views)) if len(views) else self

    def __getitem__(self, indices: Any) -> np.ndarray:
        """The targets at integers or booleans `(k,)`, or in a slice."""
        return self.rows(np.arange(len(self))[indices])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in order."""
        return np.asarray(self.rows(np.arange(len(self))), dtype)


def check_not_dense(labels: Any, name: str, wanted: str) -> None:
    """Raise if one answer an image is wanted and the labels are of places in it."""
    if isinstance(labels, DenseLabels):
        received = f"{type(labels).__name__.lower()} of {len(labels)} images"
        fail(name, wanted, received)
