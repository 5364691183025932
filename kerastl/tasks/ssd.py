"""SSD: one softmax over classes and background, on the hardest of the background."""

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerastl.tasks.detectors import DetectionLoss, DetectorKind, register_detector

#: Anchors of background for each that is of an object.
_NEGATIVES = 3


@keras.saving.register_keras_serializable(package="kerastl")
class HardNegativeLoss(DetectionLoss):
    """Softmax cross-entropy on objects and on three times as much hard background.

    The logit of background is 0. Of an image without objects the three hardest anchors
    count.

    Reference:
        Liu et al. (2016), SSD, arXiv:1512.02325, section 2.2, "Hard negative mining".
    """

    def class_loss(self, truth: Any, logits: Any, weights: Any, count: Any) -> Any:
        """Sum over the objects and the hardest of the background."""
        background = ops.zeros_like(logits[..., :1])
        whole = ops.logsumexp(ops.concatenate([background, logits], axis=-1), axis=-1)
        each = (whole - ops.sum(truth * logits, axis=-1)) * weights
        here = ops.sum(truth, axis=-1)
        # Sums of the highest rather than a limit: equal ones would all pass it.
        hardest = ops.flip(ops.sort(each * (1.0 - here), axis=-1), axis=-1)
        place = ops.arange(hardest.shape[-1], dtype=hardest.dtype)
        kept = ops.cast(place < _NEGATIVES * count[:, None], hardest.dtype)
        return ops.sum(each * here, axis=1) + ops.sum(hardest * kept, axis=1)


@register_detector
class Ssd(DetectorKind):
    """Each level has a head of its own; classes exclude each other."""

    name: ClassVar[str] = "ssd"

    def loss(self) -> HardNegativeLoss:
        """See `HardNegativeLoss`."""
        return HardNegativeLoss(name="ssd_loss")

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Softmax beside a background of logit 0."""
        highest = np.maximum(logits.max(axis=-1, keepdims=True), 0.0)
        shares = np.exp(logits - highest)
        return shares / (shares.sum(axis=-1, keepdims=True) + np.exp(-highest))

    def answers(self, logits: Any) -> Any:
        """The same inside a network."""
        beside = ops.concatenate([ops.zeros_like(logits[..., :1]), logits], axis=-1)
        return ops.softmax(beside)[..., 1:]
