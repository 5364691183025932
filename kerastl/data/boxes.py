"""Boxes around objects: their formats, and those of a set of images as its labels."""

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, fail, warn
from kerastl.data.decoding import upright_size
from kerastl.data.dense import DenseLabels, placement

#: Corner and size in pixels, or as shares of the image's width and height.
BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx")
BOX_FORMATS += tuple(f"rel_{name}" for name in BOX_FORMATS)
#: Pixels that a box may reach over the edge through rounding.
_ROUNDING = 1.0
#: A larger image whose boxes all lie in its first pixel has shares for pixels.
_SHARES = 32
_NAMED = 5


def convert_boxes(
    boxes: ArrayLike,
    source: str,
    target: str,
    *,
    image_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Boxes in another format.

    Pixels are counted from 0 at the left and top edge of the image, so the whole image
    is `(0, 0, width, height)`; the right and bottom edges are exclusive.

    Args:
        boxes: `(..., 4)`.
        source: Their format: `"xyxy"` (left, top, right, bottom), `"xywh"` (left, top,
            width, height), `"cxcywh"` (centre, width, height), `"yxyx"`; after
            `"rel_"` the same as shares of the image's width and height.
        target: The format to return.
        image_size: `(height, width)` in pixels; needed between pixels and shares.

    Returns:
        `(..., 4)` float64.

    Raises:
        ValueError: If a format is unknown, the last axis is not 4, or the size lacks.

    Example:
        >>> convert_boxes([10, 20, 30, 60], "xyxy", "cxcywh").tolist()
        [20.0, 40.0, 20.0, 40.0]
    """
    check_choice("source", source, BOX_FORMATS)
    check_choice("target", target, BOX_FORMATS)
    array = np.asarray(boxes, np.float64)
    if array.shape[-1:] != (4,):
        fail("boxes", "of shape (..., 4)", array.shape)
    corners = _to_corners(array, source.removeprefix("rel_"))
    relative = source.startswith("rel_"), target.startswith("rel_")
    if relative[0] != relative[1]:
        if image_size is None:
            fail("image_size", f"(height, width) from {source} to {target}", None)
        height, width = image_size
        scale = np.array([width, height, width, height], np.float64)
        corners = corners * scale if relative[0] else corners / scale
    return _from_corners(corners, target.removeprefix("rel_"))


def _to_corners(boxes: np.ndarray, form: str) -> np.ndarray:
    a, b, c, d = np.moveaxis(boxes, -1, 0)
    columns = {
        "xyxy": (a, b, c, d),
        "xywh": (a, b, a + c, b + d),
        "cxcywh": (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
        "yxyx": (b, a, d, c),
    }[form]
    return np.stack(columns, axis=-1)


def _from_corners(boxes: np.ndarray, form: str) -> np.ndarray:
    a, b, c, d = np.moveaxis(boxes, -1, 0)
    columns = {
        "xyxy": (a, b, c, d),
        "xywh": (a, b, c - a, d - b),
        "cxcywh": ((a + c) / 2, (b + d) / 2, c - a, d - b),
        "yxyx": (b, a, d, c),
    }[form]
    return np.stack(columns, axis=-1)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Square pixels `(...)` of boxes xyxy `(..., 4)`; none has less than 0."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The parts of boxes xyxy that lie in the image, of no area where none does."""
    height, width = image_size
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def move_boxes(
    boxes: np.ndarray,
    matrix: np.ndarray,
    image_size: tuple[int, int],
    *,
    least_area: float = 0.2,
    least_side: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes under the map that moved their image, clipped to it.

    A turned box becomes the upright box around it. Of one that the edge cuts, the part
    inside stays, unless it is a sliver.

    Args:
        boxes: Pixels xyxy `(k, 4)`.
        matrix: `(2, 3)`: point (x, y) of the old image to `matrix @ (x, y, 1)`.
        image_size: `(height, width)` of the new image.
        least_area: Share of its area that must be inside for a box to stay.
        least_side: Pixels that its sides must have.

    Returns:
        (boxes that stay `(m, 4)`, booleans `(k,)`: which they are).

    Example:
        >>> import numpy as np
        >>> shift = np.array([[1.0, 0.0, 6.0], [0.0, 1.0, 0.0]])
        >>> two = np.array([[0.0, 0.0, 4.0, 4.0], [3.0, 0.0, 10.0, 4.0]])
        >>> moved, stay = move_boxes(two, shift, (8, 8))
        >>> moved.tolist(), stay.tolist()
        ([[6.0, 0.0, 8.0, 4.0]], [True, False])
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    matrix = np.asarray(matrix, np.float64)
    xs, ys = boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]
    moved = np.stack([xs, ys, np.ones_like(xs)], axis=-1) @ matrix.T
    around = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=-1)
    inside = clip_boxes(around, image_size)
    sides = (inside[:, 2:] - inside[:, :2]).min(axis=1, initial=np.inf)
    stay = (areas(inside) >= least_area * areas(around)) & (sides >= least_side)
    return inside[stay], stay


class Boxes(DenseLabels):
    """The objects of images: a box and a class each, any number an image.

    Inside they are pixels of the image as its file has it: left, top, right, bottom.
    Say `format` for any other; what does not fit its image is refused.

    Args:
        boxes: For each image `(k, 4)`; k may be 0.
        classes: For each image `(k,)` integers, indices of `class_names`.
        class_names: Names in the order of the indices.
        image_sizes: `(height, width)` of each image, `(n, 2)`; or one pair for all.
        format: Of the boxes given: see `convert_boxes`.
        names: What to call each image in an error; None: its number.

    Raises:
        ValueError: If lengths differ, or a box is inverted, empty, not finite or
            outside its image: mostly because it is in another format.
        TypeError: If classes are no integers.

    Example:
        >>> both = [[4, 4, 10, 8]], []
        >>> two = Boxes(both, [[0], []], ("cat",), (32, 32), format="xywh")
        >>> two, two.boxes[0].tolist()
        (Boxes(1 in 2 images, 1 class), [[4.0, 4.0, 14.0, 12.0]])
    """

    #: An object mirrored at the border would be one without a box.
    border: ClassVar[str | None] = "nearest"

    def __init__(
        self,
        boxes: Sequence[ArrayLike],
        classes: Sequence[ArrayLike],
        class_names: Sequence[str],
        image_sizes: ArrayLike,
        *,
        format: str = "xyxy",
        names: Sequence[str] | None = None,
    ) -> None:
        """See the class."""
        check_choice("format", format, BOX_FORMATS)
        self.class_names = tuple(class_names)
        if not self.class_names or isinstance(class_names, str):
            fail("class_names", "one or more names", class_names)
        count = len(boxes)
        if len(classes) != count:
            fail("classes", f"of length {count}, as `boxes`", len(classes))
        sizes = np.asarray(image_sizes)
        if sizes.shape == (2,):
            sizes = np.tile(sizes, (count, 1))
        if sizes.shape != (count, 2) or (sizes.size and sizes.min() < 1):
            expected = f"(height, width), or {count} of them, one an image"
            fail("image_sizes", expected, sizes.shape)
        called = names or tuple(f"image {i}" for i in range(count))
        #: `(height, width)` of each image.
        self.image_sizes: np.ndarray = sizes.astype(np.int64)
        rows = [
            _as_boxes(each, format, size, name)
            for each, size, name in zip(boxes, sizes.tolist(), called, strict=True)
        ]
        #: For each image int64 `(k,)`.
        self.classes: tuple[np.ndarray, ...] = tuple(
            _as_classes(each, len(row), len(self.class_names), name)
            for each, row, name in zip(classes, rows, called, strict=True)
        )
        _check_pixels(rows, sizes)
        #: For each image float32 `(k, 4)`, xyxy in pixels.
        self.boxes: tuple[np.ndarray, ...] = tuple(
            _check_boxes(rows, sizes, called, format)
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.boxes)

    def __repr__(self) -> str:
        """Counts, never the numbers."""
        count, kinds = sum(map(len, self.boxes)), len(self.class_names)
        word = "class" if kinds == 1 else "classes"
        return f"Boxes({count} in {len(self)} images, {kinds} {word})"

    def counts(self) -> dict[str, int]:
        """Number of objects of each class."""
        every = np.concatenate([np.zeros(0, np.int64), *self.classes])
        found = np.bincount(every, minlength=len(self.class_names))
        return dict(zip(self.class_names, found.tolist(), strict=True))

    def subset(self, indices: np.ndarray) -> "Boxes":
        """Those of the images at `indices`, integers `(k,)`, in that order."""
        part = object.__new__(Boxes)
        part.class_names = self.class_names
        part.image_sizes = self.image_sizes[indices]
        part.boxes = tuple(self.boxes[i] for i in indices)
        part.classes = tuple(self.classes[i] for i in indices)
        return part

    def digests(self) -> np.ndarray:
        """A hash `(n,)` of the objects of each image."""
        found = [
            hashlib.sha256(boxes.tobytes() + classes.tobytes()).hexdigest()
            for boxes, classes in zip(self.boxes, self.classes, strict=True)
        ]
        return np.array(found, str)

    def presence(self) -> np.ndarray:
        """Whether an image has an object of a class: booleans `(n, num_classes)`."""
        kinds = np.arange(len(self.class_names))
        rows = [np.isin(kinds, classes) for classes in self.classes]
        return np.array(rows, bool).reshape(len(self), len(kinds))

    def rows(
        self,
        indices: np.ndarray,
        *,
        image_size: tuple[int, int],
        resize: str,
        maps: np.ndarray | None = None,
    ) -> np.ndarray:
        """Boxes at the network's size, moved as their images are.

        Args:
            indices: Integers `(b,)`.
            image_size: `(height, width)` of the network's images.
            resize: How the images are brought to it.
            maps: `(b, 8)`: see `DenseLabels.rows`.

        Returns:
            float32 `(b, most, 5)`: xyxy in pixels and class; class -1 in rows without
            an object. `most` is the largest number of objects in an image, at least 1.
        """
        most = max(1, *map(len, self.boxes), 1)
        rows = np.zeros((len(indices), most, 5), np.float32)
        rows[..., 4] = -1
        # What stands at the edge of a whole image is no sliver.
        cut = resize == "crop" or maps is not None
        limits = {} if cut else {"least_area": 0.0, "least_side": 0.0}
        for place, index in enumerate(np.asarray(indices).tolist()):
            matrix = placing_matrix(self.image_sizes[index], image_size, resize)
            if maps is not None:
                matrix = _map_matrix(maps[place]) @ matrix
            moved, stay = move_boxes(
                self.boxes[index], matrix[:2], image_size, **limits
            )
            rows[place, : len(moved), :4] = moved
            rows[place, : len(moved), 4] = self.classes[index][stay]
        return rows

    def check_images(self, images: Any, name: str) -> None:
        """Raise unless the images have the sizes that the boxes were given for.

        Args:
            images: File paths, whose headers are read, or an array of pixels.
            name: What the error calls the set.
        """
        for i, own in enumerate(self.image_sizes.tolist()):
            array = isinstance(images, np.ndarray)
            size = images.shape[1:3] if array else upright_size(images[i])
            if tuple(own) != tuple(size):
                place = f"image {i}" if array else images[i]
                shown = f"{own[1]} x {own[0]} for {place} of {size[1]} x {size[0]}"
                fail(name, "boxes given for the images' own sizes", shown)


def placing_matrix(
    size: Sequence[int], target: tuple[int, int], resize: str
) -> np.ndarray:
    """`(3, 3)`: from points of an image to points of it at a network's size.

    Args:
        size: `(height, width)` of the image.
        target: `(height, width)` that it is brought to.
        resize: `"stretch"`, `"crop"` or `"pad"`.
    """
    put = placement((int(size[1]), int(size[0])), (target[1], target[0]), resize)
    matrix = np.eye(3)
    for axis in (0, 1):
        window, place = put.window[axis::2], put.place[axis::2]
        scale = (place[1] - place[0]) / (window[1] - window[0])
        matrix[axis, axis], matrix[axis, 2] = scale, place[0] - window[0] * scale
    return matrix


def _map_matrix(numbers: np.ndarray) -> np.ndarray:
    """`(3, 3)` from points to where a map, given as `DenseLabels.rows` says, puts them.

    It tells from where each pixel comes, between the centres of pixels: half a pixel
    less than from the edge, where boxes are counted from.
    """
    back = np.eye(3)
    back[:2] = np.asarray(numbers, np.float64)[:6].reshape(2, 3)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return half @ np.linalg.inv(back) @ np.linalg.inv(half)


def _as_boxes(boxes: Any, form: str, size: Sequence[int], name: str) -> np.ndarray:
    """One image's boxes as float64 xyxy `(k, 4)`."""
    array = np.asarray(boxes, np.float64)
    if not array.size:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        fail("boxes", "of shape (k, 4) for each image", f"{array.shape} of {name}")
    if not np.isfinite(array).all():
        fail("boxes", "finite", f"nan or infinite in {name}")
    return convert_boxes(array, form, "xyxy", image_size=(size[0], size[1]))


def _as_classes(classes: Any, count: int, kinds: int, name: str) -> np.ndarray:
    """One image's classes as int64 `(k,)`."""
    array = np.asarray(classes)
    if array.shape != (count,) and (array.size or count):
        fail("classes", f"one for each of the {count} boxes of {name}", array.shape)
    if not array.size:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "ui":
        kind = f"{array.dtype} of {name}"
        fail("classes", "integers, indices of class names", kind, error=TypeError)
    if array.min() < 0 or array.max() >= kinds:
        shown = f"{int(array.min())} to {int(array.max())} of {name}"
        fail("classes", f"from 0 to {kinds - 1}", shown)
    return array.astype(np.int64)


def _check_pixels(rows: list[np.ndarray], sizes: np.ndarray) -> None:
    """Raise where shares of the image were taken for pixels."""
    if not any(map(len, rows)):
        return
    most = max(float(row.max()) for row in rows if len(row))
    if most <= 1 and sizes.min() >= _SHARES:
        hint = "These are shares of the image: pass format='rel_xyxy' or 'rel_cxcywh'."
        fail("boxes", "in pixels", f"values of at most {most:g}", hint)


def _check_boxes(
    rows: list[np.ndarray], sizes: np.ndarray, names: Sequence[str], form: str
) -> list[np.ndarray]:
    """The boxes as float32, clipped; raises for what is no box in its image."""
    found, over = [], []
    for row, (height, width), name in zip(rows, sizes.tolist(), names, strict=True):
        sides = row[:, 2:] - row[:, :2]
        if (sides <= 0).any():
            wrong = row[(sides <= 0).any(axis=1)][0].round(2).tolist()
            shown = f"{wrong} (left, top, right, bottom) in {name}"
            fail("boxes", "wider and higher than 0", shown, _other_format(form))
        inside = clip_boxes(row, (height, width))
        outside = areas(inside) <= 0
        if outside.any():
            wrong = row[outside][0].round(2).tolist()
            shown = f"{wrong} in {name} of {width} x {height} pixels"
            fail("boxes", "inside their images", shown, _other_format(form))
        if (np.abs(row - inside) > _ROUNDING).any():
            over.append(name)
        found.append(inside.astype(np.float32))
    if over:
        _check_reading(rows, sizes, form)
        more = f" and {len(over) - _NAMED} more" if len(over) > _NAMED else ""
        listed = ", ".join(over[:_NAMED])
        warn(f"Boxes cut at the edges of their images: {listed}{more}.")
    return found


def _other_format(form: str) -> str:
    return f"They were read as {form!r}: say `format` if they are in another."


def _check_reading(rows: list[np.ndarray], sizes: np.ndarray, form: str) -> None:
    """Raise where boxes that leave their images would all fit in another format."""
    relative, form = form.startswith("rel_"), form.removeprefix("rel_")
    for other in ("xyxy", "xywh", "cxcywh"):
        if other == form or sum(map(len, rows)) < 2:
            continue
        if all(
            _fits(_to_corners(_from_corners(row, form), other), size)
            for row, size in zip(rows, sizes, strict=True)
        ):
            prefix = "rel_" * relative
            hint = f"All fit as {prefix + other!r}: say `format`."
            expected = f"inside their images, as {prefix + form!r}"
            fail("boxes", expected, "some that reach over the edge", hint)


def _fits(boxes: np.ndarray, size: np.ndarray) -> bool:
    whole = (boxes[:, 2:] > boxes[:, :2]).all()
    inside = clip_boxes(boxes, (int(size[0]), int(size[1])))
    return bool(whole and (np.abs(inside - boxes) <= _ROUNDING).all())
