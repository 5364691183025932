"""A classifier's scores on labelled examples, and how they print."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_number, fail
from kerastl._tables import Tabular
from kerastl.data.sets import counted
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

_ROWS_SHOWN = 20
_PAIRS_SHOWN = 5
_NAME_WIDTH = 30


def report_text(report: "EvaluationReport") -> str:
    """The report in lines of at most 80 characters."""
    blocks = [_summary(report), _class_table(report.per_class, report.noun)]
    if report.most_confused:
        blocks.append(_confused(report))
    return "\n\n".join(blocks)


def percent(share: float) -> str:
    """`0.8642` as `"86.4 %"`."""
    return f"{100 * share:.1f} %"


def _summary(report: "EvaluationReport") -> str:
    """The numbers about all images."""
    low, high = report.accuracy_interval
    article = "an" if report.noun[0] in "aeiou" else "a"
    images = counted(report.images, report.noun)
    lines = [f"{images}, {len(report.class_names)} classes, {report.task}"]
    if report.seconds is not None:
        each = 1000 * report.seconds / report.images
        lines[0] += f", {report.seconds:.2f} s ({each:.1f} ms {article} {report.noun})"
    title = "accuracy (all labels right)" if report.confusion is None else "accuracy"
    limits = f"(95 % interval {percent(low)} to {percent(high)})"
    lines.append(f"{title:<28}{percent(report.accuracy):>8}  {limits}")
    lines.append(f"{'most frequent answer':<28}{percent(report.baseline):>8}")
    if report.threshold is not None:
        words = f"threshold for {short_name(report.class_names[1], 14)}"
        lines.append(f"{words:<28}{report.threshold:>8.3f}")
    for name, value in report.metrics.items():
        shown = "-" if value is None else f"{value:.3f}"
        lines.append(f"{name.replace('_', ' '):<28}{shown:>8}")
    return "\n".join(lines)


def _class_table(rows: "tuple[ClassScores, ...]", noun: str) -> str:
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
    title = f"precision  recall      f1  {f'{noun}s':>6}  predicted"
    lines = [f"{'class':<{width}}  {title}"]
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
class EvaluationReport(Tabular):
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
        noun: What one example is called, in print.
        threshold: The second of two classes was given from this probability on; None:
            the more probable one.
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
    noun: str = "image"
    threshold: float | None = None

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
            "threshold": self.threshold,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [dict(vars(row)) for row in self.per_class]

    def _heading(self) -> str:
        return _summary(self)

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        return report_text(self)


def make_report(
    task: Any,
    labels: ArrayLike,
    probabilities: ArrayLike,
    seconds: float | None = None,
    threshold: float | None = None,
) -> EvaluationReport:
    """The report of one of the classification tasks: see `classification_report`."""
    labels, probabilities = _check_fit(task, labels, probabilities)
    if seconds is not None:
        check_number("seconds", seconds, 0.0)
    names = task.class_names
    predicted = decide(labels, probabilities)
    if threshold is not None:
        predicted = (probabilities[:, 1] >= threshold).astype(np.int64)
    right = (labels == predicted).reshape(len(labels), -1).all(axis=1)
    table = None
    if task.single_class:
        table = metrics.confusion_matrix(labels, predicted, len(names))
    curve = reliability_curve(labels, probabilities)
    further = task.further_metrics(labels, probabilities, predicted)
    further["expected_calibration_error"] = curve.error
    return EvaluationReport(
        task=task.name,
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
        threshold=threshold,
    )


def _check_fit(
    task: Any, labels: ArrayLike, probabilities: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that fit the task and its names."""
    axes = 1 if task.single_class else 2
    if np.ndim(labels) != axes:
        shape = "(n, classes)" if axes == 2 else "(n,)"
        hint = 'Did you mean task="multilabel"? For one-hot labels pass'
        hint = f"{hint} labels.argmax(axis=1)." if axes == 1 else ""
        expected = f"of shape {shape} for task={task.name!r}"
        fail("labels", expected, np.shape(labels), hint)
    labels, probabilities = as_probabilities(labels, probabilities)
    columns = probabilities.shape[1]
    if task.num_classes != columns:
        received = f"{task.num_classes} names"
        fail("class_names", f"{columns} names, one per column", received)
    return labels, probabilities


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
