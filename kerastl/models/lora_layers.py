"""Keras's own LoRA in one layer: switching it on, folding it in, waking it up."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from kerastl._compat import drop_variable, own_variables, sublayers

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
