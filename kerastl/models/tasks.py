"""Head width, loss, metrics and decoding of a task, as one unit."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_number, fail
from kerastl.models.manifest import TASKS

#: float32 shares may miss a sum of 1 by this much.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Task:
    """One kind of classification: everything that must agree about it.

    Attributes:
        name: `"multiclass"`, `"binary"` or `"multilabel"`.
        num_classes: Number of class names; two for the binary task.
    """

    name: str
    num_classes: int

    @property
    def units(self) -> int:
        """Width of the head: one logit for the binary task, else one per class."""
        return 1 if self.name == "binary" else self.num_classes

    @property
    def chance_loss(self) -> float:
        """Loss of a head that knows nothing: log C, or log 2 per yes-no question."""
        return float(np.log(self.num_classes if self.name == "multiclass" else 2))

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """The loss on logits.

        It takes labels as `check_labels` does, and the shares of the classes that
        mixup leaves, `(b, num_classes)`: training may have the one and validation the
        other.

        Args:
            label_smoothing: Share of the probability spread over all classes, in
                [0, 1).
        """
        check_number("label_smoothing", label_smoothing, 0.0, below=1.0)
        if self.name != "multiclass":
            return AnswerCrossentropy(from_logits=True, label_smoothing=label_smoothing)
        if label_smoothing:
            return SmoothedSparseCrossentropy(self.num_classes, label_smoothing)
        return ClassCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy, thresholded on logits where the task is yes or no.

        Of a mixed label the larger share counts.
        """
        if self.name == "multiclass":
            return [ClassAccuracy(name="accuracy")]
        return [AnswerAccuracy(name="accuracy", threshold=0.0)]

    def probabilities(self, logits: Any) -> np.ndarray:
        """Probabilities `(n, num_classes)` in float64 from logits `(n, units)`."""
        logits = np.asarray(logits, dtype="float64")
        if self.name == "multiclass":
            shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
            return shifted / shifted.sum(axis=-1, keepdims=True)
        yes = np.exp(-np.logaddexp(0.0, -logits))
        return np.concatenate([1.0 - yes, yes], axis=-1) if self.units == 1 else yes

    def check_labels(self, labels: np.ndarray) -> None:
        """Raise unless the labels fit the task.

        Args:
            labels: `(n,)` integers, or `(n, num_classes)` zeros and ones for the
                multilabel task.

        Raises:
            ValueError: If shape or range do not fit.
            TypeError: If they are no numbers.
        """
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iubf":
            hint = "For names pass their places in the model's class names."
            fail("labels", "numbers", str(labels.dtype), hint, TypeError)
        if self.name == "multilabel":
            if labels.ndim != 2 or labels.shape[1] != self.num_classes:
                fail("labels", f"of shape (n, {self.num_classes})", labels.shape)
            if not np.isin(labels, (0, 1)).all():
                fail("labels", "zeros and ones", _extremes(labels))
            return
        if labels.ndim != 1 and labels.shape[1:] != (1,):
            fail(
                "labels",
                "integers of shape (n,)",
                labels.shape,
                "For one-hot labels pass labels.argmax(axis=-1).",
            )
        if labels.size == 0:
            return
        if labels.dtype.kind not in "iub" and not np.array_equal(labels, labels // 1):
            fail("labels", "whole numbers", _extremes(labels))
        if labels.min() < 0 or labels.max() >= self.num_classes:
            fail(
                "labels",
                f"from 0 to {self.num_classes - 1} for {self.num_classes} classes",
                _extremes(labels),
            )

    def check_targets(self, labels: np.ndarray) -> None:
        """Raise unless a batch's labels fit the task: labels, or shares of classes.

        Args:
            labels: As for `check_labels`, or `(n, num_classes)` from 0 to 1; rows of
                sum 1 where an image has one class.

        Raises:
            ValueError: If shape, type or range do not fit.
        """
        labels = np.asarray(labels)
        if labels.ndim != 2 or labels.shape[1] != self.num_classes:
            self.check_labels(labels)
            return
        if labels.size and not (labels.min() >= 0 and labels.max() <= 1 + _ROUNDING):
            fail("labels", "shares from 0 to 1", _extremes(labels))
        sums = labels.sum(axis=1)
        if self.name != "multilabel" and not np.allclose(sums, 1, atol=_ROUNDING):
            worst = float(sums[np.abs(sums - 1).argmax()])
            fail("labels", "rows that sum to 1", f"a row of sum {worst:.4g}")


def _extremes(labels: np.ndarray) -> str:
    return f"values from {labels.min()} to {labels.max()}" if labels.size else "none"


def _are_shares(y_true: Any, y_pred: Any) -> bool:
    """Whether targets are a share of each class, not class indices."""
    return len(y_true.shape) == 2 and y_true.shape[-1] == y_pred.shape[-1]


def _answers(y_true: Any, y_pred: Any) -> Any:
    """Targets as the logits lie: the second class's share for a single logit."""
    pair = len(y_true.shape) == 2 and y_true.shape[-1] == 2
    return y_true[:, 1:] if pair and y_pred.shape[-1] == 1 else y_true


@keras.saving.register_keras_serializable(package="kerastl")
class ClassCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy on logits with class indices `(n,)`, or with shares `(n, C)`."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        if not _are_shares(y_true, y_pred):
            return super().call(y_true, y_pred)
        return keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="kerastl")
class AnswerCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy that also takes the shares `(n, 2)` of two classes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        return super().call(_answers(y_true, y_pred), y_pred)


@keras.saving.register_keras_serializable(package="kerastl")
class ClassAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of images whose largest logit is their class, or their largest share."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count one batch."""
        y_true, y_pred = map(keras.ops.convert_to_tensor, (y_true, y_pred))
        if _are_shares(y_true, y_pred):
            y_true = keras.ops.argmax(y_true, axis=-1)
        return super().update_state(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="kerastl")
class AnswerAccuracy(keras.metrics.BinaryAccuracy):
    """Share of yes-no questions answered as their target, rounded, says."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count one batch."""
        y_true, y_pred = map(keras.ops.convert_to_tensor, (y_true, y_pred))
        answers = keras.ops.cast(_answers(y_true, y_pred), "float32") > 0.5
        return super().update_state(answers, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="kerastl")
class SmoothedSparseCrossentropy(keras.losses.Loss):
    """Cross-entropy on logits with label smoothing, on class indices or shares.

    Keras smooths one-hot labels only. The target is `(1 - s) * one_hot + s / C`, with
    the shares in place of one-hot labels where there are such.

    Args:
        num_classes: Number of classes C.
        label_smoothing: Share s spread over all classes, in [0, 1).
        name: Name in the logs.
        reduction: As for every Keras loss.
        dtype: As for every Keras loss.

    Reference:
        Szegedy et al. (2016), Rethinking the Inception Architecture, §7.
    """

    def __init__(
        self,
        num_classes: int,
        label_smoothing: float,
        *,
        name: str = "smoothed_sparse_crossentropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        targets = y_true
        if not _are_shares(y_true, y_pred):
            labels = keras.ops.cast(y_true, "int32")
            if len(labels.shape) == len(y_pred.shape):
                labels = keras.ops.squeeze(labels, axis=-1)
            targets = keras.ops.one_hot(labels, self.num_classes)
        share = self.label_smoothing
        targets = targets * (1.0 - share) + share / self.num_classes
        return keras.ops.categorical_crossentropy(targets, y_pred, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "label_smoothing": self.label_smoothing,
        }


def make_task(name: str, num_classes: int) -> Task:
    """The task of that name.

    Args:
        name: `"multiclass"`, `"binary"` or `"multilabel"`.
        num_classes: Number of class names, at least two (one for multilabel).

    Raises:
        ValueError: If the number of classes does not fit the task.
    """
    check_choice("task", name, TASKS)
    if name == "binary" and num_classes != 2:
        fail("classes", "two names for the binary task", num_classes)
    if name == "multiclass" and num_classes < 2:
        fail("classes", "at least two names", num_classes)
    return Task(name, num_classes)
