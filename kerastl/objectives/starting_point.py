"""A penalty on how far a variable goes from where it began."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl._compat import held_array


class PullToStart(keras.regularizers.Regularizer):
    """`strength / 2 * ||w - w0||²`, summed over one variable's elements.

    It is set on the variable, not on its layer, so no `.keras` file knows of it. The
    start lies outside the model: a compiled step reads it where it is, and no list of
    the model's weights shows it.

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
        self._start = None if start is None else held_array(start)
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
        if self._start is not None:
            offset = offset - ops.cast(self._start(), dtype)
        return 0.5 * self.strength * ops.sum(ops.square(offset))
