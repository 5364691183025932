"""Sets of examples, and the copies that would leak between their parts."""

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from kerastl._checks import fail, warn
from kerastl._files import regular_bytes
from kerastl._tables import Tabular, picture, plain, table
from kerastl.data.decoding import as_pixels, decoding_errors, own_size
from kerastl.data.dense import DenseLabels

#: Classes that a notebook lists, pictures that it shows, and their sides in pixels.
_LISTED, _PICTURES, _SIDE = 100, 8, 96


class Examples(Tabular):
    """What sets of images and of texts share: what is asked, with its names.

    A frozen dataclass extends it, with its examples, `labels`, `class_names`, `name`
    and `target_names` as fields, and with `digests` and `describe`.

    Attributes:
        noun: What one example is called.
        items_field: The field that holds the examples, a tuple or an array.
    """

    noun: ClassVar[str]
    items_field: ClassVar[str]
    labels: "np.ndarray | DenseLabels | None"
    class_names: tuple[str, ...]
    name: str
    target_names: tuple[str, ...]

    def check_fields(self, items: Any) -> None:
        """Check the fields against each other and store them in one form."""
        object.__setattr__(self, self.items_field, items)
        for field in ("class_names", "target_names"):
            object.__setattr__(self, field, _as_names(field, getattr(self, field)))
        if self.dense:
            self._check_dense()
        elif self.labels is not None:
            if self.target_names:
                labels = _as_numbers(self.labels, len(items), self.target_names)
            else:
                given = as_array(self.labels)
                if given.dtype.kind in "OU" and not self.class_names:
                    object.__setattr__(self, "class_names", _sorted_names(given))
                labels = _as_labels(given, len(items), self.class_names)
            object.__setattr__(self, "labels", labels)

    def _check_dense(self) -> None:
        """Check labels inside the examples, and take their names."""
        labels, count = self.labels, len(self)
        if len(labels) != count:
            fail("labels", f"of length {count}, as `{self.items_field}`", len(labels))
        if self.target_names:
            fail("target_names", "left out beside such labels", self.target_names)
        if self.class_names not in ((), labels.class_names):
            expected = f"{labels.class_names}, those of the labels, or left out"
            fail("class_names", expected, self.class_names)
        object.__setattr__(self, "class_names", labels.class_names)

    def __len__(self) -> int:
        """Number of examples."""
        return len(getattr(self, self.items_field))

    @property
    def asked(self) -> str:
        """What is asked, in words."""
        if self.target_names:
            return f"numbers of {', '.join(self.target_names)}"
        return f"{self.num_classes} classes"

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def dense(self) -> bool:
        """Whether the labels are of places in an example: masks, boxes, words."""
        return isinstance(self.labels, DenseLabels)

    @property
    def multilabel(self) -> bool:
        """Whether an example may have several labels."""
        named = not self.target_names and not self.dense
        return named and self.labels is not None and self.labels.ndim == 2

    def counts(self) -> dict[str, int]:
        """Number of examples of each class, or that show it; empty without classes.

        Returns:
            Class name to count, in the order of the labels.
        """
        if self.labels is None or self.target_names:
            return {}
        if self.dense:
            counts = self.labels.presence().sum(axis=0)
        elif self.multilabel:
            counts = self.labels.sum(axis=0)
        else:
            counts = np.bincount(self.labels, minlength=self.num_classes)
        return {name: int(n) for name, n in zip(self.class_names, counts, strict=True)}

    def _repr_html_(self) -> str:
        """The set in a notebook: what it is, and how many of each class."""
        counts = list(self.counts().items())[:_LISTED]
        rows = [{"class": name, f"{self.noun}s": count} for name, count in counts]
        return f"<p>{plain(repr(self))}</p>{self._shown()}{table(rows)}"

    def _shown(self) -> str:
        """Some examples, in a notebook."""
        return ""

    def to_rows(self) -> list[dict[str, Any]]:
        """One row an example: what it is, and what is asked of it."""
        items = getattr(self, self.items_field)
        held = items if isinstance(items, tuple) else range(len(self))
        return [{self.noun: held[i], **self._asked(i)} for i in range(len(self))]

    def _asked(self, index: int) -> dict[str, Any]:
        """The label of one example by name, or its numbers; nothing of masks."""
        if self.labels is None or self.dense:
            return {}
        label = self.labels[index]
        if self.target_names:
            return dict(zip(self.target_names, label.tolist(), strict=True))
        if self.multilabel:
            return dict(zip(self.class_names, label.tolist(), strict=True))
        return {"label": self.class_names[label]}

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The examples at `indices`, in that order.

        Args:
            indices: Integers `(k,)`, or booleans `(n,)`.

        Returns:
            A new set with the same names.
        """
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices, items = indices.astype(np.int64), getattr(self, self.items_field)
        whole = isinstance(items, tuple)
        items = tuple(items[i] for i in indices) if whole else items[indices]
        # The fields agree already, and a part of the rows may look like another kind.
        part = copy.copy(self)
        object.__setattr__(part, self.items_field, items)
        if self.labels is not None:
            object.__setattr__(part, "labels", self.labels[indices])
        return part

    def digests(self) -> np.ndarray:
        """A text `(n,)` for each example's content: equal ones are copies."""
        raise NotImplementedError

    def describe(self, index: int) -> str:
        """One example in a message."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ImageSet(Examples):
    """Images with what is asked of them: classes, or numbers, each with its name.

    Pixels are 0-255, never 0-1: the preprocessing that a network needs lies
    inside the network.

    Attributes:
        images: File paths, or an array `(n, height, width)` or `(n, height,
            width, channels)` of pixels 0-255, with 1, 3 or 4 channels, or as many,
            up to 16, as the model takes.
        labels: Integers `(n,)` in `[0, num_classes)` or class names, kept as integers;
            or 0/1 `(n, num_classes)` where an image may have several labels, or None;
            with `target_names` numbers `(n,)` or `(n, targets)`, kept as float32
            `(n, targets)`; or `DenseLabels`, such as `Masks`, which have the names of
            their classes.
        class_names: One name for each class, in the order of the labels; where labels
            are names, theirs in natural order if none are given.
        name: What to call the set in reports.
        target_names: One name for each number of an image, where numbers are asked.

    Raises:
        ValueError: If the lengths, shapes or labels do not agree.
        TypeError: If the labels are not integers, or the numbers no numbers.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((3, 8, 8, 3), "uint8")
        >>> pets = ImageSet(pixels, np.array([0, 1, 1]), ("cat", "dog"))
        >>> len(pets), pets.counts()
        (3, {'cat': 1, 'dog': 2})
        >>> ImageSet(pixels, [2.0, 0.5, 4.0], target_names=("age",))
        ImageSet(3 images, numbers of age, array (3, 8, 8, 3) uint8)
    """

    noun: ClassVar[str] = "image"
    items_field: ClassVar[str] = "images"
    images: tuple[str, ...] | np.ndarray
    labels: np.ndarray | DenseLabels | None
    class_names: tuple[str, ...] = ()
    name: str = ""
    target_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields against each other and store them in one form."""
        self.check_fields(_as_images(self.images))
        if self.dense and self.paths is None:
            self.labels.check_images(self.images, "labels")

    def __repr__(self) -> str:
        """Counts and kind, never the pixels."""
        if self.paths is None:
            kind = f"array {self.images.shape} {self.images.dtype}"
        else:
            kind = "files"
        name = f"{self.name!r}, " if self.name else ""
        return f"ImageSet({name}{len(self)} images, {self.asked}, {kind})"

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The file paths, or None for a set of arrays."""
        return self.images if isinstance(self.images, tuple) else None

    def image(self, index: int) -> np.ndarray:
        """One image as pixels 0-255, a file at its own size.

        Args:
            index: Its place.

        Returns:
            `(height, width)` or `(height, width, channels)`; uint8 of a file.
        """
        if self.paths is None:
            return self.images[index]
        return own_size(self.paths[index])

    def _shown(self) -> str:
        """Small pictures: the first image of each class, then the next ones."""
        one_class = self.labels is not None and not self.dense and self.labels.ndim == 1
        firsts = np.unique(self.labels, return_index=True)[1] if one_class else []
        pictures = []
        for index in dict.fromkeys([*map(int, firsts), *range(len(self))]):
            if len(pictures) == _PICTURES:
                break
            named = (
                ", ".join(map(str, self._asked(index).values())) if one_class else ""
            )
            # A notebook shows what can be read, and complains of nothing.
            with suppress(*decoding_errors()):
                text = named or self.describe(index)
                pictures.append(picture(self.image(index), text, side=_SIDE))
        return f"<p>{' '.join(pictures)}</p>" if pictures else ""

    def digests(self) -> np.ndarray:
        """A hash of each image's content: the file's bytes, or the pixels."""
        if self.paths is not None:
            contents = map(regular_bytes, self.paths)
        else:
            pixels = np.ascontiguousarray(self.images)
            contents = (row.tobytes() for row in pixels)
        return np.array([hashlib.sha256(data).hexdigest() for data in contents], str)

    def describe(self, index: int) -> str:
        """The file's path, or the number of an image in an array."""
        return f"image {index}" if self.paths is None else self.paths[index]


@dataclass(frozen=True)
class Splits(Tabular):
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

    train: Examples
    validation: Examples | None
    test: Examples | None

    def __iter__(self) -> Iterator[Examples | None]:
        """Train, validation, test."""
        return iter((self.train, self.validation, self.test))

    def _parts(self) -> dict[str, Examples]:
        return {name: part for name, part in vars(self).items() if part is not None}

    def to_rows(self) -> list[dict[str, Any]]:
        """The rows of all parts, each with its part."""
        return [
            {"part": name, **row}
            for name, part in self._parts().items()
            for row in part.to_rows()
        ]

    def _repr_html_(self) -> str:
        """The parts in a notebook, one below the other."""
        return "".join(
            f"<p><b>{name}</b></p>{part._repr_html_()}"
            for name, part in self._parts().items()
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names that all parts share."""
        return self.train.class_names


@dataclass(frozen=True)
class FolderImages:
    """The labelled images of a folder, and the part of each.

    Attributes:
        images: All of them.
        where: `"train"`, `"validation"`, `"test"` or `""` for each image.
        said: Lines on what is not used.
    """

    images: ImageSet
    where: np.ndarray
    said: list[str]


def _as_images(images: Any) -> tuple[str, ...] | np.ndarray:
    if isinstance(images, (str, Path)):
        fail("images", "a sequence of paths, not one path", str(images))
    if hasattr(images, "shape") and len(np.shape(images)) == 1:
        # Paths in an array, or in a column of a table.
        images = np.asarray(images).tolist()
    if isinstance(images, (list, tuple)):
        if all(isinstance(image, (str, Path)) for image in images):
            return tuple(str(image) for image in images)
        images = _stacked(images)
    if not hasattr(images, "shape"):
        hint = "Pass a list, of one image too." if hasattr(images, "convert") else ""
        kinds = "file paths, an array or PIL images"
        fail("images", kinds, type(images).__name__, hint, TypeError)
    pixels = np.asarray(images)
    one = pixels.ndim == 2 or (
        pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4) and min(pixels.shape[:2]) >= 8
    )
    rank_fits = pixels.ndim == 3 or (pixels.ndim == 4 and channels_fit(pixels.shape))
    if one or not rank_fits or 0 in pixels.shape[1:]:
        hint = "For one image, add a leading axis: image[None]." if one else ""
        if pixels.ndim == 4 and pixels.shape[1] < pixels.shape[3]:
            hint = "Channels come last: images.transpose(0, 2, 3, 1)."
        expected = "of shape (n, height, width) or (n, height, width, channels)"
        fail("images", expected, pixels.shape, hint)
    if pixels.dtype.kind not in "uif":
        expected = "pixels 0-255 as integers or floats"
        fail("images", expected, str(pixels.dtype), error=TypeError)
    return pixels


def channels_fit(shape: tuple[int, ...]) -> bool:
    """Whether the last axis of `(n, height, width, channels)` can be channels.

    Of more than four there are few, and fewer than rows and columns: where the channels
    come first, the last axis is the width.
    """
    return shape[-1] in (1, 3, 4) or 2 <= shape[-1] <= min(_CHANNELS, *shape[1:3])


#: Bands that an array of images may have.
_CHANNELS = 16


def _stacked(images: Sequence[Any]) -> np.ndarray:
    """Single images of one size as one array."""
    pixels = [as_pixels(image) for image in images]
    shapes = {each.shape for each in pixels}
    if len(shapes) > 1:
        hint = "Resize them first, or pass files."
        fail("images", "images of one size", sorted(shapes)[:3], hint)
    return np.stack(pixels)


def _as_names(field: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        fail(field, "a sequence of strings", names, error=TypeError)
    names = tuple(names)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        fail(field, "different from each other", twice)
    return names


def _as_numbers(numbers: Any, num_images: int, names: tuple[str, ...]) -> np.ndarray:
    """Numbers as float32 `(n, targets)`."""
    numbers = np.asarray(numbers)
    if numbers.dtype.kind not in "uif":
        fail("labels", "numbers", str(numbers.dtype), error=TypeError)
    columns = numbers[:, None] if numbers.ndim == 1 else numbers
    if columns.shape != (num_images, len(names)):
        shape = f"of shape ({num_images}, {len(names)}), as images and target_names"
        fail("labels", shape, numbers.shape)
    if not np.isfinite(columns).all():
        rows = np.flatnonzero(~np.isfinite(columns).all(axis=1))[:5].tolist()
        hint = "Leave those images out, or fill the numbers in."
        fail("labels", "finite numbers", f"nan or infinite at {rows}", hint)
    return columns.astype(np.float32)


def as_array(labels: Any) -> np.ndarray:
    """Labels as an array; raises in a sentence for rows of many lengths."""
    try:
        found = np.asarray(labels)
    except ValueError:
        hint = "Of images with several, pass one row of 0 and 1 for each."
        fail("labels", "one label for each image", "rows of many lengths", hint)
    whole = found.dtype.kind == "O" and all(isinstance(n, int) for n in found.ravel())
    return found.astype(np.int64) if whole else found


def _sorted_names(labels: np.ndarray) -> tuple[str, ...]:
    if labels.ndim != 1 or not all(isinstance(label, str) for label in labels):
        return ()
    return tuple(sorted(set(labels.tolist()), key=natural_key))


def _as_labels(labels: np.ndarray, count: int, names: tuple[str, ...]) -> np.ndarray:
    if labels.ndim not in (1, 2):
        fail("labels", "of shape (n,) or (n, num_classes)", labels.shape)
    if len(labels) != count:
        hint = "Give one label, or one row of labels, for each image."
        fail("labels", f"of length {count}, as `images`", len(labels), hint)
    if labels.dtype.kind in "OU" and labels.ndim == 1:
        labels = _indices(labels.tolist(), names)
    if labels.dtype.kind not in "uib":
        _refuse(labels)
    if labels.ndim == 2:
        _check_rows(labels, names)
        return labels.astype(np.int64)
    labels = labels.astype(np.int64)
    if labels.size and (labels.min() < 0 or labels.max() >= len(names)):
        hint = f"`class_names` names {len(names)} classes."
        expected = f"in [0, {len(names) - 1}]"
        fail("labels", expected, [int(labels.min()), int(labels.max())], hint)
    return labels


def _indices(labels: list[Any], names: tuple[str, ...]) -> np.ndarray:
    """Class names as indices."""
    places = {name: place for place, name in enumerate(names)}
    unknown = [label for label in labels if label not in places]
    if unknown:
        hint = "Pass class indices, or names in `class_names`."
        fail("labels", f"of the classes {names}", unknown[:_NAMED], hint, TypeError)
    return np.array([places[label] for label in labels], np.int64)


def _refuse(labels: np.ndarray) -> None:
    """Say what labels of another kind than integers need."""
    expected, hint = "integers", "Pass class indices, or names in `class_names`."
    if labels.dtype.kind == "f":
        hint = "These are numbers: pass `target_names` for what they measure."
        if _one_hot(labels):
            hint = "For one-hot labels pass labels.argmax(axis=-1)."
        elif np.array_equal(labels, labels // 1):
            hint = "Cast them with labels.astype('int64')."
        elif labels.ndim == 2:
            hint = "These are shares of classes: pass labels.argmax(axis=-1)."
    fail("labels", expected, str(labels.dtype), hint, TypeError)


def _one_hot(rows: np.ndarray) -> bool:
    """Whether each of several rows holds one 1 and nothing else."""
    if rows.ndim != 2 or not rows.size or rows.shape[1] < 2:
        return False
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def _check_rows(labels: np.ndarray, names: tuple[str, ...]) -> None:
    if labels.shape[1] != len(names):
        fail("labels", f"of shape (n, {len(names)}), as `class_names`", labels.shape)
    if not np.isin(labels, (0, 1)).all():
        fail("labels", "0 or 1 in each column", np.unique(labels)[:5].tolist())
    if _one_hot(labels):
        warn(
            "These labels look one-hot, and are read as several labels an image: pass "
            "labels.argmax(axis=-1) if each image has one."
        )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `'2'` comes before `'10'`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    keys = [(0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]
    # The text itself breaks ties such as '1' and '01'.
    return (*keys, (2, 0, text))


def integer_codes(keys: Sequence[object] | np.ndarray) -> np.ndarray:
    """Equal keys get equal numbers, counted in order of appearance."""
    codes: dict[object, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)


def joined(*keys: np.ndarray) -> np.ndarray:
    """Cluster numbers `(n,)`: images that share any key, even through others.

    With digests and groups as keys, the copies of an image pull their groups
    together.
    """
    parents = list(range(len(keys[0])))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for key in keys:
        first: dict[object, int] = {}
        for i, value in enumerate(key.tolist()):
            a, b = root(first.setdefault(value, i)), root(i)
            parents[max(a, b)] = min(a, b)
    return integer_codes([root(i) for i in range(len(parents))])


def copies(contents: np.ndarray) -> list[np.ndarray]:
    """Index arrays of the images whose content appears more than once."""
    codes = integer_codes(contents)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return [same for same in np.split(order, starts) if len(same) > 1]


def conflicts(
    contents: np.ndarray, labels: np.ndarray | DenseLabels | None
) -> list[np.ndarray]:
    """Index arrays of copies that carry different labels."""
    if labels is None:
        return []
    if isinstance(labels, DenseLabels):
        labels = labels.digests()
    return [
        same for same in copies(contents) if (labels[same] != labels[same[0]]).any()
    ]


def keep_mask(count: int, dropped: Sequence[np.ndarray]) -> np.ndarray:
    """Booleans `(count,)`, False at each dropped index."""
    keep = np.ones(count, bool)
    for indices in dropped:
        keep[indices] = False
    return keep


_NAMED = 10


def counted(number: int, noun: str = "image") -> str:
    """`"1 image"`, `"2 images"`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def warn_user(message: str, named: Sequence[str], total: int | None = None) -> None:
    """One warning that names the images, up to a readable number."""
    total = total or len(named)
    listed = "; ".join(named[:_NAMED])
    more = f"; and {total - _NAMED} more" if total > _NAMED else ""
    warn(f"{message}: {listed}{more}.")
