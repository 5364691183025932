"""A detector's scores on labelled images, and how they print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerastl._tables import Tabular
from kerastl.evaluation.detection import AveragePrecision, ClassPrecision
from kerastl.evaluation.figures import short_name

_NAME_WIDTH = 20
_ROWS_SHOWN = 30


@dataclass(frozen=True)
class DetectionReport(Tabular):
    """A detector's scores on one set of images, in the pixels of their files.

    Attributes:
        images: Number of images scored.
        overall: Average precision over the classes that have objects.
        per_class: Of each class.
        anchor_recall: Share of each class's objects that their best anchor overlaps by
            half: what the anchors make possible. Empty where there is nothing to fit.
        threshold: Score from which an object is told.
        found: Objects that were told, of the right class and overlapping by half.
        missed: Objects that were not.
        invented: Told ones that are none.
        seconds: What the predictions took, or None.
    """

    images: int
    overall: ClassPrecision
    per_class: tuple[ClassPrecision, ...]
    anchor_recall: Mapping[str, float]
    threshold: float
    found: int
    missed: int
    invented: int
    seconds: float | None = None

    @property
    def ap(self) -> float | None:
        """Average precision over overlaps from 0.5 to 0.95; None without objects."""
        return self.overall.ap

    @property
    def ap50(self) -> float | None:
        """Average precision at an overlap of one half."""
        return self.overall.ap50

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the classes."""
        return tuple(row.name for row in self.per_class)

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        whole = {key: each for key, each in vars(self.overall).items() if key != "name"}
        return {
            "task": "detection",
            "images": self.images,
            **whole,
            "found": self.found,
            "missed": self.missed,
            "invented": self.invented,
            "threshold": self.threshold,
            "anchor_recall": dict(self.anchor_recall),
            "per_class": [dict(vars(row)) for row in self.per_class],
            "seconds": self.seconds,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [dict(vars(row)) for row in self.per_class]

    def _heading(self) -> str:
        return str(self).partition("\n\n")[0]

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        took = "" if self.seconds is None else f", {self.seconds:.2f} s"
        count = f"{self.images} image{'s' * (self.images != 1)}"
        lines = [f"{count}, {self.overall.objects} objects, detection{took}"]
        for title, value, limits in (
            ("AP50 (overlap of a half)", self.ap50, self.overall.ap50_interval),
            ("AP (overlaps 0.5 to 0.95)", self.ap, self.overall.ap_interval),
        ):
            lines.append(f"{title:<28}{_percent(value):>8}{_between(limits)}")
        sizes = [
            f"{name} {_percent(getattr(self.overall, name))}"
            for name in ("small", "medium", "large")
        ]
        lines.append(f"AP by size: {', '.join(sizes)}")
        lines.append(
            f"told from a score of {self.threshold:g}: {self.found} found, "
            f"{self.missed} missed, {self.invented} invented"
        )
        head = f"{'class':<{_NAME_WIDTH}}{'objects':>9}{'AP50':>9}{'AP':>9}"
        lines += ["", head + ("  anchors fit" if self.anchor_recall else "")]
        rows = self.per_class[:_ROWS_SHOWN]
        for row in rows:
            name = short_name(row.name, _NAME_WIDTH - 1)
            line = f"{name:<{_NAME_WIDTH}}{row.objects:>9}"
            line += f"{_percent(row.ap50):>9}{_percent(row.ap):>9}"
            if self.anchor_recall:
                line += f"{_percent(self.anchor_recall.get(row.name)):>13}"
            lines.append(line)
        if len(rows) < len(self.per_class):
            lines.append(f"and {len(self.per_class) - len(rows)} more classes")
        return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _between(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ""
    return f"  (95 % interval {_percent(limits[0])} to {_percent(limits[1])})"


def detection_report(
    scores: AveragePrecision,
    counts: Sequence[int],
    anchor_recall: Mapping[str, float],
    threshold: float,
    images: int,
    seconds: float | None = None,
) -> DetectionReport:
    """Everything that detections of some images say about a detector.

    Args:
        scores: Average precision.
        counts: Objects found, missed and invented.
        anchor_recall: By class.
        threshold: Score from which an object is told.
        images: Number of images.
        seconds: What the predictions took.
    """
    found, missed, invented = (int(each) for each in counts)
    return DetectionReport(
        images,
        scores.overall,
        scores.per_class,
        anchor_recall,
        threshold,
        found,
        missed,
        invented,
        seconds,
    )
