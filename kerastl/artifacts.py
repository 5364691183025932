"""The files that a finished run leaves in its folder."""

import csv
import io
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._files import whole_file
from kerastl.datasets.decoding import load_pixels
from kerastl.datasets.sets import ImageSet
from kerastl.evaluation.confusion import plot_confusion
from kerastl.evaluation.curves import plot_history
from kerastl.evaluation.figures import save_figure
from kerastl.evaluation.grids import plot_mistakes
from kerastl.evaluation.mistakes import most_confident_mistakes
from kerastl.inference.prediction import predict
from kerastl.models.manifest import manifest
from kerastl.models.saving import save_classifier
from kerastl.training.phase import TrainingHistory

_MISTAKES = 12
# What is said of the model beside it.
_ABOUT = ("report.json", "history.csv", "curves.png", "confusion.png", "examples.png")


def check_output(output: Path, overwrite: bool) -> None:
    """Raise unless results may be written into the folder.

    Asked before the work: what cannot be written is lost after it.

    Raises:
        ValueError: If it is a file, holds something and may not be overwritten, or
            cannot be made or written to.
    """
    if output.exists() and not output.is_dir():
        fail("output", "a folder", str(output), "It is a file.")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        hint = "Pass overwrite=True to replace its files, or name another folder."
        fail("output", "a new or empty folder", str(output), hint)
    _try_writing(output)


def _try_writing(output: Path) -> None:
    """Raise unless a file can be made in the folder; nothing of the trial stays."""
    missing = [path for path in (output, *output.parents) if not path.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        hint = f"{error.strerror or error}."
        fail("output", "a folder that can be written to", str(output), hint)
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def write_artifacts(
    output: Path,
    *,
    model: keras.Model,
    history: TrainingHistory,
    report: dict[str, Any],
    shown: ImageSet,
    overwrite: bool = False,
) -> None:
    """Write model, report, history and pictures.

    Each file is whole or absent, and the model comes first: it is what must not be
    lost.

    Args:
        output: Folder; made if it does not exist.
        model: The classifier.
        history: Its training.
        report: JSON-ready dictionary.
        shown: Labelled images for the confusion matrix and the mistakes.
        overwrite: Whether files in the folder may be replaced.

    Raises:
        ValueError: If the folder holds something and may not be overwritten.
        OSError: If a file cannot be written.
    """
    check_output(output, overwrite)
    write_model(output, model)
    _write_text(output / "report.json", _report_text(report))
    _write_text(output / "history.csv", _history_csv(history))
    save_figure(plot_history(history), output / "curves.png")
    _write_examples(output, model, shown)


def write_model(output: Path, model: keras.Model) -> None:
    """Write the model alone; what an earlier run said of its own model goes."""
    output.mkdir(parents=True, exist_ok=True)
    save_classifier(model, output / "model.keras")
    for name in _ABOUT:
        (output / name).unlink(missing_ok=True)


def rescue(
    output: Path, model: keras.Model, report: dict[str, Any] | None = None
) -> None:
    """Keep the best weights of a run that broke off, if it has learnt any.

    Args:
        output: Folder; made if it does not exist.
        model: The classifier; the head of a new one ends in zeros.
        report: Of a run that broke off while it was written: once that is there, the
            model is too.
    """
    if not np.any(keras.ops.convert_to_numpy(model.weights[-1])):
        return
    path = output / "report.json"
    written = report is not None and path.exists()
    if written and path.read_text(encoding="utf-8") == _report_text(report):
        return
    write_model(output, model)


def _report_text(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n"


def _write_examples(output: Path, model: keras.Model, shown: ImageSet) -> None:
    """Confusion matrix and most confident mistakes on labelled images."""
    record = manifest(model)
    probabilities = predict(model, shown).probabilities
    labels = shown.labels
    names = record.class_names
    if record.task != "multilabel":
        matrix = np.zeros((len(names), len(names)), int)
        np.add.at(matrix, (labels, probabilities.argmax(axis=-1)), 1)
        save_figure(plot_confusion(matrix, names), output / "confusion.png")
    worst = most_confident_mistakes(labels, probabilities, _MISTAKES)
    # Without a mistake the first images stand in; the panel then says so.
    chosen = worst if len(worst) else np.arange(min(_MISTAKES, len(shown)))
    pixels = load_pixels(
        shown.subset(chosen), image_size=record.image_size, resize=record.resize
    )
    figure = plot_mistakes(
        pixels, labels[chosen], probabilities[chosen], names, count=_MISTAKES
    )
    save_figure(figure, output / "examples.png")


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
