"""In which order the rows of an epoch come, and in what batches."""

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer

if TYPE_CHECKING:
    import tensorflow as tf

#: Largest array, in bytes, of which TensorFlow gets a copy to gather from.
_COPY_LIMIT = 250_000_000


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


def epoch_counter(epoch: int | Callable[[], int]) -> Callable[[], int]:
    """What tells the number of the epoch that begins now.

    Args:
        epoch: Number of the first one, counted on from there; or the function itself.
    """
    if callable(epoch):
        return epoch
    check_integer("epoch", epoch, 0)
    return count(epoch).__next__


def epoch_views(total: int, views: int, seed: int, epoch: int) -> np.ndarray:
    """Which version of each row an epoch has: all of them before any comes again.

    In the first `views` epochs each row has the version with the epoch's number, as
    if it were made for that epoch; afterwards every row has an order of its own.

    Args:
        total: Number of rows.
        views: Number of versions of each.
        seed: Non-negative integer.
        epoch: Number of the epoch, from 0.

    Returns:
        Integers `(total,)` below `views`.
    """
    cycle, place = divmod(epoch, views)
    if cycle == 0 or views == 1:
        return np.full(total, place)
    generator = np.random.default_rng([seed, cycle, 2])
    return generator.permuted(np.tile(np.arange(views), (total, 1)), axis=1)[:, place]


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
    specs = tf.nest.flatten(signature)

    def rows(_: "tf.Tensor") -> Any:
        found = tf.numpy_function(
            lambda: tf.nest.flatten(epoch()), [], [spec.dtype for spec in specs]
        )
        for array, spec in zip(found, specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(signature, found)

    # Not from_generator, which costs ten milliseconds each time it begins.
    data = tf.data.Dataset.range(1).map(rows)
    data = data.unbatch().batch(batch_size, drop_remainder=drop_remainder)
    return data.apply(tf.data.experimental.assert_cardinality(steps))


def row_getter(
    read: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    known: np.ndarray | None = None,
) -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """What fetches rows by index in a dataset.

    Args:
        read: Gives the rows at an array of indices.
        shape: Of one row.
        dtype: Of the rows.
        known: All rows, if they are in memory: where they are few enough, they are
            gathered within TensorFlow.
    """
    import tensorflow as tf

    if known is not None and known.nbytes <= _COPY_LIMIT:
        # Captured as a tensor, not as a constant, of which each graph has a copy.
        rows = tf.constant(known)
        return lambda indices: tf.gather(rows, indices)

    def fetch(indices: "tf.Tensor") -> "tf.Tensor":
        found = tf.numpy_function(read, [indices], dtype)
        found.set_shape((indices.shape[0], *shape))
        return found

    return fetch
