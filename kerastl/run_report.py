"""The parts of the report that a run leaves: settings, counts, seconds."""

import time
from typing import Any

import keras

from kerastl.datasets.sets import ImageSet
from kerastl.models.manifest import manifest
from kerastl.training.phase import PhaseRecord


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        """Start the first stage."""
        self._start = self._last = time.perf_counter()
        self._stages: dict[str, float] = {}

    def stop(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self._stages[stage] = now - self._last
        self._last = now

    def report(self) -> dict[str, float]:
        """Seconds of each stage and in all."""
        total = self._last - self._start
        stages = {name: round(value, 3) for name, value in self._stages.items()}
        return {**stages, "total": round(total, 3)}


def run_settings(model: keras.Model, given: dict[str, Any]) -> dict[str, Any]:
    """What a second run needs to repeat the first.

    Args:
        model: The classifier: what it knows of itself goes before what was given.
        given: The arguments of the run.
    """
    record = manifest(model)
    known = {
        "backbone": record.backbone,
        "weights": record.weights,
        "image_size": list(record.image_size),
        "resize": record.resize,
    }
    others = {name: _plain(value) for name, value in given.items() if name not in known}
    versions = {"keras": keras.__version__, "backend": keras.backend.backend()}
    return {**known, **others, **versions}


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, (tuple, list)):
        return list(value)
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
