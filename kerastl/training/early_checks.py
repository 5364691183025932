"""What can be found wrong with a run before it changes anything."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from kerastl._checks import fail, nearest
from kerastl.models.compiling import make_optimizer, objective
from kerastl.models.freezing import resolve_trainable
from kerastl.training.phase import Phase
from kerastl.training.phase_rates import check_rates
from kerastl.training.sources import Source


def check_phases(model: keras.Model, phases: Sequence[Phase], replicas: int) -> None:
    """Raise now, not hours later, if a phase does not fit the model.

    Args:
        model: The whole model.
        phases: What is to run.
        replicas: Devices that share a batch.

    Raises:
        ValueError: If `trainable` or `multipliers` names what the model has not, or
            the optimizer is unknown or cannot do it.
        TypeError: If the model is not functional.
    """
    for phase in phases:
        resolve_trainable(model, phase.trainable)
        make_optimizer(
            phase.optimizer,
            phase.learning_rate,
            phase.weight_decay,
            phase.global_clipnorm,
            phase.ema,
        )
    check_rates(model, phases, replicas)


def check_monitor(model: keras.Model, metrics: Sequence[Any], monitor: str) -> None:
    """Raise if no epoch's logs can have the monitored quantity.

    Args:
        model: The whole model.
        metrics: As they are compiled: see `objective`.
        monitor: Name, or `"auto"`.

    Raises:
        ValueError: If the names of all metrics are known, and it is of none of them.
    """
    names = _logged_names(model, metrics)
    # The training's own, and what the history adds.
    known = {"learning_rate", "seconds", *(names or ())}
    validated = [f"val_{name}" for name in names or ()]
    if names is None or monitor == "auto" or monitor in known.union(validated):
        return
    listed = ", ".join(map(repr, validated))
    fail("monitor", f"one of {listed}", monitor, nearest(monitor, validated))


def _logged_names(model: keras.Model, metrics: Sequence[Any]) -> list[str] | None:
    """Names of loss and metrics in the logs; None where only a run can tell."""
    found = [_metric_names(metric) for metric in metrics]
    names = ["loss", *(name for each in found for name in each)]
    # Keras numbers the second of a name, and puts the output's before it.
    certain = all(found) and len(set(names)) == len(names)
    if not certain or len(model.outputs) > 1:
        return None
    layers = [metric.name for metric in model.metrics]
    return list(dict.fromkeys([*names, *layers]))


def _metric_names(metric: Any) -> list[str]:
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
    """Raise if images are to be mixed, and labels, loss or metrics do not allow it.

    Args:
        phases: What is to run.
        train: The training data.
        class_weight: The user's, or None.
        loss: The user's, or None.
        metrics: The user's, or None.

    Raises:
        ValueError: If they cannot be mixed, mixed labels would be weighted, or would
            be read as class indices.
    """
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


def check_objective(
    model: keras.Model,
    settings: dict[str, Any],
    monitor: str | None,
) -> None:
    """Raise if loss, metrics and what is monitored do not fit the model.

    Args:
        model: The whole model.
        settings: `loss`, `metrics` and `label_smoothing` for `compile_model`.
        monitor: What is to be monitored; None where nobody can say what is logged.

    Raises:
        ValueError: If one of them does not.
    """
    _, metrics = objective(model, **settings)
    if monitor is not None:
        check_monitor(model, metrics, monitor)
