"""Batches of the rows of a source as arrays, for backends other than TensorFlow.

`batches_tensorflow.py` has the same as a `tf.data.Dataset`.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import keras
import numpy as np

from kerastl.data.augmentation import as_maps
from kerastl.data.batches import Epochs, epoch_counter, only_or_all
from kerastl.data.changes_numpy import change, mix_images, mix_labels
from kerastl.data.dense import DenseTargets

#: Threads that make batches, and batches that are made before they are asked for.
_THREADS, _AHEAD = min(4, os.cpu_count() or 1), 4


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads of all datasets: they wait more than they work."""
    return ThreadPoolExecutor(_THREADS, "kerastl-batches")


class RowBatches(keras.utils.PyDataset):
    """The batches of any source of rows: order, rows, augmentation, mixing.

    A pass begins when its first batch is asked for. The threads are not Keras's, which
    wait a tenth of a second at the end of each pass and have no first batch.
    """

    def __init__(
        self,
        epochs: Epochs,
        *,
        drop_remainder: bool,
        epoch: int | Callable[[], int],
    ) -> None:
        """See `kerastl.data.sources.Source.dataset`."""
        super().__init__()
        self.epochs = epochs
        self._next_epoch = epoch_counter(epoch)
        self._drawn: dict[str, np.ndarray] | None = None
        self._coming: dict[int, Future[Any]] = {}
        whole, rest = divmod(epochs.length, epochs.batch_size)
        self._count = whole + (rest > 0 and not drop_remainder)
        # Arrays in memory are there at once.
        waits = epochs.source.is_pixels or epochs.source.known() is None
        self._ahead = _AHEAD if waits else 0

    def __len__(self) -> int:
        """Batches in a pass."""
        return self._count

    def __getitem__(self, index: int) -> Any:
        """One batch: inputs, or inputs and targets."""
        if not 0 <= index < self._count:
            raise IndexError(f"There are {self._count} batches, no number {index}.")
        if index == 0 or self._drawn is None:
            self._begin()
        if not self._ahead:
            return self._made(self._drawn, index)
        for i in range(index, min(index + self._ahead, self._count)):
            if i not in self._coming:
                self._coming[i] = _threads().submit(self._made, self._drawn, i)
        return self._coming.pop(index).result()

    def _begin(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming = {}
        self._drawn = self.epochs.draw(self._next_epoch())

    def _made(self, drawn: dict[str, np.ndarray], index: int) -> Any:
        """A batch of an epoch, from what was drawn for it."""
        number, shares = self.epochs.share
        size = self.epochs.batch_size
        start = index * size + number * (size // shares)
        part = slice(start, start + size // shares)
        return finished(self.epochs, {name: x[part] for name, x in drawn.items()})


def finished(epochs: Epochs, drawn: dict[str, np.ndarray]) -> Any:
    """From what was drawn for some rows to a batch: fetch, move, recolour, mix."""
    source, mixing = epochs.source, epochs.mixing
    inputs = _fetched(source, drawn)
    for name, rows in inputs.items():
        if source.is_pixels:
            rows = change(rows, drawn, epochs.augmentation, epochs.size)
        elif rows.dtype == np.float16 or mixing is not None:
            rows = rows.astype(np.float32)
        inputs[name] = rows if mixing is None else mix_images(rows, drawn)
    fed, targets = only_or_all(inputs), source.targets
    if targets is None:
        return fed
    if not isinstance(targets, DenseTargets):
        labels = targets[drawn["row"]]
    else:
        geometry = drawn.get("geometry")
        maps = None if geometry is None else as_maps(geometry, *epochs.size)
        view = drawn.get("view", np.zeros_like(drawn["row"]))
        labels = targets.rows(drawn["row"], view, maps)
    if mixing is not None:
        labels = mix_labels(labels, drawn, source.num_classes)
    return fed, labels


def _fetched(source: Any, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of the rows, as they are."""
    row, view = drawn["row"], drawn.get("view")
    known = source.known()
    if known is None:
        # Several batches are made at once; threads within each would collide.
        return source.rows(row, view, threads=1)
    places = row if view is None else row + view * len(source)
    return {name: rows[places] for name, rows in known.items()}
