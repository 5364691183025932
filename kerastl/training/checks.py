"""What is checked before the first step of a run."""

import dis
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail, nearest, warn
from kerastl.data.batches_tensorflow import PythonCalls
from kerastl.data.sources import Source, StreamSource
from kerastl.features.network import check_inputs
from kerastl.models.freezing import resolve_trainable
from kerastl.models.optimizers import unscaled
from kerastl.models.record import (
    find_preprocessing,
    has_lost_weights,
    is_pretrained,
)
from kerastl.tasks.compiling import make_optimizer
from kerastl.tasks.task import BoundModel, Task, bind
from kerastl.training.phase import Phase

#: `tf.data.INFINITE_CARDINALITY` and `UNKNOWN_CARDINALITY`, without importing
#: TensorFlow for them.
_INFINITE, _UNKNOWN = -1, -2
#: The monitor that keeps the last weights, whatever the validation says.
LAST = "last"


def check_first_batch(
    model: keras.Model | BoundModel, source: Source | None, name: str
) -> None:
    """Check names, pixels and labels of a stream's first batch against the model.

    Other kinds of sources have been checked whole.
    """
    if not isinstance(source, StreamSource):
        return
    bound = bind(model)
    model, task = bound.model, bound.task
    first = _first_batch(source.data)
    if first is None:
        fail(name, "at least one batch", "none")
    if not isinstance(first, (tuple, list)) or len(first) < 2 or first[1] is None:
        fail(name, "batches of (images, labels)", _kinds(first))
    inputs, labels = first[:2]
    if task is not None:
        _check_names(task, source.data, name)
        if isinstance(labels, (Mapping, tuple, list)):
            fail(name, "batches of images and one array of labels", _kinds(labels))
        task.check_batch(np.asarray(labels))
    if isinstance(inputs, Mapping):
        if len(model.inputs) > 1:
            # Keras says which of their shapes does not fit.
            check_inputs(model, inputs, name)
            return
        wanted = model.inputs[0].name
        if wanted not in inputs:
            fail(name, f"batches with the input {wanted!r}", sorted(inputs))
        inputs = inputs[wanted]
    if isinstance(inputs, (tuple, list)):
        return
    images = np.asarray(inputs)
    if find_preprocessing(model) is not None:
        check_pixel_range(images)
    expected = model.input_shape[1:]
    if images.ndim != len(expected) + 1 or any(
        want is not None and want != got
        for want, got in zip(expected, images.shape[1:], strict=True)
    ):
        fail(name, f"batches of shape (n, {str(expected)[1:]}", images.shape)


def _first_batch(data: Any) -> Any:
    """The first batch of a stream; None if it has none."""
    if isinstance(data, keras.utils.PyDataset):
        # A copy: Keras's iterators over folders count what they have given.
        return copy(data)[0] if data.num_batches != 0 else None
    return next(iter(data.take(1) if hasattr(data, "take") else data), None)


def _kinds(batch: Any) -> str:
    """A batch's type, with its parts' types where it has parts."""
    if not isinstance(batch, (tuple, list)):
        return type(batch).__name__
    return f"({', '.join(type(part).__name__ for part in batch)})"


def _check_names(task: Task, data: Any, name: str) -> None:
    """Raise if a stream brings class names, and they are not the model's in order."""
    names = _stream_names(data)
    own = getattr(task, "class_names", ())
    # A model of so many classes calls them by number: any names will do.
    numbered = own == tuple(map(str, range(len(own)))) and len(names) == len(own)
    if names and not numbered:
        task.check_names(names, name)


def _stream_names(data: Any) -> tuple[str, ...]:
    """Class names that a stream, or the set behind a loader, brings; else empty."""
    while data is not None:
        places = getattr(data, "class_indices", None)
        if isinstance(places, Mapping):
            return tuple(sorted(places, key=places.__getitem__))
        for attribute in ("class_names", "classes"):
            names = getattr(data, attribute, None)
            if isinstance(names, (tuple, list)) and names:
                return tuple(map(str, names))
        data = getattr(data, "dataset", None)
    return ()


class _CheckedBatches(keras.utils.PyDataset):
    """Somebody's batches, the labels of each looked at."""

    def __init__(self, data: keras.utils.PyDataset, look: Callable[[Any], Any]) -> None:
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self.data = data
        self.look = look

    @property
    def num_batches(self) -> int | None:
        return self.data.num_batches

    def __getitem__(self, index: int) -> Any:
        batch = self.data[index]
        self.look(batch[1])
        return batch

    def on_epoch_begin(self) -> None:
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.data.on_epoch_end()


def labels_checked(task: Task | None, data: Any, raised: list[Exception]) -> Any:
    """Somebody's batches with the labels of each checked; `raised` gets the errors.

    Kernels would end in the middle of an epoch with a page of their own, or train on
    nothing without a word. What is raised inside a pipeline comes out as something
    else: hence the list.
    """

    def look(labels: Any) -> Any:
        try:
            task.check_batch(np.asarray(labels))
        except (TypeError, ValueError) as error:
            raised.append(error)
            raise
        return labels

    if task is None:
        return data
    if isinstance(data, keras.utils.PyDataset):
        return _CheckedBatches(data, look)
    if not hasattr(data, "element_spec"):
        return data
    python = PythonCalls()

    def checked(inputs: Any, labels: Any, *rest: Any) -> tuple[Any, ...]:
        seen = python.call(look, [labels], labels.dtype)
        seen.set_shape(labels.shape)
        return (inputs, seen, *rest)

    return python.kept_by(data.map(checked))


def check_end(source: Source | None, name: str) -> None:
    """Raise if a dataset never ends: its first epoch would not either."""
    data = source.data if isinstance(source, StreamSource) else None
    if hasattr(data, "cardinality") and int(data.cardinality()) == _INFINITE:
        hint = "Leave `repeat()` out, or end it with `.take(steps)`."
        fail(name, "a dataset that ends", "an endless one", hint)


def check_pixel_range(images: np.ndarray) -> None:
    """Raise unless a batch looks like pixels 0-255."""
    low, high = float(images.min()), float(images.max())
    scaled = 0 < high <= 1 and images.dtype.kind == "f"
    if not (low >= 0 and high <= 255) or scaled:
        fail(
            "images",
            "pixels from 0 to 255",
            f"values from {low:.3g} to {high:.3g}",
            "Leave out your own rescaling: the model has its backbone's inside.",
        )


def with_length(data: Any, *, needed: bool) -> tuple[Any, int]:
    """The data and the batches in an epoch; one that does not know is counted once."""
    try:
        return data, max(len(data), 1)
    except TypeError:
        pass
    if not needed:
        return data, 1
    if hasattr(data, "cardinality") and int(data.cardinality()) == _UNKNOWN:
        import tensorflow as tf

        steps = max(sum(1 for _ in data), 1)
        return data.apply(tf.data.experimental.assert_cardinality(steps)), steps
    return fail(
        "train",
        "data with a known number of batches where the learning rate is scheduled",
        type(data).__name__,
        "Take a finite tf.data.Dataset, or schedule='constant' without warm-up.",
    )


#: Peak rates, of SGD and of others, from which loaded weights forget under a new head.
_LARGE_RATES = (0.1, 1e-2)


def as_phases(phases: Any) -> tuple[Phase, ...]:
    """One phase or several, as a tuple; raises for anything else."""
    if isinstance(phases, Phase):
        phases = (phases,)
    listed = isinstance(phases, (tuple, list)) and phases
    if not listed or not all(isinstance(phase, Phase) for phase in phases):
        fail("phases", "a list of Phase objects", phases)
    return tuple(phases)


def deadline_of(minutes: Any) -> float:
    """When so many minutes are over, by `time.monotonic`; None: never."""
    if minutes is None:
        return math.inf
    check_number("minutes", minutes, above=0.0)
    return time.monotonic() + 60 * minutes


def check_version_count(views: Any, augment: Any) -> None:
    """Raise unless so many augmented versions of each image can be kept."""
    if views is None:
        return
    check_integer("views", views, 1)
    if augment is None:
        fail("augment", "given, for the views to differ", None)


def check_patience(phases: Sequence[Phase], validation: Any) -> None:
    """Raise if a phase waits for better results, and nothing is validated."""
    patient = [phase.name for phase in phases if phase.patience is not None]
    if patient and validation is None:
        hint = "Pass validation data, or leave `patience` out."
        fail("validation", f"given for the patience of {patient[0]!r}", None, hint)


def check_phases(
    bound: BoundModel, phases: Sequence[Phase], steps: int | None = None
) -> None:
    """Raise now, not hours later, if a phase does not fit the model."""
    if has_lost_weights(bound.model):
        warn(
            f"The backbone of {bound.model.name} has the random weights of new layers, "
            "though it was built with trained ones: `keras.models.clone_model` copies "
            "none. Call `copy.set_weights(model.get_weights())` before training."
        )
    for phase in phases:
        resolve_trainable(bound.model, phase.trainable)
        rule = make_optimizer(
            phase.optimizer,
            phase.learning_rate,
            phase.weight_decay,
            phase.global_clipnorm,
            phase.ema,
        )
        gathered = unscaled(rule).gradient_accumulation_steps or 1
        if steps is not None and gathered > steps * phase.epochs:
            expected = f"one that steps within the {steps * phase.epochs} batches of "
            received = f"gradient_accumulation_steps={gathered}"
            hint = "Nothing would be trained: gather fewer, or pass more epochs."
            fail("optimizer", f"{expected}phase {phase.name!r}", received, hint)
        if phase is phases[0] and phase.trainable == "all":
            _warn_of_large_rate(bound, phase, unscaled(rule))


def _warn_of_large_rate(bound: BoundModel, phase: Phase, rule: Any) -> None:
    """Warn if loaded weights are opened fast while the head still knows nothing."""
    limit = _LARGE_RATES[not isinstance(rule, keras.optimizers.SGD)]
    new = not bound.head_has_learnt and is_pretrained(bound.model)
    if new and phase.learning_rate >= limit:
        warn(
            f"Phase {phase.name!r} opens loaded weights at a rate of "
            f"{phase.learning_rate:g} under a head that has learnt nothing: its first "
            f"steps may undo them. Train the head first, or stay well below {limit:g}."
        )


def check_callbacks(
    phases: Sequence[Phase], callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Raise if a callback would set a learning rate that a phase's schedule sets.

    Keras refuses that as late as at the first plateau, in the middle of a run.
    """
    if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
        warn(
            "Keras's BackupAndRestore knows one `fit`, and puts what it kept of one "
            "phase into another: leave it out, and pass `resume_dir`."
        )
    scheduled = [phase.name for phase in phases if phase.is_scheduled]
    setters = [type(each).__name__ for each in callbacks if _sets_rate(each)]
    if scheduled and setters:
        expected = f"without {setters[0]}, as phase {scheduled[0]!r} schedules its rate"
        hint = "Take schedule='constant' and no warm-up there, or leave it out."
        fail("callbacks", expected, setters[0], hint)


_SETTERS = (
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.LearningRateScheduler,
)


def _sets_rate(callback: keras.callbacks.Callback) -> bool:
    """Whether it is one of Keras's two, or its own code writes a `learning_rate`."""
    members = [*vars(callback).values()]
    for kind in type(callback).__mro__:
        if kind.__module__.partition(".")[0] not in ("keras", "builtins"):
            members += vars(kind).values()
    written = False
    for code in [each.__code__ for each in members if hasattr(each, "__code__")]:
        steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
        for (_, owner), (kind, name) in pairwise(steps):
            stored = kind == "STORE_ATTR" and name == "learning_rate"
            # An attribute of its own may be called so.
            written |= stored and owner != "self"
            written |= (owner, name) == ("learning_rate", "assign")
    return written or isinstance(callback, _SETTERS)


def check_monitor(model: keras.Model, metrics: Sequence[Any], monitor: str) -> None:
    """Raise if no epoch's logs can have the monitored quantity."""
    names = _logged_names(model, metrics)
    # The training's own, and what the history adds.
    known = {LAST, "learning_rate", "seconds", *(names or ())}
    validated = [f"val_{name}" for name in names or ()]
    if names is None or monitor == "auto" or monitor in known.union(validated):
        return
    listed = ", ".join(map(repr, validated))
    fail("monitor", f"one of {listed}", monitor, nearest(monitor, validated))


def _logged_names(model: keras.Model, metrics: Sequence[Any]) -> list[str] | None:
    """Names of loss and metrics in the logs; None where only a run can tell."""
    found = [metric_names(metric) for metric in metrics]
    names = ["loss", *(name for each in found for name in each)]
    # Keras numbers the second of a name, and puts the output's before it.
    certain = all(found) and len(set(names)) == len(names)
    if not certain or len(model.outputs) > 1:
        return None
    layers = [metric.name for metric in model.metrics]
    return list(dict.fromkeys([*names, *layers]))


def metric_names(metric: Any) -> list[str]:
    """What a metric may be called in the logs; empty if nobody can say."""
    names = []
    if isinstance(metric, str):
        names.append(metric)
        try:
            metric = keras.metrics.get(metric)
        except ValueError:
            return []
    if isinstance(metric, keras.metrics.Metric):
        # One of the user's may return several results at once.
        own = type(metric).__module__.split(".")[0] not in ("keras", "kerastl")
        return [] if own else list(dict.fromkeys([*names, metric.name]))
    name = getattr(metric, "__name__", "")
    return list(dict.fromkeys([*names, name])) if name else []


def check_mixing(
    phases: Sequence[Phase],
    train: Source,
    class_weight: Any,
    loss: Any,
    metrics: Sequence[Any] | None,
) -> None:
    """Raise if images are to be mixed, and labels, loss or metrics do not allow it."""
    for phase in phases:
        train.mixed(phase.mixing)
    mixed = [phase.name for phase in phases if phase.mixing.is_on]
    if not mixed:
        return
    if class_weight is not None:
        hint = "Keras would weigh a mixed image by its larger part alone."
        expected = f"None with the mixed images of {mixed[0]!r}"
        fail("class_weight", expected, class_weight, hint)
    for argument, given in (("loss", loss), ("metrics", metrics)):
        for name in _sparse_names(given):
            hint = "Mixed labels are rows of shares; None takes the task's own."
            expected = f"of one-hot labels with the mixed images of {mixed[0]!r}"
            fail(argument, expected, name, hint)


def _sparse_names(given: Any) -> Iterator[str]:
    """Names of the losses or metrics that want class indices, by Keras's habit."""
    for each in keras.tree.flatten(given):
        # Not an object's own name: a subclass that takes shares too inherits it.
        name = getattr(each, "__name__", type(each).__name__)
        name = each if isinstance(each, str) else name
        if name.lower().startswith("sparse"):
            yield name
