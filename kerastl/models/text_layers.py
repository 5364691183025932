"""The layers that kerastl adds to networks of text."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerastl._checks import check_choice
from kerastl.models.text_registry import TEXT_REGISTRY, TextSpec

_PACKAGE = "kerastl"

TEXT_POOLINGS = ("mean", "cls", "last", "pooler")


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TokenInputs(keras.layers.Layer):
    """Token ids as they are, with a record of the network that takes them.

    It is what `Preprocessing` is to networks of images: the first layer of every text
    backbone built here.

    Args:
        backbone: Class of keras-hub, such as `"BertBackbone"`.
        weights: Where the weights come from; `"none"` for random ones.
        vocabulary_size: Rows of the embedding: ids are below it.
        max_length: Tokens that it has positions for; None: any number.
        text: Config of the text encoder whose ids it takes, or None.
        frozen: Names of the layers that `freeze` and `unfreeze` left frozen: of the
            layers inside a nested network Keras writes no flag.
        name: Layer name.
        **layer: Of `keras.layers.Layer`.
    """

    def __init__(
        self,
        backbone: str,
        *,
        weights: str = "none",
        vocabulary_size: int | None = None,
        max_length: int | None = None,
        text: dict[str, Any] | None = None,
        frozen: Sequence[str] = (),
        name: str = "tokens",
        **layer: Any,
    ) -> None:
        """See the class."""
        super().__init__(name=name, autocast=False, **layer)
        self.backbone = backbone
        self.weights_source = weights
        self.vocabulary_size = vocabulary_size
        self.max_length = max_length
        self.text = text
        self.frozen = tuple(frozen)

    def call(self, inputs: Any) -> Any:
        """The ids as whole numbers."""
        return ops.cast(inputs, "int32")

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Same shape, whole numbers."""
        return keras.KerasTensor(inputs.shape, dtype="int32")

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {
            **super().get_config(),
            "dtype": self.dtype_policy.name,
            "backbone": self.backbone,
            "weights": self.weights_source,
            "vocabulary_size": self.vocabulary_size,
            "max_length": self.max_length,
            "text": self.text,
            "frozen": list(self.frozen),
        }


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TokenPooling(keras.layers.Layer):
    """One vector of a sequence `(n, t, d)`: of its real tokens alone, by the mask.

    Called with `[sequence, mask]`, or with the sequence where the network knows no
    mask: then every position counts.

    Args:
        pooling: `"mean"` over the real tokens, `"cls"`: the first of them, `"last"`:
            the last. Padding may be on either side.
        **layer: Of `keras.layers.Layer`. It computes in float32 under every policy.
    """

    def __init__(self, pooling: str = "mean", **layer: Any) -> None:
        """See the class."""
        super().__init__(**layer | {"dtype": "float32", "autocast": False})
        check_choice("pooling", pooling, TEXT_POOLINGS[:3])
        self.pooling = pooling

    def call(self, inputs: Any) -> Any:
        """Pool to `(n, d)` in float32."""
        several = isinstance(inputs, (list, tuple))
        sequence = ops.cast(inputs[0] if several else inputs, "float32")
        shape = ops.shape(sequence)[:2]
        mask = inputs[1] if several else ops.ones(shape, "int32")
        real = ops.cast(ops.cast(mask, "bool"), "float32")
        if self.pooling == "mean":
            # A row without a token has the mean 0.
            weights = real / ops.maximum(ops.sum(real, 1, keepdims=True), 1.0)
        else:
            weights = one_real_token(real, last=self.pooling == "last")
        # Where the weight is 0 the padding's value may be anything, but no NaN.
        return ops.einsum("nt,ntd->nd", weights, sequence)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """`(n, d)`."""
        shape = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else None
        shape = input_shape if shape is None else shape
        return shape[0], shape[-1]

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer."""
        return {**super().get_config(), "pooling": self.pooling}


def one_real_token(real: Any, *, last: bool) -> Any:
    """Ones `(n, t)` at each row's first, or last, position of a mask of 0 and 1."""
    counts = ops.cumsum(real, axis=1)
    place = ops.sum(real, axis=1, keepdims=True) if last else ops.ones_like(counts)
    return real * ops.cast(ops.equal(counts, place), "float32")


def find_tokens(model: keras.Model) -> TokenInputs | None:
    """The layer that takes the token ids of a network built here, or None."""
    return next((x for x in model.layers if isinstance(x, TokenInputs)), None)


def find_text_spec(model: Any) -> TextSpec | None:
    """What is known of a text network: built here, or keras-hub's own; else None."""
    tokens = find_tokens(model) if isinstance(model, keras.Model) else None
    if tokens is not None:
        return TEXT_REGISTRY.get(tokens.backbone)
    for kind in type(model).__mro__:
        if kind.__module__.startswith("keras_hub") and kind.__name__ in TEXT_REGISTRY:
            return TEXT_REGISTRY[kind.__name__]
    return None
