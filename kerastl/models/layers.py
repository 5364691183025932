"""The registered Keras layers a kerastl model is saved with.

Importing `kerastl` registers them, which is what `keras.models.load_model` needs.
"""

from typing import Any

import keras
from keras import ops

from kerastl._checks import check_choice

_PACKAGE = "kerastl"

#: Channel means (RGB) of the ImageNet training set: Simonyan & Zisserman (2015), §2.1.
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)

PREPROCESSING_MODES = ("tf", "caffe", "torch", "none")


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
        dtype: Dtype policy.
        trainable: Kept for Keras; the layer has no weights.
    """

    def __init__(
        self,
        mode: str,
        *,
        backbone: str = "",
        weights: str = "none",
        image_size: tuple[int, int] | None = None,
        name: str = "preprocessing",
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype=dtype, trainable=trainable, autocast=False)
        check_choice("mode", mode, PREPROCESSING_MODES)
        self.mode = mode
        self.backbone = backbone
        self.weights_source = weights
        self.image_size = tuple(image_size) if image_size else None

    def call(self, inputs: Any) -> Any:
        """Convert a batch of images `(n, height, width, 3)`."""
        # Arithmetic in float32: in bfloat16 it is off by up to half a grey level.
        x = ops.cast(inputs, "float32")
        if self.mode == "tf":
            x = x / 127.5 - 1.0
        elif self.mode == "caffe":
            x = ops.flip(x - ops.convert_to_tensor(_CAFFE_MEAN, "float32"), axis=-1)
        elif self.mode == "torch":
            mean = ops.convert_to_tensor(_TORCH_MEAN, "float32")
            x = (x / 255.0 - mean) / ops.convert_to_tensor(_TORCH_STD, "float32")
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "backbone": self.backbone,
            "weights": self.weights_source,
            "image_size": self.image_size,
        }


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ClassLogits(keras.layers.Layer):
    """The classifier's logits in float32, with a record of what they mean.

    It is the last layer of every classifier. It computes nothing but the division by
    the temperature of a calibrated one; its config carries class names, task and
    image size through `.keras` files without pickle.

    Args:
        manifest: JSON-ready dictionary: see `kerastl.models.manifest.Manifest`.
        name: Layer name.
        dtype: Ignored: the output is float32 under every policy.
        trainable: Kept for Keras; the layer has no weights.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        *,
        name: str = "class_logits",
        dtype: Any = "float32",
        trainable: bool = True,
    ) -> None:
        """See the class."""
        super().__init__(
            name=name, dtype="float32", trainable=trainable, autocast=False
        )
        self.manifest = dict(manifest)

    def call(self, inputs: Any) -> Any:
        """Return the logits in float32, divided by the temperature."""
        logits = ops.cast(inputs, "float32")
        # Files from before calibration have no temperature.
        temperature = self.manifest.get("temperature", 1.0)
        return logits if temperature == 1.0 else logits / temperature

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Same shape, float32."""
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {**super().get_config(), "manifest": self.manifest}


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


_VARIANTS: dict[tuple[type, type], type] = {
    (_ActiveWhileTrainable, keras.layers.Dropout): FreezableDropout,
    (_ActiveWhileTrainable, keras.layers.AlphaDropout): FreezableAlphaDropout,
    (_ActiveWhileTrainable, keras.layers.SpatialDropout2D): FreezableSpatialDropout2D,
    (_ActiveWhileTrainable, keras.layers.GaussianDropout): FreezableGaussianDropout,
    (_ActiveWhileTrainable, keras.layers.GaussianNoise): FreezableGaussianNoise,
    (
        _StatisticsHeld,
        keras.layers.BatchNormalization,
    ): FrozenStatisticsBatchNormalization,
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
