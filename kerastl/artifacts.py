"""What a run leaves in its folder: the model, its report, history and pictures."""

import csv
import io
import json
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from kerastl._files import OutputFolder, user_path, whole_file
from kerastl._json import finite
from kerastl.data.images import load_pixels
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet
from kerastl.evaluation.figures import save_figure
from kerastl.evaluation.plots import plot_history
from kerastl.evidence.facts import facts
from kerastl.evidence.page import page
from kerastl.models.record import read_record
from kerastl.prediction import predict
from kerastl.tasks.building import save_model
from kerastl.tasks.task import bind, bind_known, picture_names
from kerastl.training.phase import PhaseRecord, TrainingHistory
from kerastl.training.resume import check_same

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What is said of the model beside it, with the task's pictures.
_MODEL, _ABOUT = (
    "model.keras",
    ("report.json", "report.html", "history.csv", "curves.png"),
)


def output_folder(path: str | Path, overwrite: bool = False) -> OutputFolder:
    """The folder of a run, to be claimed: see `OutputFolder`."""
    return OutputFolder(path, (_MODEL, *_about()), overwrite)


class EndedError(ValueError):
    """The run that was to go on has ended."""


class ResumedFolder(OutputFolder):
    """The folder of a run that goes on where it was killed, or begins.

    Beside what every run writes it has a folder `resume`: what the run was given, and
    its states until it has ended.

    Args:
        path: The folder; made if it does not exist.
        given: All that decides the run besides its data.

    Raises:
        EndedError: If the run has ended.
        ValueError: If the run was given something else.
    """

    def __init__(self, path: str | Path, given: dict[str, Any]) -> None:
        """See the class."""
        place = user_path("resume", path)
        self.states = place / "resume"
        self._told = self.states / "run.json"
        self.given = json.loads(json.dumps(given, default=_name_of))
        ours = self._told.is_file() or (
            place.is_dir() and all(each == self.states for each in _shown(place))
        )
        super().__init__(place, (_MODEL, *_about()), ours, argument="resume")
        if not self._told.is_file():
            return
        before = json.loads(self._told.read_text(encoding="utf-8"))
        check_same("resume", place, before["given"], self.given)
        if before["ended"]:
            message = f"The run in {place} has ended: nothing is trained any more."
            raise EndedError(message)

    def __enter__(self) -> Self:
        """Claim the folder, and note what the run was given."""
        super().__enter__()
        self.states.mkdir(exist_ok=True)
        self._tell(ended=False)
        return self

    def end(self) -> None:
        """The run has ended, and all is written: its states are of no use any more."""
        self._tell(ended=True)
        for left in self.states.glob("*.npz"):
            left.unlink()

    def _tell(self, ended: bool) -> None:
        told = {"given": self.given, "ended": ended}
        _write_text(self._told, json.dumps(told, indent=2) + "\n")


def _shown(folder: Path) -> list[Path]:
    """What is in a folder, without drafts and claims."""
    return [each for each in folder.iterdir() if not each.name.startswith(".")]


def _name_of(value: Any) -> str:
    """What JSON does not know, equal in every process."""
    known = isinstance(value, Path)
    return str(value) if known else getattr(value, "__name__", type(value).__name__)


def _about() -> tuple[str, ...]:
    """Names of what is said of the model beside it."""
    pictures = (f"{picture}.png" for picture in picture_names())
    return (*_ABOUT, *pictures)


def write_artifacts(
    folder: OutputFolder,
    result: Any,
    pixels: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Write model, report, history and pictures.

    Each file is whole or absent, and the model comes first: it is what must not be
    lost.

    Args:
        folder: Claimed.
        result: A `TransferResult`: the model, its training, its scores.
        pixels: Gives the images by index that the pictures show, where they are at
            hand.

    Raises:
        ValueError: If a file in the folder may not be replaced.
        OSError: If a file cannot be written.
    """
    write_model(folder, result.model)
    _write_text(folder.writable("report.json"), _report_text(result.report))
    _write_text(folder.writable("history.csv"), _history_csv(result.history))
    save_figure(plot_history(result.history), folder.writable("curves.png"))
    figures = _pictures(result, pixels)
    for name, figure in figures.items():
        save_figure(figure, folder.writable(f"{name}.png"))
    _write_text(folder.writable("report.html"), _page(result, pixels, figures))
    if isinstance(folder, ResumedFolder):
        folder.end()


def write_model(folder: OutputFolder, model: keras.Model) -> Path:
    """Write the model alone; what an earlier run said of its own model goes."""
    path = folder.writable(_MODEL)
    save_model(model, path)
    folder.remove(_about())
    return path


def rescue(
    folder: OutputFolder, model: keras.Model, report: dict[str, Any] | None = None
) -> str | None:
    """Keep the best weights of a run that broke off, if it has learnt any.

    Args:
        folder: Claimed; where the model cannot be written to it, it is kept elsewhere.
        model: The classifier.
        report: Of a run that broke off while it was written: once that is there, the
            model is too.

    Returns:
        Where the model is, in a sentence; None if nothing was learnt.
    """
    if not bind(model).head_has_learnt:
        return None
    path = folder.path / "report.json"
    written = path.read_text(encoding="utf-8") if report and path.exists() else None
    if written is not None and written == _report_text(report):
        return f"The model is in {folder.path / _MODEL}."
    for place in chain([folder], folder.spare()):
        # Whatever stands in the way here, it is tried elsewhere.
        with suppress(OSError, ValueError):
            return f"The best weights so far are in {write_model(place, model)}."
    return "The weights could be kept nowhere."


def run_settings(model: keras.Model, given: dict[str, Any]) -> dict[str, Any]:
    """What a second run needs to repeat the first.

    Args:
        model: The classifier: what it knows of itself goes before what was given.
        given: The arguments of the run.
    """
    record = read_record(model)
    known: dict[str, Any] = {"backbone": record.backbone, "weights": record.weights}
    if record.text is not None:
        names = ("sequence_length", "truncate", "lowercase")
        known |= {name: record.text[name] for name in names}
        given = {k: v for k, v in given.items() if k not in _OF_IMAGES}
    else:
        known |= {"image_size": list(record.trained_size or record.image_size)}
        known |= {"resize": record.resize, "channels": record.channels}
    others = {name: _plain(value) for name, value in given.items() if name not in known}
    return {**known, **others, **_versions()}


#: Settings that texts have none of.
_OF_IMAGES = (
    "image_size",
    "channels",
    "resize",
    "alpha",
    "preprocessing",
    "augment",
    "views",
)


def _versions() -> dict[str, str]:
    """Of all that the numbers of a run depend on."""
    backend = keras.backend.backend()
    names = ("kerastl", "keras", backend, "tensorflow", "numpy")
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    found = {name: module.__version__ for name, module in loaded.items()}
    return {**found, "backend": backend, "python": platform.python_version()}


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, keras.Model):
        return value.name
    if callable(value):
        # A recipe of the user's own: its address would differ in every run.
        return getattr(value, "__name__", type(value).__name__)
    known = value is None or isinstance(value, (str, int, float, dict))
    return value if known else str(value)


def split_counts(images: ImageSet | None) -> dict[str, Any] | None:
    """How many images of each class a part holds."""
    if images is None:
        return None
    return {"images": len(images), "classes": images.counts()}


def phase_row(record: PhaseRecord) -> dict[str, Any]:
    """A phase's record, with counts in place of lists of weights."""
    row = {**vars(record), "moved": len(record.moved)}
    row["trainable"] = len(record.trainable)
    return row


def _report_text(report: dict[str, Any]) -> str:
    """JSON as `report.schema.json` describes it; what is not a number is null."""
    plain = finite(report)
    return json.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n"


def _pictures(
    result: Any, pixels: Callable[[np.ndarray], np.ndarray] | None
) -> "dict[str, Figure]":
    """The task's pictures of labelled images, by name."""
    bound, shown = bind_known(result.model), getattr(result.splits, result.shown)
    record = bound.record
    said = result.predictions.get(result.shown) or predict(result.model, shown)
    # Neither texts nor bands other than red, green and blue can be shown.
    bands = isinstance(shown, ImageSet) and record.channels not in (1, 3)
    if bands and bound.task.dense:
        return {}
    if bands or isinstance(shown, TextSet):
        return bound.task.pictures(shown.labels, said, None)

    def read(indices: np.ndarray) -> np.ndarray:
        return load_pixels(
            shown.subset(indices), image_size=record.image_size, resize=record.resize
        )

    if bound.task.dense:
        # Beside what is said of places in the image, the image at its own size.
        pixels = lambda indices: [shown.image(i) for i in indices.tolist()]  # noqa: E731
    return bound.task.pictures(shown.labels, said, pixels or read)


def _page(
    result: Any,
    pixels: Callable[[np.ndarray], np.ndarray] | None,
    figures: "dict[str, Figure]",
) -> str:
    """The report on one page, of what is known already: nothing is computed anew."""
    bound, shown = bind_known(result.model), getattr(result.splits, result.shown)
    said = result.predictions.get(result.shown)
    if said is None:
        said = predict(result.model, shown)
    report = result.reports.get(result.shown)
    if report is None:
        report = bound.task.report(bound.task.targets(shown), said)
    known = {"run": result.report, "history": result.history.rows()}
    known |= {"pixels": pixels, "figures": figures}
    return page(facts(bound, shown, result.shown, report, said, **known))


def _history_csv(history: TrainingHistory) -> str:
    rows = history.rows()
    text = io.StringIO()
    names = list(rows[0]) if rows else ["phase", "epoch"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
