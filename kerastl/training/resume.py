"""What a run writes down at the ends of its epochs, to go on from once it was killed.

Order, augmentation and mixing follow from the seed and the epoch's number, and cached
features from the frozen weights: none of them is written. What is: weights, the state
of the optimizer and of dropout, the best weights so far, history, records, and what
callbacks have counted.
"""

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, warn
from kerastl._compat import averages_swapped_in, device_names
from kerastl._files import READ_ERRORS, OutputFolder, whole_file
from kerastl.data.augmentation import as_augmentation
from kerastl.data.dense import DenseTargets
from kerastl.data.sources import Source, StreamSource
from kerastl.features.cache import CachePlan, FeatureCache
from kerastl.features.keys import cache_key
from kerastl.models.record import find_record
from kerastl.models.weights import weights_digest
from kerastl.tasks.task import BoundModel
from kerastl.training.phase import BestEpoch, Phase, PhaseRecord
from kerastl.training.watching import WAITING, BestWeights, PhaseMonitor, restore

#: A state is written once training has taken this many times what the last one took:
#: all of them together take at most two hundredths of the time.
SPARING = 50

#: The newest two: while one is written, the other is whole.
_FILES = ("state-0.npz", "state-1.npz")

#: What of a `PhaseMonitor` goes on within its phase.
_WATCHED = (
    *("first", "epochs", "ceiling", "first_loss"),
    *("best_in_phase", "best_score", "waited"),
)


@contextmanager
def kept_states(
    path: str | Path | None, drawn: bool, told: Mapping[str, Any]
) -> Iterator["States"]:
    """The states of a run in its folder, which is its own meanwhile.

    Args:
        path: The folder, made if it does not exist; None: nothing is kept.
        drawn: Whether the seed is by chance: then that of the state is taken.
        told: Arguments of `run_identity`.

    Raises:
        ValueError: If it is no folder that can be written to, another process writes
            into it, or its states are those of another run.
    """
    if path is None:
        yield States(seed=told["seed"])
        return
    with OutputFolder(path, _FILES, overwrite=True, argument="resume_dir") as folder:
        if isinstance(told["train"], StreamSource):
            warn(
                "A dataset of batches has an order of its own: once killed, the run "
                "goes on from the same weights, but not with the same batches."
            )
        yield States(folder.path, drawn, **told)


class States:
    """The states of one run: read at its start, written at the ends of its epochs.

    Attributes:
        seed: Of the run: that of the state where none was asked for.
        found: The newest state that is whole; None where the run begins.
    """

    def __init__(
        self,
        folder: Path | None = None,
        drawn: bool = False,
        *,
        seed: int = 0,
        **told: Any,
    ) -> None:
        """See the class; without a folder it does nothing."""
        self.folder, self.seed = folder, seed
        self.found: dict[str, Any] | None = None
        self._identity: dict[str, Any] = {}
        self._number = 0
        self._cost: float | None = None
        self._warned = False
        self._last = self._start = self._phase_start = time.perf_counter()
        if folder is None:
            return
        self.found = self._newest()
        if self.found and drawn:
            self.seed = self.found["identity"]["seed"]
        self._identity = run_identity(seed=self.seed, **told)
        if self.found:
            check_same("resume_dir", folder, self.found["identity"], self._identity)

    def _newest(self) -> dict[str, Any] | None:
        """The newest state that is whole."""
        found, damaged = [], []
        for name in _FILES:
            try:
                found.append(read_state(self.folder / name))
            except FileNotFoundError:
                continue
            except READ_ERRORS:
                damaged.append(name)
        newest = max(found, key=lambda state: state["number"], default=None)
        if damaged:
            then = "goes on from the one before" if newest else "begins anew"
            names = " and ".join(damaged)
            warn(f"{names} in {self.folder} cannot be read whole: the run {then}.")
        self._number = newest["number"] if newest else 0
        return newest

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken so far, those before it was killed too."""
        before = self.found["elapsed"] if self.found else 0.0
        return before + time.perf_counter() - self._start

    def take_up(self, run: Any, tracker: BestWeights, phases: Sequence[Phase]) -> int:
        """Bring a run to where its state was written; the phase that comes next.

        Args:
            run: What trains, at its start.
            tracker: Its best weights.
            phases: All of its phases.
        """
        state = self.found
        if state is None:
            return 0
        run.history.update(state["history"])
        run.records += [PhaseRecord(**record) for record in state["records"]]
        run.batch_size, run.gathered = state["batches"]
        run.deadline -= state["elapsed"]
        best = state["tracker"].pop("best")
        tracker.best = best and BestEpoch(**best)
        vars(tracker).update(state["tracker"])
        restore(run.model, state["weights"])
        _assign(_seeds(run.model), state["seeds"])
        number = state["phase"]
        if self.has_ended:
            warn(f"The run in {self.folder} has ended: nothing is trained any more.")
        elif run.verbose:
            epoch = state["fit"]["watch"]["epochs"] + 1 if state["fit"] else 1
            place = f"phase {phases[number].name!r}, epoch {epoch}"
            sys.stdout.write(f"Going on with {place}, from {self.folder}\n")
        for each in run.watched.callbacks:
            if isinstance(each, keras.callbacks.CSVLogger):
                each.append = True
        return number

    @property
    def has_ended(self) -> bool:
        """Whether the state is that of a run that has ended."""
        return self.found is not None and self.found["ended"]

    def _fit(self, number: int) -> dict[str, Any] | None:
        """The state inside a phase, if that is the phase to go on with."""
        here = self.found is not None and self.found["phase"] == number
        return self.found["fit"] if here else None

    def begin_phase(self, number: int) -> float:
        """When a phase began, by `time.perf_counter`, less what it took before."""
        fit = self._fit(number)
        self._phase_start = time.perf_counter() - (fit["seconds"] if fit else 0.0)
        return self._phase_start

    def enter(self, number: int, watch: PhaseMonitor) -> None:
        """Let the monitor of a phase go on where it was."""
        if fit := self._fit(number):
            vars(watch).update(fit["watch"])
            watch.epoch = watch.epochs

    def keepers(
        self, run: Any, number: int, **fitted: Any
    ) -> list[keras.callbacks.Callback]:
        """The callback that writes states, to stand behind all that counts.

        Args:
            run: What trains.
            number: Of the phase.
            **fitted: See `StateKeeper`.
        """
        if self.folder is None:
            return []
        fit = self._fit(number)
        if fit and fit["plan"] != _of_plan(fitted["plan"]):
            warn(
                "The frozen part is cut elsewhere than before, as the memory that is "
                "free is another: the result may differ in its last digits."
            )
        return [StateKeeper(self, run, number, fit, **fitted)]

    def end_phase(self, run: Any, tracker: BestWeights, number: int) -> None:
        """A phase has ended, and another follows."""
        self.write(lambda: self.between(run, tracker, number + 1))

    def end_run(self, run: Any, tracker: BestWeights, count: int) -> None:
        """The last phase has ended, and the best weights are in the model."""
        if self.folder is None:
            return
        tracker.weights = tracker.latest = None
        self.write(lambda: self.between(run, tracker, count, ended=True), always=True)
        # Of no use any more, and as large.
        (self.folder / _FILES[(self._number + 1) % 2]).unlink(missing_ok=True)

    def between(
        self, run: Any, tracker: BestWeights, number: int, ended: bool = False
    ) -> dict[str, Any]:
        """What stands in a state where a phase is about to begin."""
        seeds = [_copy(seed) for seed in _seeds(run.model)]
        weights = [_copy(weight) for weight in run.model.weights]
        return {
            "number": self._number + 1,
            "identity": self._identity,
            "phase": number,
            "ended": ended,
            "elapsed": self.elapsed,
            "history": run.history,
            "records": [vars(record) for record in run.records],
            "batches": (run.batch_size, run.gathered),
            "tracker": {
                "best": tracker.best and vars(tracker.best),
                "weights": tracker.weights,
                "latest": tracker.latest,
                "best_score": tracker.best_score,
            },
            "weights": weights,
            "seeds": seeds,
            "callbacks": [_counted(each) for each in run.watched.callbacks],
            "fit": None,
        }

    def write(self, make: Callable[[], dict[str, Any]], always: bool = False) -> None:
        """Write a state, if it is time to; a disk that is full ends no training."""
        now = time.perf_counter()
        early = self._cost is not None and now - self._last < SPARING * self._cost
        if self.folder is None or (early and not always):
            return
        try:
            state = make()
            write_state(self.folder / _FILES[state["number"] % 2], state)
            self._number = state["number"]
        except OSError as error:
            if not self._warned:
                then = "The run goes on, and once killed begins at the state before."
                warn(f"{error} {then}", RuntimeWarning)
            self._warned = True
        self._last = time.perf_counter()
        self._cost = self._last - now

    @property
    def phase_seconds(self) -> float:
        """What the phase has taken so far."""
        return time.perf_counter() - self._phase_start


class StateKeeper(keras.callbacks.Callback):
    """Goes on from a state at the begin of `fit`, and writes one after epochs.

    Not after the last one of a phase, which ends with more than its epochs.

    Args:
        states: Where to.
        run: What trains.
        number: Of the phase.
        fit: The state to go on from, or None.
        watch: The phase's monitor.
        before: The model's weights at the begin of the phase.
        plan: What is kept of the frozen part.
        rates: Callbacks that have measured multipliers.
        averages: Callbacks that swap averages in.
    """

    def __init__(
        self,
        states: States,
        run: Any,
        number: int,
        fit: dict[str, Any] | None,
        *,
        watch: PhaseMonitor,
        before: list[np.ndarray],
        plan: CachePlan,
        rates: Sequence[Any] = (),
        averages: Sequence[Any] = (),
    ) -> None:
        """See the class."""
        super().__init__()
        self.states, self.run, self.number, self.fit = states, run, number, fit
        self.watch, self.before, self.plan = watch, before, plan
        self.rates, self.averages = rates, averages

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put back what the state holds, once all others have begun."""
        found, part = self.states.found, self.model
        if found is None or found["phase"] != self.number:
            return
        pairs = zip(self.run.watched.callbacks, found["callbacks"], strict=True)
        for callback, counted in pairs:
            # In a new phase they have begun to wait anew.
            if self.fit or not isinstance(callback, WAITING):
                vars(callback).update(counted)
        if not self.fit:
            return
        _assign(self._variables(part), self.fit["values"])
        _assign(part.optimizer.variables, self.fit["optimizer"])
        for measured, rows in zip(self.rates, self.fit["multipliers"], strict=True):
            measured.multipliers[:] = rows
        for each in self.averages:
            averages_swapped_in(each)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a state, unless the phase ends here."""
        # On JAX whoever asks for the model gets the weights back into it.
        part = self.model
        if part.stop_training or self.watch.epochs >= self.watch.phase.epochs:
            return
        self.states.write(lambda: self._state(part))

    def _variables(self, part: keras.Model) -> list[Any]:
        """All that may change: of the whole model, and what `fit` trains beside it."""
        known = {id(v): v for v in (*self.run.model.variables, *part.variables)}
        return list(known.values())

    def _state(self, part: keras.Model) -> dict[str, Any]:
        tracker = self.watch.tracker
        state = self.states.between(self.run, tracker, self.number)
        held = tracker.held
        fit = {
            "values": [
                held[id(v)] if id(v) in held else _copy(v)
                for v in self._variables(part)
            ],
            "optimizer": [_copy(v) for v in part.optimizer.variables],
            "watch": {name: getattr(self.watch, name) for name in _WATCHED},
            "multipliers": [each.multipliers for each in self.rates],
            "plan": _of_plan(self.plan),
            "seconds": self.states.phase_seconds,
        }
        return {**state, "weights": self.before, "seeds": [], "fit": fit}


def _of_plan(plan: CachePlan) -> list[str]:
    """What of a plan decides how sums are rounded."""
    return [plan.cut, plan.dtype]


def _copy(variable: Any) -> np.ndarray:
    # A copy: on JAX the buffer behind the view is given away by the next step.
    return np.array(keras.ops.convert_to_numpy(variable))


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    # Of a state inside a phase the random states stand with all that changes.
    for variable, value in zip(variables, values, strict=bool(values)):
        variable.assign(value)


def _seeds(model: keras.Model) -> list[Any]:
    """The states of a model's random numbers."""
    weights = {id(weight) for weight in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def _counted(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """What a callback has counted: its numbers, texts and arrays that are no arguments.

    What `CSVLogger` holds is about its open file.
    """
    if isinstance(callback, keras.callbacks.CSVLogger):
        return {}
    given = {"_model", "params"}
    for kind in type(callback).__mro__:
        given.update(inspect.signature(kind.__init__).parameters)
    own = {name: value for name, value in vars(callback).items() if name not in given}
    return {name: value for name, value in own.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write numbers, texts, lists, dictionaries and arrays: whole or not at all.

    An array that stands in several places is written once. Each has a checksum.

    Raises:
        OSError: If it cannot be written.
    """
    arrays: dict[int, np.ndarray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[id(value)] = value
            return {"array": list(arrays).index(id(value)), "as": value.dtype.name}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            return {"dict": [[plain(k), plain(v)] for k, v in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [plain(each) for each in value]}
        return [plain(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(plain(state)).encode()
    # Of types that are not NumPy's own, such as bfloat16, the bits.
    rows = [
        x.view(f"u{x.dtype.itemsize}") if x.dtype.kind == "V" else x
        for x in arrays.values()
    ]
    with whole_file(path) as draft:
        np.savez(draft, *rows, state=np.frombuffer(text, np.uint8))


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        Exception: Any of `READ_ERRORS` if it is not whole.
    """
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        text = file["state"].tobytes()
        arrays = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return arrays[value["array"]].view(np.dtype(value["as"]))
        if "tuple" in value:
            return tuple(whole(each) for each in value["tuple"])
        return {whole(key): whole(each) for key, each in value["dict"]}

    return whole(json.loads(text))


def run_identity(
    *,
    train: Source,
    validation: Source | None,
    target: Source | None,
    **settings: Any,
) -> dict[str, Any]:
    """All that decides a run, by name, as JSON has it: equal for the same run.

    Args:
        train: As `run_phases` has it, checked.
        validation: The same.
        target: The same.
        **settings: Of `settings_identity`.
    """
    model = settings["bound"].model
    record = find_record(model)
    config = json.dumps(record.to_config() if record else {}, default=str)
    return settings_identity(**settings) | {
        "model or its first weights": weights_digest(model.weights, config),
        "training data": _data_key(train),
        "validation data": _data_key(validation),
        "target data": _data_key(target),
    }


def settings_identity(
    *,
    bound: BoundModel,
    phases: Sequence[Phase],
    loss: Any,
    metrics: Sequence[Any] | None,
    batch_size: int,
    augment: Any,
    class_weight: Any,
    sampling: str | None,
    label_smoothing: float,
    distillation: tuple[float, float],
    monitor: str,
    replicas: int,
    cache: FeatureCache,
    views: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    seed: int | None,
) -> dict[str, Any]:
    """What decides a run beside its data and the weights that it begins with.

    By name, as JSON has it; that of `run_phases`, as checked.
    """
    backend, record = keras.backend.backend(), find_record(bound.model)
    config = record.to_config() if record else {}
    library = getattr(sys.modules.get(backend), "__version__", "")
    found = {
        "version of kerastl": sys.modules["kerastl"].__version__,
        "version of Keras": keras.__version__,
        "backend": f"{backend} {library}".strip(),
        "kind of device": sorted({n.partition(":")[0] for n in device_names()}),
        "backbone": config.get("backbone"),
        "image size": config.get("image_size"),
        "number of weights": len(bound.model.weights),
        "number of phases": len(phases),
    }
    for number, phase in enumerate(phases, 1):
        place = f"phase {number}, {phase.name!r}"
        own = {f"{f.name} of {place}": f.name for f in fields(phase)}
        found |= {name: getattr(phase, field) for name, field in own.items()}
    found |= {"loss": loss, "metrics": metrics, "batch_size": batch_size}
    found |= {"augment": as_augmentation(augment), "class_weight": class_weight}
    found |= {"sampling": sampling, "label_smoothing": label_smoothing}
    found |= {"distillation": distillation, "monitor": monitor, "views": views}
    found |= {"number of devices": replicas, "cache": cache.where, "seed": seed}
    found["callbacks"] = [type(each).__name__ for each in callbacks]
    return json.loads(json.dumps(found, default=_described))


def _data_key(source: Source | None) -> str | None:
    """Stands for examples and what is asked of them; nobody can say of a stream."""
    if source is None or isinstance(source, StreamSource):
        return None
    return cache_key(source.key(), targets_key(source))


def targets_key(source: Source) -> str:
    """Stands for what is asked of examples, in order."""
    targets = source.targets
    if isinstance(targets, DenseTargets):
        return " ".join(map(str, targets.labels.digests()))
    return "" if targets is None else weights_digest([targets])


def _described(value: Any) -> Any:
    """Something that JSON does not know, equal in every process."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return weights_digest([value])
    kind = type(value).__name__
    if is_dataclass(value):
        return {kind: {f.name: getattr(value, f.name) for f in fields(value)}}
    if hasattr(value, "get_config") and not isinstance(value, type):
        # Keras numbers the names of what is made in one process.
        return {kind: {n: v for n, v in value.get_config().items() if n != "name"}}
    return getattr(value, "__qualname__", kind)


#: A longer value is not shown in a message.
_SHOWN = 40


def check_same(
    name: str, folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Raise, naming the first difference, unless two runs are the same.

    Args:
        name: What messages call the folder.
        folder: Where the state is.
        before: Of the run that was begun there: name -> value, as JSON has it.
        now: Of this one.
    """
    for part, value in now.items():
        was = before.get(part)
        if was == value:
            continue
        shown = f"with {part} {was!r}, not {value!r}"
        if len(shown) > 2 * _SHOWN + len(part):
            shown = f"with another {part}"
        hint = f"It was begun {shown}: pass what it had, or name another folder."
        fail(name, "the folder of the same run", str(folder), hint)
