"""The layers that kerastl adds to Keras."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kerastl._checks import check_choice
from kerastl._compat import (
    drop_variable,
    follow_state,
    own_variables,
    sublayers,
)
from kerastl.models.registry import IMAGENET_DEVIATION, IMAGENET_MEAN

_PACKAGE = "kerastl"

#: Channel means (RGB) of the ImageNet training set: Simonyan & Zisserman (2015), §2.1.
_CAFFE_MEAN = (123.68, 116.779, 103.939)

#: What a layer is told that computes in float32 whatever the policy.
_FLOAT32 = {"dtype": "float32", "autocast": False}

PREPROCESSING_MODES = ("tf", "caffe", "torch", "none")


def spread_channels(values: Sequence[float] | np.ndarray, channels: int) -> np.ndarray:
    """Constants of three channels for so many: the mean for one, repeated for more."""
    values = np.ravel(values)
    if channels == 1:
        return values.mean(keepdims=True)
    return values[np.arange(channels) % len(values)]


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Preprocessing(keras.layers.Layer):
    """RGB 0-255 pixels in, what the backbone was trained on out.

    It is the first layer of every backbone built here, so pixels are never scaled
    twice, and it records where the backbone came from.

    Args:
        mode: `"tf"` scales to [-1, 1]; `"caffe"` swaps to BGR and subtracts the
            ImageNet means; `"torch"` scales to [0, 1] and standardises; `"none"` only
            casts (the network scales by itself).
        backbone: Name in the registry, or the user's model name.
        weights: Where the backbone's weights come from: `"imagenet"`, `"tiny"`,
            a file's name, or `"none"` for random ones.
        image_size: `(height, width)` in pixels the backbone was built for, or None.
        name: Layer name.
        **layer: Of `keras.layers.Layer`.
    """

    def __init__(
        self,
        mode: str,
        *,
        backbone: str = "",
        weights: str = "none",
        image_size: tuple[int, int] | None = None,
        name: str = "preprocessing",
        **layer: Any,
    ) -> None:
        """See the class."""
        super().__init__(name=name, autocast=False, **layer)
        check_choice("mode", mode, PREPROCESSING_MODES)
        self.mode = mode
        self.backbone = backbone
        self.weights_source = weights
        self.image_size = tuple(image_size) if image_size else None

    def call(self, inputs: Any) -> Any:
        """Convert a batch of images `(n, height, width, channels)`."""
        # Arithmetic in float32: in bfloat16 it is off by up to half a grey level.
        x, channels = ops.cast(inputs, "float32"), inputs.shape[-1]

        def spread(values: Sequence[float]) -> Any:
            return ops.convert_to_tensor(spread_channels(values, channels), "float32")

        if self.mode == "tf":
            x = x / 127.5 - 1.0
        elif self.mode == "caffe":
            x = x - spread(_CAFFE_MEAN)
            x = ops.flip(x, axis=-1) if channels == 3 else x
        elif self.mode == "torch":
            x = (x / 255.0 - spread(IMAGENET_MEAN)) / spread(IMAGENET_DEVIATION)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {
            **super().get_config(),
            # Its name says it all, and what Keras prints of a file stays short.
            "dtype": self.dtype_policy.name,
            "mode": self.mode,
            "backbone": self.backbone,
            "weights": self.weights_source,
            "image_size": self.image_size,
        }


# The first class of a file that is not Keras's: without `import kerastl`, Keras says
# that it could not locate it, and by this name of which package it is.
Preprocessing.__name__ = "kerastl.Preprocessing"


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TaskOutputs(keras.layers.Layer):
    """The last layer of every model built here: outputs in float32, and the record.

    Its config carries what the outputs mean and what the model wants as input through
    `.keras` files, without pickle. A task whose outputs are computed from the head's
    (see `kerastl.tasks.Task.output_layer`) has a subclass of it.

    Args:
        record: JSON-ready dictionary: see `kerastl.models.record.Record`.
        name: Layer name.
        **layer: Of `keras.layers.Layer`. The output is float32 under every policy.
    """

    def __init__(
        self, record: dict[str, Any], *, name: str = "outputs", **layer: Any
    ) -> None:
        """See the class."""
        super().__init__(name=name, **layer | _FLOAT32)
        self.record = dict(record)

    def call(self, inputs: Any) -> Any:
        """The head's outputs in float32."""
        return ops.cast(inputs, "float32")

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Same shape, float32."""
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {**super().get_config(), "record": self.record}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ClassLogits(TaskOutputs):
    """A classifier's logits, divided by the temperature of a calibrated one."""

    def call(self, inputs: Any) -> Any:
        """Return the logits in float32, divided by the temperature."""
        logits = super().call(inputs)
        # Files from before calibration have no temperature.
        temperature = self.record.get("temperature", 1.0)
        return logits if temperature == 1.0 else logits / temperature


class _ActiveWhileTrainable:
    """Noise that stops when its layer is frozen.

    Keras leaves dropout and stochastic depth on inside layers with `trainable=False`,
    so a "frozen" EfficientNet gives two answers for one image during `fit`.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Draw noise only in training and only while trainable."""
        return super().call(inputs, training=bool(training) and self.trainable)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FreezableDropout(_ActiveWhileTrainable, keras.layers.Dropout):
    """`keras.layers.Dropout` that is off while `trainable` is False."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FreezableAlphaDropout(_ActiveWhileTrainable, keras.layers.AlphaDropout):
    """`keras.layers.AlphaDropout` that is off while `trainable` is False."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FreezableSpatialDropout2D(_ActiveWhileTrainable, keras.layers.SpatialDropout2D):
    """`keras.layers.SpatialDropout2D` that is off while `trainable` is False."""

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer; Keras leaves `trainable` out."""
        return {**super().get_config(), "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FreezableSpatialDropout2D":
        """The layer that `get_config` describes."""
        settings = {k: v for k, v in config.items() if k != "trainable"}
        layer = cls(**settings)
        layer.trainable = config.get("trainable", True)
        return layer


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FreezableGaussianDropout(_ActiveWhileTrainable, keras.layers.GaussianDropout):
    """`keras.layers.GaussianDropout` that is off while `trainable` is False."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FreezableGaussianNoise(_ActiveWhileTrainable, keras.layers.GaussianNoise):
    """`keras.layers.GaussianNoise` that is off while `trainable` is False."""


class _StatisticsHeld:
    """BatchNorm that normalises with its stored statistics, in training too."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise; `training` is ignored, so the statistics stay."""
        return super().call(inputs, training=False, mask=mask)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FrozenStatisticsBatchNormalization(
    _StatisticsHeld, keras.layers.BatchNormalization
):
    """`BatchNormalization` whose statistics stay while gamma and beta may train."""


#: (What is added, Keras's class) -> the class made of both.
_VARIANTS: dict[tuple[type, type], type] = {
    made.__bases__: made
    for made in (
        FreezableDropout,
        FreezableAlphaDropout,
        FreezableSpatialDropout2D,
        FreezableGaussianDropout,
        FreezableGaussianNoise,
        FrozenStatisticsBatchNormalization,
    )
}
_ORIGINALS: dict[type, type] = {new: old for (_, old), new in _VARIANTS.items()}


def _variant(behaviour: type, cls: type) -> type:
    """The class `cls` with another behaviour, made once."""
    if (behaviour, cls) not in _VARIANTS:
        # Same name and module: a file holding it loads as the original class, and
        # the next freeze changes it again.
        members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        made = type(cls.__name__, (behaviour, cls), members)
        package, separator, name = keras.saving.get_registered_name(cls).partition(">")
        if separator:
            # The original last: it is what the name must mean when a file is read.
            for each in (made, cls):
                keras.saving.register_keras_serializable(package, name)(each)
        _VARIANTS[behaviour, cls] = made
        _ORIGINALS[made] = cls
    return _VARIANTS[behaviour, cls]


def original_class(layer: keras.Layer) -> type[keras.Layer]:
    """The layer's class before freezing changed it."""
    return _ORIGINALS.get(type(layer), type(layer))


def is_noise(layer: keras.Layer) -> bool:
    """Whether the layer only draws random numbers in training, as dropout does."""
    noisy = (
        keras.layers.Dropout,
        keras.layers.AlphaDropout,
        keras.layers.GaussianDropout,
        keras.layers.GaussianNoise,
    )
    # Keras, keras-hub and keras-cv each have their own, none of them a Dropout.
    return isinstance(layer, noisy) or any(
        cls.__name__ in ("StochasticDepth", "DropPath") for cls in type(layer).__mro__
    )


def seed_noise(model: keras.Model, seed: int) -> None:
    """Start every dropout-like layer of the model from a seed of its own."""
    noisy = [layer for layer in sublayers(model) if is_noise(layer)]
    for number, layer in enumerate(noisy):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.random.SeedSequence([seed, number]).generate_state(2)
            shape = tuple(generator.state.shape)
            values = (state % (2**31)).astype("int64")[: shape[0]]
            generator.state.assign(values.astype(str(generator.state.dtype)))
            follow_state(generator)


def assign_weights(model: keras.Model, values: Sequence[np.ndarray]) -> None:
    """Give a model weights, as `get_weights` returns them.

    `set_weights` leaves a `Normalization` with what it computed of its first mean and
    variance: it went on with these.

    Args:
        model: Any model.
        values: An array for each of `model.weights`.
    """
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)
    for layer in sublayers(model):
        if isinstance(layer, layers.Normalization) and layer.built:
            layer.finalize_state()


def make_freezable(layer: keras.Layer) -> None:
    """Make a dropout-like layer respect `trainable=False`; leave any other alone.

    The class of the instance is changed in place, which reaches layers inside
    composite layers too and touches neither weights nor the graph.
    """
    if is_noise(layer) and not isinstance(layer, _ActiveWhileTrainable):
        layer.__class__ = _variant(_ActiveWhileTrainable, type(layer))


def hold_statistics(layer: keras.layers.BatchNormalization, hold: bool) -> None:
    """Keep a BatchNorm layer's statistics while gamma and beta train, or let go."""
    held = isinstance(layer, _StatisticsHeld)
    if hold and not held:
        layer.__class__ = _variant(_StatisticsHeld, type(layer))
    elif held and not hold:
        layer.__class__ = _ORIGINALS[type(layer)]


def is_holding_statistics(layer: keras.Layer) -> bool:
    """Whether a BatchNorm layer keeps its statistics while gamma and beta train."""
    return isinstance(layer, _StatisticsHeld)


#: Grids of the spatial pyramid: the whole map, its quarters, its sixteenths.
LEVELS = (1, 2, 4)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class SpatialPyramid(layers.Layer):
    """Averages of a feature map over the cells of 1x1, 2x2 and 4x4 grids, in a row.

    Cell `i` of `k` spans rows `floor(i h / k)` to `ceil((i + 1) h / k)`, so that none
    is empty on a small map; neighbours then share a row.

    Args:
        **layer: Of `keras.layers.Layer`. Averages are taken in float32.

    Reference:
        He et al. (2014), Spatial Pyramid Pooling, arXiv:1406.4729, section 2.2, with
        averages in place of maxima.
    """

    def __init__(self, **layer: Any) -> None:
        """See the class."""
        super().__init__(**layer | {"dtype": "float32"})

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


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ResizeMaps(layers.Layer):
    """Feature maps at another size, bilinear: what a decoder's ways up are made of.

    Args:
        size: `(height, width)` of the result.
        **layer: Of `keras.layers.Layer`.
    """

    def __init__(self, size: Sequence[int], **layer: Any) -> None:
        """See the class."""
        super().__init__(**layer)
        self.size = tuple(map(int, size))

    def call(self, inputs: Any) -> Any:
        """Resize `(n, h, w, c)`."""
        given = {"interpolation": "bilinear", "data_format": "channels_last"}
        return ops.image.resize(inputs, self.size, **given)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """`(n, *size, c)`."""
        return input_shape[0], *self.size, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {**super().get_config(), "size": list(self.size)}


def _spans(length: int, parts: int) -> Iterator[tuple[int, int]]:
    for i in range(parts):
        yield i * length // parts, -(-(i + 1) * length // parts)


@keras.saving.register_keras_serializable(package=_PACKAGE)
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
        **layer: Of `keras.layers.Layer`. The output is float32 under every policy.
    """

    def __init__(
        self,
        cuts: Sequence[str],
        widths: Sequence[int],
        pooling: str,
        *,
        settings: dict[str, Any] | None = None,
        name: str = "feature_columns",
        **layer: Any,
    ) -> None:
        """See the class."""
        super().__init__(name=name, **layer | _FLOAT32)
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


#: Names of the two factors, for layers with a kernel and for embeddings.
_FACTORS = (
    ("lora_kernel_a", "lora_kernel_b"),
    ("lora_embeddings_a", "lora_embeddings_b"),
)
_FACTOR_NAMES = {name for pair in _FACTORS for name in pair}
_BASES = ("kernel", "embeddings")


def is_adapter(weight: keras.Variable) -> bool:
    """Whether the weight is one of the two factors of an adapter."""
    return weight.name in _FACTOR_NAMES


def adapted_parts(layers: Iterable[keras.Layer]) -> Iterator[keras.Layer]:
    """Yield the layers with an adapter among `layers` and inside them."""
    for layer in layers:
        for part in sublayers(layer):
            if getattr(part, "lora_enabled", False):
                yield part


def obstacle(part: keras.Layer) -> str:
    """Why a layer that holds a matrix cannot have an adapter; empty if it can."""
    if not hasattr(part, "enable_lora"):
        return "Keras has no LoRA for it"
    if getattr(part, "quantization_mode", None) is not None:
        return "it is quantized"
    for name in _BASES:
        if getattr(part, f"{name}_constraint", None) is not None:
            return "its weights are constrained"
    return ""


def holds_matrix(part: keras.Layer) -> bool:
    """Whether a layer itself holds weights that are more than a scale or a shift."""
    return any(
        len(weight.shape) > 1 and not is_adapter(weight)
        for weight in own_variables(part)
    )


def base_weight(part: keras.Layer) -> keras.Variable:
    """The kernel or embedding that the adapter is added to."""
    return next(weight for weight in part.weights if weight.name in _BASES)


def smaller_side(part: keras.Layer) -> int:
    """The largest rank that a change of the layer's kernel can have.

    The kernel counts as a matrix: all axes but the last, against the last.
    """
    *rows, columns = base_weight(part).shape
    return min(math.prod(rows), columns)


def factors(part: keras.Layer) -> tuple[keras.Variable, keras.Variable]:
    """A and B of the layer's adapter: its kernel is W + alpha / rank * A B."""
    first, second = next(pair for pair in _FACTORS if hasattr(part, pair[0]))
    return getattr(part, first), getattr(part, second)


def enable(part: keras.Layer, rank: int, alpha: float, seed: int) -> None:
    """Give the layer an adapter: A random, B zero, so that nothing changes yet."""
    rule = keras.initializers.HeUniform(seed=seed)
    part.enable_lora(rank, lora_alpha=alpha, a_initializer=rule)


def folded(part: keras.Layer) -> Any:
    """The kernel with the adapter added to it: what the layer computes with."""
    weight, (a, b) = base_weight(part), factors(part)
    scale = part.lora_alpha / part.lora_rank
    return keras.ops.add(weight, scale * keras.ops.matmul(a, b))


def fold(part: keras.Layer) -> None:
    """Add the adapter to the kernel, and take it away."""
    a, b = factors(part)
    base_weight(part).assign(folded(part))
    # A traced function may still hold both factors: it must not add them twice.
    b.assign(keras.ops.zeros(b.shape, b.dtype))
    for factor in (a, b):
        drop_variable(part, factor.name)
    part.lora_enabled = False
    part.lora_rank = part.lora_alpha = None


def hold_base(part: keras.Layer) -> None:
    """Keep the kernel under an adapter frozen, whatever the layer's flag says."""
    base_weight(part).trainable = False


def wake(part: keras.Layer, seed: int) -> None:
    """Draw A anew if both factors are zero, where no gradient reaches either.

    Keras leaves them so when it reads a model's file; the output does not change.
    """
    a, b = factors(part)
    if a.trainable and not np.any(_array(a)) and not np.any(_array(b)):
        a.assign(keras.initializers.HeUniform(seed=seed)(a.shape, a.dtype))


def _array(weight: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight)
