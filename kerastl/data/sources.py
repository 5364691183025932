"""Sources: examples as a network takes them, by index, with what is asked of each."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import keras
import numpy as np

from kerastl._checks import check_integer, fail, image_size_pair
from kerastl.data import decoding
from kerastl.data import images as image_code
from kerastl.data.augmentation import Augmentation, as_augmentation
from kerastl.data.batches import Epochs, RowBatches
from kerastl.data.dense import DenseTargets
from kerastl.data.images import MEMORY_LIMIT, PixelStore
from kerastl.data.mixing import Mixing, as_mixing
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet


class StoredRows(Protocol):
    """Rows in a file: what `ArraySource` needs of them."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices`, in that order."""


class Source:
    """Examples by index: the inputs of a network by name, and what is asked of each.

    A subclass brings `spec`, `targets`, `__len__`, `rows` and `key`; the order of an
    epoch, augmentation, mixing and batches are the same for all.

    Attributes:
        targets: Labels or numbers, one row an example; `DenseTargets` for masks and
            boxes; None where nothing is asked.
        views: How many versions of each example there are. Each epoch has another
            one, all before any comes again.
        is_pixels: Whether the inputs are images 0-255, which may be augmented.
    """

    targets: np.ndarray | DenseTargets | None
    views: int = 1
    is_pixels: ClassVar[bool] = False

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Name of each input -> shape and type of one example's."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Columns of the targets once they are mixed."""
        return self.targets.shape[-1]

    def __len__(self) -> int:
        """Number of examples in an epoch."""
        raise NotImplementedError

    def rows(
        self,
        indices: np.ndarray,
        views: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> dict[str, np.ndarray]:
        """The inputs of the examples at `indices`, in that order.

        Args:
            indices: Integers `(b,)`.
            views: Which version of each, `(b,)`; None: the first.
            threads: Threads to decode with; None for one on each core.
        """
        raise NotImplementedError

    def known(self) -> dict[str, np.ndarray] | None:
        """All inputs, if they lie in memory: the first view, then the second ..."""
        return None

    def key(self) -> str:
        """Text that stands for all that the rows depend on."""
        raise NotImplementedError

    def check_augment(self, augment: Any) -> Augmentation | None:
        """The augmentation; raises where these examples cannot be augmented."""
        if augment is not None and not self.is_pixels:
            fail("augment", "None for arrays that are not images", augment)
        return as_augmentation(augment)

    def mixed(self, mixing: Mixing | None) -> Mixing | None:
        """The mixing; raises where these examples cannot be mixed."""
        return as_mixing(mixing)

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
        classes: np.ndarray | None = None,
        versions: int = 0,
        others: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Any:
        """Batches of `(inputs, targets)`, anew at each pass: see `batches`.

        With the class of each example an epoch has as many of each: `balanced_order`.
        With `versions` each example comes in that many augmented versions. Of the last
        `others` rows each batch has half: `beside_others`. With `share` a pass has the
        i-th of n equal parts of each batch: what one of n processes needs.
        """
        epochs = Epochs(
            self,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            augmentation=self.check_augment(augment) or Augmentation(),
            mixing=self.mixed(mixing),
            classes=classes,
            versions=versions,
            others=others,
            share=share,
        )
        given = {"drop_remainder": drop_remainder, "epoch": epoch}
        if keras.backend.backend() == "tensorflow":
            from kerastl.data.batches_tensorflow import source_batches

            return source_batches(epochs, **given)
        return RowBatches(epochs, **given)


def pixels_key(image_set: ImageSet, size: tuple[int, int], resize: str) -> str:
    """Text that stands for all pixels of a set at one size, in order."""
    import PIL
    from PIL import features

    images, form = image_set.images, "files"
    if isinstance(images, np.ndarray):
        form = f"{images.dtype.str} {images.shape[1:]}"
    # The code itself: a version that someone must raise would be forgotten.
    source = inspect.getsource(decoding) + inspect.getsource(image_code)
    code = hashlib.sha256(source.encode()).hexdigest()
    decoder = f"{code} {PIL.__version__} {features.version('jpg')}"
    return " ".join(
        [form, str(tuple(size)), resize, decoder, *image_set.digests().tolist()]
    )


def files_key(paths: Sequence[str]) -> str:
    """Text that stands for files, in order, equal wherever their folder lies.

    They count by their place below the folder that they share and by their size:
    to read all of them costs what several processes are meant to save.
    """
    whole = [Path(path).absolute() for path in paths]
    top = Path(os.path.commonpath([path.parent for path in whole]))
    names = [path.relative_to(top).as_posix() for path in whole]
    return json.dumps([names, [_size(path) for path in whole]])


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


@dataclass(frozen=True, eq=False)
class ImageSource(Source):
    """Images that are decoded once and may be augmented.

    Attributes:
        images: The images with their labels.
        store: Their decoded pixels, shared by all phases.
        encode: From rows of dense labels to what the loss takes: see `DenseTargets`.
    """

    images: ImageSet
    store: PixelStore
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    is_pixels: ClassVar[bool] = True

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """`images`: uint8 `(height, width, channels)`."""
        shape = (*self.store.image_size, self.store.channels)
        return {"images": (shape, np.dtype(np.uint8))}

    @cached_property
    def targets(self) -> np.ndarray | DenseTargets | None:
        """Class indices int32, float32 rows or dense targets; None without labels."""
        labels = self.images.labels
        if labels is None:
            return None
        if self.images.dense:
            size, resize = self.store.image_size, self.store.resize
            return DenseTargets(labels, size, resize, self.encode)
        whole = labels.ndim == 1 and labels.dtype.kind in "iu"
        return labels.astype(np.int32 if whole else np.float32)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.images.num_classes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def rows(
        self,
        indices: np.ndarray,
        views: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Pixels 0-255 of the images at `indices`."""
        return {"images": self.store.rows(indices, threads=threads)}

    def known(self) -> dict[str, np.ndarray] | None:
        """All pixels, once they are decoded."""
        pixels = self.store.known_pixels()
        return None if pixels is None else {"images": pixels}

    def key(self) -> str:
        """The images' contents, how they are resized, and what decodes them."""
        return pixels_key(self.images, self.store.image_size, self.store.resize)

    def check_augment(self, augment: Any) -> Augmentation | None:
        """The augmentation; raises where it changes colours and there are none."""
        chosen = super().check_augment(augment)
        if chosen and self.images.dense and self.images.labels.border:
            chosen = replace(chosen, fill=self.images.labels.border)
        if chosen and self.store.channels != 3:
            tones = (chosen.brightness, chosen.contrast, chosen.saturation)
            if any(tones) or chosen.operations:
                expected = "one that changes no colours, such as 'light', for images "
                fail("augment", f"{expected}of {self.store.channels} channels", augment)
        return chosen

    def mixed(self, mixing: Mixing | None) -> Mixing | None:
        """The mixing: all labelled images can be mixed."""
        mixing = as_mixing(mixing)
        if mixing is not None and self.images.labels is None:
            fail("mixing", "None for images without labels", mixing)
        if mixing is not None and self.images.dense:
            hint = "Two images laid over each other have no mask and no boxes."
            fail("mixing", "None for masks and boxes", mixing, hint)
        if mixing is not None and self.images.target_names:
            fail("mixing", "None for images with numbers", mixing)
        return mixing


@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """Arrays as they are: features, or the input of a model that was not built here.

    Attributes:
        inputs: `(n, ...)`, or a mapping of the input's name to such. With several
            views `(views * n, ...)`: all of the first view, then all of the second.
            In memory, or rows of a file.
        targets: `(n, ...)`.
        views: How many versions of each row there are.
    """

    inputs: np.ndarray | StoredRows | Mapping[str, np.ndarray | StoredRows]
    targets: np.ndarray | DenseTargets
    views: int = 1

    @property
    def arrays(self) -> Mapping[str, np.ndarray | StoredRows]:
        """The inputs by name."""
        named = isinstance(self.inputs, Mapping)
        return self.inputs if named else {"inputs": self.inputs}

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of one row of each input."""
        return {name: (a.shape[1:], a.dtype) for name, a in self.arrays.items()}

    def __len__(self) -> int:
        """Number of rows in an epoch."""
        return len(self.targets)

    def rows(
        self,
        indices: np.ndarray,
        views: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Inputs at `indices`, of the first view or of those given."""
        places = indices if views is None else views * len(self) + indices
        return {
            name: rows[places] if isinstance(rows, np.ndarray) else rows.rows(places)
            for name, rows in self.arrays.items()
        }

    def known(self) -> dict[str, np.ndarray] | None:
        """The arrays, unless they are rows of a file."""
        arrays = dict(self.arrays)
        whole = all(isinstance(rows, np.ndarray) for rows in arrays.values())
        return arrays if whole else None

    def key(self) -> str:
        """The bytes, shapes and types of all rows."""
        parts = []
        for name, rows in self.arrays.items():
            whole = (
                rows
                if isinstance(rows, np.ndarray)
                else rows.rows(np.arange(len(rows)))
            )
            array = np.ascontiguousarray(whole)
            form = f"{array.shape} {array.dtype.str}"
            parts.append(f"{name} {form} {hashlib.sha256(array).hexdigest()}")
        return " ".join(parts)

    def mixed(self, mixing: Mixing | None) -> Mixing | None:
        """The mixing; raises unless these arrays can be mixed."""
        mixing = as_mixing(mixing)
        if mixing is None:
            return None
        if isinstance(self.targets, DenseTargets):
            fail("mixing", "None for masks and boxes", mixing)
        if len(self.spec) > 1:
            fail("mixing", "None for examples of several inputs", mixing)
        # A column of indices would be averaged to the index of another class.
        indices = self.targets.shape[1:] == (1,) and self.targets.max() > 1
        if self.targets.ndim != 2 or indices:
            hint = "Pass one column for each class: keras.utils.to_categorical(labels)."
            shape = self.targets.shape
            fail("labels", "of shape (n, classes) to be mixed", shape, hint)
        ((shape, _),) = self.spec.values()
        if mixing.cutmix and len(shape) != 3:
            hint = "Only images have boxes to cut: take mixup alone."
            fail("cutmix", "0 for these arrays", mixing.cutmix, hint)
        return mixing


@dataclass(frozen=True, eq=False)
class TextSource(ArraySource):
    """Texts as arrays of ids, encoded once: see `text_source`.

    Attributes:
        texts: The texts with what is asked of them.
        encoder: What made the arrays: a `TextEncoder`.
    """

    texts: TextSet | None = None
    encoder: Any = None

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.texts.num_classes

    def key(self) -> str:
        """All that the network takes of them."""
        content = hashlib.sha256()
        for name in sorted(self.arrays):
            rows = np.ascontiguousarray(self.arrays[name])
            content.update(f"{name} {rows.dtype} {rows.shape} ".encode())
            content.update(rows.tobytes())
        return f"texts {content.hexdigest()}"

    def mixed(self, mixing: Mixing | None) -> None:
        """Raise if texts are to be mixed."""
        if as_mixing(mixing) is not None:
            fail("mixing", "None for texts", mixing)


def text_source(texts: TextSet, encoder: Any) -> TextSource:
    """Texts as a network takes them, each encoded once.

    Args:
        texts: With labels or without.
        encoder: A `TextEncoder`, or what maps strings to arrays by name likewise.
    """
    labels = texts.labels
    if labels is not None and not texts.dense:
        whole = labels.ndim == 1 and labels.dtype.kind in "iu"
        labels = labels.astype(np.int32 if whole else np.float32)
    return TextSource(encoder(texts.texts), labels, texts=texts, encoder=encoder)


@dataclass(frozen=True, eq=False)
class StreamSource(Source):
    """Batches made by someone else, used as they come.

    They may be augmented or reshuffled at each pass, so nothing of them is cached:
    they have no rows, no length and no key.

    Attributes:
        data: A `tf.data.Dataset` or anything else that `Model.fit` takes.
    """

    data: Any
    targets: ClassVar[None] = None

    def dataset(self, batch_size: int, **options: Any) -> Any:
        """The data itself; the options were the maker's to choose."""
        if options.get("augment") is not None:
            hint = "Augment in the dataset's own pipeline."
            fail("augment", "None for a dataset of batches", options["augment"], hint)
        self.mixed(options.get("mixing"))
        return self.data

    def mixed(self, mixing: Mixing | None) -> None:
        """Raise if these batches are to be mixed."""
        if as_mixing(mixing) is not None:
            hint = "Mix in the dataset's own pipeline."
            fail("mixing", "None for a dataset of batches", mixing, hint)


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
) -> Any:
    """Batches of pixels 0-255 and labels, as `Model.fit` takes them.

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
            a flip), `"microscopy"` (any turn), `"xray"` or `"ultrasound"` (never
            mirrored), `"night"` or `"fog"` (of roads), or an `Augmentation`.
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
        A `tf.data.Dataset`, or on JAX and PyTorch a `keras.utils.PyDataset` of arrays,
        of `(float32 (b, height, width, 3), labels)`: labels int32 `(b,)`,
        or float32 0/1 `(b, num_classes)` where an image may have several, or the
        share of each class where images are mixed, or masks uint8 `(b, height, width)`
        that moved as their images; without labels the images alone.

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
    size = image_size_pair("image_size", image_size)
    check_integer("batch_size", batch_size, 1)
    _check_length(len(image_set), batch_size, drop_remainder)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    check_integer("seed", seed, 0)
    store = pixels or PixelStore(
        image_set, image_size=size, resize=resize, memory_limit=memory_limit
    )
    _check_store(store, image_set, size, resize)
    return ImageSource(image_set, store).dataset(
        batch_size,
        seed=seed,
        shuffle=shuffle,
        augment=augment,
        mixing=mixing,
        drop_remainder=drop_remainder,
        epoch=epoch,
    )


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
