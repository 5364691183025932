"""From images to class names and probabilities, in order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl.datasets.augmentation import Augmentation
from kerastl.datasets.decoding import resize_images
from kerastl.datasets.files import list_files
from kerastl.datasets.resizing import as_rgb
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import PixelStore
from kerastl.inference.features import run_batches
from kerastl.inference.view_rows import check_views, view_rows
from kerastl.models.compiling import model_task
from kerastl.models.manifest import manifest


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class names and probabilities, one row an image, in the order of the inputs.

    Attributes:
        class_names: Names in the order of the columns.
        probabilities: Float array `(n, classes)`; each row sums to 1, except in the
            multilabel task, where each is a probability of its own.
        paths: File of each image, or None for arrays.
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str, ...] | None = None
    task: str = "multiclass"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.probabilities)

    @property
    def indices(self) -> np.ndarray:
        """Most probable class `(n,)`; for multilabel 0/1 `(n, classes)`, cut at 0.5."""
        if self.task == "multilabel":
            return (self.probabilities >= 0.5).astype(int)
        return self.probabilities.argmax(axis=-1)

    @property
    def labels(self) -> tuple[Any, ...]:
        """Class name of each image; for multilabel a tuple of names."""
        names = self.class_names
        if self.task == "multilabel":
            return tuple(
                tuple(names[i] for i in np.flatnonzero(row)) for row in self.indices
            )
        return tuple(names[i] for i in self.indices)

    @property
    def confidences(self) -> np.ndarray:
        """Probability of the most probable class, `(n,)`."""
        return self.probabilities.max(axis=-1, initial=0.0)

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The `k` most probable classes of each image, most probable first.

        Args:
            k: Number of classes, at least 1.
        """
        check_integer("k", k, 1)
        order = np.argsort(-self.probabilities, axis=-1, kind="stable")[:, :k]
        return [
            [(self.class_names[i], float(row[i])) for i in chosen]
            for row, chosen in zip(self.probabilities, order, strict=True)
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path`, `label`, `probability`."""
        rows = zip(self.labels, self.confidences, strict=True)
        for number, (label, confidence) in enumerate(rows):
            path = self.paths[number] if self.paths else None
            yield {"path": path, "label": label, "probability": float(confidence)}


def predict(
    model: keras.Model,
    inputs: Any,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Class names and probabilities of images, in the order they were given.

    The images are read and resized exactly as in training. No weight of the model
    changes, and the same image gets the same answer in any company, except with random
    views: those of an image follow from its place among the inputs.

    Args:
        model: A classifier from `build_classifier` or `load_classifier`.
        inputs: A file, a folder (its images, also in folders inside), a list of them;
            an array of pixels 0-255, `(n, height, width, 3)` or one image; a PIL
            image or a list of them; or an `ImageSet`.
        batch_size: Images at a time.
        views: Over how many views of each image the probabilities are averaged: the
            image itself, its mirror image where `augment` flips, then random ones. It
            takes as many times as long.
        augment: What the other views come from: see `batches`. Signs and digits need
            `"digits"`, which never flips.
        seed: The random views follow from it and the image's place.
        progress: Called with (done, total).

    Returns:
        Names, probabilities and paths, one row an image.

    Raises:
        ValueError: If there is no image, one cannot be read, pixels are not 0-255, or
            `augment` makes no other views.
        FileNotFoundError: If a file or folder does not exist.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> image = np.full((50, 80, 3), 128, "uint8")
        >>> kerastl.predict(model, image).probabilities.round(3).tolist()
        [[0.333, 0.333, 0.333]]
    """
    record = manifest(model)
    check_integer("batch_size", batch_size, 1)
    images = as_image_set(inputs, record.image_size, record.resize)
    if not len(images):
        fail("inputs", "at least one image", "none")
    check_views(views, augment, seed)
    store = pixel_store(model, images, keep=views > 1)
    total = np.zeros(())
    for view in range(views):
        logits = run_batches(
            model,
            view_rows(store, view, augment, seed),
            len(images),
            batch_size=batch_size,
            progress=_part_of(progress, view, views),
        )
        total = total + model_task(model).probabilities(logits)
    return Predictions(record.class_names, total / views, images.paths, record.task)


def pixel_store(
    model: keras.Model, images: ImageSet, *, keep: bool = False
) -> PixelStore:
    """The images as the classifier wants them; kept if they are needed again."""
    record = manifest(model)
    options = {} if keep else {"memory_limit": 0}
    return PixelStore(
        images, image_size=record.image_size, resize=record.resize, **options
    )


def _part_of(
    progress: Callable[[int, int], None] | None, number: int, count: int
) -> Callable[[int, int], None] | None:
    """What reports on one of several passes as a part of them all."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(number * total + done, count * total)


def as_image_set(inputs: Any, image_size: tuple[int, int], resize: str) -> ImageSet:
    """Whatever holds images, as an unlabelled `ImageSet`.

    Raises:
        ValueError: If there is no image.
        TypeError: If the inputs are of no known kind.
    """
    if isinstance(inputs, ImageSet):
        return inputs
    if isinstance(inputs, np.ndarray):
        pixels = inputs[None] if inputs.ndim == 3 and inputs.shape[-1] <= 4 else inputs
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        return ImageSet(pixels, None, ())
    if isinstance(inputs, (str, Path)) or hasattr(inputs, "convert"):
        inputs = [inputs]
    kinds = "files, folders, arrays of pixels or PIL images"
    if not isinstance(inputs, Sequence):
        fail("inputs", kinds, type(inputs).__name__, error=TypeError)
    if not inputs:
        fail("inputs", kinds, inputs)
    if all(isinstance(item, (str, Path)) for item in inputs):
        return ImageSet(_files(inputs), None, ())
    resized = [
        resize_images(_pixels(item)[None], image_size=image_size, resize=resize)
        for item in inputs
    ]
    return ImageSet(np.concatenate(resized), None, ())


def _files(inputs: Sequence[str | Path]) -> tuple[str, ...]:
    """The image files among files and folders, in order."""
    found: list[str] = []
    for given in inputs:
        item = Path(given)
        # Path takes no name, as of an unset variable, for the working folder.
        if item.is_dir() and str(given):
            inside, _ = list_files(item)
            if not inside:
                fail("inputs", "folders with images inside", str(item))
            found += map(str, inside)
        elif item.is_file():
            found.append(str(item))
        else:
            hint = "Check the spelling and the working folder."
            fail("inputs", "files that exist", str(given), hint, FileNotFoundError)
    return tuple(found)


def _pixels(item: Any) -> np.ndarray:
    """Pixels of a PIL image or an array."""
    if hasattr(item, "convert"):
        from PIL import ImageOps

        # As a file of it is read: turned upright, and 16 bits scaled, not clipped.
        return np.asarray(as_rgb(ImageOps.exif_transpose(item)))
    if isinstance(item, np.ndarray):
        return item
    kinds = "files, folders, arrays of pixels or PIL images"
    return fail("inputs", kinds, type(item).__name__, error=TypeError)
