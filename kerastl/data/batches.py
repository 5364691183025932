"""Batches of examples in an order that a seed fixes."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer
from kerastl.data.augmentation import (
    Augmentation,
    as_maps,
    change,
    changes_signature,
    draw_changes,
)
from kerastl.data.dense import DenseTargets
from kerastl.data.mixing import Mixing, mix_images, mix_labels

if TYPE_CHECKING:
    import tensorflow as tf


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
    signature: "dict[str, tf.TensorSpec]",
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

    def signature(self) -> "dict[str, tf.TensorSpec]":
        """Shapes and types of what `draw` makes."""
        import tensorflow as tf

        total = self.length
        names = ["row"] + ["view"] * (self.source.views > 1)
        found = {name: tf.TensorSpec((total,), tf.int64) for name in names}
        found |= changes_signature(self.augmentation, total)
        return found | (self.mixing.signature(total) if self.mixing else {})


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


def only_or_all(rows: Mapping[str, Any]) -> Any:
    """The inputs as Keras takes them: by name, or the array itself if it is the one."""
    return dict(rows) if len(rows) > 1 else next(iter(rows.values()))
