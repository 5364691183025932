"""What watches a run: best weights, what moved, the guard, averages of weights."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, nearest, warn
from kerastl._compat import (
    is_functional,
    keep_averages,
    own_variables,
    sublayers,
)
from kerastl.data.sources import Source
from kerastl.features.network import source_outputs
from kerastl.models.freezing import Trainable, leaf_layers, resolve_trainable
from kerastl.models.layers import assign_weights
from kerastl.models.record import find_record, forget_prior, put_settings, tell_lost
from kerastl.tasks.compiling import compiled_paths, objective, trainable_paths
from kerastl.tasks.task import BoundModel, Task
from kerastl.training.checks import LAST, metric_names
from kerastl.training.phase import BestEpoch, Phase


@contextmanager
def left_as_found(model: keras.Model) -> Iterator[None]:
    """Put back all of a model that training on its layers changes, whatever happens.

    Weights, statistics, the seeds of dropout, the state of metrics, and what trains.
    The model's optimizer is safe by itself: what is fitted is another model, on the
    same layers.
    """
    # Freezing may change a layer's class: see `make_freezable`.
    layers = [(layer, type(layer), layer.trainable) for layer in sublayers(model)]
    variables = {id(v): v for v in (*model.variables, *model.metrics_variables)}
    # A copy: on JAX the buffer behind the view is given away by the next step.
    kept = [
        (variable, np.array(keras.ops.convert_to_numpy(variable)), variable.trainable)
        for variable in variables.values()
    ]
    try:
        yield
    finally:
        for layer, cls, _ in layers:
            if type(layer) is not cls:
                layer.__class__ = cls
        # Outermost first: setting a layer sets all inside it.
        for layer, _, flag in layers:
            layer.trainable = flag
        for variable, value, flag in kept:
            variable.assign(value)
            variable.trainable = flag


class KeepAverages(keras.callbacks.Callback):
    """Leaves the averages in the model also where a phase ends early.

    Keras keeps them after the last epoch that `fit` was asked for; stopped before, it
    puts back the weights of the last step. To stand behind every callback that stops.
    """

    def __init__(self, averages: keras.callbacks.SwapEMAWeights) -> None:
        """See the class."""
        super().__init__()
        self.averages = averages

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After everybody had a word about going on."""
        if self.model.stop_training:
            keep_averages(self.averages)


def averaging(
    ema: float | None,
) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
    """Callbacks to stand first and last in a phase; none without an average."""
    if ema is None:
        return [], []
    averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    return [averages], [KeepAverages(averages)]


#: Those that wait for a plateau wait anew in each phase, as its own patience does.
WAITING = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)

_FORWARDED = (
    *("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end"),
)


class OneTraining(keras.callbacks.Callback):
    """Shows the user's callbacks one training, where `fit` runs once for each phase.

    They begin once and end once, so that a log that is opened at the beginning holds
    the epochs of all phases. Their epochs go on because `fit` is given its first one.
    They see the whole model, also where what is fitted is the part above a cached one.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], whole: keras.Model
    ) -> None:
        """See the class."""
        super().__init__()
        self.callbacks = tuple(callbacks)
        self.whole = whole
        self._began = False
        self._logs: dict[str, Any] | None = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass on what `fit` was asked for."""
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        """Pass on the whole model, once."""
        super().set_model(model)
        self.whole.stop_training = False
        for callback in () if self._began else self.callbacks:
            callback.set_model(self.whole)

    @property
    def want_training(self) -> tuple[str, ...]:
        """Kinds of those that look at the model that trains, which must be all of it.

        Keras's own kinds for logs and files are content with the whole model beside
        it, which has the weights, and so is whoever does not look at the model.
        """
        return tuple(type(each).__name__ for each in self.callbacks if _looks_in(each))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin in the first phase."""
        for callback in self.callbacks:
            if not self._began or isinstance(callback, WAITING):
                callback.on_train_begin(logs)
        self._began = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """A phase has ended: the end only for those that begin anew in the next.

        `EarlyStopping` may put its best weights back: now, not over the best of all.
        """
        self._logs = logs
        for callback in self.callbacks:
            if isinstance(callback, WAITING):
                callback.on_train_end(logs)

    def end(self) -> None:
        """The last phase has ended, and the best weights are in the model."""
        for callback in self.callbacks:
            if not isinstance(callback, WAITING):
                callback.on_train_end(self._logs)


def _forwarded(hook: str) -> Callable[..., None]:
    def call(self: OneTraining, *args: Any, **options: Any) -> None:
        if not self.callbacks:
            return
        # On JAX whoever asks for the model gets the weights back into its layers.
        fitted = self.model
        for callback in self.callbacks:
            getattr(callback, hook)(*args, **options)
        if self.whole.stop_training:
            fitted.stop_training = True

    return call


for _hook in _FORWARDED:
    setattr(OneTraining, _hook, _forwarded(_hook))


#: Those of Keras's that take logs, rates and weights.
_CONTENT = (
    keras.callbacks.CSVLogger,
    keras.callbacks.EarlyStopping,
    keras.callbacks.History,
    keras.callbacks.LambdaCallback,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)


def _looks_in(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback looks at the model that trains: by kind, or by its code."""
    for kind in type(callback).__mro__:
        if kind is keras.callbacks.Callback:
            break
        if kind.__module__.partition(".")[0] == "keras":
            # One that others extend is content where they are.
            content = any(issubclass(known, kind) for known in _CONTENT)
        else:
            names = {name for each in vars(kind).values() for name in _names(each)}
            content = names.isdisjoint(("model", "_model", "set_model"))
        if not content:
            return True
    return False


def _names(member: Any) -> Iterator[str]:
    """All names in the code of a class's member, inner functions included."""
    member = getattr(member, "fget", None) or getattr(member, "__func__", member)
    codes = [code] if (code := getattr(member, "__code__", None)) else []
    while codes:
        code = codes.pop()
        yield from (code.co_name, *code.co_names)
        codes += [each for each in code.co_consts if hasattr(each, "co_names")]


class TrainableGuard(keras.callbacks.Callback):
    """Stops `fit` before its first step if it would not train what it should.

    That is where `trainable` changed since `compile`: Keras then ignores the change,
    obeys it, or crashes, on JAX with the weights lost. And where it was set to no
    avail: on a layer inside a frozen model, or, on TensorFlow, where it was True
    already; the last leaves no trace, so say what is meant to train. `run_phases` adds
    the guard by itself; it is for your own `model.fit`.

    Args:
        model: Give the model right after `model.compile` where Keras before 3.15
            compiled it; models compiled by kerastl need nothing.
        trainable: What is meant to train besides the head, as for `unfreeze`; None:
            what was compiled.

    Example:
        >>> import keras, numpy, kerastl
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> guard = kerastl.TrainableGuard(model)
        >>> model.layers[0].trainable = False
        >>> x = numpy.zeros((4, 2))
        >>> model.fit(x, x[:, :1], verbose=0, callbacks=[guard])
        Traceback (most recent call last):
            ...
        ValueError: `model` must train what it was compiled to train. ...
    """

    def __init__(
        self, model: keras.Model | None = None, *, trainable: Trainable | None = None
    ) -> None:
        """See the class."""
        super().__init__()
        self.trainable = trainable
        self._compiled = None if model is None else trainable_paths(model)
        self._optimizer = getattr(model, "optimizer", None)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Compare what trains with what was compiled, and with what is meant."""
        self._check_compiled()
        check_reached(self.model)
        if self.trainable is not None:
            check_meant(self.model, self.trainable)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare again: another callback may have changed it."""
        self._check_compiled()

    def _check_compiled(self) -> None:
        model = self.model
        known = compiled_paths(model)
        if self._compiled is not None and model.optimizer is self._optimizer:
            known = self._compiled
        if known is not None:
            check_unchanged(model, known)


def check_unchanged(model: keras.Model, compiled: tuple[str, ...]) -> None:
    """Raise unless exactly the compiled variables train."""
    before, now = set(compiled), set(trainable_paths(model))
    if before == now:
        return
    changes = [
        f"{len(paths)} {word} since compile ({_some(paths)})"
        for word, paths in (("unfrozen", now - before), ("frozen", before - now))
        if paths
    ]
    raise ValueError(
        "`model` must train what it was compiled to train. "
        f"Received: {' and '.join(changes)}. "
        "Call model.compile again, or train with kerastl.run_phases, which does."
    )


def check_reached(model: keras.Model) -> None:
    """Raise if a layer was set to train inside a nested model that is frozen."""
    for nested in sublayers(model):
        # Others may make their layers late, after they were frozen: not set by hand.
        if nested.trainable or not is_functional(nested):
            continue
        inside = [part for part in sublayers(nested) if part.trainable]
        names = [part.name for part in inside if own_variables(part)]
        if names:
            raise ValueError(
                "`model` must train the layers whose `trainable` is True. Received: "
                f"{_some(names)} inside {nested.name!r}, which is frozen, so that "
                f"nothing of it trains. Set {nested.name!r} to True before its layers, "
                "or call kerastl.unfreeze, and compile again."
            )


def check_meant(model: keras.Model, trainable: Trainable) -> None:
    """Raise unless what is meant to train does, and nothing else.

    `x.trainable = True` reaches the layers inside `x` through the property's setter. On
    TensorFlow `KerasAutoTrackable.__setattr__` returns before it where the attribute
    `is` the value already. So over a frozen base, in a model whose own flag has been
    True all along, `model.trainable = True` opens the base on JAX and nothing on
    TensorFlow, and leaves no trace there that somebody tried.
    """
    names = resolve_trainable(model, trainable)
    trained = {id(variable) for variable in model.trainable_variables}
    frozen, opened = [], []
    for layer in leaf_layers(model):
        own = [
            variable for part in sublayers(layer) for variable in own_variables(part)
        ]
        training = any(id(variable) in trained for variable in own)
        held = isinstance(layer, keras.layers.BatchNormalization)
        if layer.name in names and own and not training and not held:
            frozen.append(layer.name)
        if layer.name not in names and training:
            opened.append(layer.name)
    if frozen:
        raise ValueError(
            f"`model` must train what is meant to, {trainable!r}. Received: "
            f"{_some(frozen)} frozen. On TensorFlow `x.trainable = True` does nothing "
            "where it is True already, whatever is frozen inside x: set the frozen "
            "layers themselves, or call kerastl.unfreeze, and compile again."
        )
    if opened:
        raise ValueError(
            f"`model` must train only what is meant to, {trainable!r}, and the head. "
            f"Received: {_some(opened)} that train too. Call kerastl.unfreeze, and "
            "compile again."
        )


def _some(names: Iterable[str]) -> str:
    """The first three in order."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + ", ..." * (len(listed) > 3)


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
    """Copies of every weight, in order; those `held` at hand, by `id`, are not made."""
    held = held or {}
    # A copy: on JAX the buffer behind the view is given away by the next step.
    return [
        held[id(w)] if id(w) in held else np.array(keras.ops.convert_to_numpy(w))
        for w in model.weights
    ]


def restore(model: keras.Model, values: list[np.ndarray]) -> None:
    """Put back what `snapshot` took."""
    assign_weights(model, values)


def moved_paths(model: keras.Model, before: list[np.ndarray]) -> tuple[str, ...]:
    """Paths of the weights whose bits differ from an earlier snapshot."""
    return tuple(
        weight.path
        for weight, old, new in zip(model.weights, before, snapshot(model), strict=True)
        if not np.array_equal(old, new, equal_nan=True)
    )


class EpochScores(keras.callbacks.Callback):
    """Adds to an epoch's logs what a task measures of all validation examples at once.

    Args:
        task: What measures.
        source: Validation data that can be counted.
        batch_size: Examples at a time.
    """

    def __init__(self, task: Task, source: Source, batch_size: int) -> None:
        """See the class."""
        super().__init__()
        self.task = task
        self.source = source
        self.batch_size = batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the results to the logs that later callbacks see."""
        logs.update(self.results(self.model))

    def results(self, model: keras.Model) -> dict[str, float]:
        """The scores, named as Keras names those of validation."""
        outputs = source_outputs(model, self.source, self.batch_size)
        found = self.task.epoch_scores(self.source.targets, outputs)
        return {f"val_{name}": value for name, value in found.items()}


def monitored(
    bound: BoundModel, settings: Mapping[str, Any], monitor: str, epochs: bool = False
) -> str:
    """The logged quantity that decides what is best, where `"auto"` was asked.

    Args:
        bound: The model.
        settings: Its loss and metrics.
        monitor: What was asked.
        epochs: Whether `EpochScores` measures.
    """
    if monitor != "auto":
        return monitor
    if settings["metrics"] is None and bound.task is not None:
        measured = epochs or not bound.task.scores_epochs
        return bound.task.monitor if measured else "val_loss"
    _, metrics = objective(bound, **settings)
    names = [name for metric in metrics for name in metric_names(metric)[-1:]]
    found = [name for name in names if name.endswith(("accuracy", "acc"))]
    # Of several, the stricter: a top five is nearly always right.
    found.sort(key=lambda name: "top_k" in name)
    return f"val_{found[0]}" if found and len(bound.model.outputs) == 1 else "val_loss"


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
        self.best_score: tuple[float, float] | None = None
        self.held: dict[int, np.ndarray] = {}

    def copy_only(self, values: list[np.ndarray], part: keras.Model) -> None:
        """Copy only a part's weights from now on: the others cannot change."""
        fitted = {id(weight) for weight in part.weights}
        pairs = zip(self.model.weights, values, strict=True)
        self.held = {id(w): value for w, value in pairs if id(w) not in fitted}

    def snapshot(self) -> list[np.ndarray]:
        """Copies of every weight; of those that are held, the copies at hand."""
        return snapshot(self.model, self.held)

    def score(self, logs: dict[str, float]) -> tuple[float, float] | None:
        """What is compared, higher is better; None if it was not measured."""
        if self.monitor not in logs or not math.isfinite(logs[self.monitor]):
            return None
        value = float(logs[self.monitor])
        if any(word in self.monitor for word in _MINIMISED):
            value = -value
        loss = float(logs.get("val_loss", 0.0))
        return value, -loss if math.isfinite(loss) else -math.inf

    def update(self, logs: dict[str, float], phase: str, epoch: int) -> None:
        """Keep the model's weights if they are better than the best so far."""
        score = self.score(logs)
        if score is None and self.weights is None:
            self.latest = self.snapshot()
        if score is None or (self.best_score is not None and score <= self.best_score):
            return
        self.best_score = score
        self.best = BestEpoch(phase, epoch, self.monitor, float(logs[self.monitor]))
        self.weights = self.snapshot()


def history_length(history: Mapping[str, Sequence[float]]) -> int:
    """Number of epochs in a history so far."""
    return max((len(column) for column in history.values()), default=0)


class PhaseMonitor(keras.callbacks.Callback):
    """Records epochs, keeps the best weights and stops a phase that goes wrong.

    Its `epoch` is the number, from 0 in each phase, of the epoch that runs; `fit`
    and the callbacks count over all phases, from `first` in this one.

    Args:
        tracker: Best weights over all phases.
        history: Lists to append each epoch's values to.
        phase: The phase that runs.
        deadline: When to stop, by `time.monotonic`.
        ceiling: Largest mean training loss that is not an explosion; None: only
            losses that are not finite are caught. Where the phase begins above half
            of it, twice what it begins with: a fitted head under dropout may.
    """

    def __init__(
        self,
        tracker: BestWeights,
        history: dict[str, list[float]],
        phase: Phase,
        ceiling: float | None,
        deadline: float = math.inf,
    ) -> None:
        """See the class."""
        super().__init__()
        self.tracker = tracker
        self.history = history
        self.phase = phase
        self.ceiling = ceiling
        self.deadline = deadline
        self.first = history_length(history)
        self.stopped = ""
        self.diverged = False
        self.epoch = 0
        self.epochs = 0
        self.first_loss = 0.0
        self.best_in_phase: list[np.ndarray] | None = None
        self.best_score: tuple[float, float] | None = None
        self.waited = 0
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, and tell the data which epoch begins."""
        self.epoch = epoch - self.first
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Look at the loss now and then: reading it waits for the device."""
        if time.monotonic() >= self.deadline:
            self._end_in_time()
        if logs and batch % _BATCHES_BETWEEN_CHECKS == 0:
            loss = float(logs["loss"])
            if self.ceiling is not None and self.epochs == batch == 0:
                # Measured before the first update: nothing has exploded yet.
                self.ceiling = max(self.ceiling, _GROWTH * loss)
            self._check_loss(loss, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the epoch, keep the weights if they are the best."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        # On JAX whoever asks for the model gets the weights back into it.
        rate = self.model.optimizer.learning_rate
        if "val_loss" in values:
            # Phases without a penalty must compare with those that have it.
            whole = self.tracker.model
            values["val_loss"] -= sum(p.value(whole) for p in self.phase.penalties)
        values["learning_rate"] = float(keras.ops.convert_to_numpy(rate))
        values["seconds"] = time.perf_counter() - self._began
        length = history_length(self.history)
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
        self.tracker.update(values, self.phase.name, length)
        self._wait(values)
        if time.monotonic() + values["seconds"] > self.deadline:
            self._end_in_time()

    def _end_in_time(self) -> None:
        """Stop, unless the phase is over anyway."""
        if self.epochs < self.phase.epochs:
            self.stopped = self.stopped or "stopped in time"
            self.model.stop_training = True

    def _check_monitor(self, logs: dict[str, float]) -> None:
        """Raise if there is a validation, and the monitored quantity is not in it."""
        monitor = self.tracker.monitor
        if monitor == LAST:
            return
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
        patience = self.phase.patience
        if patience is None or self.tracker.monitor not in logs:
            return
        score = self.tracker.score(logs)
        if score is not None and (self.best_score is None or score > self.best_score):
            self.best_score, self.waited = score, 0
            self.best_in_phase = self.tracker.snapshot()
            return
        self.waited += 1
        if self.waited >= patience:
            epochs = f"{patience} epoch{'s' * (patience != 1)}"
            self.stopped = f"no better result in {epochs}"
            self.model.stop_training = True


def undo_failure(
    model: keras.Model,
    watch: PhaseMonitor,
    fallback: list[np.ndarray],
    chance: float | None,
) -> None:
    """Undo what went wrong in a phase, and say so."""
    if watch.diverged:
        restore(model, fallback)
        message = f"Phase {watch.phase.name!r} {watch.stopped}. Lower `learning_rate`."
        warn(message, RuntimeWarning)
        return
    if watch.best_in_phase is not None:
        restore(model, watch.best_in_phase)
    if chance is not None and watch.first_loss > 2 * chance:
        message = (
            f"Phase {watch.phase.name!r} began with a loss of {watch.first_loss:.2f}; "
            f"knowing nothing costs {chance:.2f}. Are the labels right, "
            "and `learning_rate` low enough?"
        )
        warn(message, RuntimeWarning)


@contextmanager
def temperature_set_aside(model: keras.Model) -> Iterator[None]:
    """Train the head's own logits; what was set comes back if no weight has moved.

    Else it is gone, with a warning: it belonged to weights that are gone.
    """
    forget_prior(model)
    record = find_record(model)
    if record is None or (record.temperature == 1 and record.operating is None):
        yield
        return
    before = snapshot(model)
    put_settings(model, 1.0, None)
    try:
        yield
    finally:
        if moved_paths(model, before):
            tell_lost(record)
        else:
            put_settings(model, record.temperature, record.operating)


#: What errors of a full memory say, or are called, on each backend.
_FULL = ("resource_exhausted", "resourceexhausted", "out of memory", "outofmemory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory, of the machine or of a device, did not hold a step."""
    told = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, Exception) and any(word in told for word in _FULL)
    )


def kept_weights(tracker: BestWeights) -> str:
    """Which weights an interrupted run leaves in the model, in words."""
    if tracker.best is not None:
        return f"the best weights so far, of phase {tracker.best.phase!r}"
    if tracker.latest is not None:
        return "the weights of the last finished epoch"
    return "the weights that the run began with"
