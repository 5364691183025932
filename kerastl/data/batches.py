"""Batches of examples in an order that a seed fixes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer
from kerastl.data.augmentation import (
    Augmentation,
    changes_signature,
    draw_changes,
)
from kerastl.data.mixing import Mixing

if TYPE_CHECKING:
    pass


#: Largest array, in bytes, of which TensorFlow gets a copy to gather from.
_COPY_LIMIT = 250_000_000


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
