"""The whole evaluation of a classifier on labelled images, as one value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_number, fail
from kerastl.evaluation import metrics, scores
from kerastl.evaluation.arguments import as_probabilities, decide
from kerastl.evaluation.calibration import ReliabilityCurve, reliability_curve
from kerastl.evaluation.intervals import wilson_interval
from kerastl.evaluation.tables import report_text

TASKS = ("multiclass", "binary", "multilabel")


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


@dataclass(frozen=True)
class ConfusedPair:
    """One kind of mistake.

    Attributes:
        true: Name of the true class.
        predicted: Name of the class given instead.
        images: How many images.
        share: Of the true class's images, 0 to 1.
    """

    true: str
    predicted: str
    images: int
    share: float


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


def most_confused_pairs(
    confusion: np.ndarray, class_names: tuple[str, ...], *, count: int = 10
) -> tuple[ConfusedPair, ...]:
    """The commonest mistakes in a confusion matrix.

    Ordered by number of images, so that large classes come first; `share` tells which
    class suffers.

    Args:
        confusion: Integer `(classes, classes)`, rows true.
        class_names: One name per class.
        count: How many pairs at most.

    Returns:
        The pairs, the commonest first; empty without mistakes.

    Example:
        >>> most_confused_pairs(np.array([[3, 1], [0, 4]]), ("cat", "dog"))[0].share
        0.25
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = []
    for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True):
        images = int(wrong[true, given])
        if images:
            share = images / int(confusion[true].sum())
            pairs.append(
                ConfusedPair(class_names[true], class_names[given], images, share)
            )
    return tuple(pairs)


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
        "log_loss": scores.log_loss(labels, probabilities),
        "brier": scores.brier(labels, probabilities),
    }
    if task == "multilabel":
        found["micro_f1"] = metrics.f1(labels, predicted, average="micro")
        found["label_accuracy"] = metrics.label_accuracy(labels, predicted)
    else:
        found["balanced_accuracy"] = metrics.balanced_accuracy(labels, predicted)
    if task != "multiclass":
        ranked = probabilities if task == "multilabel" else probabilities[:, 1]
        found["roc_auc"] = scores.roc_auc(labels, ranked)
        found["average_precision"] = scores.average_precision(labels, ranked)
    elif probabilities.shape[1] > 5:
        found["top_5_accuracy"] = scores.top_k_accuracy(labels, probabilities, k=5)
    return found


def _rows(
    labels: np.ndarray, predicted: np.ndarray, class_names: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    """One row a class."""
    table = metrics.per_class_scores(labels, predicted, len(class_names))
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
