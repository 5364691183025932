"""An anchor-free head as YOLO's: cells answer for the objects around their centres.

What it shares with YOLOv8: one answer a cell, no shapes to choose, a yes or no for each
class, and the overlap of the boxes as their loss. What it is not: YOLOv8 decides which
cells answer by what the network says at that moment, predicts each side as a
distribution, and has a backbone and augmentations of its own. Here the centres decide,
which needs no predictions: the targets are made in the pipeline, and what is frozen can
be kept.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerastl._checks import fail
from kerastl.tasks.anchors import Anchors, levels_of, plain_anchors
from kerastl.tasks.detectors import (
    DetectionLoss,
    DetectorKind,
    register_detector,
    sigmoid,
    yes_or_no,
)

_PRIOR = 0.01
#: Strides from an object's centre within which cells answer for it.
_RADIUS = 1.5
#: Strides that a box has before anything is learnt.
_SIDE = 3.0
_BOX_WEIGHT = 2.0


@keras.saving.register_keras_serializable(package="kerastl")
class OverlapLoss(DetectionLoss):
    """Cross-entropy of each class by itself, and 1 - GIoU for the boxes.

    Reference:
        Rezatofighi et al. (2019), Generalized intersection over union,
        arXiv:1902.09630, algorithm 1.
    """

    def class_loss(self, truth: Any, logits: Any, weights: Any, count: Any) -> Any:
        """Sum over anchors and classes."""
        each = ops.sum(yes_or_no(truth, logits), axis=-1)
        return ops.sum(each * weights, axis=1)

    def box_loss(self, deltas: Any, said: Any) -> Any:
        """1 - GIoU at each anchor, in the anchor's own units: overlap sees no units."""
        (low, high), (other_low, other_high) = map(_corners, (deltas, said))
        shared = _area(ops.maximum(low, other_low), ops.minimum(high, other_high))
        around = _area(ops.minimum(low, other_low), ops.maximum(high, other_high))
        union = _area(low, high) + _area(other_low, other_high) - shared
        return 1.0 - shared / union + (around - union) / around


def _corners(deltas: Any) -> tuple[Any, Any]:
    half = ops.exp(ops.minimum(deltas[..., 2:], 4.0)) / 2.0
    return deltas[..., :2] - half, deltas[..., :2] + half


def _area(low: Any, high: Any) -> Any:
    sides = ops.maximum(high - low, 0.0)
    return sides[..., 0] * sides[..., 1]


@register_detector
class Yolo(DetectorKind):
    """All levels share a head; one box a cell, of three strides before it learns.

    An object belongs to the level of its size, and there to the cells inside it that
    lie within one and a half strides of its centre, or else to the nearest; of two
    objects a cell takes the smaller.

    Reference:
        Tian et al. (2019), FCOS, arXiv:1904.01355, section 3, and Ge et al. (2021),
        YOLOX, arXiv:2107.08430, section 2.1, "Multi positives", for the assignment.
    """

    name: ClassVar[str] = "yolo"
    bias: ClassVar[float] = -math.log((1.0 - _PRIOR) / _PRIOR)
    depth: ClassVar[int] = 2
    shared: ClassVar[bool] = True
    has_shapes: ClassVar[bool] = False

    def plain_anchors(
        self, image_size: tuple[int, int], levels: Sequence[int]
    ) -> Anchors:
        """One square a cell."""
        return plain_anchors(image_size, levels=levels, sizes=(_SIDE,), ratios=(1.0,))

    def fit_anchors(
        self, data: Any, image_size: tuple[int, int], resize: str, levels: Sequence[int]
    ) -> Anchors:
        """The same: there is nothing to fit."""
        return self.plain_anchors(image_size, levels)

    def check_anchors(self, anchors: Anchors) -> None:
        """Raise unless there is one square a cell, of three strides."""
        own = self.plain_anchors(anchors.image_size, anchors.levels)
        if anchors.shapes != own.shapes:
            fail("anchors", "'auto' for kind='yolo'", anchors.shapes)

    def match(self, boxes: np.ndarray, anchors: Anchors) -> np.ndarray:
        """Cells around the centres of objects, the rest background."""
        found = np.full(len(anchors), -1)
        if not len(boxes):
            return found
        cells = (anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2
        strides = anchors.strides_of
        own = 2 ** levels_of(boxes, anchors.levels)
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        nearest = []
        # The smaller ones last: they keep what they take.
        for index in np.argsort(-sizes, kind="stable"):
            low, high = boxes[index, :2], boxes[index, 2:]
            away = np.abs(cells - (low + high) / 2).max(axis=1)
            away = np.where(strides == own[index], away, np.inf)
            inside = ((cells > low) & (cells < high)).all(axis=1)
            found[inside & (away < _RADIUS * own[index])] = index
            nearest.append((index, away))
        taken = np.zeros(len(anchors), bool)
        for index, away in reversed(nearest):
            place = int(np.where(taken, np.inf, away).argmin())
            found[place], taken[place] = index, True
        return found

    def loss(self) -> OverlapLoss:
        """See `OverlapLoss`."""
        return OverlapLoss(_BOX_WEIGHT, name="yolo_loss")

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """A sigmoid of each class."""
        return sigmoid(logits)
