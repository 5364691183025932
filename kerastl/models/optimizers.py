"""Optimizers whose rate differs between layers, and a table of those rates."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_number, fail, nearest
from kerastl._compat import VariableRates, is_decayed
from kerastl._tables import Tabular
from kerastl.models.freezing import (
    count_parameters,
    head_layers,
    leaf_layers,
    model_blocks,
)

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
                "Make the optimizer anew with kerastl.rates.layerwise_optimizer; to "
                "load a file without its optimizer, pass compile=False.",
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


#: Multipliers by name, as a mapping or as the pairs that a frozen `Phase` keeps.
Multipliers = Mapping[str, float] | Iterable[tuple[str, float]]


def layerwise_optimizer(
    optimizer: str | keras.optimizers.Optimizer,
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer under which each block of a model learns at a rate of its own.

    Give the result to `model.compile`, and freeze or unfreeze before, not after. Not
    the gradients are scaled, which Adam would undo, but the learning rate of each
    variable: its steps and its weight decay. There is still one `learning_rate`, so
    schedules and callbacks keep the ratios; clipping sees the gradients as they are.

    A variable of multiplier m trains as under a plain optimizer of learning rate
    `m * learning_rate`. For all Keras optimizers but two the step itself is then m
    times as long; Adafactor caps the rate at `1 / sqrt(step)` after multiplying, and
    Ftrl solves for the weights, which it takes to begin at zero, whatever the rate.

    Args:
        optimizer: Name, or an instance taken as a pattern: its settings are copied,
            never its state, nor rates of its own.
        model: Functional model whose trainable flags are set.
        layer_decay: In (0, 1]. The head learns at the full rate, the topmost block
            at `layer_decay` times it, the next at `layer_decay ** 2`, and so down to
            the stem. ULMFiT's 2.6 is `1 / 2.6`. Blocks are found inside one nested
            functional model, `base(x)`, but a nested Sequential, or several models
            side by side, count as one block; a model that is all head has none.
        multipliers: Name of a block or layer, or `"head"` -> number of at least 0;
            exactly that part. A layer's own counts more than its block's. Multiplied
            with `layer_decay` where both are given; what is not named counts 1.

    Returns:
        An optimizer of the same class and settings, that `model.save` stores and
        `keras.models.load_model` reads, with its rates, once kerastl is imported.

    Raises:
        ValueError: If a number is out of range, a name fits nothing that trains, or
            the backend is neither TensorFlow nor JAX.
        TypeError: If `model` is not a functional Keras model, or `multipliers` no
            mapping.

    Example:
        >>> import keras, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.unfreeze(model, 2)
        >>> optimizer = kerastl.rates.layerwise_optimizer(
        ...     "adamw", model, layer_decay=0.5
        ... )
        >>> model.compile(optimizer, loss=model.loss)
        >>> for row in kerastl.rates.learning_rates(model).rows[-3:]:
        ...     print(row.block, row.multiplier)
        block_12 0.25
        block_13 0.5
        head 1.0

    Reference:
        Howard & Ruder (2018), arXiv:1801.06146, §3.2, eq. 2; Clark et al. (2020),
        ELECTRA, arXiv:2003.10555, appendix B. Both count layers; here blocks are
        counted.
    """
    if layer_decay is None and multipliers is None:
        fail("layer_decay", "given, or `multipliers`", None)
    optimizer = named_optimizer(optimizer)
    pairs = variable_multipliers(
        model, layer_decay=layer_decay, multipliers=multipliers
    )
    return with_rates(optimizer, pairs)


def variable_multipliers(
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> list[tuple[keras.Variable, float]]:
    """Each variable that trains, with its multiplier: see `layerwise_optimizer`."""
    named, parts = _by_name(multipliers), block_layers(model)
    by_layer = layer_multipliers(model, layer_decay=layer_decay, multipliers=named)
    training = {x.name for x in leaf_layers(model) if x.trainable_variables}
    for name in named:
        if not training.intersection(parts.get(name, (name,))):
            hint = "It is frozen: leave it out, or unfreeze it first."
            fail("multipliers", "of what trains", name, hint)
    by_variable = {
        id(variable): by_layer.get(layer.name, 1.0)
        for layer in leaf_layers(model)
        for variable in layer.trainable_variables
    }
    return [(v, by_variable.get(id(v), 1.0)) for v in model.trainable_variables]


def layer_multipliers(
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> dict[str, float]:
    """Layer name -> multiplier, whether it trains or not: see `layerwise_optimizer`."""
    parts = block_layers(model)
    found: dict[str, float] = {}
    decay = 1.0 if layer_decay is None else layer_decay
    check_number("layer_decay", decay, above=0.0, maximum=1.0)
    for distance, names in enumerate(reversed(parts.values())):
        found.update(dict.fromkeys(names, float(decay) ** distance))
    own: dict[str, float] = {}
    # Blocks first: what is said of a layer counts more.
    named = _by_name(multipliers)
    for name in sorted(named, key=lambda name: name not in parts):
        check_number(f"multipliers[{name!r}]", named[name], 0.0)
        if name not in parts and name not in found:
            last = ", ".join(list(parts)[-3:])
            hint = nearest(str(name), [*parts, *found]) or f"The last are: {last}."
            fail("multipliers", "of blocks, layers or 'head'", name, hint)
        own.update(dict.fromkeys(parts.get(name, (name,)), float(named[name])))
    return {name: value * own.get(name, 1.0) for name, value in found.items()}


def _by_name(multipliers: Multipliers | None) -> dict[str, float]:
    """Name -> number, from a mapping or from pairs."""
    try:
        return {} if multipliers is None else dict(multipliers)
    except (TypeError, ValueError):
        pass
    text = isinstance(multipliers, str)
    hint = "Only Phase takes 'auto_rgn', as it measures while it trains."
    return fail(
        "multipliers",
        "a dictionary of names and numbers",
        multipliers,
        hint if text else "",
        ValueError if text else TypeError,
    )


def block_layers(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Block name -> names of its layers, input side first, `"head"` last."""
    # An empty head keeps its place: the topmost block is one step below it.
    return {**model_blocks(model), "head": head_layers(model)}


@dataclass(frozen=True)
class LearningRateRow:
    """One block of a model, or the part of one that shares a learning rate.

    Attributes:
        block: Block's name; `"head"` for the head.
        multiplier: What the learning rate is multiplied by; 0 where nothing trains.
        learning_rate: The product, as it is now.
        parameters: Number of scalars that train.
    """

    block: str
    multiplier: float
    learning_rate: float
    parameters: int


@dataclass(frozen=True)
class LearningRateReport(Tabular):
    """How fast a compiled model learns, block by block; prints as a table.

    Attributes:
        rows: Input side first, the head last.
    """

    rows: tuple[LearningRateRow, ...]

    def _heading(self) -> str:
        return ""

    def __str__(self) -> str:
        """The table as text."""
        width = max(len(row.block) for row in (*self.rows, _HEADER))
        header = f"{'block':<{width}}  multiplier  learning rate  parameters"
        lines = [header, "-" * len(header)]
        lines += [
            f"{row.block:<{width}}  {row.multiplier:>10.4g}  "
            f"{row.learning_rate:>13.4g}  {row.parameters:>10,}"
            for row in self.rows
        ]
        return "\n".join(lines)


_HEADER = LearningRateRow("block", 0.0, 0.0, 0)


def learning_rates(model: keras.Model) -> LearningRateReport:
    """How fast each block of a compiled model learns now.

    A schedule moves all rates together: the table tells those of the next step.

    Args:
        model: Functional model, compiled by kerastl or by yourself, with or without
            multipliers.

    Returns:
        A report that prints as a table. A block has a row for each multiplier in it.

    Raises:
        ValueError: If `model` is not compiled.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> row = kerastl.rates.learning_rates(model).rows[-1]
        >>> row.block, row.multiplier, row.parameters
        ('head', 1.0, 771)
    """
    parts = block_layers(model)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        hint = "Call model.compile first."
        fail("model", "a compiled model", model.name, hint)
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    variables = model.trainable_variables
    multipliers = dict(
        zip(map(id, variables), current_multipliers(optimizer, variables), strict=True)
    )
    layers = {layer.name: layer for layer in leaf_layers(model)}
    rows = [
        row
        for block, names in parts.items()
        if names
        for row in _rows(
            block, [layers[n] for n in names if n in layers], multipliers, rate
        )
    ]
    return LearningRateReport(tuple(rows))


def _rows(
    block: str,
    layers: list[keras.Layer],
    multipliers: dict[int, float],
    rate: float,
) -> Iterator[LearningRateRow]:
    sizes: dict[float, int] = {}
    for layer in layers:
        for variable in layer.trainable_variables:
            multiplier = multipliers[id(variable)]
            size = count_parameters([variable])
            sizes[multiplier] = sizes.get(multiplier, 0) + size
    for multiplier in sorted(sizes or {0.0: 0}):
        yield LearningRateRow(
            block, multiplier, rate * multiplier, sizes.get(multiplier, 0)
        )
