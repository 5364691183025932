"""What is watched while a phase runs: best weights, and losses gone wrong."""

import math
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, nearest
from kerastl.models.compiling import model_task
from kerastl.training.anchoring import l2_sp_penalty
from kerastl.training.phase import BestEpoch

#: A mean loss this many times the loss of knowing nothing is an explosion.
EXPLOSION = 5.0
#: Or one this many times what the phase began with, whichever is more.
_GROWTH = 2.0

#: Parts of the names of quantities that are better when smaller.
_MINIMISED = ("loss", "error", "crossentropy", "mse", "mae", "mape", "msle")

_BATCHES_BETWEEN_CHECKS = 16


def snapshot(
    model: keras.Model, held: Mapping[int, np.ndarray] | None = None
) -> list[np.ndarray]:
    """Copies of every weight, in the order of `model.weights`.

    Args:
        model: Any model.
        held: Copies at hand, by the `id` of weights that cannot have changed since.
    """
    held = held or {}
    # A copy: on JAX the buffer behind the view is given away by the next step.
    return [
        held[id(w)] if id(w) in held else np.array(keras.ops.convert_to_numpy(w))
        for w in model.weights
    ]


def restore(model: keras.Model, values: list[np.ndarray]) -> None:
    """Put back what `snapshot` took."""
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)


def moved_paths(model: keras.Model, before: list[np.ndarray]) -> tuple[str, ...]:
    """Paths of the weights whose bits differ from an earlier snapshot."""
    return tuple(
        weight.path
        for weight, old, new in zip(model.weights, before, snapshot(model), strict=True)
        if not np.array_equal(old, new, equal_nan=True)
    )


def monitored(model: keras.Model, metrics: Any, monitor: str) -> str:
    """The logged quantity that decides what is best, where `"auto"` was asked."""
    if monitor != "auto":
        return monitor
    if metrics is None:
        return "val_accuracy" if model_task(model) else "val_loss"
    names = {getattr(metric, "name", metric) for metric in metrics}
    return "val_accuracy" if names & {"accuracy", "acc"} else "val_loss"


class BestWeights:
    """The best weights over all phases, by one validation quantity.

    Ties go to the lower validation loss, then to the earlier epoch. Where nothing
    is validated, the weights of the last finished epoch are kept as `latest`.

    Args:
        model: The whole model, whichever part of it is being fitted.
        monitor: `"val_accuracy"`, `"val_loss"` or another logged name; losses and
            errors (`"val_mse"` too) are minimised, anything else is maximised.
    """

    def __init__(self, model: keras.Model, monitor: str) -> None:
        """See the class."""
        self.model = model
        self.monitor = monitor
        self.best: BestEpoch | None = None
        self.weights: list[np.ndarray] | None = None
        self.latest: list[np.ndarray] | None = None
        self._score: tuple[float, float] | None = None
        self._held: dict[int, np.ndarray] = {}

    def hold(self, values: list[np.ndarray], part: keras.Model) -> None:
        """Copy only a part's weights from now on: the others cannot change.

        Args:
            values: A snapshot of the whole model as it is.
            part: What is fitted; the whole model, or the part above a cut.
        """
        fitted = {id(weight) for weight in part.weights}
        pairs = zip(self.model.weights, values, strict=True)
        self._held = {id(w): value for w, value in pairs if id(w) not in fitted}

    def snapshot(self) -> list[np.ndarray]:
        """Copies of every weight; of those that are held, the copies at hand."""
        return snapshot(self.model, self._held)

    def score(self, logs: dict[str, float]) -> tuple[float, float] | None:
        """What is compared, higher is better; None if it was not measured."""
        if self.monitor not in logs or not math.isfinite(logs[self.monitor]):
            return None
        value = float(logs[self.monitor])
        if any(word in self.monitor for word in _MINIMISED):
            value = -value
        loss = float(logs.get("val_loss", 0.0))
        return value, -loss if math.isfinite(loss) else -math.inf

    def offer(self, logs: dict[str, float], phase: str, epoch: int) -> None:
        """Keep the model's weights if they are better than the best so far."""
        score = self.score(logs)
        if score is None and self.weights is None:
            self.latest = self.snapshot()
        if score is None or (self._score is not None and score <= self._score):
            return
        self._score = score
        self.best = BestEpoch(phase, epoch, self.monitor, float(logs[self.monitor]))
        self.weights = self.snapshot()


class PhaseMonitor(keras.callbacks.Callback):
    """Records epochs, keeps the best weights and stops a phase that goes wrong.

    Its `epoch` is the number, from 0, of the epoch that runs.

    Args:
        tracker: Best weights over all phases.
        history: Lists to append each epoch's values to.
        phase: Name of the phase.
        patience: Epochs without a better result before the phase stops; None: never.
        ceiling: Largest mean training loss that is not an explosion; None: only
            losses that are not finite are caught. Where the phase begins above half
            of it, twice what it begins with: a fitted head under dropout may.
    """

    def __init__(
        self,
        tracker: BestWeights,
        history: dict[str, list[float]],
        phase: str,
        patience: int | None,
        ceiling: float | None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.tracker = tracker
        self.history = history
        self.phase = phase
        self.patience = patience
        self.ceiling = ceiling
        self.stopped = ""
        self.diverged = False
        self.epoch = 0
        self.epochs = 0
        self.first_loss = 0.0
        self.best_in_phase: list[np.ndarray] | None = None
        self._best_score: tuple[float, float] | None = None
        self._waited = 0
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, and tell the data which epoch begins."""
        self.epoch = epoch
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Look at the loss now and then: reading it waits for the device."""
        if logs and batch % _BATCHES_BETWEEN_CHECKS == 0:
            loss = float(logs["loss"])
            if self.ceiling is not None and self.epochs == batch == 0:
                # Measured before the first update: nothing has exploded yet.
                self.ceiling = max(self.ceiling, _GROWTH * loss)
            self._check_loss(loss, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the epoch, keep the weights if they are the best."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        if "val_loss" in values:
            # Phases without the pull must compare with those that have it.
            values["val_loss"] -= l2_sp_penalty(self.model)
        values["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        values["seconds"] = time.perf_counter() - self._began
        length = max((len(column) for column in self.history.values()), default=0)
        for name in {**self.history, **values}:
            column = self.history.setdefault(name, [])
            missing = length - len(column)
            column += [math.nan] * missing + [values.get(name, math.nan)]
        self.epochs += 1
        if self.epochs == 1:
            self.first_loss = values["loss"]
        self._check_loss(values["loss"], None)
        if self.diverged:
            return
        self._check_monitor(values)
        self.tracker.offer(values, self.phase, length)
        self._wait(values)

    def _check_monitor(self, logs: dict[str, float]) -> None:
        """Raise if there is a validation, and the monitored quantity is not in it."""
        monitor = self.tracker.monitor
        if monitor not in logs and any(name.startswith("val_") for name in logs):
            hint = nearest(monitor, logs)
            fail("monitor", f"one of {', '.join(map(repr, logs))}", monitor, hint)

    def _check_loss(self, loss: float, batch: int | None) -> None:
        if self.diverged:
            return
        if not math.isfinite(loss):
            found = "the loss is not finite"
        elif self.ceiling is not None and loss > self.ceiling:
            found = f"the loss is {loss:.3g}, above {self.ceiling:.3g}"
        else:
            return
        where = "" if batch is None else f", step {batch + 1}"
        self.diverged = True
        self.stopped = f"stopped in epoch {self.epoch + 1}{where}: {found}"
        self.model.stop_training = True

    def _wait(self, logs: dict[str, float]) -> None:
        """Stop after `patience` epochs without a better result in this phase."""
        if self.patience is None or self.tracker.monitor not in logs:
            return
        score = self.tracker.score(logs)
        if score is not None and (self._best_score is None or score > self._best_score):
            self._best_score, self._waited = score, 0
            self.best_in_phase = self.tracker.snapshot()
            return
        self._waited += 1
        if self._waited >= self.patience:
            epochs = f"{self.patience} epoch{'s' * (self.patience != 1)}"
            self.stopped = f"no better result in {epochs}"
            self.model.stop_training = True
