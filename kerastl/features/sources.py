"""Training data in its three kinds: images, arrays, other people's datasets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.data.batches import (
    batches,
    epoch_counter,
    epoch_order,
    epoch_views,
    in_batches,
    row_getter,
)
from kerastl.data.images import MEMORY_LIMIT, PixelStore
from kerastl.data.mixing import Mixing, as_mixing, mix_images, mix_labels
from kerastl.data.sets import ImageSet
from kerastl.features.store import CachedRows
from kerastl.models.record import find_preprocessing
from kerastl.tasks.task import BoundModel, bind


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images that are decoded once and may be augmented.

    Attributes:
        images: The images with their labels.
        store: Their decoded pixels, shared by all phases.
    """

    images: ImageSet
    store: PixelStore

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def labels(self) -> np.ndarray:
        """Labels, one row an image."""
        return self.images.labels

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Pixels 0-255 of the images at `indices`."""
        return self.store.rows(indices)

    def dataset(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augment: Any = None,
        mixing: Mixing | None = None,
        drop_remainder: bool = False,
        epoch: int | Callable[[], int] = 0,
    ) -> Any:
        """Batches of `(float32 pixels 0-255, labels)`."""
        return batches(
            self.images,
            image_size=self.store.image_size,
            batch_size=batch_size,
            augment=augment,
            mixing=mixing,
            shuffle=shuffle,
            seed=seed,
            resize=self.store.resize,
            drop_remainder=drop_remainder,
            epoch=epoch,
            pixels=self.store,
        )

    def mixed(self, mixing: Mixing | None) -> Mixing | None:
        """The mixing: all images can be mixed."""
        return as_mixing(mixing)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Arrays as they are: features, or the input of a model that was not built here.

    Attributes:
        inputs: `(n, ...)`, or `(views * n, ...)`: all of the first view, then all of
            the second. In memory, or rows of a file.
        labels: `(n, ...)`.
        views: How many versions of each row there are. Each epoch has another one,
            all before any comes again.
    """

    inputs: np.ndarray | CachedRows
    labels: np.ndarray
    views: int = 1

    def __len__(self) -> int:
        """Number of rows in an epoch."""
        return len(self.labels)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Inputs at `indices`, of the first view."""
        if isinstance(self.inputs, np.ndarray):
            return self.inputs[indices]
        return self.inputs.rows(indices)

    def dataset(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augment: Any = None,
        mixing: Mixing | None = None,
        drop_remainder: bool = False,
        epoch: int | Callable[[], int] = 0,
    ) -> Any:
        """Batches of `(inputs, labels)`, in the same order as images would come."""
        import tensorflow as tf

        if augment is not None:
            fail("augment", "None for arrays that are not images", augment)
        mixing = self.mixed(mixing)
        total = len(self)
        known = self.inputs if isinstance(self.inputs, np.ndarray) else None
        inputs = row_getter(self.rows, self.inputs.shape[1:], self.inputs.dtype, known)
        labels = tf.constant(self.labels)
        next_epoch = epoch_counter(epoch)

        def rows() -> tuple[Any, ...]:
            number = next_epoch()
            order = np.arange(total)
            if shuffle:
                order = epoch_order(total, seed, number)
            views = epoch_views(total, self.views, seed, number)
            places = views[order] * total + order
            if mixing is None:
                return (places,)
            size = self.inputs.shape[1:3]
            return places, mixing.draw(total, batch_size, size, seed, number)

        def gather(places: Any, mixture: Any = None) -> Any:
            found = inputs(places)
            targets = tf.gather(labels, places % total)
            if found.dtype == tf.float16 or mixture is not None:
                found = tf.cast(found, tf.float32)
            if mixture is None:
                return found, targets
            targets = tf.cast(targets, tf.float32)
            mixed = mix_labels(targets, mixture, self.labels.shape[-1])
            return mix_images(found, mixture), mixed

        signature: tuple[Any, ...] = (tf.TensorSpec((total,), tf.int64),)
        if mixing is not None:
            signature += (mixing.signature(total),)
        data = in_batches(rows, signature, total, batch_size, drop_remainder)
        return data.map(gather, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)

    def mixed(self, mixing: Mixing | None) -> Mixing | None:
        """The mixing; raises unless these arrays can be mixed."""
        mixing = as_mixing(mixing)
        if mixing is None:
            return None
        # A column of indices would be averaged to the index of another class.
        indices = self.labels.shape[1:] == (1,) and self.labels.max() > 1
        if self.labels.ndim != 2 or indices:
            hint = "Pass one column for each class: keras.utils.to_categorical(labels)."
            fail("labels", "of shape (n, classes) to be mixed", self.labels.shape, hint)
        if mixing.cutmix and len(self.inputs.shape) != 4:
            hint = "Only images have boxes to cut: take mixup alone."
            fail("cutmix", "0 for these arrays", mixing.cutmix, hint)
        return mixing


@dataclass(frozen=True, eq=False)
class StreamSource:
    """Batches made by someone else, used as they come.

    They may be augmented or reshuffled at each pass, so nothing of them is cached.

    Attributes:
        data: A `tf.data.Dataset` or anything else that `Model.fit` takes.
    """

    data: Any

    def dataset(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augment: Any = None,
        mixing: Mixing | None = None,
        drop_remainder: bool = False,
        epoch: int | Callable[[], int] = 0,
    ) -> Any:
        """The data itself; the arguments were the maker's to choose."""
        if augment is not None:
            hint = "Augment in the dataset's own pipeline."
            fail("augment", "None for a dataset of batches", augment, hint)
        self.mixed(mixing)
        return self.data

    def mixed(self, mixing: Mixing | None) -> None:
        """Raise if these batches are to be mixed."""
        if as_mixing(mixing) is not None:
            hint = "Mix in the dataset's own pipeline."
            fail("mixing", "None for a dataset of batches", mixing, hint)


Source = ImageSource | ArraySource | StreamSource


def make_source(
    model: keras.Model, data: Any, name: str, *, keep_pixels: bool = True
) -> Source:
    """The data as a source that fits the model.

    Args:
        model: What it will be fed to.
        data: `ImageSet`, `(images, labels)` arrays, or batches.
        name: The argument's name, for errors.
        keep_pixels: Whether decoded images may stay in memory.

    Raises:
        ValueError: If the data have no labels or are empty.
        TypeError: If they are of no known kind.
    """
    if isinstance(data, ImageSource | ArraySource | StreamSource):
        return data
    bound = bind(model)
    if isinstance(data, (tuple, list)) and any(isinstance(p, ImageSet) for p in data):
        hint = "Pass training and validation images as two arguments."
        fail(name, "one ImageSet", "several", hint, TypeError)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        inputs, labels = (np.asarray(part) for part in data)
        if len(inputs) != len(labels):
            shapes = f"{inputs.shape} and {labels.shape}"
            fail(name, "as many labels as images", shapes)
        whole = labels.dtype.kind in "iu" and labels.ndim == 1
        if find_preprocessing(model) is None or (bound.task is None and not whole):
            return _check_length(ArraySource(inputs, labels), name)
        if bound.task is not None:
            data = bound.task.labelled(inputs, labels)
        else:
            names = tuple(str(number) for number in range(int(labels.max()) + 1))
            data = ImageSet(inputs, labels, names)
    if isinstance(data, ImageSet):
        return _image_source(bound, data, name, MEMORY_LIMIT if keep_pixels else 0)
    if isinstance(data, (np.ndarray, str, Mapping)) or not hasattr(data, "__iter__"):
        hint = "Load a folder with kerastl.load_images."
        kinds = "an ImageSet, an (images, labels) pair or a tf.data.Dataset"
        fail(name, kinds, type(data).__name__, hint, TypeError)
    if iter(data) is data:
        hint = "It ends after one epoch; pass a tf.data.Dataset or a PyDataset."
        fail(name, "data that can be passed more than once", "a generator", hint)
    return StreamSource(data)


def _image_source(
    bound: BoundModel, data: ImageSet, name: str, memory_limit: int
) -> ImageSource:
    model, record = bound.model, bound.record
    if data.labels is None:
        fail(name, "labelled", data)
    if bound.task is not None:
        bound.task.check_set(data, name)
    size = record.image_size if record else model.input_shape[1:3]
    if None in size:
        fail("model", "built for one image size", model.input_shape)
    resize = record.resize if record else "stretch"
    store = PixelStore(data, image_size=size, resize=resize, memory_limit=memory_limit)
    return _check_length(ImageSource(data, store), name)


def _check_length(source: Any, name: str) -> Any:
    if len(source) == 0:
        fail(name, "at least one image", "none")
    return source
