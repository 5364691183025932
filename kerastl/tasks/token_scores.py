"""Losses and metrics of one class for each token, where some tokens are not asked."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl._checks import fail

_PACKAGE = "kerastl"

#: The target of a token that is not asked: padding, or a later piece of a word.
IGNORED = -1


def _each(targets: Any, logits: Any) -> tuple[Any, Any]:
    """Negative log-likelihood of each token, and 1.0 where it counts, `(n, t)`."""
    targets = ops.cast(targets, "int32")
    known = ops.maximum(targets, 0)
    nll = ops.sparse_categorical_crossentropy(known, logits, from_logits=True)
    return nll, ops.cast(ops.not_equal(targets, IGNORED), nll.dtype)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy over the tokens of a batch that are asked: their mean.

    Keras's own would divide by all tokens, so that padding makes it smaller.

    Args:
        name: The loss's name.
        **options: Of `keras.losses.Loss`.
    """

    def __init__(self, name: str = "token_crossentropy", **options: Any) -> None:
        """See the class."""
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One number for the batch; 0 where no token is asked."""
        nll, real = _each(y_true, y_pred)
        return ops.sum(nll * real) / ops.maximum(ops.sum(real), 1.0)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TokenLoss(keras.metrics.Mean):
    """Cross-entropy over all tokens that are asked, of all batches together."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        super().update_state(*_each(y_true, y_pred))


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Perplexity(TokenLoss):
    """Its exponential: between how many tokens a model wavers on average."""

    def result(self) -> Any:
        """The perplexity so far."""
        return ops.exp(super().result())


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TokenAccuracy(keras.metrics.Mean):
    """Share of right classes among the tokens that are asked."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        targets = ops.cast(y_true, "int32")
        right = ops.equal(ops.cast(ops.argmax(y_pred, -1), "int32"), targets)
        real = ops.not_equal(targets, IGNORED)
        super().update_state(ops.cast(right, "float32"), ops.cast(real, "float32"))


def check_token_targets(targets: Any, units: int) -> np.ndarray:
    """The targets `(n, t)`; raise unless each is a class or not asked."""
    targets = np.asarray(targets)
    if targets.ndim != 2 or targets.dtype.kind not in "iu":
        shape = f"{targets.dtype} {targets.shape}"
        fail("targets", "whole numbers of shape (n, t), one a token", shape)
    low, high = (targets.min(), targets.max()) if targets.size else (0, 0)
    if low < IGNORED or high >= units:
        expected = f"from 0 to {units - 1}, or {IGNORED} for a token not asked"
        fail("targets", expected, f"{low} to {high}")
    if not (targets != IGNORED).any():
        fail("targets", "of at least one token that is asked", "none")
    return targets
