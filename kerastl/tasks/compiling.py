"""The one place that compiles: loss, metrics and optimizer that fit the head."""

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import keras

from kerastl._checks import check_number, fail
from kerastl._compat import compiled_trainable_state, optimizer_targets
from kerastl.models.optimizers import (
    Multipliers,
    find_layerwise,
    named_optimizer,
    scaled_like,
    unscaled,
    variable_multipliers,
    with_rates,
)
from kerastl.tasks.task import BoundModel, bind

#: What each optimizer was compiled to train, by variable path. Weak, so that neither
#: models nor optimizers are kept alive.
_COMPILED: "weakref.WeakKeyDictionary[Any, tuple[str, ...]]"
_COMPILED = weakref.WeakKeyDictionary()


def trainable_paths(model: keras.Model) -> tuple[str, ...]:
    """Paths of the variables that train now, in order."""
    return tuple(variable.path for variable in model.trainable_variables)


def compile_model(
    model: keras.Model,
    *,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
    optimizer: str | keras.optimizers.Optimizer = "adamw",
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    label_smoothing: float = 0.0,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
    bound: BoundModel | None = None,
    gathered: int = 1,
    ema: float | None = None,
) -> None:
    """Compile with a fresh optimizer, and note which weights it is to train.

    What trains must be set already. `Phase` and `run_phases` explain the options; an
    optimizer's settings are copied, never its state, which belongs to the weights that
    it was built for. `bound` is the model that this one is a part of: it has the task,
    and in it blocks are counted. `gathered` batches make one step, besides those that a
    given optimizer gathers. Biases and normalisation parameters are never decayed.
    """
    bound = bound or bind(model)
    loss, metrics = objective(
        bound, loss=loss, metrics=metrics, label_smoothing=label_smoothing
    )
    if not model.trainable_variables:
        hint = "Unfreeze a part of it with kerastl.unfreeze."
        fail("model", "a model with a weight that trains", model.name, hint)
    rule = make_optimizer(
        optimizer, learning_rate, weight_decay, global_clipnorm, ema, gathered
    )
    # The biases of attention layers have two axes.
    exempt = [
        v for v in model.trainable_variables if len(v.shape) < 2 or v.name == "bias"
    ]
    if exempt:
        # Also without `weight_decay`: Muon has a second one.
        unscaled(rule).exclude_from_weight_decay(var_list=exempt)
    if layer_decay is not None or multipliers is not None:
        pairs = variable_multipliers(
            bound.model, layer_decay=layer_decay, multipliers=multipliers
        )
        rule = with_rates(rule, pairs)
    halves = any(layer.compute_dtype == "float16" for layer in model.layers)
    if halves and unscaled(rule) is rule:
        # Keras looks at the model's own policy, which loading and splitting lose.
        rule = keras.optimizers.LossScaleOptimizer(rule)
    model.compile(optimizer=rule, loss=loss, metrics=metrics, jit_compile=jit_mode())
    # Under mixed float16 Keras wraps the optimizer; the wrapper is what it keeps.
    _COMPILED[model.optimizer] = trainable_paths(model)


def build_optimizer(model: keras.Model) -> None:
    """Make the optimizer's variables for what trains, just before a `fit`.

    Left to `fit`, TensorFlow makes them in the first step, and traces a step that makes
    variables twice: seconds for a deep network, in each phase.
    """
    strategy = getattr(model, "distribute_strategy", None)
    with strategy.scope() if strategy else nullcontext():
        model.optimizer.build(model.trainable_variables)


def objective(
    model: keras.Model | BoundModel,
    *,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, list[Any]]:
    """Loss and metrics as they are compiled: those given, else the task's.

    A model of no known task that is compiled has its own.
    """
    bound = bind(model)
    task = bound.task
    if loss is None and task is None:
        loss = getattr(bound.model, "loss", None)
        metrics = _compiled_metrics(bound.model) if metrics is None else metrics
    if loss is None and task is None:
        hint = "Its task is unknown, and it is not compiled."
        fail("loss", "given for this model", None, hint)
    if loss is None:
        loss = task.loss(label_smoothing)
    elif label_smoothing:
        fail("label_smoothing", "0 when a loss is given", label_smoothing)
    if metrics is None:
        return loss, task.metrics() if task else []
    if task is None:
        return loss, list(metrics)
    # Keras would read off the first batch what kind of accuracy is meant.
    own = {metric.name: metric for metric in task.metrics()}
    own["acc"] = own.get("accuracy", "acc")
    return loss, [own.get(m, m) if isinstance(m, str) else m for m in metrics]


def added_losses(model: keras.Model) -> float:
    """What layers add to the loss as they are now: penalties on weights."""
    return sum(float(keras.ops.convert_to_numpy(loss)) for loss in model.losses)


def _compiled_metrics(model: keras.Model) -> list[Any] | None:
    """The metrics that a model was compiled with, afresh; None without any."""
    try:
        found = model.get_compile_config().get("metrics")
        return keras.saving.deserialize_keras_object(found) if found else None
    except (TypeError, ValueError) as error:
        hint = f"Those that it was compiled with cannot be copied: {error}"
        return fail("metrics", "given for this model", None, hint)


def jit_mode() -> bool | str:
    """`jit_compile` for this machine: off for TensorFlow on a CPU, else Keras's choice.

    XLA is Keras's default on every device, and on a CPU it runs depthwise
    convolutions about ten times slower than TensorFlow's own kernels
    (`benchmarks/jit.py`).
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return "auto" if kinds & {"GPU", "TPU"} else False


def make_optimizer(
    optimizer: str | keras.optimizers.Optimizer,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    ema: float | None = None,
    gathered: int = 1,
) -> keras.optimizers.Optimizer:
    """A fresh optimizer from a name or from another's settings."""
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        check_number("learning_rate", learning_rate, above=0.0)
    pattern = named_optimizer(optimizer)
    layerwise = find_layerwise(pattern)
    if layerwise is not None:
        hint = "Rates by block are set with `layer_decay` and `multipliers` of Phase."
        name = type(layerwise).__name__
        fail("optimizer", "one without rates of its own", name, hint)
    if isinstance(pattern, keras.optimizers.LossScaleOptimizer):
        inner = make_optimizer(
            pattern.inner_optimizer,
            learning_rate,
            weight_decay,
            global_clipnorm,
            ema,
            gathered,
        )
        return scaled_like(pattern, inner)
    config = pattern.get_config()
    config["learning_rate"] = learning_rate
    if weight_decay is not None:
        check_number("weight_decay", weight_decay, 0.0)
        config["weight_decay"] = weight_decay or None
        if isinstance(pattern, keras.optimizers.AdamW):
            config["weight_decay"] = weight_decay
        if "adam_weight_decay" in config:
            # Muon's, for all that is no matrix: kernels of convolutions among it.
            config["adam_weight_decay"] = weight_decay or None
    if global_clipnorm is not None:
        check_number("global_clipnorm", global_clipnorm, above=0.0)
        config.update(global_clipnorm=global_clipnorm, clipnorm=None, clipvalue=None)
    if gathered > 1:
        own = config["gradient_accumulation_steps"] or 1
        config["gradient_accumulation_steps"] = own * gathered
    if ema is not None:
        check_number("ema", ema, above=0.0, below=1.0)
        config.update(use_ema=True, ema_momentum=ema, ema_overwrite_frequency=None)
    return type(pattern).from_config(config)


def compiled_paths(model: keras.Model) -> tuple[str, ...] | None:
    """Paths of the variables the model was compiled to train; None if unknown."""
    rule = getattr(model, "optimizer", None)
    if rule is None:
        return None
    if rule in _COMPILED:
        return _COMPILED[rule]
    if rule.built:
        return optimizer_targets(rule)
    return compiled_trainable_state(model)
