"""Batches of examples in an order that a seed fixes."""

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer, fail, image_size_pair
from kerastl.data.augmentation import (
    Augmentation,
    as_augmentation,
    change,
    changes_signature,
    draw_changes,
)
from kerastl.data.images import MEMORY_LIMIT, PixelStore
from kerastl.data.mixing import Mixing, as_mixing, mix_images, mix_labels
from kerastl.data.sets import ImageSet

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


def batches(
    image_set: ImageSet,
    *,
    image_size: int | tuple[int, int],
    batch_size: int = 32,
    augment: str | Augmentation | None = None,
    mixing: Mixing | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    resize: str = "stretch",
    drop_remainder: bool = False,
    epoch: int | Callable[[], int] = 0,
    memory_limit: int = MEMORY_LIMIT,
    pixels: PixelStore | None = None,
) -> "tf.data.Dataset":
    """A `tf.data.Dataset` of batches of pixels 0-255 and labels.

    Never rescale its images to 0-1: a network built here takes 0-255. Each
    iteration is a new epoch, with an order and an augmentation of its own; both
    follow from `seed`, the epoch's number and the image's index alone, whatever
    the batch size and the number of threads.

    Args:
        image_set: Files or arrays.
        image_size: Side, or (height, width), in pixels.
        batch_size: Images in a batch.
        augment: `None`, `"light"` (flip, small crop), `"standard"` (flip, crop,
            mild colour), `"strong"` (also rotation), `"resized_crop"` (flip, crops
            down to a twelfth, as ImageNet is trained), `"randaugment"` (flip, crop,
            two random operations), `"digits"` (small rotation, shift and zoom, never
            a flip), or an `Augmentation`.
        mixing: Mixup and CutMix, for training only: a `Mixing`, or None.
        shuffle: Whether each epoch has a new order, drawn over the whole set.
        seed: Non-negative integer, or None for another one at each call.
        resize: `"stretch"`, `"crop"` or `"pad"`, as in `decode_images`.
        drop_remainder: Whether a last, smaller batch is left out.
        epoch: Number of the first iteration's epoch; or a function that tells the
            number whenever an iteration begins, for whoever begins some in vain.
        memory_limit: Bytes of decoded pixels to keep between epochs; a larger set
            is decoded in each epoch.
        pixels: A `PixelStore` of this set, to share decoded pixels between calls.

    Returns:
        Dataset of `(float32 (b, height, width, 3), labels)`: labels int32 `(b,)`,
        or float32 0/1 `(b, num_classes)` where an image may have several, or the
        share of each class where images are mixed; without labels the images alone.

    Raises:
        ValueError: If the set is empty, holds less than a batch with
            `drop_remainder`, has no labels to mix, or `pixels` belongs to another set
            or size.

    Example:
        >>> import numpy as np
        >>> one = ImageSet(np.zeros((5, 8, 8)), np.array([0, 1, 1, 0, 1]), ("a", "b"))
        >>> data = batches(one, image_size=16, batch_size=2)
        >>> [tuple(images.shape) for images, labels in data]
        [(2, 16, 16, 3), (2, 16, 16, 3), (1, 16, 16, 3)]
    """
    import tensorflow as tf

    size = image_size_pair("image_size", image_size)
    check_integer("batch_size", batch_size, 1)
    next_epoch = epoch_counter(epoch)
    augmentation = as_augmentation(augment)
    _check_length(len(image_set), batch_size, drop_remainder)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    check_integer("seed", seed, 0)
    store = pixels or PixelStore(
        image_set, image_size=size, resize=resize, memory_limit=memory_limit
    )
    _check_store(store, image_set, size, resize)
    mixing = as_mixing(mixing)
    if mixing is not None and image_set.labels is None:
        fail("mixing", "None for images without labels", mixing)
    if mixing is not None and image_set.target_names:
        fail("mixing", "None for images with numbers", mixing)
    plan = _Plan(image_set, size, augmentation, mixing, batch_size, shuffle, seed)
    data = in_batches(
        lambda: plan.epoch(next_epoch()),
        plan.signature(),
        len(image_set),
        batch_size,
        drop_remainder,
    )
    data = data.map(
        _finish(store, plan), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return data.prefetch(tf.data.AUTOTUNE)


class _Plan:
    """What happens in each epoch: the order of the images, and their changes."""

    def __init__(
        self,
        image_set: ImageSet,
        size: tuple[int, int],
        augmentation: Augmentation | None,
        mixing: Mixing | None,
        batch_size: int,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.labels = _batch_labels(image_set)
        self.labelled = image_set.labels is not None
        self.num_classes = image_set.num_classes
        self.size = size
        self.augmentation = augmentation or Augmentation()
        self.mixing = mixing
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed

    def epoch(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The rows of one epoch: indices, and the changes of the images there."""
        total = len(self.labels)
        order = np.arange(total)
        if self.shuffle:
            order = epoch_order(total, self.seed, number)
        drawn = draw_changes(self.augmentation, total, self.size, self.seed, number)
        changes = {name: rows[order] for name, rows in drawn.items()}
        if self.mixing is not None:
            # By place, not by image: partners meet in a batch.
            changes |= self.mixing.draw(
                total, self.batch_size, self.size, self.seed, number
            )
        return order, changes

    def signature(self) -> tuple["tf.TensorSpec", dict[str, "tf.TensorSpec"]]:
        """Shapes and types of what `epoch` makes."""
        import tensorflow as tf

        total = len(self.labels)
        changes = changes_signature(self.augmentation, total)
        if self.mixing is not None:
            changes |= self.mixing.signature(total)
        return tf.TensorSpec((total,), tf.int64), changes


def _finish(store: PixelStore, plan: _Plan) -> Callable[..., Any]:
    """The step from a plan's row to a batch: fetch, move, recolour, mix."""
    import tensorflow as tf

    fetch = row_getter(
        # The map runs several batches at once; threads within each would collide.
        lambda indices: store.rows(indices, threads=1),
        (*plan.size, 3),
        np.dtype(np.uint8),
        store.known_pixels(),
    )
    every_label = tf.constant(plan.labels)

    def finish(indices: "tf.Tensor", changes: dict[str, "tf.Tensor"]) -> Any:
        images = change(fetch(indices), changes, plan.augmentation, plan.size)
        images = tf.ensure_shape(images, (indices.shape[0], *plan.size, 3))
        if not plan.labelled:
            return images
        labels = tf.gather(every_label, indices)
        if plan.mixing is not None:
            images = mix_images(images, changes)
            labels = mix_labels(labels, changes, plan.num_classes)
        return images, labels

    return finish


def _batch_labels(image_set: ImageSet) -> np.ndarray:
    if image_set.labels is None:
        return np.zeros(len(image_set), np.int32)
    several = image_set.labels.ndim == 2
    return image_set.labels.astype(np.float32 if several else np.int32)


def _check_length(total: int, batch_size: int, drop_remainder: bool) -> None:
    if not total:
        fail("image_set", "a set with images", "an empty set")
    if drop_remainder and total < batch_size:
        hint = "With `drop_remainder=True` no batch would be left."
        fail("batch_size", f"at most {total}, the number of images", batch_size, hint)


def _check_store(
    store: PixelStore, image_set: ImageSet, size: tuple[int, int], resize: str
) -> None:
    if (
        store.image_set is not image_set
        and store.image_set.images is not image_set.images
    ):
        fail("pixels", "the store of this image set", repr(store.image_set))
    if (store.image_size, store.resize) != (size, resize):
        expected = f"a store of size {size} and resize {resize!r}"
        fail("pixels", expected, (store.image_size, store.resize))
