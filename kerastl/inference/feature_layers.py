"""The registered Keras layers at the end of a feature network."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

#: Grids of the spatial pyramid: the whole map, its quarters, its sixteenths.
LEVELS = (1, 2, 4)


@keras.saving.register_keras_serializable(package="kerastl")
class SpatialPyramid(layers.Layer):
    """Averages of a feature map over the cells of 1x1, 2x2 and 4x4 grids, in a row.

    Cell `i` of `k` spans rows `floor(i h / k)` to `ceil((i + 1) h / k)`, so that none
    is empty on a small map; neighbours then share a row.

    Args:
        name: Layer name.
        dtype: Ignored: averages are taken in float32.
        trainable: Kept for Keras; the layer has no weights.

    Reference:
        He et al. (2014), Spatial Pyramid Pooling, arXiv:1406.4729, section 2.2, with
        averages in place of maxima.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = "float32",
        trainable: bool = True,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype="float32", trainable=trainable)

    def call(self, inputs: Any) -> Any:
        """Pool `(n, h, w, c)` to `(n, 21 c)`."""
        height, width = inputs.shape[1:3]
        cells = [
            ops.mean(inputs[:, top:bottom, left:right], axis=(1, 2))
            for level in LEVELS
            for top, bottom in _spans(height, level)
            for left, right in _spans(width, level)
        ]
        return ops.concatenate(cells, axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """`(n, 21 c)`."""
        return input_shape[0], sum(k * k for k in LEVELS) * input_shape[-1]


def _spans(length: int, parts: int) -> Iterator[tuple[int, int]]:
    for i in range(parts):
        yield i * length // parts, -(-(i + 1) * length // parts)


@keras.saving.register_keras_serializable(package="kerastl")
class FeatureColumns(layers.Layer):
    """The features in float32, with a record of which cut each column comes from.

    It is the last layer of every feature network. It computes nothing; its config
    carries the names through `.keras` files.

    Args:
        cuts: Name of each cut, in order.
        widths: Number of columns of each.
        pooling: How feature maps were pooled.
        settings: JSON-ready dictionary that travels along.
        name: Layer name.
        dtype: Ignored: the output is float32 under every policy.
        trainable: Kept for Keras; the layer has no weights.
    """

    def __init__(
        self,
        cuts: Sequence[str],
        widths: Sequence[int],
        pooling: str,
        *,
        settings: dict[str, Any] | None = None,
        name: str = "feature_columns",
        dtype: Any = "float32",
        trainable: bool = True,
    ) -> None:
        """See the class."""
        super().__init__(
            name=name, dtype="float32", trainable=trainable, autocast=False
        )
        self.cuts, self.widths = tuple(cuts), tuple(widths)
        self.pooling, self.settings = pooling, dict(settings or {})

    def call(self, inputs: Any) -> Any:
        """Return the features in float32."""
        return ops.cast(inputs, "float32")

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Same shape, float32."""
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        record = {"cuts": list(self.cuts), "widths": list(self.widths)}
        more = {"pooling": self.pooling, "settings": self.settings}
        return {**super().get_config(), **record, **more}

    def column_names(self) -> list[str]:
        """A name for each column: its cut, its cell of the pyramid, its channel."""
        return [
            f"{cut}_{place}"
            for cut, width in zip(self.cuts, self.widths, strict=True)
            for place in _places(width, self.pooling)
        ]


def _places(width: int, pooling: str) -> Iterator[str]:
    if pooling != "spp":
        yield from map(str, range(width))
        return
    channels = width // sum(k * k for k in LEVELS)
    for level in LEVELS:
        for row, column, channel in np.ndindex(level, level, channels):
            yield f"{level}x{level}_{row}_{column}_{channel}"


def feature_columns(network: keras.Model) -> FeatureColumns:
    """The record of a feature network: its last layer."""
    return network.layers[-1]
