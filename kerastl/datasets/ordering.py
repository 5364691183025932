"""In which order the rows of an epoch come, and in what batches."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


def epoch_order(total: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffled order of one epoch, whatever is put in that order.

    Args:
        total: Number of images.
        seed: Non-negative integer.
        epoch: Number of the epoch, from 0.

    Returns:
        A permutation of `range(total)`.
    """
    return np.random.default_rng([seed, epoch, 0]).permutation(total)


def in_batches(
    epoch: Callable[[], tuple[Any, ...]],
    signature: tuple[Any, ...],
    total: int,
    batch_size: int,
    drop_remainder: bool,
) -> "tf.data.Dataset":
    """A dataset that asks for a whole epoch at once and gives it out in batches.

    Python is called once an epoch: a call for each batch would wait for the
    interpreter that the training loop is using.

    Args:
        epoch: Makes the next epoch's rows: a tuple of arrays `(total, ...)`, or
            dictionaries of such.
        signature: The `tf.TensorSpec` of each array, in the same structure.
        total: Rows in an epoch.
        batch_size: Rows in a batch.
        drop_remainder: Whether a last, smaller batch is left out.
    """
    import tensorflow as tf

    steps = total // batch_size if drop_remainder else -(-total // batch_size)
    data = tf.data.Dataset.from_generator(
        lambda: iter([epoch()]), output_signature=signature
    )
    data = data.unbatch().batch(batch_size, drop_remainder=drop_remainder)
    return data.apply(tf.data.experimental.assert_cardinality(steps))
