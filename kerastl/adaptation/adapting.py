"""Adapting a finished classifier to a folder of images, and what that changed."""

from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.adaptation.choosing import mutual_information
from kerastl.adaptation.domain_rows import labelled_rows, unlabelled_rows
from kerastl.adaptation.label_shift import ShiftReport, set_prior, shift_report
from kerastl.adaptation.norm_statistics import adapt_statistics
from kerastl.tasks.task import bind_known

METHODS = ("auto", "statistics", "prior")


@dataclass(frozen=True)
class AdaptationReport(Tabular):
    """What adapting did to a classifier.

    Attributes:
        method: `"statistics"`, `"prior"` or `"none"`.
        reason: Why that.
        images: Target images.
        moved: Paths of the weights that changed.
        changed: Target images with another answer than before, 0 to `images`.
        before: Class name to how often it was the answer.
        after: The same now.
        mutual_information: Before and now: see `TargetScores`.
        source_accuracy: Before and now on the source's images; None without such.
        shift: How the domains differ; None without source images.
    """

    method: str
    reason: str
    images: int
    moved: tuple[str, ...]
    changed: int
    before: dict[str, int]
    after: dict[str, int]
    mutual_information: tuple[float, float]
    source_accuracy: tuple[float, float] | None = None
    shift: ShiftReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        shift = None if self.shift is None else self.shift.to_dict()
        return {**asdict(self), "shift": shift}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"class": name, "before": old, "after": self.after[name]}
            for name, old in self.before.items()
        ]

    def __str__(self) -> str:
        """A short account, with a table of the answers."""
        lines = [f"{self.method}: {self.reason}", f"{len(self.moved)} weights changed"]
        lines.append(f"{self.changed} of {self.images} answers changed")
        width = max(map(len, (*self.before, "class")))
        lines.append(f"{'class':<{width}}  before  after")
        for name, old in self.before.items():
            lines.append(f"{name:<{width}}  {old:>6}  {self.after[name]:>5}")
        old, new = self.mutual_information
        lines.append(f"mutual information {old:.3f} before, {new:.3f} after")
        if self.method == "statistics":
            lines.append("whether it helped only labels can tell: look at some answers")
        if self.source_accuracy is not None:
            old, new = self.source_accuracy
            lines.append(f"accuracy on the source {old:.1%} before, {new:.1%} after")
        return "\n".join(lines)


def adapt(
    model: keras.Model,
    target: Any,
    *,
    source: Any = None,
    method: str = "auto",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> AdaptationReport:
    """Adapt a finished classifier to unlabelled images, without training it.

    With labelled images of the source it first measures what has changed, and does
    what fits: nothing, other shares of the classes (`set_prior`), or BatchNorm's
    statistics (`adapt_statistics`). Without any it does the last. That may lose: with
    the statistics of pre-training held, as phases hold them by default, the target's
    alone cost points in six pairs of domains of seven (`benchmarks/adaptation.md`).
    Whether it helped, no figure here can prove: look at some answers, best at fifty
    with labels.

    Args:
        model: Classifier of one class an image, changed in place.
        target: Images: a folder, files, an array or an `ImageSet`; labels that come
            with them are not looked at.
        source: Labelled images that it was not trained on; or None.
        method: `"auto"`, `"statistics"` or `"prior"`, which needs the source.
        batch_size: Images at a time, at least 2.
        progress: Called with (done, total), for the statistics.

    Returns:
        What changed, in weights and in answers.

    Raises:
        ValueError: If the method needs what is not there.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.random.default_rng(0).integers(0, 256, (120, 96, 96, 3))
        >>> adapt(model, images.astype("uint8")).method
        'statistics'
    """
    check_choice("method", method, METHODS)
    check_integer("batch_size", batch_size, 2)
    if method == "prior" and source is None:
        fail("source", "given for method='prior'", None)
    bound = bind_known(model)
    names = bound.task.class_names if bound.task.single_class else ()
    weights = {w.path: np.array(keras.ops.convert_to_numpy(w)) for w in model.weights}
    old = unlabelled_rows(bound, target, "target", batch_size)
    shift, reason, scores = None, "as was asked", []
    if source is not None:
        known = labelled_rows(bound, source, "source", batch_size)
        scores.append(float((known.predicted == known.labels).mean()))
        shift = shift_report(model, source, target, batch_size=batch_size)
    if method == "auto":
        kinds = {"none": "none", "prevalence": "prior", "images": "statistics"}
        method = "statistics" if shift is None else kinds[shift.kind]
        reason = "nothing is known of the source" if shift is None else str(shift)
    if method == "prior":
        set_prior(model, shift.prior)
    if method == "statistics":
        given = {"batch_size": batch_size, "progress": progress}
        adapt_statistics(model, target, **given)
    # A temperature may have gone with the statistics.
    bound = bind_known(model)
    new = unlabelled_rows(bound, target, "target", batch_size)
    if source is not None:
        known = labelled_rows(bound, source, "source", batch_size)
        scores.append(float((known.predicted == known.labels).mean()))
    moved = tuple(
        w.path
        for w in model.weights
        if not np.array_equal(weights[w.path], keras.ops.convert_to_numpy(w))
    )
    counts = [
        dict(
            zip(
                names,
                map(int, np.bincount(rows.predicted, minlength=len(names))),
                strict=True,
            )
        )
        for rows in (old, new)
    ]
    return AdaptationReport(
        method=method,
        reason=reason,
        images=len(old.predicted),
        moved=moved,
        changed=int((old.predicted != new.predicted).sum()),
        before=counts[0],
        after=counts[1],
        mutual_information=tuple(
            mutual_information(rows.probabilities) for rows in (old, new)
        ),
        source_accuracy=tuple(scores) if scores else None,
        shift=shift,
    )
