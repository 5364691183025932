"""A penalty on how far a variable goes from where it began."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


class PullToStart(keras.regularizers.Regularizer):
    """`strength / 2 * ||w - w0||²`, summed over one variable's elements.

    It is set on the variable, not on its layer, so no `.keras` file knows of it. The
    start lies in a variable that belongs to no layer: TensorFlow then reads it where
    it is instead of copying it into the graph, and no list of the model's weights
    shows it.

    Args:
        strength: Factor, at least 0.
        start: Where the variable began, of its shape; None stands for zeros.
        inherited: The variable's regularizer of before, whose penalty is added; None
            where it had none.

    Reference:
        Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning
        with Convolutional Networks, arXiv:1802.01483, eq. 2.
    """

    def __init__(
        self,
        strength: float,
        start: np.ndarray | None = None,
        inherited: Callable[[Any], Any] | None = None,
    ) -> None:
        """See the class."""
        self.strength = strength
        self.start = None
        if start is not None:
            self.start = keras.Variable(start, trainable=False, name="start")
        self.inherited = inherited

    def __call__(self, x: Any) -> Any:
        """The whole penalty of a variable's value."""
        penalty = self.pull(x)
        return penalty if self.inherited is None else penalty + self.inherited(x)

    def pull(self, x: Any) -> Any:
        """The pull alone, without the inherited penalty."""
        # A sum of millions of squares: in half precision it would overflow.
        stored = keras.backend.standardize_dtype(x.dtype)
        dtype = keras.backend.result_type(stored, "float32")
        offset = ops.cast(x, dtype)
        if self.start is not None:
            offset = offset - ops.cast(self.start, dtype)
        return 0.5 * self.strength * ops.sum(ops.square(offset))
