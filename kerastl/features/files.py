"""Features of images as arrays, and in one .npz file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, warn
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
    text_outputs,
)
from kerastl.models.layers import feature_columns
from kerastl.models.record import network_size


@dataclass(frozen=True, eq=False)
class Features:
    """What a backbone makes of images: one row each, the parts one after the other.

    Attributes:
        features: Float32 `(n, d)`.
        labels: `(n,)`; 0/1 rows where an image may have several; -1 where there are
            none.
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
    check_integer("batch_size", batch_size, 1)
    check_choice("on_bad", on_bad, ("error", "skip"))
    parts = _read_parts(data, on_bad)
    opened = open_backbone(
        backbone,
        alpha=alpha,
        image_size=image_size,
        weights=weights,
        preprocessing=preprocessing,
    )
    network = feature_network(opened, at=at, pooling=pooling)
    size, rows = network_size(network, image_size), []
    options = {"image_size": size, "resize": resize}
    channels = network.input_shape[-1] if size else 0
    kind = ReadableStore if on_bad == "skip" else PixelStore
    for name, part in parts.items():
        if isinstance(part, TextSet):
            with ProgressLine(f"computing features, {name}") as progress:
                shown = {"batch_size": batch_size, "progress": progress}
                rows.append(text_outputs(network, part, **shown))
            continue
        # Decoded pixels are of no use once there are features.
        store = kind(part, memory_limit=0, channels=channels, **options)
        with ProgressLine(f"computing features, {name}") as progress:
            shown = {"batch_size": batch_size, "progress": progress}
            made = extract_features(network, part, store=store, **options, **shown)
        if on_bad == "skip":
            kept = store.readable("data")
            made, parts[name] = made[kept], part.subset(kept)
        rows.append(made)
    paths = [path for part in parts.values() for path in part.paths or [""] * len(part)]
    return Features(
        features=np.concatenate(rows),
        labels=np.concatenate([_labels(part) for part in parts.values()]),
        class_names=next(iter(parts.values())).class_names,
        paths=np.array(paths, str),
        split=np.repeat(list(parts), [len(part) for part in parts.values()]),
        feature_names=np.array(feature_columns(network).column_names(), str),
        image_size=tuple(size),
    )


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
    arrays = {**vars(features), "class_names": np.array(features.class_names, str)}
    del arrays["image_size"]
    with whole_file(output) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def features_file(output: str | Path, overwrite: bool) -> Path:
    """The file, if features may be written to it: asked before the work."""
    return new_file(output, ".npz", overwrite=overwrite, name="output")


def _read_parts(
    data: str | Path | Splits | ImageSet, on_bad: str
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
        splits = open_data(data, validation=0.0, on_bad=on_bad, progress=progress)
    return {name: part for name, part in vars(splits).items() if part is not None}


def _labels(part: ImageSet) -> np.ndarray:
    """The labels, -1 where there are none."""
    return np.full(len(part), -1) if part.labels is None else part.labels
