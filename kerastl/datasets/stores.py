"""Pixels of an image set, decoded once and kept where they fit."""

import numpy as np

from kerastl._checks import check_choice, check_integer, image_size_pair
from kerastl.datasets.decoding import (
    check_pixels,
    decode_images,
    resize_arrays,
)
from kerastl.datasets.parallel import Progress
from kerastl.datasets.resizing import RESIZES
from kerastl.datasets.sets import ImageSet

MEMORY_LIMIT = 1_000_000_000
_AT_ONCE = 256


class PixelStore:
    """The images of a set at one size, by index.

    Pixels are decoded when they are first asked for. They are kept as they are
    before augmentation, and never after.

    Args:
        image_set: Files or arrays.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"`, `"crop"` or `"pad"`, as in `decode_images`.
        memory_limit: Bytes; a larger set is decoded anew each time. 0 keeps
            nothing.

    Raises:
        ValueError: If an array is not 0-255.

    Example:
        >>> import numpy as np
        >>> one = ImageSet(np.zeros((3, 8, 8)), np.array([0, 1, 1]), ("a", "b"))
        >>> PixelStore(one, image_size=4).rows(np.array([2, 0])).shape
        (2, 4, 4, 3)
    """

    def __init__(
        self,
        image_set: ImageSet,
        *,
        image_size: int | tuple[int, int],
        resize: str = "stretch",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """See the class."""
        self.image_set = image_set
        self.image_size = image_size_pair("image_size", image_size)
        check_choice("resize", resize, RESIZES)
        check_integer("memory_limit", memory_limit, 0)
        self.resize = resize
        if image_set.paths is None:
            check_pixels(image_set.images)
        shape = (len(image_set), *self.image_size, 3)
        self.keeps = not self._as_is() and int(np.prod(shape)) <= memory_limit
        self._known = np.zeros(len(image_set), bool)
        # The system hands out the memory as it is written to, not here.
        self._pixels = np.empty(shape, np.uint8) if self.keeps else None

    def rows(self, indices: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Pixels of the images at `indices`, in that order.

        Args:
            indices: Integers `(b,)`.
            threads: Number of threads to decode with; None for one on each core.

        Returns:
            uint8 array `(b, height, width, 3)`, 0-255.
        """
        if self._pixels is None:
            return self._read(indices, threads)
        missing = np.unique(indices[~self._known[indices]])
        if len(missing):
            self._pixels[missing] = self._read(missing, threads)
            # Only after the pixels: another thread may be looking.
            self._known[missing] = True
        return self._pixels[indices]

    def pixels(self, progress: Progress | None = None) -> np.ndarray:
        """All images, in order; kept for later calls where they fit.

        Args:
            progress: Called with (done, total), or None.

        Returns:
            uint8 array `(n, height, width, 3)`, 0-255. Do not write to it.
        """
        total = len(self.image_set)
        pixels = self._pixels
        if pixels is None:
            pixels = np.empty((total, *self.image_size, 3), np.uint8)
        for start in range(0, total, _AT_ONCE):
            span = np.arange(start, min(start + _AT_ONCE, total))
            if self._pixels is None:
                pixels[span] = self._read(span, None)
            elif not self._known[span].all():
                self.rows(span)
            if progress is not None:
                progress(int(span[-1]) + 1, total)
        return pixels

    def known_pixels(self) -> np.ndarray | None:
        """All images, if nothing is left to decode or resize; do not write to it."""
        if self._as_is():
            return self.image_set.images
        if self._pixels is not None and self._known.all():
            return self._pixels
        return None

    def _as_is(self) -> bool:
        """Whether the set's own array already has the size, type and channels."""
        images = self.image_set.images
        shape = (len(images), *self.image_size, 3)
        fits = self.image_set.paths is None and images.shape == shape
        return fits and images.dtype == np.uint8

    def _read(self, indices: np.ndarray, threads: int | None) -> np.ndarray:
        images = self.image_set.images
        if isinstance(images, tuple):
            paths = [images[i] for i in indices]
            options = {"image_size": self.image_size, "resize": self.resize}
            return decode_images(paths, threads=threads, **options)
        return resize_arrays(images[indices], *self.image_size, self.resize)
