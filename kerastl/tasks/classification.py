"""Classification: its head's task, predictions' scores, reports and tables."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_number, fail
from kerastl.evaluation import metrics
from kerastl.evaluation.calibration import ReliabilityCurve, reliability_curve
from kerastl.evaluation.figures import short_name
from kerastl.evaluation.metrics import (
    ConfusedPair,
    as_probabilities,
    decide,
    most_confused_pairs,
    wilson_interval,
)
from kerastl.models.record import TASKS

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


_ROWS_SHOWN = 20
_PAIRS_SHOWN = 5
_NAME_WIDTH = 30


def report_text(report: "EvaluationReport") -> str:
    """The report in lines of at most 80 characters."""
    blocks = [_summary(report), _class_table(report.per_class)]
    if report.most_confused:
        blocks.append(_confused(report))
    return "\n\n".join(blocks)


def percent(share: float) -> str:
    """`0.8642` as `"86.4 %"`."""
    return f"{100 * share:.1f} %"


def _summary(report: "EvaluationReport") -> str:
    """The numbers about all images."""
    low, high = report.accuracy_interval
    images = "1 image" if report.images == 1 else f"{report.images} images"
    lines = [f"{images}, {len(report.class_names)} classes, {report.task}"]
    if report.seconds is not None:
        each = 1000 * report.seconds / report.images
        lines[0] += f", {report.seconds:.2f} s ({each:.1f} ms an image)"
    title = "accuracy (all labels right)" if report.confusion is None else "accuracy"
    limits = f"(95 % interval {percent(low)} to {percent(high)})"
    lines.append(f"{title:<28}{percent(report.accuracy):>8}  {limits}")
    lines.append(f"{'most frequent answer':<28}{percent(report.baseline):>8}")
    for name, value in report.metrics.items():
        shown = "-" if value is None else f"{value:.3f}"
        lines.append(f"{name.replace('_', ' '):<28}{shown:>8}")
    return "\n".join(lines)


def _class_table(rows: "tuple[ClassScores, ...]") -> str:
    """One line a class; of many classes only the worst."""
    note, shown = "", rows
    if len(rows) > _ROWS_SHOWN:
        scored = [
            (row.f1, place) for place, row in enumerate(rows) if row.f1 is not None
        ]
        shown = tuple(rows[place] for _, place in sorted(scored)[:_ROWS_SHOWN])
        note = f"\nThe {len(shown)} classes of lowest f1, of {len(rows)}."
    names = [short_name(row.name, _NAME_WIDTH) for row in shown]
    width = max([len("class"), *map(len, names)])
    lines = [f"{'class':<{width}}  precision  recall      f1  images  predicted"]
    for name, row in zip(names, shown, strict=True):
        precision, recall, f1 = (
            "-" if value is None else f"{value:.3f}"
            for value in (row.precision, row.recall, row.f1)
        )
        lines.append(
            f"{name:<{width}}  {precision:>9}  {recall:>6}  {f1:>6}"
            f"  {row.images:>6}  {row.predicted:>9}"
        )
    return "\n".join(lines) + note


def _confused(report: "EvaluationReport") -> str:
    """The commonest mistakes."""
    lines = ["most confused (true -> predicted)"]
    for pair in report.most_confused[:_PAIRS_SHOWN]:
        names = [short_name(name, 22) for name in (pair.true, pair.predicted)]
        total = f"{pair.images} of {round(pair.images / pair.share)}"
        share = f"{total} ({percent(pair.share)})"
        lines.append(f"  {names[0]} -> {names[1]}: {share}")
    return "\n".join(lines)


@dataclass(frozen=True)
class ClassScores:
    """How one class fares.

    Attributes:
        name: Name of the class.
        precision: Share of the images given to the class that belong to it, 0 to 1;
            None when none was given to it.
        recall: Share of the class's images that were recognised; None without images.
        f1: Harmonic mean of the two; None when the class occurs nowhere.
        images: Images of the class.
        predicted: Images given to the class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    images: int
    predicted: int


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """A classifier's scores on one set of labelled images.

    Attributes:
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
        class_names: Names of the classes, in the order of the probabilities.
        images: Number of images scored.
        accuracy: Share of images that are right (multi-label: all labels right).
        accuracy_interval: Its 95 % Wilson limits.
        baseline: Accuracy of always giving the most frequent answer.
        metrics: Further metrics by name; None where one is undefined.
        per_class: One row a class.
        confusion: Integer `(classes, classes)`, rows true; None for multi-label.
        most_confused: The commonest mistakes, at most ten, the commonest first.
        calibration: Accuracy against confidence.
        seconds: What the predictions took, or None.
    """

    task: str
    class_names: tuple[str, ...]
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    baseline: float
    metrics: dict[str, float | None]
    per_class: tuple[ClassScores, ...]
    confusion: np.ndarray | None
    most_confused: tuple[ConfusedPair, ...]
    calibration: ReliabilityCurve
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON; nan becomes None."""
        curve = self.calibration
        bins = zip(
            curve.edges[:-1].tolist(),
            curve.edges[1:].tolist(),
            curve.counts.tolist(),
            map(_finite, curve.confidence),
            map(_finite, curve.accuracy),
            strict=True,
        )
        keys = ("low", "high", "decisions", "confidence", "accuracy")
        return {
            "task": self.task,
            "class_names": list(self.class_names),
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "baseline": self.baseline,
            "metrics": dict(self.metrics),
            "per_class": [dict(vars(row)) for row in self.per_class],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "most_confused": [dict(vars(pair)) for pair in self.most_confused],
            "calibration": [dict(zip(keys, each, strict=True)) for each in bins],
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        return report_text(self)


def classification_report(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: tuple[str, ...],
    *,
    task: str = "multiclass",
    seconds: float | None = None,
) -> EvaluationReport:
    """Everything that labels and probabilities say about a classifier.

    The baseline comes from the images scored here: an accuracy near it means that
    nothing was learned, however high it is.

    Args:
        labels: Class indices `(n,)`; multi-label: 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; two columns for the binary task.
        class_names: One name per column; classes may be absent from the labels.
        task: `"multiclass"`, `"binary"` (class 1 is the positive one) or
            `"multilabel"` (each probability decides alone, above 0.5).
        seconds: What the predictions took; reported as it is.

    Returns:
        An `EvaluationReport`; `print` shows a table, `.to_dict()` is ready for JSON.

    Raises:
        ValueError: If the arrays, the names and the task do not fit together.

    Example:
        >>> report = classification_report([0, 1], [[0.8, 0.2], [0.6, 0.4]], ("a", "b"))
        >>> report.accuracy, report.baseline, report.most_confused[0].predicted
        (0.5, 0.5, 'a')
    """
    check_choice("task", task, TASKS)
    labels, probabilities = _check_task(labels, probabilities, tuple(class_names), task)
    if seconds is not None:
        check_number("seconds", seconds, 0.0)
    predicted = decide(labels, probabilities)
    right = (labels == predicted).reshape(len(labels), -1).all(axis=1)
    names = tuple(str(name) for name in class_names)
    table = None
    if task != "multilabel":
        table = metrics.confusion_matrix(labels, predicted, len(names))
    curve = reliability_curve(labels, probabilities)
    further = _further_metrics(labels, probabilities, predicted, task)
    further["expected_calibration_error"] = curve.error
    return EvaluationReport(
        task=task,
        class_names=names,
        images=len(labels),
        accuracy=float(right.mean()),
        accuracy_interval=wilson_interval(int(right.sum()), len(right)),
        baseline=float(np.unique(labels, axis=0, return_counts=True)[1].max())
        / len(labels),
        metrics={name: _finite(value) for name, value in further.items()},
        per_class=_rows(labels, predicted, names),
        confusion=table,
        most_confused=() if table is None else most_confused_pairs(table, names),
        calibration=curve,
        seconds=None if seconds is None else float(seconds),
    )


def _check_task(
    labels: ArrayLike, probabilities: ArrayLike, class_names: tuple[str, ...], task: str
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that fit the task and the names."""
    axes = 2 if task == "multilabel" else 1
    if np.ndim(labels) != axes:
        shape = "(n, classes)" if axes == 2 else "(n,)"
        hint = 'Did you mean task="multilabel"? For one-hot labels pass'
        hint = f"{hint} labels.argmax(axis=1)." if axes == 1 else ""
        fail("labels", f"of shape {shape} for task={task!r}", np.shape(labels), hint)
    labels, probabilities = as_probabilities(labels, probabilities)
    columns = probabilities.shape[1]
    if task == "binary" and columns != 2:
        fail("probabilities", "of shape (n, 2) for task='binary'", probabilities.shape)
    if len(class_names) != columns:
        received = f"{len(class_names)} names"
        fail("class_names", f"{columns} names, one per column", received)
    return labels, probabilities


def _further_metrics(
    labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, task: str
) -> dict[str, float]:
    """The metrics that the task has, besides the accuracy."""
    found = {
        "macro_f1": metrics.f1(labels, predicted, average="macro"),
        "weighted_f1": metrics.f1(labels, predicted, average="weighted"),
        "log_loss": metrics.log_loss(labels, probabilities),
        "brier": metrics.brier(labels, probabilities),
    }
    if task == "multilabel":
        found["micro_f1"] = metrics.f1(labels, predicted, average="micro")
        found["label_accuracy"] = metrics.label_accuracy(labels, predicted)
    else:
        found["balanced_accuracy"] = metrics.balanced_accuracy(labels, predicted)
    if task != "multiclass":
        ranked = probabilities if task == "multilabel" else probabilities[:, 1]
        found["roc_auc"] = metrics.roc_auc(labels, ranked)
        found["average_precision"] = metrics.average_precision(labels, ranked)
    elif probabilities.shape[1] > 5:
        found["top_5_accuracy"] = metrics.top_k_accuracy(labels, probabilities, k=5)
    return found


def _rows(
    labels: np.ndarray, predicted: np.ndarray, class_names: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    """One row a class."""
    table = metrics.per_class_scores(labels, predicted, num_classes=len(class_names))
    return tuple(
        ClassScores(
            name=name,
            precision=_finite(table["precision"][index]),
            recall=_finite(table["recall"][index]),
            f1=_finite(table["f1"][index]),
            images=int(table["support"][index]),
            predicted=int(table["predicted"][index]),
        )
        for index, name in enumerate(class_names)
    )


def _finite(value: float) -> float | None:
    """A plain float, or None for nan and inf."""
    return float(value) if np.isfinite(value) else None
