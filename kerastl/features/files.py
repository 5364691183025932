"""Features of images as arrays, and in one .npz file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail, warn
from kerastl._files import new_file, whole_file
from kerastl._progress import ProgressLine
from kerastl.data.folders import left_out, walk
from kerastl.data.images import PixelStore, ReadableStore
from kerastl.data.inputs import open_data
from kerastl.data.sets import Examples, ImageSet, Splits
from kerastl.data.texts import TextSet
from kerastl.features.network import (
    extract_features,
    feature_network,
    open_backbone,
)
from kerastl.models.layers import feature_columns
from kerastl.models.record import network_size
from kerastl.models.text_backbones import is_text_network


@dataclass(frozen=True, eq=False)
class Features:
    """What a backbone makes of images: one row each, the parts one after the other.

    Attributes:
        features: Float32 `(n, d)`.
        labels: `(n,)`; 0/1 rows where an image may have several; -1 where there are
            none, or masks or boxes.
        class_names: Names in the order of the labels.
        paths: File of each image; empty texts for arrays.
        split: `"train"`, `"validation"` or `"test"`, `(n,)`.
        feature_names: A name for each column: the cut and the channel.
        image_size: `(height, width)` in pixels, as the backbone took them.
    """

    features: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    paths: np.ndarray
    split: np.ndarray
    feature_names: np.ndarray
    image_size: tuple[int, int]

    def counts(self) -> dict[str, int]:
        """Part -> number of images, in their order."""
        names = dict.fromkeys(self.split.tolist())
        return {name: int((self.split == name).sum()) for name in names}


def extract(
    backbone: str | keras.Model,
    data: str | Path | Splits | ImageSet,
    *,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    at: str | Sequence[str] | None = None,
    pooling: str = "avg",
    resize: str = "stretch",
    batch_size: int = 64,
    labels: str | None = None,
    on_bad: str = "error",
) -> Features:
    """Features of all images of a data set, with what is known of each.

    Args:
        backbone: Name in `list_backbones()`, a backbone, or a tuned model, whose head
            is left out.
        data: A folder of class folders or of images, a data set's name, `Splits`, or
            an `ImageSet`, which counts as `train`.
        alpha: As for `FeatureExtractor`, like all that follow.
        image_size: The same.
        weights: The same.
        preprocessing: The same.
        at: The same.
        pooling: The same.
        resize: The same.
        batch_size: The same.
        labels: As for `open_data`. For other columns of a table pass what that
            returns as `data`.
        on_bad: `"error"` names a file that cannot be read; `"skip"` leaves it out, with
            a warning.

    Returns:
        Arrays, in the order train, validation, test.

    Raises:
        ValueError: If the arguments do not fit the backbone, or an image cannot be
            read.
        FileNotFoundError: If there is no such folder or data set.

    Example:
        >>> images = np.zeros((3, 32, 32, 3), "uint8")
        >>> data = ImageSet(images, np.array([0, 1, 1]), ("cat", "dog"))
        >>> made = extract("MobileNet", data, alpha=0.25, image_size=32)
        >>> made.features.shape, made.labels.tolist(), made.counts()
        ((3, 256), [0, 1, 1], {'train': 3})
    """
    return prepare(
        backbone,
        data,
        alpha=alpha,
        image_size=image_size,
        weights=weights,
        preprocessing=preprocessing,
        at=at,
        pooling=pooling,
        resize=resize,
        batch_size=batch_size,
        labels=labels,
        on_bad=on_bad,
    ).compute()


@dataclass(frozen=True, eq=False)
class Extraction:
    """Images, and the network that makes features of them.

    Attributes:
        parts: The images by part.
        network: From pixels to a row of features.
        image_size: `(height, width)` in pixels; empty for texts.
        resize: How an image gets that size.
        batch_size: Images at a time.
        on_bad: What happens to a file that cannot be read.
    """

    parts: dict[str, ImageSet]
    network: keras.Model
    image_size: tuple[int, ...]
    resize: str
    batch_size: int
    on_bad: str

    def compute(self, spans: Mapping[str, tuple[int, int]] | None = None) -> Features:
        """The features of all images, or of `(first, stop)` of some parts."""
        made = []
        for name, part in self.parts.items():
            first, stop = (0, len(part)) if spans is None else spans.get(name, (0, 0))
            if first < stop or spans is None:
                made.append(self._part(name, part, first, stop))
        names = feature_columns(self.network).column_names()
        rows = np.empty((0, len(names)), np.float32)
        labels = row_labels(next(iter(self.parts.values())))[:0]
        return Features(
            features=np.concatenate([each[0] for each in made] or [rows]),
            labels=np.concatenate([row_labels(each[1]) for each in made] or [labels]),
            class_names=next(iter(self.parts.values())).class_names,
            paths=np.array([path for each in made for path in _paths(each[1])], str),
            split=np.array([each[2] for each in made for _ in each[0]], str),
            feature_names=np.array(names, str),
            image_size=tuple(self.image_size),
        )

    def _part(self, name: str, part: ImageSet, first: int, stop: int) -> tuple:
        """Features, the images they are of, and the part's name."""
        span, network, store = (first, stop), self.network, None
        options = {"image_size": self.image_size, "resize": self.resize}
        if not isinstance(part, TextSet):
            kind = ReadableStore if self.on_bad == "skip" else PixelStore
            # Decoded pixels are of no use once there are features.
            channels = network.input_shape[-1]
            store = kind(part, memory_limit=0, channels=channels, **options)
        options |= {"batch_size": self.batch_size, "span": span, "store": store}
        with ProgressLine(f"computing features, {name}") as progress:
            made = extract_features(network, part, progress=progress, **options)
        kept = np.arange(first, stop)
        if isinstance(store, ReadableStore):
            kept = np.intersect1d(kept, store.readable("data"))
        return made[kept - first], part.subset(kept), name


def prepare(
    backbone: str | keras.Model,
    data: str | Path | Splits | ImageSet,
    *,
    image_size: int | tuple[int, int] | None = None,
    at: str | Sequence[str] | None = None,
    pooling: str = "avg",
    resize: str = "stretch",
    batch_size: int = 64,
    labels: str | None = None,
    on_bad: str = "error",
    **opening: Any,
) -> Extraction:
    """Read the images and open the network: see `extract`, which takes the same."""
    check_integer("batch_size", batch_size, 1)
    check_choice("on_bad", on_bad, ("error", "skip"))
    parts = _read_parts(data, labels, on_bad)
    _check_kind(parts, backbone)
    opened = open_backbone(backbone, image_size=image_size, **opening)
    network = feature_network(opened, at=at, pooling=pooling)
    size = network_size(network, image_size)
    return Extraction(parts, network, size, resize, batch_size, on_bad)


def _check_kind(parts: Mapping[str, Examples], backbone: Any) -> None:
    """Raise unless texts go to a network of texts, and images to one of images."""
    texts = any(isinstance(part, TextSet) for part in parts.values())
    if texts == is_text_network(backbone):
        return
    name = getattr(backbone, "name", str(backbone))
    if not texts:
        fail("backbone", "a network of images, as these data are images", name)
    hint = 'Pass backbone="MiniText", which is bundled, or the name, folder or model '
    hint += "of another."
    fail("backbone", "a network of texts, as these data are texts", name, hint)


def write(features: Features, output: str | Path, *, overwrite: bool = False) -> None:
    """Write features to an .npz file, whole or not at all.

    Args:
        features: From `extract`.
        output: File name ending in `.npz`; its folder must exist.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ValueError: If the file may not be written.

    Example:
        >>> import tempfile
        >>> data = ImageSet(np.zeros((2, 32, 32, 3), "uint8"), None, ())
        >>> made = extract("MobileNet", data, alpha=0.25, image_size=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(made, Path(folder) / "features.npz")
        ...     with np.load(Path(folder) / "features.npz") as arrays:
        ...         shape = arrays["features"].shape
        >>> shape
        (2, 256)
    """
    output = features_file(output, overwrite)
    arrays = file_arrays(features)
    del arrays["image_size"]
    write_arrays(output, arrays)


def file_arrays(features: Features) -> dict[str, np.ndarray]:
    """Features as a file has them: arrays by name."""
    names = np.array(features.class_names, str)
    size = np.array(features.image_size, int)
    return {**vars(features), "class_names": names, "image_size": size}


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to an .npz file, whole or not at all."""
    with whole_file(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def features_file(output: str | Path, overwrite: bool) -> Path:
    """The file, if features may be written to it: asked before the work."""
    return new_file(output, ".npz", overwrite=overwrite, name="output")


def _read_parts(
    data: str | Path | Splits | ImageSet, labels: str | None, on_bad: str
) -> dict[str, ImageSet]:
    """The images by part; those of a plain folder are `train`, without labels."""
    if isinstance(data, Examples):
        return {"train": data}
    if isinstance(data, (str, Path)):
        folder = Path(data).expanduser()
        top, said = walk(folder) if folder.is_dir() else (None, [])
        if top and top.images and not top.folders:
            for line in said + left_out([top]):
                warn(line)
            return {"train": ImageSet(top.images, None, (), folder.resolve().name)}
    with ProgressLine("reading images") as progress:
        options = {"labels": labels, "on_bad": on_bad, "progress": progress}
        splits = open_data(data, validation=0.0, **options)
    return {name: part for name, part in vars(splits).items() if part is not None}


def _paths(part: ImageSet) -> list[str]:
    """The files, empty texts where there are none."""
    return [str(path) for path in part.paths or [""] * len(part)]


def row_labels(part: ImageSet) -> np.ndarray:
    """The labels, -1 where there are none, or masks or boxes in place of one."""
    if isinstance(part.labels, np.ndarray):
        return part.labels
    return np.full(len(part), -1)
