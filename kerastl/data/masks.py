"""Masks: the class of each pixel, from label files or arrays."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._files import regular_bytes
from kerastl.data.decoding import (
    decoding_errors,
    read_image,
    reason,
    upright_size,
)
from kerastl.data.dense import DenseLabels, placement
from kerastl.data.images import MEMORY_LIMIT, for_each
from kerastl.data.sets import counted

if TYPE_CHECKING:
    from PIL import Image as PillowImage

#: The value of pixels that are of no class and count nowhere.
IGNORE = 255
_NAMED = 5
#: Modes of files whose pixels are indices as they are.
_INDEXED = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")


class Masks(DenseLabels):
    """The class of each pixel of images: one mask an image, of the image's size.

    Inside, a pixel is the index of its class, or 255 where it is of none and is to
    count nowhere. Masks are only ever resized and moved by nearest neighbour, so no
    class is made up, and what an image's move or padding lays bare is 255.

    Args:
        masks: Label files (PNG; a palette's indices are read, not its colours), or an
            array `(n, height, width)` of integers.
        class_names: Names in the order of the indices, at most 255.
        ignore: Values in the files that mean no class, beside 255.
        values: Value in the file -> index of the class, where files do not hold the
            indices: `{0: 0, 255: 1}` for black and white masks. Then 255 is a class
            where it is named, and what is not named is an error.
        colours: Red, green and blue of each class, `(num_classes, 3)`, for files in
            colours; colours of no class are errors, but for those of `ignore_colours`.
        ignore_colours: Colours that mean no class, `(k, 3)`.

    Raises:
        ValueError: If a value is of no class, or shapes do not agree; for files when
            they are read.
        TypeError: If an array holds no integers.

    Example:
        >>> import numpy as np
        >>> pixels = np.array([[[0, 1], [1, 255]]])
        >>> masks = Masks(pixels, ("background", "cell"))
        >>> masks.pixel_counts().tolist()
        [[1, 2]]
    """

    #: The files, or the array as uint8 indices; colours of the classes, or None.
    masks: tuple[str, ...] | np.ndarray
    colours: np.ndarray | None

    def __init__(
        self,
        masks: Sequence[str | Path] | np.ndarray,
        class_names: Sequence[str],
        *,
        ignore: int | Sequence[int] = IGNORE,
        values: Mapping[int, int] | None = None,
        colours: Any = None,
        ignore_colours: Any = (),
    ) -> None:
        """See the class."""
        self.class_names = tuple(class_names)
        if not 1 < len(self.class_names) <= IGNORE:
            fail("class_names", f"2 to {IGNORE} names", self.class_names[:_NAMED])
        self.colours = None if colours is None else np.asarray(colours)
        self._table = _table(len(self.class_names), ignore, values)
        self._colours = _colour_codes(colours, ignore_colours, len(self.class_names))
        if isinstance(masks, (list, tuple)) and all(
            isinstance(mask, (str, Path)) for mask in masks
        ):
            self.masks = tuple(map(str, masks))
        else:
            self.masks = self._indices(np.asarray(masks))
        self._counts: np.ndarray | None = None
        self._held: dict[Any, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The label files, or None for arrays."""
        return self.masks if isinstance(self.masks, tuple) else None

    def __len__(self) -> int:
        """Number of masks."""
        return len(self.masks)

    def __repr__(self) -> str:
        """Number, classes and kind."""
        kind = "arrays" if self.paths is None else "files"
        return f"Masks({len(self)}, {len(self.class_names)} classes, {kind})"

    def _indices(self, array: np.ndarray) -> np.ndarray:
        """An array of masks as indices of classes, uint8."""
        if array.dtype.kind not in "uib":
            expected = "integers, the class of each pixel"
            fail("masks", expected, str(array.dtype), error=TypeError)
        if array.ndim == 4 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.ndim != 3:
            hint = "Of one-hot masks pass masks.argmax(axis=-1)."
            fail("masks", "of shape (n, height, width)", array.shape, hint)
        return self._classes(array, "masks")

    def _classes(self, array: np.ndarray, name: str) -> np.ndarray:
        """Values of a file as indices of classes, uint8."""
        table = self._table
        small = array.astype(np.uint8)
        inside = array.dtype == np.uint8 or bool((small == array).all())
        found = table[small]
        if not inside or (found < 0).any():
            wrong = np.unique(array[(small != array) | (found < 0)])
            known = np.flatnonzero((table >= 0) & (table < IGNORE))
            ignored = np.flatnonzero(table == IGNORE).tolist()
            hint = _hint(wrong.tolist(), len(self.class_names))
            expected = f"of the values {known[0]} to {known[-1]}"
            expected += f", or {ignored} for no class" if ignored else ""
            fail(name, expected, wrong[:_NAMED].tolist(), hint)
        return found.astype(np.uint8)

    def read(self, index: int) -> np.ndarray:
        """One mask at its own size, uint8 `(height, width)`: indices, 255 for none.

        Args:
            index: Its place.
        """
        if self.paths is None:
            return self.masks[index]
        path = self.paths[index]
        try:
            values = read_image(regular_bytes(path), _values, Path(path).suffix)
        except FileNotFoundError:
            raise
        except decoding_errors() as error:
            fail("masks", "files that can be read", f"{path} ({reason(error)})")
        if values.ndim == 2:
            return self._classes(values, f"mask {path}")
        if self._colours is None:
            hint = "Pass `colours`, the red, green and blue of each class, or save it "
            hint += "as a palette or grey PNG of class indices."
            fail("masks", "files of class indices", f"{path}, in colours", hint)
        return self._from_colours(values, path)

    def _from_colours(self, pixels: np.ndarray, path: str) -> np.ndarray:
        """The class of each colour."""
        codes, classes = self._colours
        seen = _code(pixels)
        places = np.searchsorted(codes, seen).clip(0, len(codes) - 1)
        strange = codes[places] != seen
        if strange.any():
            named = np.unique(pixels[strange].reshape(-1, 3), axis=0)[:_NAMED].tolist()
            hint = "Was the mask saved as JPEG, or resized with colours blended?"
            fail("colours", f"all those of {path}", f"also {named} in it", hint)
        return classes[places]

    def subset(self, indices: np.ndarray) -> "Masks":
        """Those at `indices`."""
        if self.paths is None:
            masks = self.masks[indices]
        else:
            masks = tuple(self.paths[i] for i in indices)
        counts = None if self._counts is None else self._counts[indices]
        part = copy.copy(self)
        vars(part).update(masks=masks, _counts=counts, _held={})
        return part

    def digests(self) -> np.ndarray:
        """A hash of each file's bytes, or of each array."""
        if self.paths is not None:
            contents = map(regular_bytes, self.paths)
        else:
            contents = (np.ascontiguousarray(mask).tobytes() for mask in self.masks)
        return np.array([hashlib.sha256(data).hexdigest() for data in contents], str)

    def pixel_counts(self) -> np.ndarray:
        """Pixels of each class in each mask at its own size, `(n, num_classes)`."""
        if self._counts is None:
            counts = np.zeros((len(self), len(self.class_names)), np.int64)

            def work(i: int) -> None:
                found = np.bincount(self.read(i).ravel(), minlength=IGNORE + 1)
                counts[i] = found[: len(self.class_names)]

            for_each(work, len(self))
            self._counts = counts
        return self._counts

    def presence(self) -> np.ndarray:
        """Whether a mask has a pixel of a class."""
        return self.pixel_counts() > 0

    def rows(
        self,
        indices: np.ndarray,
        *,
        image_size: tuple[int, int],
        resize: str,
        maps: np.ndarray | None = None,
    ) -> np.ndarray:
        """Masks uint8 `(b, height, width)` at the network's size; 255 beyond them."""
        indices = np.asarray(indices, np.int64)
        rows = self._resized(indices, tuple(image_size), resize)
        return rows if maps is None else move_masks(rows, maps)

    def _resized(
        self, indices: np.ndarray, size: tuple[int, int], resize: str
    ) -> np.ndarray:
        """Masks at one size, kept where they all fit."""
        if len(self) * size[0] * size[1] > MEMORY_LIMIT:
            made = [fit_mask(self.read(i), size, resize) for i in indices.tolist()]
            return np.stack(made) if made else np.empty((0, *size), np.uint8)
        key = size, resize
        if key not in self._held:
            held = np.empty((len(self), *size), np.uint8), np.zeros(len(self), bool)
            self._held.setdefault(key, held)
        pixels, known = self._held[key]
        missing = np.unique(indices[~known[indices]])

        def work(i: int) -> None:
            index = int(missing[i])
            pixels[index] = fit_mask(self.read(index), size, resize)
            # Only after the pixels: another thread may be looking.
            known[index] = True

        for_each(work, len(missing))
        return pixels[indices]

    def check_images(self, images: Any, name: str) -> None:
        """Raise unless each mask has the size of its image, as far as headers say.

        Args:
            images: File paths or an array of pixels.
            name: What the error calls the set.
        """
        wrong = self.other_sizes(images)
        if wrong:
            hint = f"Of {counted(len(self), 'mask')} {len(wrong)} are not."
            fail(name, "with masks of the size of their images", wrong[0], hint)

    def other_sizes(self, images: Any) -> list[str]:
        """What is said of each mask that is not of the size of its image."""
        found, arrays = [], self.paths is None
        for i in range(len(self)):
            one = images[i].shape[:2] if isinstance(images, np.ndarray) else None
            tall, wide = one or upright_size(images[i])
            mask = self.masks[i].shape if arrays else upright_size(self.paths[i])
            if (tall, wide) != tuple(mask):
                place = f"image {i}" if one else str(images[i])
                sizes = f"{wide} x {tall} pixels, its mask {mask[1]} x {mask[0]}"
                found.append(f"{place}: {sizes}")
        return found


def _table(
    classes: int, ignore: int | Sequence[int], values: Mapping[int, int] | None
) -> np.ndarray:
    """From values in files to indices, int16 `(256,)`; -1 where there is none."""
    table = np.full(256, -1, np.int16)
    table[IGNORE] = IGNORE
    for value in np.atleast_1d(ignore).tolist():
        check_integer("ignore", value, 0)
        if value > IGNORE:
            fail("ignore", "at most 255", value)
        table[value] = IGNORE
    if values is None:
        values = {i: i for i in range(classes) if table[i] != IGNORE}
        if len(values) < classes:
            hint = "Pass `values`, from each value in the files to its class."
            fail("ignore", f"above {classes - 1}, the last class", ignore, hint)
    for value, index in values.items():
        if not 0 <= value <= 255 or not 0 <= index < classes:
            fail("values", f"from 0-255 to 0-{classes - 1}", {value: index})
        table[value] = index
    return table


def _colour_codes(
    colours: Any, ignored: Any, classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers of the known colours, ascending, and the class of each."""
    if colours is None:
        return None
    given = np.asarray(colours)
    if given.shape != (classes, 3) or given.min() < 0 or given.max() > 255:
        fail("colours", f"of shape ({classes}, 3), 0-255", given.shape)
    none = np.asarray(ignored, np.int64).reshape(-1, 3)
    codes = _code(np.concatenate([given.astype(np.int64), none]))
    found = np.array([*range(classes), *[IGNORE] * len(none)], np.uint8)
    if len(np.unique(codes)) < len(codes):
        fail("colours", "different for each class", given.tolist()[:_NAMED])
    order = np.argsort(codes)
    return codes[order], found[order]


def _code(pixels: np.ndarray) -> np.ndarray:
    """Each colour `(..., 3)` as one number."""
    red, green, blue = (pixels[..., k].astype(np.int64) for k in range(3))
    return (red * 256 + green) * 256 + blue


def _hint(wrong: list[int], classes: int) -> str:
    """What strange values may mean."""
    if wrong == [classes]:
        return f"Is {classes} meant for pixels of no class? Then pass ignore={classes}."
    return "Name a class for each value, or pass `ignore` or `values`."


def _values(image: "PillowImage.Image") -> np.ndarray:
    """Pixels of a label file: indices `(h, w)`, or colours `(h, w, 3)`."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in _INDEXED:
        return np.asarray(image).astype(np.int64 if image.mode[0] == "I" else np.uint8)
    return np.asarray(image.convert("RGB"))


def fit_mask(mask: np.ndarray, size: tuple[int, int], resize: str) -> np.ndarray:
    """A mask at another size as its image is: nearest neighbour, 255 around it.

    Args:
        mask: uint8 `(h, w)`.
        size: `(height, width)` wanted.
        resize: `"stretch"`, `"crop"` or `"pad"`.
    """
    height, width = mask.shape
    if (height, width) == tuple(size):
        return mask
    put = placement((width, height), (size[1], size[0]), resize)
    left, top, right, bottom = put.place
    columns = _nearest(right - left, put.window[0], put.window[2], width)
    rows = _nearest(bottom - top, put.window[1], put.window[3], height)
    made = np.full(size, IGNORE, np.uint8)
    made[top:bottom, left:right] = mask[rows[:, None], columns]
    return made


def unfit_mask(mask: np.ndarray, size: tuple[int, int], resize: str) -> np.ndarray:
    """`fit_mask` undone: each pixel of the file gets what lies over it.

    Args:
        mask: `(h, w)` at the network's size.
        size: `(height, width)` of the file. What a crop cut off takes the nearest.
        resize: How the file was brought to the network's size.
    """
    put = placement((size[1], size[0]), mask.shape[::-1], resize)
    columns = _under(size[1], put.window[::2], put.place[::2])
    rows = _under(size[0], put.window[1::2], put.place[1::2])
    return mask[rows[:, None], columns]


def _under(count: int, window: Any, place: Any) -> np.ndarray:
    """Which pixel of the result lies under each of `count` of the file."""
    scale = (place[1] - place[0]) / (window[1] - window[0])
    at = place[0] + (np.arange(count) + 0.5 - window[0]) * scale
    return np.clip(np.floor(at).astype(np.int64), place[0], place[1] - 1)


def _nearest(count: int, start: float, stop: float, limit: int) -> np.ndarray:
    """Indices of the pixels whose centres are nearest to those of `count` new ones."""
    at = start + (np.arange(count) + 0.5) * (stop - start) / count
    return np.clip(np.floor(at).astype(np.int64), 0, limit - 1)


def move_masks(masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Masks under the affine maps of their images: nearest, 255 from beyond them.

    Args:
        masks: uint8 `(b, height, width)`.
        maps: Float `(b, 8)`, from positions in the result to those in the mask.
    """
    count, height, width = masks.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=0)
    x, y = grid.reshape(2, 1, -1).astype(np.float32)
    m = np.asarray(maps, np.float32)[:, :, None]
    # In the order in which TensorFlow adds, so that ties fall alike.
    columns = np.floor(m[:, 0] * x + m[:, 1] * y + m[:, 2] + 0.5).astype(np.int64)
    rows = np.floor(m[:, 3] * x + m[:, 4] * y + m[:, 5] + 0.5).astype(np.int64)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    places = rows.clip(0, height - 1) * width + columns.clip(0, width - 1)
    found = np.take_along_axis(masks.reshape(count, -1), places, axis=1)
    return np.where(inside, found, IGNORE).astype(np.uint8).reshape(masks.shape)
