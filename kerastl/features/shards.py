"""Features computed in shares, by as many processes as there are, and put together.

Each process writes a file of its own, so that any scheduler can start them, in any
order, and one that was killed is started again.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, warn
from kerastl._files import READ_ERRORS, user_path
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.sources import files_key, pixels_key
from kerastl.data.texts import TextSet
from kerastl.features.files import (
    Extraction,
    Features,
    file_arrays,
    prepare,
    row_labels,
    write_arrays,
)
from kerastl.features.keys import cache_key, network_key
from kerastl.features.network import whole_batch

_FILE = re.compile(r"features-(\d+)-of-(\d+)\.npz")
_LISTED = 5


@dataclass(frozen=True, eq=False)
class Shard:
    """What one process computed.

    Attributes:
        file: Where it lies.
        images: How many images it holds.
        computed: False where the file was there already.
    """

    file: Path
    images: int
    computed: bool


def read_shard(text: str) -> tuple[int, int]:
    """The number of a share and the number of shares, of `"3/10"`.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> read_shard("3/10")
        (3, 10)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", str(text).strip())
    number, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= of:
        expected = "the number of a share and how many there are, from 1/10 to 10/10"
        fail("shard", expected, text)
    return number, of


def extract_shard(
    backbone: str | keras.Model,
    data: str | Path | Splits | ImageSet,
    output: str | Path,
    shard: str,
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
    overwrite: bool = False,
) -> Shard:
    """Compute one share of the features of a data set, unless it is there already.

    The shares are whole batches, so that their union is, bit for bit, what `extract`
    computes on such a machine.

    Args:
        backbone: As for `extract`.
        data: The same.
        output: Folder where the shares are written; made if it is not there.
        shard: `"3/10"`: the third of ten.
        alpha: As for `extract`, like all but the last that follow; equal for all
            shares.
        image_size: The same.
        weights: The same.
        preprocessing: The same.
        at: The same.
        pooling: The same.
        resize: The same.
        batch_size: The same.
        labels: The same.
        on_bad: The same.
        overwrite: Whether a share of other images, or by another network, may be
            replaced.

    Returns:
        The file and the number of images in it.

    Raises:
        ValueError: If the arguments do not fit, or the folder holds a share of other
            images or by another network.

    Example:
        >>> import tempfile
        >>> data = ImageSet(np.zeros((3, 32, 32, 3), "uint8"), None, ())
        >>> options = {"alpha": 0.25, "image_size": 32, "batch_size": 2}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = extract_shard("MobileNet", data, folder, "2/2", **options)
        >>> done.file.name, done.images, done.computed
        ('features-2-of-2.npz', 1, True)
    """
    number, of = read_shard(shard)
    folder = _writable(output)
    job = prepare(
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
    )
    key, file = _job_key(job), folder / f"features-{number}-of-{of}.npz"
    there = _read(file) if file.exists() else None
    if there is not None and there["key"] == key:
        return Shard(file, len(there["features"]), computed=False)
    if there is not None and not overwrite:
        hint = "Pass overwrite=True to replace it, or name another folder."
        reason = "It holds a share of other images or with other settings. "
        fail("output", "a folder of this job's shares", str(file), reason + hint)
    spans = _spans(job, number, of)
    made = job.compute(spans)
    asked = sum(stop - first for first, stop in spans.values())
    total = sum(map(len, job.parts.values()))
    said = {"key": key, "asked": asked, "total": total}
    write_arrays(file, file_arrays(made) | said)
    return Shard(file, len(made.features), computed=True)


def _writable(output: str | Path) -> Path:
    """The folder of the shares, made and tried: before the work, not after."""
    folder = user_path("output", output)
    if folder.exists() and not folder.is_dir():
        fail("output", "a folder for the shares", str(folder), "It is a file.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        hint = f"{error.strerror or error}."
        fail("output", "a folder that can be written to", str(folder), hint)
    return folder


def merge_shards(folder: str | Path) -> Features:
    """The features of all shares of a folder, in the order of `extract`.

    Args:
        folder: Where `extract_shard` wrote all its shares.

    Returns:
        As of `extract`; `write` makes one file of them.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a share is missing, damaged, or of another job than the others.

    Example:
        >>> import tempfile
        >>> data = ImageSet(np.zeros((2, 32, 32, 3), "uint8"), None, ())
        >>> options = {"alpha": 0.25, "image_size": 32}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = extract_shard("MobileNet", data, folder, "1/1", **options)
        ...     merge_shards(folder).counts()
        {'train': 2}
    """
    folder = user_path("folder", folder)
    if not folder.is_dir():
        fail("folder", "a folder of shares", str(folder), error=FileNotFoundError)
    found = {
        tuple(map(int, match.groups())): folder / match.group()
        for match in (_FILE.fullmatch(each.name) for each in folder.iterdir())
        if match
    }
    if not found:
        hint = "kerastl features --shard 1/10 writes features-1-of-10.npz and so on."
        fail("folder", "a folder of shares", str(folder), hint)
    numbers = sorted({of for _, of in found})
    if len(numbers) > 1:
        hint = "Each is a job of its own: remove the files of one."
        listed = " and ".join(map(str, numbers))
        fail("folder", "shares of one number", f"{listed} shares", hint)
    of = numbers[0]
    missing = [f"{n}/{of}" for n in range(1, of + 1) if (n, of) not in found]
    if missing:
        hint = f"Run the others: --shard {', '.join(missing[:_LISTED])}"
        hint += " and so on." if len(missing) > _LISTED else "."
        fail("folder", f"all {of} shares", f"{of - len(missing)} in {folder}", hint)
    shares, files = [], [file for _, file in sorted(found.items())]
    for file in files:
        share = _read(file)
        if share is None:
            hint = "It is damaged: compute it again."
            fail("folder", "files that extract_shard wrote", str(file), hint)
        shares.append(share)
    _check_one_job(dict(zip(files, shares, strict=True)))
    total, asked = int(shares[0]["total"]), sum(int(each["asked"]) for each in shares)
    if asked != total:
        fail("folder", f"a folder of shares of {total} images together", asked)
    made = _joined(shares)
    if len(made.features) < total:
        warn(f"{total - len(made.features)} of {total} images were left out by shares.")
    return made


def _check_one_job(shares: dict[Path, dict[str, Any]]) -> None:
    """Raise, naming the shares of another job than most, unless all are of one.

    Args:
        shares: File -> what it holds.
    """
    keys = {file.name: str(share["key"]) for file, share in shares.items()}
    (usual, most), *others = Counter(keys.values()).most_common()
    if not others:
        return
    # Where no job has the most shares, nobody can say which is meant.
    doubtful = most == others[0][1]
    odd = [name for name, key in keys.items() if doubtful or key != usual]
    listed = ", ".join(odd[:_LISTED]) + (" and so on" if len(odd) > _LISTED else "")
    than = "each other" if doubtful else "the rest"
    hint = f"Of other images or settings than {than}: compute those that are not "
    hint += "meant again, by kerastl features with --shard and --overwrite."
    fail("folder", "a folder of shares of one job", listed, hint)


def _joined(shares: list[dict[str, Any]]) -> Features:
    """The rows of all shares, one after the other."""
    same = ("class_names", "feature_names", "image_size")
    joined = {
        field.name: shares[0][field.name]
        if field.name in same
        else np.concatenate([share[field.name] for share in shares])
        for field in fields(Features)
    }
    names = tuple(joined["class_names"].tolist())
    size = tuple(joined["image_size"].tolist())
    return replace(Features(**joined), class_names=names, image_size=size)


def _read(file: Path) -> dict[str, Any] | None:
    """The arrays of a share; None where the file is no whole share."""
    needed = {"key", "asked", "total", *(field.name for field in fields(Features))}
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            read = dict(arrays)
    except READ_ERRORS:
        return None
    return read if needed <= set(read) else None


def _spans(job: Extraction, number: int, of: int) -> dict[str, tuple[int, int]]:
    """The images of a share by part: whole batches, at most one more than others."""
    batches = []
    for name, part in job.parts.items():
        step = whole_batch(job.network, len(part), job.batch_size)
        starts = range(0, len(part), step)
        batches += [(name, start, min(start + step, len(part))) for start in starts]
    mine = batches[(number - 1) * len(batches) // of : number * len(batches) // of]
    spans: dict[str, tuple[int, int]] = {}
    for name, start, stop in mine:
        spans[name] = (spans.get(name, (start, stop))[0], stop)
    return spans


def _job_key(job: Extraction) -> str:
    """What must be equal for shares to belong together."""
    said = [network_key(job.network), job.resize, str(job.batch_size)]
    for name, part in job.parts.items():
        said += [name, json.dumps([list(part.class_names), row_labels(part).tolist()])]
        if isinstance(part, TextSet):
            said.append(json.dumps([str(text) for text in part.texts]))
        elif part.paths is None:
            said.append(pixels_key(part, job.image_size, job.resize))
        else:
            said.append(files_key(part.paths))
    return cache_key(*said)
