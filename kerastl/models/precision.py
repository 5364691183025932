"""Building a model under another dtype policy."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from kerastl._checks import check_choice

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@contextmanager
def using_precision(precision: str | None) -> Iterator[None]:
    """Build layers under a dtype policy, and put Keras's own setting back.

    Args:
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or None for
            what Keras is set to.

    Raises:
        ValueError: If the policy is unknown.
    """
    if precision is None:
        yield
        return
    check_choice("precision", precision, PRECISIONS)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
