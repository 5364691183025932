"""A table of how fast a compiled model learns, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.models.block_rates import block_layers
from kerastl.models.freezing import leaf_layers
from kerastl.models.layerwise import current_multipliers


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
class LearningRateReport:
    """How fast a compiled model learns, block by block; prints as a table.

    Attributes:
        rows: Input side first, the head last.
    """

    rows: tuple[LearningRateRow, ...]

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
        >>> row = kerastl.learning_rates(model).rows[-1]
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
        for row in _rows(block, [layers[name] for name in names], multipliers, rate)
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
            size = int(np.prod(variable.shape))
            sizes[multiplier] = sizes.get(multiplier, 0) + size
    for multiplier in sorted(sizes or {0.0: 0}):
        yield LearningRateRow(
            block, multiplier, rate * multiplier, sizes.get(multiplier, 0)
        )
