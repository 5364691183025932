"""Gradient norms of blocks, and learning rates chosen by them."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._compat import own_variables, sublayers
from kerastl.features.sources import make_source
from kerastl.models.freezing import (
    PARAMETER_GROUPS,
    head_layers,
    leaf_layers,
    resolve_batch_norm,
    resolve_trainable,
)
from kerastl.models.optimizers import (
    block_layers,
    find_layerwise,
    layer_multipliers,
    named_optimizer,
    unscaled,
)
from kerastl.models.record import uncalibrated
from kerastl.tasks.compiling import objective
from kerastl.tasks.task import BoundModel, bind
from kerastl.training.checks import check_first_batch
from kerastl.training.phase import AUTO_RGN, Phase

#: Squared norm of the loss's gradient for each variable, of one batch.
GradientNorms = Callable[[Any, Any], np.ndarray]


def relative_gradient_norms(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    batches: int = 5,
    batch_size: int = 32,
    normalize: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Norm of each block's gradient over the norm of its weights: how far it is off.

    Frozen blocks are measured too, so that the block to train can be chosen. Train the
    head first: behind a new one, all zeros, every gradient is zero.

    Each batch gives `||g|| / ||w||` over all of a block's weights at once, BatchNorm
    left out, and the mean over the batches is returned. The network runs as in
    `predict`, a temperature of `calibrate` apart, and nothing of it changes.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        data: An `ImageSet`, an `(images, labels)` pair of arrays, or a
            `tf.data.Dataset` of batches, whose first ones are taken.
        loss: Loss on the outputs; None: the task's.
        batches: How many to measure, at least 1.
        batch_size: Images in a batch.
        normalize: Whether to divide by the largest, which then is 1.
        seed: Which images are drawn.

    Returns:
        Block name -> mean of the relative norms, at least 0; `"head"` last. Blocks
        without weights of their own are left out.

    Raises:
        ValueError: If a block's weights are all zero though its gradient is not, the
            model has no task and no loss is given, or the data do not fit.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 255], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> data = images, np.repeat([0, 1], 8)
        >>> history = kerastl.fine_tune(model, data, recipe="linear_probe", epochs=1)
        >>> norms = kerastl.rates.relative_gradient_norms(model, data)
        >>> head = norms.pop("head")
        >>> block = max(norms, key=norms.get)
        >>> phase = kerastl.Phase(
        ...     "surgery", trainable=(block,), epochs=5, learning_rate=1e-4
        ... )

    Reference:
        Lee et al. (2023), Surgical Fine-Tuning Improves Adaptation to Distribution
        Shifts, arXiv:2210.11466, §4, "Auto-RGN". There a layer is one tensor; here
        it is a block.
    """
    check_integer("batches", batches, 1)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    blocks = measured_variables(model)
    bound = bind(model)
    source = make_source(bound, data, "data")
    check_first_batch(bound, source, "data")
    loss = task_loss(bound, loss)
    variables = [variable for own in blocks.values() for variable in own]
    taken = islice(source.dataset(batch_size, seed=seed, shuffle=True), batches)
    with uncalibrated(model):
        norms = block_norms(blocks, gradient_norms(model, variables, loss), taken)
    for block, value in norms.items():
        if np.isinf(value):
            hint = "Train the head first, or load weights."
            fail("model", "one whose weights are not all zero", block, hint)
    return over_largest(norms) if normalize else norms


def task_loss(
    model: keras.Model | BoundModel, loss: Any, label_smoothing: float = 0.0
) -> Callable[[Any, Any], Any]:
    """The given loss, or the task's: a number for labels and outputs of a batch."""
    given, _ = objective(
        model, loss=loss, label_smoothing=label_smoothing if loss is None else 0.0
    )
    rule = keras.losses.get(given)
    # A loss by name is a function, of one number an example.
    return lambda labels, outputs: keras.ops.mean(rule(labels, outputs))


def measured_variables(
    model: keras.Model, among: Iterable[keras.Variable] | None = None
) -> dict[str, list[keras.Variable]]:
    """Block name -> its weights without BatchNorm's; empty blocks are left out."""
    layers = {layer.name: layer for layer in leaf_layers(model)}
    wanted = None if among is None else {id(variable) for variable in among}
    taken: set[int] = set()
    found: dict[str, list[keras.Variable]] = {}
    for block, names in block_layers(model).items():
        for name in names:
            for variable in _weights(layers[name]):
                key = id(variable)
                # A layer shared with a nested model is listed twice.
                if key in taken or (wanted is not None and key not in wanted):
                    continue
                taken.add(key)
                found.setdefault(block, []).append(variable)
    return found


def _weights(layer: keras.Layer) -> list[keras.Variable]:
    """What the layer and those inside it learn, without BatchNorm's."""
    return [
        variable
        for part in sublayers(layer)
        if not isinstance(part, keras.layers.BatchNormalization)
        for variable in own_variables(part)
    ]


def block_norms(
    blocks: dict[str, list[keras.Variable]],
    norms: GradientNorms,
    batches: Iterable[tuple[Any, ...]],
) -> dict[str, float]:
    """Mean over batches of each block's relative gradient norm."""
    owner = [place for place, own in enumerate(blocks.values()) for _ in own]
    weights = np.zeros(len(blocks))
    for place, own in enumerate(blocks.values()):
        weights[place] = np.sqrt(sum(_squared(variable) for variable in own))
    rows = []
    for inputs, labels, *_ in batches:
        squares = norms(inputs, labels)
        pull = np.sqrt(np.bincount(owner, squares, minlength=len(blocks)))
        with np.errstate(divide="ignore", invalid="ignore"):
            rows.append(np.where(pull == 0, 0.0, pull / weights))
    means = np.mean(rows, axis=0)
    return dict(zip(blocks, map(float, means), strict=True))


def _squared(variable: keras.Variable) -> float:
    values = keras.ops.convert_to_numpy(variable).astype("float64")
    return float(np.sum(values**2))


def over_largest(norms: dict[str, float]) -> dict[str, float]:
    """The norms divided by the largest; zeros stay, and infinite ones become 1."""
    finite = [value for value in norms.values() if np.isfinite(value)]
    largest = max(finite, default=0.0) or 1.0
    return {
        name: value / largest if np.isfinite(value) else 1.0
        for name, value in norms.items()
    }


def gradient_norms(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Any
) -> GradientNorms:
    """A function of inputs and labels: the squared norm of each variable's gradient.

    The network runs in inference mode, so that neither statistics nor seeds move.
    Compiled once, it may be called after the weights have changed.
    """
    if keras.backend.backend() == "jax":
        return _jax_norms(model, variables, loss)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_norms(model, variables, loss)
    return fail("backend", "TensorFlow or JAX", keras.backend.backend())


def _tensorflow_norms(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Any
) -> GradientNorms:
    import tensorflow as tf

    values = [variable.value for variable in variables]

    @tf.function(jit_compile=False)
    def squares(inputs: Any, labels: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            # Variables that are frozen are not watched by themselves.
            tape.watch(values)
            result = loss(labels, model(inputs, training=False))
        gradients = tape.gradient(
            result, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return tf.stack([tf.reduce_sum(tf.cast(g, "float32") ** 2) for g in gradients])

    return lambda inputs, labels: squares(
        tf.convert_to_tensor(inputs), tf.convert_to_tensor(labels)
    ).numpy()


def _jax_norms(
    model: keras.Model, variables: Sequence[keras.Variable], loss: Any
) -> GradientNorms:
    import jax

    places = {id(variable): place for place, variable in enumerate(variables)}
    training, others = model.trainable_variables, model.non_trainable_variables

    def filled(owners: Sequence[Any], state: Any, chosen: Any) -> list[Any]:
        return [
            chosen[places[id(owner)]] if id(owner) in places else value
            for owner, value in zip(owners, state, strict=True)
        ]

    def value(chosen: Any, state: Any, inputs: Any, labels: Any) -> Any:
        outputs, _ = model.stateless_call(
            filled(training, state[0], chosen),
            filled(others, state[1], chosen),
            inputs,
            training=False,
        )
        return loss(labels, outputs)

    @jax.jit
    def squares(chosen: Any, state: Any, inputs: Any, labels: Any) -> Any:
        gradients = jax.grad(value)(chosen, state, inputs, labels)
        return [keras.ops.sum(keras.ops.cast(g, "float32") ** 2) for g in gradients]

    def norms(inputs: Any, labels: Any) -> np.ndarray:
        chosen = [variable.value for variable in variables]
        state = [v.value for v in training], [v.value for v in others]
        found = squares(chosen, state, np.asarray(inputs), np.asarray(labels))
        return np.array([float(square) for square in found])

    return norms


#: Batches measured before an epoch, as in the code of Lee et al. (2023).
_BATCHES = 5


def check_rates(model: keras.Model, phases: Sequence[Phase], replicas: int) -> None:
    """Raise now, not hours later, if a phase's multipliers do not fit the model."""
    for phase in phases:
        if phase.has_auto_rates:
            _check_measurable(phase, replicas)
        elif phase.multipliers:
            _check_named(model, phase)


def _check_measurable(phase: Phase, replicas: int) -> None:
    if replicas > 1:
        hint = "Measure once with kerastl.rates.relative_gradient_norms."
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
    free = (
        opened if phase.trainable in PARAMETER_GROUPS else frozenset(head_layers(model))
    )
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
    """

    def __init__(
        self,
        whole: keras.Model,
        loss: Any,
        batches: Callable[[], Iterable[tuple[Any, ...]]],
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
        batches = islice(self.batches(), _BATCHES)
        found = over_largest(block_norms(self._blocks, self._norms, batches))
        self.multipliers.append(found)
        find_layerwise(self.model.optimizer).set_multipliers(
            (variable, found.get(block, 1.0)) for variable, block in self._owned
        )
