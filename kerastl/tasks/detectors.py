"""Kinds of detectors: what each learns at an anchor, and how its head is made."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from kerastl._checks import fail, nearest
from kerastl.models.decoders import DecoderStyle, resized
from kerastl.tasks.anchors import Anchors, fit_anchors, match_anchors, plain_anchors

#: Distance in sides up to which the loss of a delta is a square.
_ROUND = 1.0 / 9.0


class DetectorKind(ABC):
    """A kind of detector: everything in which it differs from the others.

    Each gives, at each anchor, four deltas and a logit a class. A new kind is one file
    with a subclass, decorated with `register_detector`.

    Attributes:
        name: What `kind=` calls it.
        bias: Of the new class logits, so that the first loss is known.
        depth: Convolutions between a level of the pyramid and the outputs.
        shared: Whether all levels have the same head.
        has_shapes: Whether an object is found by the anchors that overlap with it.
    """

    name: ClassVar[str]
    bias: ClassVar[float] = 0.0
    depth: ClassVar[int] = 0
    shared: ClassVar[bool] = False
    has_shapes: ClassVar[bool] = True

    def plain_anchors(
        self, image_size: tuple[int, int], levels: Sequence[int]
    ) -> Anchors:
        """Anchors for data that nobody knows yet."""
        return plain_anchors(image_size, levels=levels)

    def fit_anchors(
        self, data: Any, image_size: tuple[int, int], resize: str, levels: Sequence[int]
    ) -> Anchors:
        """Anchors for these data."""
        given = {"image_size": image_size, "resize": resize, "levels": levels}
        return fit_anchors(data, **given)

    def check_anchors(self, anchors: Anchors) -> None:
        """Raise unless the kind can have these anchors."""
        counts = {len(shapes) for shapes in anchors.shapes}
        if self.shared and len(counts) > 1:
            expected = f"as many shapes at each level for {self.name!r}"
            fail("anchors", expected, [len(shapes) for shapes in anchors.shapes])

    def match(self, boxes: np.ndarray, anchors: Anchors) -> np.ndarray:
        """The object of each anchor `(A,)`: its index, -1 background, -2 neither."""
        return match_anchors(boxes, anchors.boxes)

    @abstractmethod
    def loss(self) -> "DetectionLoss":
        """The loss on outputs `(n, A, 4 + classes)`."""

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """How sure the network is of each class, in [0, 1], from its logits."""

    def answers(self, logits: Any) -> Any:
        """The same inside a network."""
        return ops.sigmoid(logits)

    def attach(
        self,
        maps: Sequence[keras.KerasTensor],
        anchors: Anchors,
        classes: int,
        style: DecoderStyle,
    ) -> keras.KerasTensor:
        """Outputs `(n, A, 4 + classes)` from one map a level."""
        towers: dict[str, list[keras.Layer]] = {}
        found = []
        for level, x, shapes in zip(anchors.levels, maps, anchors.shapes, strict=True):
            end = "" if self.shared else f"_{2**level}"
            both = []
            for part, width, bias in (("box", 4, 0.0), ("class", classes, self.bias)):
                name = f"{part}{end}"
                if name not in towers:
                    towers[name] = self._tower(name, len(shapes) * width, bias, style)
                y = x
                for layer in towers[name]:
                    y = layer(y)
                rows = layers.Reshape((-1, width), name=f"head_{part}_{2**level}_rows")
                both.append(rows(y))
            join = layers.Concatenate(name=f"head_rows_{2**level}", dtype="float32")
            found.append(join(both))
        if len(found) == 1:
            return found[0]
        return layers.Concatenate(axis=1, name="head_rows", dtype="float32")(found)

    def _tower(
        self, name: str, channels: int, bias: float, style: DecoderStyle
    ) -> list[keras.Layer]:
        """The layers from a level of the pyramid to what is said at its cells."""
        found = []
        for number in range(1, self.depth + 1):
            found += style.block(f"{name}_{number}")
        # Zeros make the first answer the same everywhere, for any features.
        last = layers.Conv2D(
            channels,
            1 if self.depth else 3,
            padding="same",
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(bias),
            dtype="float32",
            name=f"head_{name}",
        )
        return [*found, last]


_KINDS: dict[str, DetectorKind] = {}
#: Those that come with kerastl, each in its file.
OWN_KINDS = {
    "ssd": "kerastl.tasks.ssd",
    "retinanet": "kerastl.tasks.retinanet",
    "yolo": "kerastl.tasks.yolo",
}


def register_detector(kind: type[DetectorKind]) -> type[DetectorKind]:
    """Make a kind of detector known by its `name`, as a decorator.

    Args:
        kind: A subclass of `DetectorKind`.

    Returns:
        The same class.

    Raises:
        TypeError: If it is no subclass of `DetectorKind`.

    Example:
        >>> from kerastl.tasks import DetectionTask, register_detector
        >>> kind = type(DetectionTask(("cell",), "ssd").detector)
        >>> register_detector(kind) is kind
        True
    """
    if not (isinstance(kind, type) and issubclass(kind, DetectorKind)):
        fail("kind", "a subclass of DetectorKind", kind, error=TypeError)
    _KINDS[kind.name] = kind()
    return kind


def find_detector(name: str) -> DetectorKind:
    """The kind of detector of that name."""
    if name in OWN_KINDS:
        importlib.import_module(OWN_KINDS[name])
    if name not in _KINDS:
        known = {**OWN_KINDS, **_KINDS}
        listed = ", ".join(map(repr, known))
        fail("kind", f"one of {listed}", name, nearest(str(name), known))
    return _KINDS[name]


def pyramid(
    maps: Mapping[int, keras.KerasTensor], levels: Sequence[int], style: DecoderStyle
) -> list[keras.KerasTensor]:
    """A feature pyramid: one map a level, all of the same width.

    Coarser levels than the backbone's last are every second place of the one below.

    Args:
        maps: The backbone's, by stride.
        levels: Powers of two of the strides wanted, ascending.
        style: How its layers are made.

    Reference:
        Lin et al. (2017), Feature pyramid networks, arXiv:1612.03144, section 3.
    """
    top, wanted = max(maps), [2**level for level in levels]
    absent = [stride for stride in wanted if stride < top and stride not in maps]
    if absent:
        own = [stride.bit_length() - 1 for stride in sorted(maps)]
        fail("levels", f"among those of the backbone, {own}, or above", list(levels))
    x = style.convolve(maps[top], "bridge", size=1)
    found = {}
    for stride in sorted((s for s in maps if s >= wanted[0]), reverse=True):
        if stride != top:
            skip = style.convolve(maps[stride], f"skip_{stride}", size=1)
            x = resized(x, skip, f"down_{stride}")
            x = layers.Add(name=f"head_add_{stride}")([x, skip])
        if stride in wanted:
            found[stride] = style.convolve(x, f"level_{stride}")
        if stride == top:
            y, last = x, top
            while last < wanted[-1]:
                last *= 2
                thin = layers.MaxPooling2D(
                    1, 2, padding="same", name=f"head_thin_{last}"
                )
                y = thin(y)
                if last in wanted:
                    found[last] = style.convolve(y, f"level_{last}")
    return [found[stride] for stride in wanted]


class DetectionLoss(keras.losses.Loss):
    """What a detector's classes and boxes are off by, at the anchors that count.

    Of each image the sum over its anchors, divided by its positive ones (by 1 where it
    has none, so that an image without objects trains the background). Targets are rows
    `(A, 6)`: four deltas, class or -1 for background, and a weight, 0 for anchors that
    are neither. Padding does not exist: an object is a row of the targets or is not.

    Args:
        box_weight: Of the boxes' loss beside the classes'.
        name: Name in the logs.
        reduction: As for every Keras loss.
        dtype: As for every Keras loss.
    """

    def __init__(
        self,
        box_weight: float = 1.0,
        *,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.box_weight = box_weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each image."""
        labels, weights = y_true[..., 4], y_true[..., 5]
        here = ops.cast(labels >= 0, y_pred.dtype)
        positive = here * weights
        count = ops.maximum(ops.sum(positive, axis=1), 1.0)
        kinds = ops.cast(ops.maximum(labels, 0), "int32")
        truth = ops.one_hot(kinds, y_pred.shape[-1] - 4, dtype=y_pred.dtype)
        truth = truth * here[..., None]
        said = self.class_loss(truth, y_pred[..., 4:], weights, count)
        off = self.box_loss(y_true[..., :4], y_pred[..., :4])
        put = ops.sum(off * positive, axis=1)
        return (said + self.box_weight * put) / count

    def class_loss(self, truth: Any, logits: Any, weights: Any, count: Any) -> Any:
        """Sum over the anchors of each image `(n,)`.

        Args:
            truth: `(n, A, classes)`, 1 at an object's class; zeros: background.
            logits: The same shape.
            weights: `(n, A)`.
            count: Positive anchors of each image `(n,)`, at least 1.
        """
        raise NotImplementedError

    def box_loss(self, deltas: Any, said: Any) -> Any:
        """Loss at each anchor `(n, A)`: Huber's, summed over the four deltas."""
        off = ops.abs(deltas - said)
        square = 0.5 * ops.square(off) / _ROUND
        return ops.sum(ops.where(off < _ROUND, square, off - 0.5 * _ROUND), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        return {**super().get_config(), "box_weight": self.box_weight}


def yes_or_no(truth: Any, logits: Any) -> Any:
    """Cross-entropy of each class by itself, from logits."""
    return ops.softplus(logits) - truth * logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))` without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
