"""Optimizers that give each variable a learning rate of its own."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._compat import VariableRates, is_decayed

_PACKAGE, _NAME = "kerastl", "LayerwiseOptimizer"


@dataclass(frozen=True)
class VariableRate:
    """How fast one variable learns.

    Attributes:
        path: The variable's path.
        multiplier: What the learning rate is multiplied by, at least 0.
        decayed: Whether weight decay reaches it.
        variable: Weak reference to it; None where only its path is known.
    """

    path: str
    multiplier: float
    decayed: bool = True
    variable: Any = None


@dataclass(frozen=True)
class RateTable:
    """The rates of a model's variables: found by object, else by path.

    Attributes:
        rows: One per variable, in the model's order.
    """

    rows: tuple[VariableRate, ...]

    def of(self, variables: Sequence[keras.Variable]) -> tuple[VariableRate, ...]:
        """The rows of these variables, in their order.

        Raises:
            ValueError: If a variable is not in the table.
        """
        known = [row.variable and row.variable() for row in self.rows]
        by_object = {
            id(variable): row
            for variable, row in zip(known, self.rows, strict=True)
            if variable is not None
        }
        if all(id(variable) in by_object for variable in variables):
            return tuple(by_object[id(variable)] for variable in variables)
        paths = [variable.path for variable in variables]
        # Two layers of nested models may share a path: then only the order tells.
        if paths == [row.path for row in self.rows]:
            return self.rows
        by_path = {row.path: row for row in self.rows}
        missing = [path for path in paths if path not in by_path]
        if missing or len(by_path) < len(self.rows):
            fail(
                "model",
                "the one that its optimizer's learning rates were made for",
                missing[0] if missing else "several variables of one path",
                "Make the optimizer anew with kerastl.layerwise_optimizer; to load "
                "a file without its optimizer, pass compile=False.",
            )
        return tuple(by_path[path] for path in paths)

    def to_config(self) -> list[list[Any]]:
        """A JSON-ready list."""
        return [[row.path, row.multiplier, row.decayed] for row in self.rows]

    @classmethod
    def from_config(cls, config: list[list[Any]]) -> "RateTable":
        """Rebuild from `to_config`; the variables are then found by path."""
        return cls(tuple(VariableRate(*row) for row in config))


@keras.saving.register_keras_serializable(_PACKAGE, _NAME)
class LayerwiseOptimizer(VariableRates):
    """What `layerwise_class` adds to a Keras optimizer.

    The multipliers are one variable of the optimizer: on JAX part of the state, so
    that changing them compiles nothing anew.
    """

    plain_class: type[keras.optimizers.Optimizer]

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the optimizer's variables, the multipliers last."""
        if self.built:
            return
        rows = self._table.of(variables)
        exempt = [
            variable
            for variable, row in zip(variables, rows, strict=True)
            if not row.decayed or not is_decayed(self, variable)
        ]
        # Keras does not store it.
        self.exclude_from_weight_decay(var_list=exempt)
        super().build(variables)
        self._table = RateTable(rows)
        values = np.array([row.multiplier for row in rows], "float32")
        self._multipliers = self.add_variable(
            shape=values.shape,
            # Not assigned afterwards: TensorFlow may build inside a graph.
            initializer=keras.initializers.Constant(values),
            dtype="float32",
            aggregation="only_first_replica",
            name="multipliers",
        )

    def rate_factor(self, place: int) -> Any:
        """The multiplier of the variable at `place`."""
        return self._multipliers[place]

    @property
    def rate_table(self) -> RateTable:
        """The rates as they are now."""
        if not self.built:
            return self._table
        values = keras.ops.convert_to_numpy(self._multipliers)
        return RateTable(
            tuple(
                replace(row, multiplier=float(value))
                for row, value in zip(self._table.rows, values, strict=True)
            )
        )

    @rate_table.setter
    def rate_table(self, table: RateTable) -> None:
        self._table = table

    def set_multipliers(self, pairs: Iterable[tuple[keras.Variable, float]]) -> None:
        """Change multipliers of a built optimizer; what it has gathered stays.

        SGD's momentum holds steps of the old length, and dies away with them.
        """
        values = np.array(keras.ops.convert_to_numpy(self._multipliers))
        for variable, multiplier in pairs:
            values[self.place_of(variable)] = multiplier
        self._multipliers.assign(values)

    def get_config(self) -> dict[str, Any]:
        """The plain optimizer's settings, with its class and the rates."""
        config = super().get_config()
        plain = keras.saving.serialize_keras_object(
            self.plain_class.from_config(dict(config))
        )
        plain.pop("config")
        rates = self.rate_table.to_config()
        return {**config, "layerwise": {"optimizer": plain, "rates": rates}}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> keras.optimizers.Optimizer:
        """Rebuild from `get_config`, whichever optimizer it was."""
        config = dict(config)
        record = config.pop("layerwise")
        plain = keras.saving.deserialize_keras_object(
            {**record["optimizer"], "config": config}, custom_objects=custom_objects
        )
        return _extended(plain, RateTable.from_config(record["rates"]))


@cache
def layerwise_class(plain: type) -> type:
    """The optimizer's class with a multiplier for each variable.

    Each is registered under one name: `from_config` looks the plain class up.
    """
    body = {
        "plain_class": plain,
        "__module__": __name__,
        "__doc__": f"{plain.__name__} with a learning rate for each variable.",
    }
    made = type(f"Layerwise{plain.__name__}", (LayerwiseOptimizer, plain), body)
    return keras.saving.register_keras_serializable(_PACKAGE, _NAME)(made)


def named_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    """An optimizer from its Keras name; `"sgd"` with momentum, as it is used.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() == "sgd":
        return keras.optimizers.SGD(momentum=0.9)
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError):
        hint = "Use a Keras name such as 'adamw', 'adam' or 'sgd'."
        return fail("optimizer", "a Keras optimizer or its name", optimizer, hint)


def unscaled(optimizer: Any) -> Any:
    """The optimizer inside a loss scaler, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def scaled_like(
    pattern: keras.optimizers.LossScaleOptimizer, inner: keras.optimizers.Optimizer
) -> keras.optimizers.LossScaleOptimizer:
    """A loss scaler of the same settings around another optimizer."""
    return keras.optimizers.LossScaleOptimizer(
        inner,
        initial_scale=pattern.initial_scale,
        dynamic_growth_steps=pattern.dynamic_growth_steps,
    )


def with_rates(
    optimizer: keras.optimizers.Optimizer,
    pairs: Iterable[tuple[keras.Variable, float]],
) -> keras.optimizers.Optimizer:
    """An optimizer of the same settings, with these multipliers.

    Args:
        optimizer: Taken as a pattern; its state and any older multipliers stay
            behind.
        pairs: Each variable that trains, with its multiplier.

    Raises:
        ValueError: If the backend or the optimizer cannot do it.
    """
    if keras.backend.backend() not in ("tensorflow", "jax"):
        fail("backend", "TensorFlow or JAX for these rates", keras.backend.backend())
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return scaled_like(optimizer, with_rates(optimizer.inner_optimizer, pairs))
    if type(optimizer).__name__ == "MultiOptimizer":
        hint = "It sets its own groups; take one optimizer."
        fail("optimizer", "a single optimizer", "MultiOptimizer", hint)
    rows = tuple(
        VariableRate(
            variable.path,
            float(multiplier),
            is_decayed(optimizer, variable),
            weakref.ref(variable),
        )
        for variable, multiplier in pairs
    )
    still = [row.path for row in rows if not row.multiplier]
    if still and isinstance(optimizer, keras.optimizers.Ftrl):
        hint = "It divides by the learning rate; freeze the part instead."
        fail("multipliers", "above 0 for Ftrl", still[0], hint)
    return _extended(optimizer, RateTable(rows))


def _extended(
    plain: keras.optimizers.Optimizer, table: RateTable
) -> keras.optimizers.Optimizer:
    config = plain.get_config()
    config.pop("layerwise", None)
    kind = layerwise_class(getattr(plain, "plain_class", type(plain)))
    made = super(LayerwiseOptimizer, kind).from_config(config)
    made.rate_table = table
    return made


def find_layerwise(optimizer: Any) -> LayerwiseOptimizer | None:
    """The optimizer that holds the multipliers, inside a loss scaler or bare."""
    inner = unscaled(optimizer)
    return inner if isinstance(inner, LayerwiseOptimizer) else None


def current_multipliers(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list[float]:
    """What the learning rate of each variable is multiplied by now."""
    layerwise = find_layerwise(optimizer)
    if layerwise is None:
        return [1.0] * len(variables)
    return [row.multiplier for row in layerwise.rate_table.of(variables)]
