"""Anchors: the boxes that a detector's outputs are measured from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kerastl._checks import check_integer, fail, image_size_pair
from kerastl.data.boxes import Boxes
from kerastl.data.sets import ImageSet, Splits
from kerastl.evaluation.detection import overlaps

#: An anchor's side in strides of its level: smaller ones would fall between cells.
_STRIDES = 2.0
#: Sides of decoded boxes grow by at most this factor.
_GROWTH = 1000.0 / 16.0
#: Overlaps from which an anchor is for an object, and up to which it is background.
POSITIVE, NEGATIVE = 0.5, 0.4

Shapes = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Anchors:
    """Boxes of a few shapes around each cell of a network's feature maps.

    Attributes:
        image_size: `(height, width)` in pixels that the network takes.
        levels: Powers of two of the strides, ascending: 3 is a stride of 8 pixels.
        shapes: For each level the `(width, height)` of its anchors, in pixels.
        grids: For each level `(rows, columns)` of cells; empty: the sizes over the
            strides, rounded up.

    Raises:
        ValueError: If there is not a shape for each level, or one is not above 0.

    Example:
        >>> anchors = Anchors((32, 64), (4, 5), (((32.0, 32.0),), ((64.0, 64.0),)))
        >>> anchors.boxes.shape, anchors.boxes[0].tolist()
        ((10, 4), [-8.0, -8.0, 24.0, 24.0])
    """

    image_size: tuple[int, int]
    levels: tuple[int, ...]
    shapes: Shapes
    grids: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields against each other and store them in one form."""
        object.__setattr__(self, "levels", check_levels(self.levels))
        shapes = tuple(
            tuple((float(wide), float(tall)) for wide, tall in level)
            for level in self.shapes
        )
        if len(shapes) != len(self.levels) or not all(shapes):
            fail("shapes", f"one or more for each level {self.levels}", self.shapes)
        if min(side for level in shapes for pair in level for side in pair) <= 0:
            fail("shapes", "above 0", self.shapes)
        object.__setattr__(self, "shapes", shapes)
        height, width = size = image_size_pair("image_size", self.image_size)
        object.__setattr__(self, "image_size", size)
        grids = self.grids or [
            (-(-height // 2**level), -(-width // 2**level)) for level in self.levels
        ]
        grids = tuple((int(rows), int(columns)) for rows, columns in grids)
        if len(grids) != len(self.levels):
            fail("grids", f"one for each level {self.levels}", self.grids)
        object.__setattr__(self, "grids", grids)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels between cells at each level."""
        return tuple(2**level for level in self.levels)

    @cached_property
    def boxes(self) -> np.ndarray:
        """All of them, xyxy float64 `(A, 4)`: by level, row, column, shape."""
        found = []
        for (rows, columns), shapes in zip(self.grids, self.shapes, strict=True):
            # The cells cover the image evenly, whatever a network's padding is.
            y = (np.arange(rows) + 0.5) * self.image_size[0] / rows
            x = (np.arange(columns) + 0.5) * self.image_size[1] / columns
            centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]
            half = np.array(shapes) / 2
            both = np.concatenate([centres - half, centres + half], axis=-1)
            found.append(both.reshape(-1, 4))
        return np.concatenate(found)

    @cached_property
    def strides_of(self) -> np.ndarray:
        """The stride of each anchor `(A,)`."""
        counts = [
            rows * columns * len(shapes)
            for (rows, columns), shapes in zip(self.grids, self.shapes, strict=True)
        ]
        return np.repeat(self.strides, counts)

    def __len__(self) -> int:
        """Number of anchors."""
        return len(self.boxes)

    def on(self, grids: Sequence[tuple[int, int]]) -> "Anchors":
        """The same shapes on a network's own cells."""
        return replace(self, grids=tuple(grids))

    def recall(
        self, data: Any, *, resize: str = "pad", threshold: float = POSITIVE
    ) -> dict[str, float]:
        """Share of the objects of each class that their best anchor fits.

        Read it before training: what no anchor fits is hard to learn. Choose other
        shapes, a larger image or a lower level then.

        Args:
            data: `Boxes`, a set of images with boxes, or splits of them.
            resize: How the images are brought to the network's size.
            threshold: Overlap from which an anchor fits.

        Returns:
            Class name -> share in [0, 1]; classes without objects are left out.
        """
        labels = as_boxes(data)
        best: list[list[float]] = [[] for _ in labels.class_names]
        for boxes, classes in _scaled(labels, self.image_size, resize):
            # Anchors by the thousand and objects by the dozen fit in memory.
            fits = overlaps(boxes, self.boxes).max(axis=1, initial=0.0)
            for kind, fit in zip(classes.tolist(), fits.tolist(), strict=True):
                best[kind].append(fit)
        return {
            name: float(np.mean(np.array(fits) >= threshold))
            for name, fits in zip(labels.class_names, best, strict=True)
            if fits
        }

    def to_config(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "image_size": list(self.image_size),
            "levels": list(self.levels),
            "shapes": [[list(pair) for pair in level] for level in self.shapes],
            "grids": [list(grid) for grid in self.grids],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Anchors":
        """Rebuild from `to_config`."""
        return cls(**{name: _tuples(value) for name, value in config.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """Levels that ascend by one."""
    found = tuple(levels)
    for level in found:
        check_integer("levels", level, 1)
    if not found or found != tuple(range(found[0], found[0] + len(found))):
        fail("levels", "ascending numbers without a gap, such as (3, 4, 5)", levels)
    return found


def plain_anchors(
    image_size: int | tuple[int, int],
    *,
    levels: Sequence[int] = (3, 4, 5),
    sizes: Sequence[float] = tuple(_STRIDES * 2 ** (k / 3) for k in range(3)),
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> Anchors:
    """Anchors of each size and ratio at each level, for data that nobody knows yet.

    Args:
        image_size: Pixels, one number or `(height, width)`.
        levels: See `Anchors`.
        sizes: Sides of squares, in strides.
        ratios: Height over width, at the same area.
    """
    shapes = tuple(
        tuple(
            (size * 2**level / ratio**0.5, size * 2**level * ratio**0.5)
            for size in sizes
            for ratio in ratios
        )
        for level in check_levels(levels)
    )
    return Anchors(image_size_pair("image_size", image_size), tuple(levels), shapes)


def fit_anchors(
    data: Any,
    *,
    image_size: int | tuple[int, int],
    resize: str = "pad",
    levels: Sequence[int] = (3, 4, 5),
    per_cell: int = 3,
    seed: int = 0,
) -> Anchors:
    """Anchors of the shapes that the data's own boxes have.

    An object belongs to the highest level of which its size is two strides or more;
    the shapes of a level are the centres of k-means over those of its objects, on the
    logarithms of width and height, each class with the same weight. A level without
    objects has squares of two strides and more.

    Args:
        data: `Boxes`, a set of images with boxes, or splits of which the training part
            is taken.
        image_size: Pixels that the network takes, one number or `(height, width)`.
        resize: How images are brought to that: `"pad"`, `"stretch"` or `"crop"`.
        levels: Powers of two of the strides, ascending.
        per_cell: Shapes at each cell.
        seed: Of the k-means.

    Returns:
        Anchors for `build_detector`; their `recall` says how many objects they fit.

    Raises:
        ValueError: If there is no box.

    Example:
        >>> import kerastl
        >>> boxes = [[[4, 4, 24, 24], [30, 8, 52, 28]]]
        >>> labels = kerastl.Boxes(boxes, [[0, 0]], ("cell",), (64, 64))
        >>> anchors = fit_anchors(labels, image_size=64, per_cell=1)
        >>> [round(side) for side in anchors.shapes[0][0]], anchors.recall(labels)
        ([21, 20], {'cell': 1.0})

    Reference:
        Redmon and Farhadi (2017), YOLO9000, arXiv:1612.08242, section 2, "Dimension
        Clusters", who take 1 - overlap for the distance.
    """
    check_integer("per_cell", per_cell, 1)
    size = image_size_pair("image_size", image_size)
    levels = check_levels(levels)
    labels = as_boxes(data)
    pairs = _scaled(labels, size, resize)
    boxes = np.concatenate([np.zeros((0, 4)), *(each for each, _ in pairs)])
    kinds = np.concatenate([np.zeros(0, np.int64), *(kind for _, kind in pairs)])
    if not len(boxes):
        fail("data", "images with at least one box", labels)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    weights = 1.0 / np.bincount(kinds)[kinds]
    at = levels_of(boxes, levels)
    shapes = []
    for level in levels:
        mine = at == level
        fitted = _centres(sides[mine], weights[mine], per_cell, seed)
        # Where there are fewer shapes than places, squares fill up.
        spare = [(_STRIDES * 2 ** (level + k / per_cell),) * 2 for k in range(per_cell)]
        shapes.append(tuple([*fitted, *spare][:per_cell]))
    return Anchors(size, levels, tuple(shapes))


def levels_of(boxes: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """The highest level, `(k,)`, of which each box measures two strides or more."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    power = np.floor(np.log2(np.sqrt(sides.prod(axis=1)) / _STRIDES))
    return np.clip(power, levels[0], levels[-1]).astype(np.int64)


def _centres(
    sides: np.ndarray, weights: np.ndarray, count: int, seed: int
) -> list[tuple[float, float]]:
    """At most `count` shapes `(width, height)`, the smallest first."""
    from sklearn.cluster import KMeans

    different = len(np.unique(sides.round(1), axis=0))
    if not different:
        return []
    clusters = KMeans(min(count, different), n_init=3, random_state=seed)
    fitted = clusters.fit(np.log(sides), sample_weight=weights)
    found = np.exp(fitted.cluster_centers_)
    return [(float(w), float(h)) for w, h in found[np.argsort(found.prod(axis=1))]]


def as_boxes(data: Any) -> Boxes:
    """The boxes of a set, or of the training part of splits."""
    if isinstance(data, Splits):
        data = data.train
    labels = data.labels if isinstance(data, ImageSet) else data
    if not isinstance(labels, Boxes):
        fail("data", "images with boxes", data)
    return labels


def _scaled(
    labels: Boxes, size: tuple[int, int], resize: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(boxes at the network's size, classes) of each image."""
    indices = np.arange(len(labels))
    rows = labels.rows(indices, image_size=size, resize=resize)
    return [
        (row[row[:, 4] >= 0, :4], row[row[:, 4] >= 0, 4].astype(np.int64))
        for row in rows.astype(np.float64)
    ]


def encode_boxes(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """What a network is to say for boxes at anchors, row by row.

    Args:
        boxes: xyxy `(..., 4)`.
        anchors: xyxy `(..., 4)`.

    Returns:
        `(..., 4)`: the centre's distance in the anchor's sides, and the logarithm of
        the sides over the anchor's.
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    middle = (anchors[..., 2:] + anchors[..., :2]) / 2
    own = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., 2:] + boxes[..., :2]) / 2
    return np.concatenate([(centre - middle) / sides, np.log(own / sides)], axis=-1)


def decode_boxes(deltas: Any, anchors: np.ndarray, ops: Any = np) -> Any:
    """`encode_boxes` undone; no side grows by more than 62.5 times.

    Args:
        deltas: `(..., A, 4)`.
        anchors: xyxy `(A, 4)`.
        ops: What computes: NumPy, or `keras.ops` inside a network.
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    middle = (anchors[..., 2:] + anchors[..., :2]) / 2
    if ops is not np:
        sides = ops.convert_to_tensor(sides, "float32")
        middle = ops.convert_to_tensor(middle, "float32")
    centre = deltas[..., :2] * sides + middle
    half = ops.exp(ops.minimum(deltas[..., 2:], float(np.log(_GROWTH)))) * sides / 2
    return ops.concatenate([centre - half, centre + half], axis=-1)


def match_anchors(
    boxes: np.ndarray,
    anchors: np.ndarray,
    *,
    positive: float = POSITIVE,
    negative: float = NEGATIVE,
) -> np.ndarray:
    """The object of each anchor `(A,)`: its index, -1 for background, -2 for neither.

    Each object keeps its best anchor, however little they overlap: else an object that
    no anchor fits would be learnt as background.

    Args:
        boxes: xyxy `(k, 4)`.
        anchors: xyxy `(A, 4)`.
        positive: Overlap from which an anchor is for the object it overlaps most with.
        negative: Overlap below which it is background; between the two it is neither.
    """
    if not len(boxes):
        return np.full(len(anchors), -1)
    shared = overlaps(boxes, anchors)
    best = shared.max(axis=0)
    found = np.where(best >= positive, shared.argmax(axis=0), -2)
    found[best < negative] = -1
    for index in np.argsort(-shared.max(axis=1), kind="stable"):
        own = int(shared[index].argmax())
        if shared[index, own] <= 0:
            own = _nearest_free(boxes[index], anchors, shared[index])
        found[own] = index
        shared[:, own] = -1
    return found


def _nearest_free(box: np.ndarray, anchors: np.ndarray, shared: np.ndarray) -> int:
    """The anchor nearest to a box that overlaps with none left."""
    apart = (anchors[:, 2:] + anchors[:, :2] - box[2:] - box[:2]) / 2
    return int(np.where(shared < 0, np.inf, np.square(apart).sum(axis=1)).argmin())


def as_targets(
    boxes: np.ndarray, classes: np.ndarray, found: np.ndarray, anchors: np.ndarray
) -> np.ndarray:
    """Rows `(A, 6)` for the loss: four deltas, class (-1: background), weight.

    Args:
        boxes: xyxy `(k, 4)`.
        classes: `(k,)`.
        found: The object of each anchor, as `match_anchors` gives it.
        anchors: xyxy `(A, 4)`.
    """
    rows = np.zeros((len(anchors), 6), np.float32)
    rows[:, 4], rows[:, 5] = -1, found != -2
    mine = found >= 0
    rows[mine, :4] = encode_boxes(boxes[found[mine]], anchors[mine])
    rows[mine, 4] = classes[found[mine]]
    return rows
