"""What a phase that went wrong leaves behind: undone, and said."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from kerastl.models.manifest import find_manifest, set_temperature
from kerastl.training.tracking import (
    BestWeights,
    PhaseMonitor,
    moved_paths,
    restore,
    snapshot,
)


def settle(
    model: keras.Model,
    watch: PhaseMonitor,
    fallback: list[np.ndarray],
    chance: float | None,
) -> None:
    """Undo what went wrong in a phase, and say so.

    Args:
        model: The whole model.
        watch: What was seen of the phase.
        fallback: Weights to go back to if it diverged.
        chance: Loss of a head that knows nothing; None where nobody can say.
    """
    if watch.diverged:
        restore(model, fallback)
        message = f"Phase {watch.phase!r} {watch.stopped}. Lower `learning_rate`."
        warnings.warn(message, RuntimeWarning, stacklevel=5)
        return
    if watch.best_in_phase is not None:
        restore(model, watch.best_in_phase)
    if chance is not None and watch.first_loss > 2 * chance:
        message = (
            f"Phase {watch.phase!r} began with a loss of {watch.first_loss:.2f}; "
            f"knowing nothing costs {chance:.2f}. Are the labels right, "
            "and `learning_rate` low enough?"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=5)


@contextmanager
def temperature_set_aside(model: keras.Model) -> Iterator[None]:
    """Train the head's own logits; a temperature comes back if no weight has moved.

    Else it is gone, with a warning: it belonged to weights that are gone.

    Args:
        model: The whole model.
    """
    record = find_manifest(model)
    if record is None or record.temperature == 1:
        yield
        return
    before = snapshot(model)
    set_temperature(model, 1.0)
    try:
        yield
    finally:
        if moved_paths(model, before):
            message = "The model was calibrated for other weights: calibrate it again."
            warnings.warn(message, stacklevel=4)
        else:
            set_temperature(model, record.temperature)


def what_is_kept(tracker: BestWeights) -> str:
    """Which weights an interrupted run leaves in the model, in words."""
    if tracker.best is not None:
        return f"the best weights so far, of phase {tracker.best.phase!r}"
    if tracker.latest is not None:
        return "the weights of the last finished epoch"
    return "the weights that the run began with"


def has_learnt(model: keras.Model) -> bool:
    """Whether the head is anything but new: a new one ends in zeros."""
    if find_manifest(model) is None:
        return True
    return bool(np.any(keras.ops.convert_to_numpy(model.layers[-2].weights[0])))
