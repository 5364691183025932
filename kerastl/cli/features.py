"""`kerastl features`: what a backbone makes of images, as arrays in one .npz file.

The file holds `features` (n, d) float32, `labels` (n,) (0/1 rows where an image may
have several; -1 where there are none), `class_names`, `paths` (empty texts for a data
set of arrays), `split` ("train", "validation" or "test") and `feature_names`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail
from kerastl._files import whole_file
from kerastl._progress import ProgressLine
from kerastl.data.inputs import open_data
from kerastl.data.loading import list_files, subfolders
from kerastl.data.sets import ImageSet

_SUFFIX = ".npz"


def check_file(output: Path, overwrite: bool) -> None:
    """Raise unless the features may be written to this file."""
    if output.suffix != _SUFFIX:
        fail("output", f"a file name ending in {_SUFFIX}", str(output))
    if not output.parent.is_dir():
        hint = f"Make the folder {str(output.parent)!r} first."
        fail("output", "in a folder that exists", str(output), hint)
    if output.exists() and not overwrite:
        hint = "Pass overwrite=True to replace it."
        fail("output", "a new file", str(output), hint)


def read_parts(data: str) -> dict[str, ImageSet]:
    """The images by part; those of a plain folder are `train`, without labels."""
    folder = Path(data).expanduser()
    if folder.is_dir() and not subfolders(folder) and list_files(folder)[0]:
        paths = tuple(str(path) for path in list_files(folder)[0])
        return {"train": ImageSet(paths, None, (), folder.resolve().name)}
    with ProgressLine("reading images") as progress:
        splits = open_data(data, validation=0.0, progress=progress)
    return {name: part for name, part in vars(splits).items() if part is not None}


def labels_of(part: ImageSet) -> np.ndarray:
    """The labels, -1 where there are none."""
    return np.full(len(part), -1) if part.labels is None else part.labels


def write_arrays(output: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz file, whole or not at all."""
    with whole_file(output) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def compute(
    parts: dict[str, ImageSet], backbone: str, given: dict[str, Any]
) -> tuple[np.ndarray, list[str], Any]:
    """Features of all parts, the names of their columns, and the network."""
    # Imported here: `kerastl --help` need not wait for it.
    from kerastl.features.network import (
        extract_features,
        feature_network,
        open_backbone,
    )
    from kerastl.models.layers import feature_columns
    from kerastl.models.record import network_size

    building = {k: given[k] for k in ("alpha", "image_size", "weights") if k in given}
    taking = {k: given[k] for k in ("at", "pooling") if k in given}
    reading = {k: given[k] for k in ("resize",) if k in given}
    network = feature_network(open_backbone(backbone, **building), **taking)
    made = []
    for name, part in parts.items():
        with ProgressLine(f"computing features, {name}") as progress:
            made.append(
                extract_features(
                    network,
                    part,
                    image_size=network_size(network),
                    progress=progress,
                    **reading,
                )
            )
    return np.concatenate(made), feature_columns(network).column_names(), network


def write_features(
    data: str, output: Path, overwrite: bool, backbone: str, **given: Any
) -> tuple[dict[str, Any], str]:
    """Compute and write the features, and return what to print."""
    check_file(output, overwrite)
    parts = read_parts(data)
    features, names, network = compute(parts, backbone, given)
    paths = [part.paths or ("",) * len(part) for part in parts.values()]
    class_names = next(iter(parts.values())).class_names
    arrays = {
        "features": features,
        "labels": np.concatenate([labels_of(part) for part in parts.values()]),
        "class_names": np.array(class_names, str),
        "paths": np.array([path for some in paths for path in some], str),
        "split": np.repeat(list(parts), [len(part) for part in parts.values()]),
        "feature_names": np.array(names, str),
    }
    write_arrays(output, arrays)
    images, width = features.shape
    counts = {name: len(part) for name, part in parts.items()}
    report = {"images": images, "features": width, "splits": counts}
    size = list(network.input_shape[1:3])
    report |= {"class_names": list(class_names), "image_size": size}
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    text = f"{images} images ({shown}), {width} features each, written to {output}"
    return {**report, "output": str(output)}, text
