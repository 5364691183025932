"""Batches of examples in an order that a seed fixes.

On TensorFlow they are a `tf.data.Dataset`, which `batches_tensorflow.py` makes;
elsewhere `RowBatches`, arrays that NumPy prepares.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer
from kerastl.data.augmentation import (
    Augmentation,
    as_maps,
    changes_signature,
    draw_changes,
)
from kerastl.data.changes_numpy import change, mix_images, mix_labels
from kerastl.data.dense import DenseTargets
from kerastl.data.mixing import Mixing

#: Threads that make batches, and batches that are made before they are asked for.
_THREADS, _AHEAD = min(4, os.cpu_count() or 1), 4


def epoch_order(total: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffled order of one epoch, whatever is put in that order."""
    return np.random.default_rng([seed, epoch, 0]).permutation(total)


def balanced_order(classes: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """An order of one epoch with as many examples of each class, and as long as ever.

    Of a large class each epoch has other examples; those of a small one come again,
    all before any of them does.
    """
    random = np.random.default_rng([seed, epoch, 3])
    names, total = np.unique(classes), len(classes)
    # What does not go into the number of classes falls to some of them, by lot.
    counts = total // len(names) + (random.permutation(len(names)) < total % len(names))
    drawn = []
    for name, wanted in zip(names, counts, strict=True):
        rows = np.flatnonzero(classes == name)
        turns = [random.permutation(rows) for _ in range(-(-wanted // len(rows)))]
        drawn.append(np.concatenate([rows[:0], *turns])[:wanted])
    return random.permutation(np.concatenate(drawn))


def beside_others(
    order: np.ndarray, others: int, batch_size: int, seed: int, epoch: int
) -> np.ndarray:
    """The order of an epoch in which each batch is half rows of `order`, half others.

    The order stays what it would be without the others, in batches of half the size;
    the others, whose numbers go on behind the rows of the order's source, come again
    when all were there.

    Args:
        order: Rows `(n,)` of a source.
        others: Number of other rows.
        batch_size: Rows in a batch, two at least; of an odd number the others get less.
        seed: Non-negative integer.
        epoch: Number of the epoch.
    """
    random = np.random.default_rng([seed, epoch, 6])
    half, total = batch_size // 2, len(order)
    own = batch_size - half
    batches = -(-total // own)
    turns = [random.permutation(others) for _ in range(-(-batches * half // others))]
    drawn = np.concatenate([order[:0], *turns])[: batches * half] + total
    parts = (
        part
        for i in range(batches)
        for part in (order[i * own : (i + 1) * own], drawn[i * half : (i + 1) * half])
    )
    return np.concatenate([order[:0], *parts])


def epoch_counter(epoch: int | Callable[[], int]) -> Callable[[], int]:
    """What tells the number of the epoch that begins now."""
    if callable(epoch):
        return epoch
    check_integer("epoch", epoch, 0)
    return count(epoch).__next__


def epoch_views(total: int, views: int, seed: int, epoch: int) -> np.ndarray:
    """Which version of each row an epoch has: all of them before any comes again.

    In the first `views` epochs each row has the version with the epoch's number, as
    if it were made for that epoch; afterwards every row has an order of its own.
    """
    cycle, place = divmod(epoch, views)
    if cycle == 0 or views == 1:
        return np.full(total, place)
    generator = np.random.default_rng([seed, cycle, 2])
    return generator.permuted(np.tile(np.arange(views), (total, 1)), axis=1)[:, place]


@dataclass(frozen=True, eq=False)
class Epochs:
    """What happens in each epoch: the order of the examples, and their changes.

    Attributes:
        source: The examples.
        batch_size: Rows in a batch.
        seed: Non-negative integer.
        shuffle: Whether each epoch has an order of its own.
        classes: Class of each example, where each epoch is to have as many of each.
        augmentation: Random changes of images; all zeros change nothing.
        mixing: How the examples of a batch are mixed, or None.
        versions: Of how many augmented versions of each example the epochs are made;
            0: each epoch has new ones.
        others: How many of the last rows are of another kind, of which each batch is
            half: see `beside_others`.
        share: `(i, n)`: only the i-th of n equal parts of each batch, from 0.
    """

    source: Any
    batch_size: int
    seed: int
    shuffle: bool
    augmentation: Augmentation
    mixing: Mixing | None
    classes: np.ndarray | None = None
    versions: int = 0
    others: int = 0
    share: tuple[int, int] = (0, 1)

    @property
    def length(self) -> int:
        """Rows in an epoch."""
        own, half = len(self.source) - self.others, self.batch_size // 2
        batches = -(-own // (self.batch_size - half))
        return own + (batches * half if self.others else 0)

    @property
    def size(self) -> tuple[int, ...]:
        """`(height, width)` of the first input, where it has such."""
        return next(iter(self.source.spec.values()))[0][:2]

    def draw(self, number: int) -> dict[str, np.ndarray]:
        """The rows of one epoch: which example in which version, and its changes."""
        total = len(self.source)
        own = total - self.others
        order = np.arange(own)
        if self.shuffle:
            order = epoch_order(own, self.seed, number)
        if self.shuffle and self.classes is not None:
            order = balanced_order(self.classes, self.seed, number)
        if self.others:
            given = self.others, self.batch_size, self.seed
            order = beside_others(order, *given, number)
        drawn = {"row": order}
        if self.source.views > 1:
            versions = epoch_views(total, self.source.views, self.seed, number)
            drawn["view"] = versions[order]
        drawn |= {name: rows[order] for name, rows in self._changes(number).items()}
        if self.mixing is not None:
            # By place, not by example: partners meet in a batch, or a share of one.
            drawn |= self.mixing.draw(
                total, self.batch_size // self.share[1], self.size, self.seed, number
            )
        return drawn

    def _changes(self, number: int) -> dict[str, np.ndarray]:
        """How each example is changed in an epoch."""
        total = len(self.source)
        given = self.augmentation, total, self.size, self.seed
        if not self.versions:
            return draw_changes(*given, number)
        # Those that the features of kept versions were computed of.
        chosen = epoch_views(total, self.versions, self.seed, number)
        changes: dict[str, np.ndarray] = {}
        for version in np.unique(chosen):
            mine = chosen == version
            for name, rows in draw_changes(*given, int(version)).items():
                changes.setdefault(name, np.empty_like(rows))[mine] = rows[mine]
        return changes

    def signature(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shapes and types of what `draw` makes."""
        total = self.length
        names = ["row"] + ["view"] * (self.source.views > 1)
        found: dict[str, tuple[tuple[int, ...], str]]
        found = dict.fromkeys(names, ((total,), "int64"))
        found |= changes_signature(self.augmentation, total)
        return found | (self.mixing.signature(total) if self.mixing else {})


def only_or_all(rows: Mapping[str, Any]) -> Any:
    """The inputs as Keras takes them: by name, or the array itself if it is the one."""
    return dict(rows) if len(rows) > 1 else next(iter(rows.values()))


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
