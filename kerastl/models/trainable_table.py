"""A table of what trains, block by block."""

from dataclasses import dataclass

import keras

from kerastl._compat import sublayers
from kerastl.models.freezing import head_layers, leaf_layers, model_blocks
from kerastl.models.layers import is_holding_statistics


@dataclass(frozen=True)
class TrainableRow:
    """One block of a model.

    Attributes:
        block: Block's name; `"head"` for the head.
        layers: Number of layers that hold weights.
        parameters: Number of scalars in them.
        trainable: How many of those train.
        batch_norm: What its BatchNorm layers do: `"frozen"`, `"affine"`, `"train"`,
            `"mixed"`, or `"-"` where there are none.
    """

    block: str
    layers: int
    parameters: int
    trainable: int
    batch_norm: str


@dataclass(frozen=True)
class TrainableReport:
    """What trains in a model, block by block; prints as a table.

    Attributes:
        rows: One per block, input side first, the head last.
    """

    rows: tuple[TrainableRow, ...]

    @property
    def parameters(self) -> int:
        """Number of scalars in the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Number of scalars that train."""
        return sum(row.trainable for row in self.rows)

    def __str__(self) -> str:
        """The table as text."""
        total = TrainableRow(
            "total",
            sum(row.layers for row in self.rows),
            self.parameters,
            self.trainable,
            "",
        )
        width = max(len(row.block) for row in (*self.rows, total))
        header = f"{'block':<{width}}  layers  parameters   trainable  batch norm"
        lines = [header, "-" * len(header)]
        lines += [
            f"{row.block:<{width}}  {row.layers:>6}  {row.parameters:>10,}  "
            f"{row.trainable:>10,}  {row.batch_norm}".rstrip()
            for row in (*self.rows, total)
        ]
        return "\n".join(lines)


def trainable_report(model: keras.Model) -> TrainableReport:
    """What trains in a model now, block by block.

    It tells the flags as they stand; a compiled model trains what it was compiled to.

    Args:
        model: A classifier, a backbone or any functional model.

    Returns:
        A report that prints as a table.

    Raises:
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = kerastl.trainable_report(model)
        >>> report.rows[-1].block, report.trainable
        ('head', 771)
    """
    parts = {**model_blocks(model), "head": head_layers(model)}
    layers = {layer.name: layer for layer in leaf_layers(model)}
    rows = [
        _row(block, [layers[name] for name in names])
        for block, names in parts.items()
        if names
    ]
    return TrainableReport(tuple(rows))


def _row(block: str, layers: list[keras.Layer]) -> TrainableRow:
    weights = [weight for layer in layers for weight in layer.weights]
    trained = {id(weight) for layer in layers for weight in layer.trainable_weights}
    return TrainableRow(
        block,
        sum(bool(layer.weights) for layer in layers),
        sum(_size(weight) for weight in weights),
        sum(_size(weight) for weight in weights if id(weight) in trained),
        _batch_norm(layers),
    )


def _size(weight: keras.Variable) -> int:
    size = 1
    for side in weight.shape:
        size *= side
    return size


def _batch_norm(layers: list[keras.Layer]) -> str:
    modes = {
        "frozen"
        if not part.trainable
        else "affine"
        if is_holding_statistics(part)
        else "train"
        for layer in layers
        for part in sublayers(layer)
        if isinstance(part, keras.layers.BatchNormalization)
    }
    return modes.pop() if len(modes) == 1 else "mixed" if modes else "-"
