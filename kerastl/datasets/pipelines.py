"""Batches of images for training and for scoring."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_integer, fail, image_size_pair
from kerastl.datasets.augmentation import (
    Augmentation,
    as_augmentation,
    crop,
    draw,
    move,
    recolour,
    tones,
    transforms,
    windows,
)
from kerastl.datasets.ordering import (
    epoch_counter,
    epoch_order,
    in_batches,
    row_getter,
)
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import MEMORY_LIMIT, PixelStore

if TYPE_CHECKING:
    import tensorflow as tf


def batches(
    image_set: ImageSet,
    *,
    image_size: int | tuple[int, int],
    batch_size: int = 32,
    augment: str | Augmentation | None = None,
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
            mild colour), `"strong"` (also rotation), `"digits"` (small rotation,
            shift and zoom, never a flip), or an `Augmentation`.
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
        or float32 0/1 `(b, num_classes)` where an image may have several; without
        labels the images alone.

    Raises:
        ValueError: If the set is empty, holds less than a batch with
            `drop_remainder`, or `pixels` belongs to another set or size.

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
    plan = _Plan(image_set, size, augmentation, shuffle, seed)
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
        shuffle: bool,
        seed: int,
    ) -> None:
        self.labels = _batch_labels(image_set)
        self.labelled = image_set.labels is not None
        self.size = size
        self.augmentation = augmentation or Augmentation()
        self.shuffle = shuffle
        self.seed = seed

    def epoch(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The rows of one epoch: indices, and the changes of the images there."""
        total = len(self.labels)
        order = np.arange(total)
        if self.shuffle:
            order = epoch_order(total, self.seed, number)
        changes = self._changes(number)
        return order, {name: change[order] for name, change in changes.items()}

    def _changes(self, number: int) -> dict[str, np.ndarray]:
        """`geometry` `(n, 4 or 8)` and `tones` `(n, 3)`, where there are such."""
        chance = self.augmentation
        changes: dict[str, np.ndarray] = {}
        if not chance.moves and not chance.recolours:
            return changes
        draws = draw(len(self.labels), self.seed, number)
        if chance.moves:
            changes["geometry"] = transforms(chance, draws, *self.size)
        if chance.moves and chance.is_window:
            changes["geometry"] = windows(changes["geometry"], *self.size)
        if chance.recolours:
            changes["tones"] = tones(chance, draws)
        return changes

    def signature(self) -> tuple["tf.TensorSpec", dict[str, "tf.TensorSpec"]]:
        """Shapes and types of what `epoch` makes."""
        import tensorflow as tf

        total = len(self.labels)
        chance = self.augmentation
        changes = {}
        # None of no columns: `Dataset.unbatch` crashes on empty rows.
        if chance.moves:
            columns = 4 if chance.is_window else 8
            changes["geometry"] = tf.TensorSpec((total, columns), tf.float32)
        if chance.recolours:
            changes["tones"] = tf.TensorSpec((total, 3), tf.float32)
        return tf.TensorSpec((total,), tf.int64), changes


def _finish(store: PixelStore, plan: _Plan) -> Callable[..., Any]:
    """The step from a plan's row to a batch: fetch, move, recolour."""
    import tensorflow as tf

    chance = plan.augmentation
    fetch = row_getter(
        # The map runs several batches at once; threads within each would collide.
        lambda indices: store.rows(indices, threads=1),
        (*plan.size, 3),
        np.dtype(np.uint8),
        store.known_pixels(),
    )
    every_label = tf.constant(plan.labels)

    def finish(indices: "tf.Tensor", changes: dict[str, "tf.Tensor"]) -> Any:
        images = fetch(indices)
        if chance.moves and chance.is_window:
            images = crop(images, changes["geometry"], size=plan.size)
        elif chance.moves:
            images = move(images, changes["geometry"], size=plan.size, fill=chance.fill)
        images = tf.cast(images, tf.float32)
        if chance.recolours:
            images = recolour(images, changes["tones"])
        images = tf.ensure_shape(images, (indices.shape[0], *plan.size, 3))
        if not plan.labelled:
            return images
        return images, tf.gather(every_label, indices)

    return finish


def _batch_labels(image_set: ImageSet) -> np.ndarray:
    if image_set.labels is None:
        return np.zeros(len(image_set), np.int32)
    return image_set.labels.astype(np.float32 if image_set.multilabel else np.int32)


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
