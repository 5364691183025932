"""The learning rates of a phase's blocks: checked early, or measured as it runs."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import keras

from kerastl._checks import fail
from kerastl._compat import own_variables, sublayers
from kerastl.models.block_rates import block_layers, layer_multipliers
from kerastl.models.freezing import (
    head_layers,
    leaf_layers,
    resolve_batch_norm,
    resolve_trainable,
)
from kerastl.models.kinds import KINDS
from kerastl.models.layerwise import find_layerwise, named_optimizer, unscaled
from kerastl.training.gradient_norms import (
    block_norms,
    gradient_norms,
    measured_variables,
    over_largest,
    task_loss,
)
from kerastl.training.phase import AUTO_RGN, Phase
from kerastl.training.sources import Source

#: Batches measured before an epoch, as in the code of Lee et al. (2023).
_BATCHES = 5


def check_rates(model: keras.Model, phases: Sequence[Phase], replicas: int) -> None:
    """Raise now, not hours later, if a phase's multipliers do not fit the model.

    Args:
        model: The whole model.
        phases: What is to run.
        replicas: Devices that share a batch.

    Raises:
        ValueError: If a name fits nothing, or nothing that the phase trains, the
            optimizer cannot do it, or gradients would be measured over several devices.
    """
    for phase in phases:
        if phase.has_auto_rates:
            _check_measurable(phase, replicas)
        elif phase.multipliers:
            _check_named(model, phase)


def _check_measurable(phase: Phase, replicas: int) -> None:
    if replicas > 1:
        hint = "Measure once with kerastl.relative_gradient_norms."
        fail("multipliers", "numbers on several devices", AUTO_RGN, hint)
    if phase.trainable in ("head", "norm"):
        hint = "BatchNorm's gradients are not measured, as in the authors' code."
        expected = f"numbers with trainable={phase.trainable!r}"
        fail("multipliers", expected, AUTO_RGN, hint)
    if _is_ftrl(phase):
        hint = "Ftrl's weights follow from all its rates so far: none may change."
        fail("optimizer", f"other than Ftrl with {AUTO_RGN!r}", phase.optimizer, hint)


def _check_named(model: keras.Model, phase: Phase) -> None:
    layer_multipliers(model, multipliers=phase.multipliers)
    learning, parts = _learning_layers(model, phase), block_layers(model)
    for name, number in phase.multipliers:
        if learning.isdisjoint(parts.get(name, (name,))):
            hint = f"Nothing in it trains in phase {phase.name!r}: leave it out."
            fail("multipliers", "of what trains", name, hint)
        if number == 0 and _is_ftrl(phase):
            hint = "It divides by the learning rate; freeze the part instead."
            fail("multipliers", "above 0 for Ftrl", name, hint)


def _is_ftrl(phase: Phase) -> bool:
    rule = unscaled(named_optimizer(phase.optimizer))
    return isinstance(rule, keras.optimizers.Ftrl)


def _learning_layers(model: keras.Model, phase: Phase) -> frozenset[str]:
    """Names of the layers of which something will train, as `unfreeze` will set them.

    Asked before any phase, when statistics are still what the run begins with.
    """
    opened = resolve_trainable(model, phase.trainable)
    held = resolve_batch_norm(model, phase.batch_norm) == "frozen"
    # Of a kind of weights, BatchNorm's train in each mode.
    free = opened if phase.trainable in KINDS else frozenset(head_layers(model))
    return frozenset(
        layer.name
        for layer in leaf_layers(model)
        for part in sublayers(layer)
        if layer.name in opened
        and own_variables(part)
        and not (
            held
            and layer.name not in free
            and isinstance(part, keras.layers.BatchNormalization)
        )
    )


class RelativeGradientRates(keras.callbacks.Callback):
    """Sets each block's multiplier to its relative gradient norm before each epoch.

    What the optimizer has gathered stays, where Lee et al. make Adam anew: its
    moments are of gradients, which multipliers do not touch, and a fresh start would
    put its bias correction at odds with the running schedule.

    Args:
        whole: The model in which blocks are counted; what is fitted may be its end.
        loss: Called on labels and outputs.
        batches: Given an epoch's number, the batches to measure from.
    """

    def __init__(
        self,
        whole: keras.Model,
        loss: Any,
        batches: Callable[[int], Iterable[tuple[Any, ...]]],
    ) -> None:
        """See the class."""
        super().__init__()
        self.whole = whole
        self.loss = loss
        self.batches = batches
        #: Block name -> multiplier, one dictionary an epoch.
        self.multipliers: list[dict[str, float]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Compile the measurement once for all epochs."""
        training = self.model.trainable_variables
        if not self.model.optimizer.built:
            # TensorFlow would build it in the first step, after the first setting.
            self.model.optimizer.build(training)
        self._blocks = measured_variables(self.whole, among=training)
        flat = [variable for own in self._blocks.values() for variable in own]
        self._norms = gradient_norms(self.model, flat, self.loss)
        layers = {layer.name: layer for layer in leaf_layers(self.whole)}
        self._owned = [
            (variable, block)
            for block, names in block_layers(self.whole).items()
            for name in names
            for variable in layers[name].trainable_variables
        ]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and set; BatchNorm learns as fast as its block."""
        batches = islice(self.batches(epoch), _BATCHES)
        found = over_largest(block_norms(self._blocks, self._norms, batches))
        self.multipliers.append(found)
        find_layerwise(self.model.optimizer).set_multipliers(
            (variable, found.get(block, 1.0)) for variable, block in self._owned
        )


def measured_rates(
    model: keras.Model,
    phase: Phase,
    train: Source,
    *,
    batch_size: int,
    seed: int,
    loss: Any,
    label_smoothing: float,
) -> list[RelativeGradientRates]:
    """The callback that measures a phase's multipliers, if one is to.

    Args:
        model: The whole model.
        phase: The phase that is to run.
        train: What is fitted on: images, or activations.
        batch_size: Images in a batch.
        seed: Of the order.
        loss: The user's, or None.
        label_smoothing: For the task's loss.
    """
    if not phase.has_auto_rates:
        return []

    def batches(epoch: int) -> Any:
        # As they are: augmented ones would be other batches than the next ones.
        return train.dataset(batch_size, seed=seed, shuffle=True, epoch=epoch)

    return [
        RelativeGradientRates(model, task_loss(model, loss, label_smoothing), batches)
    ]
