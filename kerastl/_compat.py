"""Every private or version-dependent Keras hook, one small function each."""

import importlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras.src import backend as keras_backend
from keras.src.models.functional import Functional, is_input_keras_tensor
from keras.src.ops.node import Node
from keras.src.utils import file_utils


@dataclass(frozen=True)
class GraphNode:
    """One call of a layer (or operation) inside a functional model.

    Attributes:
        layer: The layer or operation that was called.
        inputs: Ids of the symbolic tensors it took.
        outputs: The symbolic tensors it made.
    """

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def is_input(self) -> bool:
        """Whether nothing comes before it: an `InputLayer`."""
        return not self.inputs


def is_functional(model: Any) -> bool:
    """Whether the model is a graph of layers: functional, or a subclass of it."""
    return isinstance(model, Functional)


def graph_nodes(model: keras.Model) -> tuple[GraphNode, ...]:
    """The calls that make up a functional model, inputs first, in topological order.

    Read from `Function._nodes_by_depth`. Layers also record calls that belong to
    other models, so `layer._inbound_nodes` is no substitute.
    """
    by_depth = model._nodes_by_depth
    nodes = [
        GraphNode(
            node.operation,
            tuple(id(tensor) for tensor in node.input_tensors),
            tuple(node.outputs),
        )
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
    ]
    # In a suffix made by `keras.Model(middle, end)` an input may lie deeper.
    return tuple(sorted(nodes, key=lambda node: not node.is_input))


def rerun_graph(
    model: keras.Model,
    inputs: Any,
    call: Callable[..., Any],
) -> Any:
    """Run a functional model's graph on other tensors.

    Uses `Function._run_through_graph`, as `keras.models.clone_model` does: the public
    function cannot begin in the middle of a new graph without a second input layer.

    Args:
        model: Functional model.
        inputs: Symbolic tensor to begin with.
        call: `call(layer, *args, **kwargs)` makes each layer's output.

    Returns:
        What the model's outputs become, in their structure.
    """
    return model._run_through_graph(
        inputs, operation_fn=lambda operation: operation, call_fn=call
    )


def model_from_inside(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """A model that begins at tensors inside a graph, which stays as it is.

    Keras makes new inputs for them. Of those that are inputs already it makes none, and
    then takes them for the new model's: the one they came from cannot be written any
    more. So they are shown to it as something computed.

    Args:
        inputs: Symbolic tensors.
        outputs: The same.
        name: The model's name.
    """
    given = keras.tree.flatten(inputs)
    own = [tensor for tensor in given if is_input_keras_tensor(tensor)]
    if len(own) == len(given):
        return keras.Model(inputs, outputs, name=name)
    histories = [tensor._keras_history for tensor in own]
    try:
        for tensor in own:
            made_of = keras.KerasTensor(tensor.shape, tensor.dtype)
            Node(keras.layers.Identity(), (made_of,), {}, outputs=tensor)
        return keras.Model(inputs, outputs, name=name)
    finally:
        for tensor, history in zip(own, histories, strict=True):
            tensor._keras_history = history


def import_keras_hub() -> Any:
    """keras-hub, without the red warning that it would show in a notebook.

    What it brings looks for a progress bar of notebooks, and warns where there is none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        return importlib.import_module("keras_hub")


def keras_home() -> Path:
    """Keras's own folder: `KERAS_HOME` when Keras was imported, else `~/.keras`."""
    return Path(keras_backend.config.keras_home()).expanduser()


_FETCHING = threading.RLock()


@contextmanager
def applications_fetch_with(fetch: Callable[..., str]) -> Iterator[None]:
    """Let `keras.applications` get its weights files from another function.

    In this thread; a second one that asks for the same waits for the first.

    Args:
        fetch: Called as `keras.utils.get_file` is; returns the file's path.
    """
    thread = threading.get_ident()
    with _FETCHING:
        original = file_utils.get_file

        def chosen(*args: Any, **options: Any) -> str:
            here = threading.get_ident() == thread
            return (fetch if here else original)(*args, **options)

        file_utils.get_file = chosen
        try:
            yield
        finally:
            file_utils.get_file = original


def device_names() -> list[str]:
    """The devices that the backend sees, as `"gpu:0"`.

    Keras lists them for TensorFlow and JAX alone; elsewhere it is the one in use.
    """
    if keras.backend.backend() in ("tensorflow", "jax"):
        return keras.distribution.list_devices()
    return [str(getattr(keras.ops.zeros(()), "device", "cpu"))]


_USED_BY: list[int] = []


def note_process() -> None:
    """Note that this process uses the backend; raise in a fork of one that did.

    TensorFlow's and JAX's threads do not live on in a fork, which waits for them for
    ever.

    Raises:
        RuntimeError: In a forked process.
    """
    if keras.backend.backend() not in ("tensorflow", "jax"):
        return
    mine = os.getpid()
    if mine != (_USED_BY or [mine])[0]:
        raise RuntimeError(
            f"Process {mine} was forked from process {_USED_BY[0]}, which has used "
            f"{keras.backend.backend()}, and would wait for its threads for ever. Load "
            "the model in the child alone, or start it with multiprocessing's 'spawn'."
        )
    _USED_BY[:] = [mine]


def sublayers(layer: keras.Layer) -> tuple[keras.Layer, ...]:
    """`layer` and every layer inside it, outermost first."""
    return tuple(layer._flatten_layers(include_self=True, recursive=True))


def own_variables(layer: keras.Layer) -> tuple[keras.Variable, ...]:
    """The variables that the layer's `trainable` switches, without those of sublayers.

    Statistics and the state of random numbers are not among them.
    """
    return tuple(layer._trainable_variables)


def drop_variable(layer: keras.Layer, name: str) -> None:
    """Take a variable and the attribute that holds it away from a layer.

    `del layer.name` does the same, and collects garbage each time, which takes most of
    a second where TensorFlow is loaded.
    """
    layer._untrack_variable(getattr(layer, name))
    super(keras.Layer, layer).__delattr__(name)


def seed_generators(layer: keras.Layer) -> tuple[keras.random.SeedGenerator, ...]:
    """The layer's own sources of random numbers."""
    return tuple(layer._seed_generators)


def follow_state(generator: keras.random.SeedGenerator) -> None:
    """Let noise follow the generator's state on PyTorch too.

    There Keras leaves dropout to the process's own random numbers wherever the
    generator was made without a seed, whatever its state is.
    """
    if keras.backend.backend() == "torch" and generator._initial_seed is None:
        generator._initial_seed = 0


def compiled_trainable_state(model: keras.Model) -> tuple[str, ...] | None:
    """Paths that trained when the model was compiled, as Keras 3.15 remembers them.

    Earlier versions keep no record; then None.
    """
    state = getattr(model, "_compiled_trainable_state", None)
    if not state:
        return None
    names = {id(layer) for layer, flag in state.items() if flag}
    return tuple(
        variable.path
        for layer in sublayers(model)
        if id(layer) in names
        for variable in layer._trainable_variables
        # Of a layer that is still on, single weights may have been off all along.
        if variable.trainable or not layer.trainable
    )


def optimizer_targets(optimizer: keras.optimizers.Optimizer) -> tuple[str, ...]:
    """Paths of the variables a built optimizer was built to update, in order."""
    return tuple(variable.path for variable in optimizer._trainable_variables)


def keep_averages(callback: keras.callbacks.SwapEMAWeights) -> None:
    """Let `fit` end on the averages that the callback has swapped into the model.

    By itself it does so in the last epoch alone; after any other, `fit` overwrites
    them with what they were swapped for.
    """
    callback._finalize_ema_values()


def averages_swapped_in(callback: keras.callbacks.SwapEMAWeights) -> None:
    """Tell the callback that the model has its averages, as after an epoch.

    It swaps them back when the next one begins.
    """
    callback._ema_weights_in_model = True


def held_array(values: Any) -> Callable[[], Any]:
    """A function that gives an array which compiled steps read where it lies.

    It is a variable of no layer. TensorFlow reads such a one; JAX would copy it into
    the program and compile for seconds, so there it lies behind a `jax.new_ref`, which
    a step takes as an input. JAX of before that function copies.
    """
    variable = keras.Variable(values, trainable=False, name="held")
    if keras.backend.backend() != "jax":
        return lambda: variable
    import jax

    if not hasattr(jax, "new_ref"):
        return lambda: variable
    reference = jax.new_ref(variable.value)
    return lambda: reference[...]


def input_gradients(model: keras.Model) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A compiled function: weighted sums of a model's outputs, and their gradients.

    In inference mode, by the weights that the model has when it is called.

    Args:
        model: Of one input and one output `(n, k)`.

    Returns:
        From inputs `(n, ...)` and weights `(n, k)` to the sums `(n,)` of outputs times
        weights, and the gradient of each by its own input `(n, ...)`, as arrays.

    Raises:
        NotImplementedError: On backends other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function(reduce_retracing=True)
        def taped(inputs: Any, weights: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = tf.cast(model(inputs, training=False), "float32")
                sums = tf.reduce_sum(outputs * weights, axis=-1)
            return sums, tape.gradient(sums, inputs)

        def compute(inputs: Any, weights: Any) -> Any:
            return taped(tf.convert_to_tensor(inputs), tf.convert_to_tensor(weights))

    elif backend == "jax":
        import jax

        def summed(inputs: Any, weights: Any, state: Any) -> Any:
            outputs, _ = model.stateless_call(*state, inputs, training=False)
            sums = (outputs.astype("float32") * weights).sum(axis=-1)
            return sums.sum(), sums

        traced = jax.jit(jax.value_and_grad(summed, has_aux=True))

        def compute(inputs: Any, weights: Any) -> Any:
            # The weights go in as arguments: as constants they would be compiled.
            trained, others = model.trainable_variables, model.non_trainable_variables
            state = [v.value for v in trained], [v.value for v in others]
            (_, sums), gradients = traced(inputs, weights, state)
            return sums, gradients

    else:
        raise NotImplementedError(
            f"No gradients by inputs on Keras's backend {backend}."
        )

    def of_arrays(inputs: Any, weights: Any) -> tuple[Any, Any]:
        return tuple(map(keras.ops.convert_to_numpy, compute(inputs, weights)))

    return of_arrays


def is_decayed(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    """Whether weight decay is to reach the variable: see `exclude_from_weight_decay`.

    Asked of an optimizer that is not built yet: Keras remembers the answers.
    """
    return optimizer._use_weight_decay(variable)


class VariableRates:
    """Optimizer mixin: each variable steps and decays at a learning rate of its own.

    Of the hooks only `update_step` is public. Keras's decay reads the learning rate
    itself, so it runs variable by variable while what it reads is scaled.
    """

    _decay_factor: Any = None

    def rate_factor(self, place: int) -> Any:
        """What the learning rate of the variable at `place` is multiplied by."""
        raise NotImplementedError

    def place_of(self, variable: Any) -> int:
        """The variable's place among those that the optimizer was built with."""
        return self._get_variable_index(variable)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keras's own step at the variable's own rate."""
        factor = self.rate_factor(self.place_of(variable))
        rate = keras.ops.multiply(learning_rate, factor)
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        for variable in variables:
            self._decay_factor = self.rate_factor(self.place_of(variable))
            try:
                super()._apply_weight_decay([variable])
            finally:
                self._decay_factor = None

    def _get_current_learning_rate(self) -> Any:
        rate = super()._get_current_learning_rate()
        if self._decay_factor is None:
            return rate
        return keras.ops.multiply(rate, self._decay_factor)
