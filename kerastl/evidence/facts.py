"""What a report is made of: a model, what it says of images, and how it was trained."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.data.audit import AuditReport, audit
from kerastl.data.images import load_pixels
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet
from kerastl.evaluation.slices import SliceReport, slice_report
from kerastl.explain.attribution import Explanation, explain
from kerastl.features.label_issues import LabelIssues, find_label_issues
from kerastl.features.sources import labelled_examples
from kerastl.prediction import scored
from kerastl.tasks.building import load_model
from kerastl.tasks.classification_report import EvaluationReport
from kerastl.tasks.task import BoundModel, bind_known

#: Images that slices are made of at most, and that are looked at in a block.
_MOST, _BLOCK = 5000, 256
#: Mistakes that get a map.
_MAPPED = 12


@dataclass(frozen=True, eq=False)
class Facts:
    """All that a report says, before it is written down.

    Attributes:
        bound: The model.
        examples: Labelled examples that were scored.
        part: What they are called: `"test"`, `"validation"`.
        report: The task's report on them.
        predictions: What the model said of them.
        targets: Their targets, as the model's outputs are ordered.
        run: A run's report.json; empty where there is none.
        history: Its rows, one an epoch.
        pixels: Gives images by index, as the network takes them; None of texts.
        slices: Accuracy by brightness and the like, or None.
        issues: Doubtful labels, or None.
        audited: Faults of the examples, or None.
        mistakes: Indices of mistakes, the surest first.
        maps: Where the network looked, for the first of them; or None.
        figures: What the task drew of the examples, where it has; or None.
    """

    bound: BoundModel
    examples: Any
    part: str
    report: Any
    predictions: Any
    targets: Any
    run: dict[str, Any] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    pixels: Callable[[np.ndarray], np.ndarray] | None = None
    slices: SliceReport | None = None
    issues: LabelIssues | None = None
    audited: AuditReport | None = None
    mistakes: tuple[int, ...] = ()
    maps: Explanation | None = None
    figures: dict[str, Any] | None = None

    @property
    def classes(self) -> bool:
        """Whether each example has a class: what most sections are about."""
        return isinstance(self.report, EvaluationReport)

    @property
    def single(self) -> bool:
        """Whether it has exactly one."""
        return self.classes and self.bound.task.single_class

    def wrong(self) -> np.ndarray:
        """Whether each example is answered wrongly `(n,)`."""
        given = np.asarray(self.predictions.indices) != np.asarray(self.targets)
        return given.reshape(len(given), -1).any(axis=1)

    def name_of(self, place: int) -> str:
        """The example's file, text or number."""
        if isinstance(self.examples, TextSet):
            return self.examples.texts[place]
        paths = self.examples.paths
        return f"image {place}" if paths is None else Path(paths[place]).name


def read_run(path: str | Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """The model's file, the report and the history of a run's folder, or of a file.

    Raises:
        FileNotFoundError: If there is no model.
    """
    place = Path(path).expanduser()
    model = place / "model.keras" if place.is_dir() else place
    if not model.is_file():
        hint = "Pass the folder that `kerastl train` wrote, or a .keras file."
        fail("model", "a run or a model's file", str(path), hint, FileNotFoundError)
    report: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    # A model that was moved alone has neither beside it.
    try:
        read = json.loads((model.parent / "report.json").read_text(encoding="utf-8"))
        report = read if isinstance(read, dict) else {}
        with (model.parent / "history.csv").open(encoding="utf-8", newline="") as rows:
            history = list(csv.DictReader(rows))
    except (OSError, ValueError):
        pass
    return model, report, history


def facts_of_model(
    model: keras.Model | str | Path, data: Any, *, part: str = "scored"
) -> Facts:
    """Score a model on labelled examples, and look at everything there is to see.

    Args:
        model: A model, its file, or the folder of a run.
        data: As `evaluate` takes it.
        part: What the examples are called.
    """
    run: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    if isinstance(model, (str, Path)):
        file, run, history = read_run(model)
        model = load_model(file)
    bound = bind_known(model)
    examples = labelled_examples(bound, data, "data")
    report, predictions = scored(bound, examples)
    made = facts(bound, examples, part, report, predictions, run=run, history=history)
    if not made.classes or isinstance(examples, TextSet):
        return made
    return _looked_into(made)


def facts(
    bound: BoundModel,
    examples: Any,
    part: str,
    report: Any,
    predictions: Any,
    *,
    run: dict[str, Any],
    history: Sequence[dict[str, Any]],
    pixels: Callable[[np.ndarray], np.ndarray] | None = None,
    figures: dict[str, Any] | None = None,
) -> Facts:
    """The facts that cost next to nothing once a model's answers are known."""
    record, texts = bound.record, isinstance(examples, TextSet)
    if pixels is None and isinstance(examples, ImageSet) and record.channels in (1, 3):

        def pixels(indices: np.ndarray) -> np.ndarray:
            return load_pixels(
                examples.subset(indices),
                image_size=record.image_size,
                resize=record.resize,
            )

    targets = bound.task.targets(examples)
    made = Facts(
        bound,
        examples,
        part,
        report,
        predictions,
        targets,
        run,
        history,
        None if texts else pixels,
        figures=figures,
    )
    if not made.classes or len(predictions) != len(targets):
        return made
    mistakes, slices = _mistakes(made), None
    if made.pixels is not None:
        traits = _traits(made.pixels, min(len(targets), _MOST))
        kept = slice(min(len(targets), _MOST))
        given = np.asarray(predictions.indices)[kept]
        slices = slice_report(np.asarray(targets)[kept], given, traits)
    return Facts(**{**vars(made), "mistakes": mistakes, "slices": slices})


def _looked_into(made: Facts) -> Facts:
    """With what takes passes of its own: audit, doubtful labels, maps of mistakes."""
    found: dict[str, Any] = {"audited": audit(made.examples)}
    if made.single and min(np.bincount(made.targets)[np.unique(made.targets)]) > 1:
        # These images were not trained on: the model's own features may judge them.
        own = {"backbone": made.bound.model, "resize": made.bound.record.resize}
        found["issues"] = find_label_issues(made.examples, **own)
    if made.pixels is not None and made.mistakes:
        chosen = list(made.mistakes[:_MAPPED])
        found["maps"] = _maps(made, chosen)
    return Facts(**{**vars(made), **found})


def _maps(made: Facts, chosen: list[int]) -> Explanation | None:
    """Where the network looked in some images; None where it cannot be cut."""
    images = made.examples.subset(chosen)
    given = np.asarray(made.predictions.indices)[chosen]
    target = given.tolist() if given.ndim == 1 else None
    try:
        return explain(made.bound.model, images, target=target)
    except ValueError:
        return None


def _mistakes(made: Facts) -> tuple[int, ...]:
    """Examples that are answered wrongly, the surest first."""
    wrong = np.flatnonzero(made.wrong())
    sure = np.asarray(made.predictions.confidences)[wrong]
    return tuple(wrong[np.argsort(-sure, kind="stable")].tolist())


def _traits(
    pixels: Callable[[np.ndarray], np.ndarray], total: int
) -> dict[str, np.ndarray]:
    """What can be measured of each image as the network takes it."""
    rows = []
    for start in range(0, total, _BLOCK):
        block = np.asarray(pixels(np.arange(start, min(start + _BLOCK, total))))
        grey = block.mean(axis=-1, dtype=np.float32)
        along = (np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
        means = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), sum(along)
        rows.append(np.stack(means, axis=1))
    brightness, contrast, sharpness = np.concatenate(rows).astype(np.float64).T
    return {"brightness": brightness, "contrast": contrast, "sharpness": sharpness}
