"""A segmenter's scores on labelled images, and how they print."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl._tables import Tabular
from kerastl.evaluation.figures import short_name
from kerastl.evaluation.overlap import dice, image_interval, iou, mean_known

_NAME_WIDTH = 24
_ROWS_SHOWN = 30

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassOverlap:
    """How well the regions of one class are found.

    Attributes:
        name: The class.
        pixels: True pixels of it in all images.
        share: Of all pixels that are of a class, 0 to 1.
        iou: Intersection over union of all its pixels; None where it neither occurs nor
            is predicted.
        iou_interval: Its 95 % limits, by drawing images anew, or None.
        dice: Dice coefficient, or None.
        precision: Share of the pixels called so that are, or None.
        recall: Share of its pixels that are found, or None.
    """

    name: str
    pixels: int
    share: float
    iou: float | None
    iou_interval: Interval | None
    dice: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class SegmentationReport(Tabular):
    """A segmenter's scores on one set of images, at the size of its files.

    All pixels are pooled before anything is divided; pixels of no class count nowhere.

    Attributes:
        images: Number of images scored.
        per_class: One row a class.
        confusion: Pixels by true class (row) and predicted class (column).
        mean_iou: Mean IoU of the classes that occur or are predicted.
        mean_iou_interval: Its 95 % limits, by drawing images anew.
        mean_iou_without_first: The same without class 0, the background where there is
            one; None of two classes of which the second does not occur.
        mean_iou_without_first_interval: Its limits, or None.
        mean_dice: Mean Dice coefficient.
        pixel_accuracy: Share of the pixels that are right.
        baseline: The same of calling every pixel the commonest class.
        seconds: What the predictions took, or None.
    """

    images: int
    per_class: tuple[ClassOverlap, ...]
    confusion: tuple[tuple[int, ...], ...]
    mean_iou: float | None
    mean_iou_interval: Interval | None
    mean_iou_without_first: float | None
    mean_iou_without_first_interval: Interval | None
    mean_dice: float | None
    pixel_accuracy: float
    baseline: float
    seconds: float | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the classes."""
        return tuple(row.name for row in self.per_class)

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        rows = [dict(vars(row)) for row in self.per_class]
        return {"task": "segmentation", **vars(self), "per_class": rows}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [dict(vars(row)) for row in self.per_class]

    def _heading(self) -> str:
        return str(self).partition("\n\n")[0]

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        took = "" if self.seconds is None else f", {self.seconds:.2f} s"
        count = f"{self.images} image{'s' * (self.images != 1)}"
        first = short_name(self.per_class[0].name, 12)
        lines = [f"{count}, {len(self.per_class)} classes, segmentation{took}"]
        for title, value, limits in (
            ("mean IoU", self.mean_iou, self.mean_iou_interval),
            (
                f"mean IoU without {first}",
                self.mean_iou_without_first,
                self.mean_iou_without_first_interval,
            ),
            ("mean Dice", self.mean_dice, None),
            ("pixels right", self.pixel_accuracy, None),
            ("commonest class", self.baseline, None),
        ):
            lines.append(f"{title:<30}{_percent(value):>8}{_between(limits)}")
        lines += [
            "",
            f"{'class':<{_NAME_WIDTH}}{'pixels':>9}{'IoU':>9}{'Dice':>9}",
        ]
        rows = self.per_class[:_ROWS_SHOWN]
        for row in rows:
            name = short_name(row.name, _NAME_WIDTH - 1)
            lines.append(
                f"{name:<{_NAME_WIDTH}}{_percent(row.share):>9}{_percent(row.iou):>9}"
                f"{_percent(row.dice):>9}{_between(row.iou_interval, '')}"
            )
        if len(rows) < len(self.per_class):
            lines.append(f"and {len(self.per_class) - len(rows)} more classes")
        return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _between(limits: Interval | None, words: str = "95 % interval ") -> str:
    if limits is None:
        return ""
    return f"  ({words}{_percent(limits[0])} to {_percent(limits[1])})"


def segmentation_report(
    confusions: np.ndarray,
    class_names: tuple[str, ...],
    seconds: float | None = None,
) -> SegmentationReport:
    """Everything that the pixels of images say about a segmenter.

    Args:
        confusions: `kerastl.metrics.pixel_confusion` of each image,
            `(n, classes, classes)`.
        class_names: In the order of the classes.
        seconds: What the predictions took.
    """
    whole = confusions.sum(axis=0)
    true, given, hit = whole.sum(axis=1), whole.sum(axis=0), np.diag(whole)
    total = max(int(true.sum()), 1)
    overlaps, coefficients = iou(whole), dice(whole)
    limits = image_interval(confusions, iou)
    rows = tuple(
        ClassOverlap(
            name=name,
            pixels=int(true[c]),
            share=float(true[c] / total),
            iou=_known(overlaps[c]),
            iou_interval=_limits(limits[:, c]),
            dice=_known(coefficients[c]),
            precision=float(hit[c] / given[c]) if given[c] else None,
            recall=float(hit[c] / true[c]) if true[c] else None,
        )
        for c, name in enumerate(class_names)
    )

    def rest(matrices: np.ndarray) -> np.ndarray:
        return mean_known(iou(matrices)[..., 1:])

    both = image_interval(confusions, lambda each: mean_known(iou(each)))
    return SegmentationReport(
        images=len(confusions),
        per_class=rows,
        confusion=tuple(tuple(row) for row in whole.tolist()),
        mean_iou=_known(mean_known(overlaps)),
        mean_iou_interval=_limits(both),
        mean_iou_without_first=_known(rest(whole)),
        mean_iou_without_first_interval=_limits(image_interval(confusions, rest)),
        mean_dice=_known(mean_known(coefficients)),
        pixel_accuracy=float(hit.sum() / total),
        baseline=float(true.max() / total),
        seconds=seconds,
    )


def _known(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


def _limits(pair: np.ndarray) -> Interval | None:
    return tuple(pair.tolist()) if np.isfinite(pair).all() else None
