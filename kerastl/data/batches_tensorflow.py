"""Batches of the rows of a source as a `tf.data.Dataset`, for the TensorFlow backend.

`RowBatches` in `batches.py` is the same for the other backends.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl.data.augmentation import as_maps
from kerastl.data.batches import Epochs, epoch_counter, only_or_all
from kerastl.data.changes_tensorflow import change, mix_images, mix_labels
from kerastl.data.dense import DenseTargets

if TYPE_CHECKING:
    import tensorflow as tf


#: Largest array, in bytes, of which TensorFlow gets a copy to gather from.
_COPY_LIMIT = 250_000_000


class PythonCalls:
    """The Python functions that a dataset's steps call, kept as long as the dataset.

    TensorFlow keeps what `tf.numpy_function` is given for the life of the process, and
    with it all that the function knows: the images, and the whole model of a training.
    """

    def __init__(self) -> None:
        """See the class."""
        self._functions: list[Callable[..., Any]] = []

    def call(
        self, function: Callable[..., Any], inputs: "Sequence[tf.Tensor]", types: Any
    ) -> Any:
        """What a function of arrays returns, as tensors of these types."""
        import tensorflow as tf

        self._functions.append(function)
        known = weakref.ref(function)
        return tf.numpy_function(lambda *arrays: known()(*arrays), inputs, types)

    def kept_by(self, data: "tf.data.Dataset") -> "tf.data.Dataset":
        """The dataset, which and whatever is made of it keep the functions."""
        data.python_calls = self
        return data


def in_batches(
    epoch: Callable[[], dict[str, np.ndarray]],
    signature: dict[str, tuple[tuple[int, ...], str]],
    total: int,
    batch_size: int,
    drop_remainder: bool,
) -> "tf.data.Dataset":
    """A dataset that asks for a whole epoch at once and gives it out in batches.

    Python is called once an epoch: a call for each batch would wait for the
    interpreter that the training loop is using.
    """
    import tensorflow as tf

    steps = total // batch_size if drop_remainder else -(-total // batch_size)
    signature = {name: tf.TensorSpec(*form) for name, form in signature.items()}
    specs, python = tf.nest.flatten(signature), PythonCalls()

    def rows(_: "tf.Tensor") -> Any:
        types = [spec.dtype for spec in specs]
        found = python.call(lambda: tf.nest.flatten(epoch()), [], types)
        for array, spec in zip(found, specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(signature, found)

    # Not from_generator, which costs ten milliseconds each time it begins.
    data = python.kept_by(tf.data.Dataset.range(1).map(rows))
    data = data.unbatch().batch(batch_size, drop_remainder=drop_remainder)
    return data.apply(tf.data.experimental.assert_cardinality(steps))


def source_batches(
    epochs: Epochs, *, drop_remainder: bool, epoch: int | Callable[[], int]
) -> "tf.data.Dataset":
    """The batches of any source of rows: order, rows, augmentation, mixing."""
    import tensorflow as tf

    source, next_epoch = epochs.source, epoch_counter(epoch)
    data = in_batches(
        lambda: epochs.draw(next_epoch()),
        epochs.signature(),
        epochs.length,
        epochs.batch_size,
        drop_remainder,
    )
    number, shares = epochs.share
    if shares > 1:
        rows = epochs.batch_size // shares
        part = slice(number * rows, (number + 1) * rows)
        data = data.map(lambda drawn: {name: x[part] for name, x in drawn.items()})
    calls, python = tf.data.AUTOTUNE if source.is_pixels else 1, PythonCalls()
    finish = _finisher(epochs, python)
    data = data.map(finish, num_parallel_calls=calls, deterministic=True)
    return python.kept_by(data).prefetch(tf.data.AUTOTUNE)


def _finisher(
    epochs: Epochs, python: PythonCalls
) -> "Callable[[dict[str, tf.Tensor]], Any]":
    """The step from what was drawn to a batch: fetch, move, recolour, mix."""
    import tensorflow as tf

    source, mixing = epochs.source, epochs.mixing
    fetch = _fetcher(source, python)
    asked = _target_fetcher(epochs, python)

    def finish(drawn: "dict[str, tf.Tensor]") -> Any:
        inputs = fetch(drawn)
        for name, rows in inputs.items():
            if source.is_pixels:
                rows = change(rows, drawn, epochs.augmentation, epochs.size)
                rows = tf.ensure_shape(rows, (rows.shape[0], *source.spec[name][0]))
            elif rows.dtype == tf.float16 or mixing is not None:
                rows = tf.cast(rows, tf.float32)
            inputs[name] = rows if mixing is None else mix_images(rows, drawn)
        fed = only_or_all(inputs)
        if asked is None:
            return fed
        labels = asked(drawn)
        if mixing is None:
            return fed, labels
        return fed, mix_labels(labels, drawn, source.num_classes)

    return finish


def _target_fetcher(
    epochs: Epochs, python: PythonCalls
) -> "Callable[[dict[str, tf.Tensor]], tf.Tensor] | None":
    """What fetches targets; those of places in an image move as the image does."""
    import tensorflow as tf

    targets, size = epochs.source.targets, epochs.size
    if targets is None:
        return None
    if not isinstance(targets, DenseTargets):
        table = tf.constant(targets)
        return lambda drawn: tf.gather(table, drawn["row"])

    def read(row: np.ndarray, view: np.ndarray, geometry: np.ndarray) -> np.ndarray:
        maps = as_maps(geometry, *size) if geometry.shape[1] else None
        return targets.rows(row, view, maps)

    def fetch(drawn: "dict[str, tf.Tensor]") -> "tf.Tensor":
        none = tf.zeros((tf.shape(drawn["row"])[0], 0), tf.float32)
        view = drawn.get("view", tf.zeros_like(drawn["row"]))
        given = [drawn["row"], view, drawn.get("geometry", none)]
        found = python.call(read, given, tf.as_dtype(targets.dtype))
        found.set_shape((drawn["row"].shape[0], *targets.shape[1:]))
        return found

    return fetch


def _fetcher(
    source: Any, python: PythonCalls
) -> "Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]":
    """What fetches rows in a dataset: gathered in TensorFlow, if few and in memory."""
    import tensorflow as tf

    spec, known = source.spec, source.known()
    if known is not None and sum(rows.nbytes for rows in known.values()) <= _COPY_LIMIT:
        # Captured as a tensor, not as a constant, of which each graph has a copy.
        tables = {name: tf.constant(rows) for name, rows in known.items()}

        def gather(drawn: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
            places = drawn["row"]
            if "view" in drawn:
                places += drawn["view"] * len(source)
            return {name: tf.gather(rows, places) for name, rows in tables.items()}

        return gather
    types = [tf.as_dtype(dtype) for _, dtype in spec.values()]

    def read(row: np.ndarray, view: np.ndarray) -> list[np.ndarray]:
        # The map runs several batches at once; threads within each would collide.
        found = source.rows(row, view if source.views > 1 else None, threads=1)
        return [found[name] for name in spec]

    def fetch(drawn: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        given = [drawn["row"], drawn.get("view", drawn["row"])]
        found = dict(zip(spec, python.call(read, given, types), strict=True))
        for name, (shape, _) in spec.items():
            found[name].set_shape((drawn["row"].shape[0], *shape))
        return found

    return fetch
