"""RetinaNet: a yes or no for each class, and a loss that what is easy hardly enters."""

import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerastl.tasks.detectors import (
    DetectionLoss,
    DetectorKind,
    register_detector,
    sigmoid,
    yes_or_no,
)

_ALPHA, _GAMMA, _PRIOR = 0.25, 2.0, 0.01


@keras.saving.register_keras_serializable(package="kerastl")
class FocalLoss(DetectionLoss):
    """Focal loss on the classes of all anchors that count.

    With `p` for what is true, `-alpha (1 - p)^2 log p`, alpha 0.25 for objects and 0.75
    for background.

    Reference:
        Lin et al. (2017), Focal loss for dense object detection, arXiv:1708.02002,
        eq. 5 and section 4.1.
    """

    def class_loss(self, truth: Any, logits: Any, weights: Any, count: Any) -> Any:
        """Sum over anchors and classes."""
        sure = ops.sigmoid(logits)
        missing = truth * (1.0 - sure) + (1.0 - truth) * sure
        alpha = truth * _ALPHA + (1.0 - truth) * (1.0 - _ALPHA)
        each = alpha * ops.power(missing, _GAMMA) * yes_or_no(truth, logits)
        return ops.sum(ops.sum(each, axis=-1) * weights, axis=1)


@register_detector
class RetinaNet(DetectorKind):
    """All levels share a head of two convolutions each for boxes and for classes.

    The paper has four of 256 channels; that is what a graphics card is for.
    """

    name: ClassVar[str] = "retinanet"
    bias: ClassVar[float] = -math.log((1.0 - _PRIOR) / _PRIOR)
    depth: ClassVar[int] = 2
    shared: ClassVar[bool] = True

    def loss(self) -> FocalLoss:
        """See `FocalLoss`."""
        return FocalLoss(name="retinanet_loss")

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """A sigmoid of each class."""
        return sigmoid(logits)
