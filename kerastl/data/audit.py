"""What is wrong with a data set, before anything is trained on it."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl.data.loading import (
    FileRecord,
    class_folders,
    existing_folder,
    inspect_files,
    list_files,
)
from kerastl.data.sets import ImageSet, copies, digests

_SHOWN = 5


@dataclass(frozen=True)
class AuditReport:
    """What `audit` found; print it, or take `to_dict()`.

    A copy is an image with the same bytes (or pixels, in an array): a resized or
    recompressed one is not noticed.

    Attributes:
        name: The folder or set.
        num_images: Images that were looked at, damaged ones included.
        counts: Images of each class, as `"class"` or `"part/class"`.
        unreadable: (file, reason) of each file that cannot be decoded.
        wrong_extensions: (file, true format) of each misnamed file.
        ignored: Files that are hidden or have no image extension.
        small_classes: Classes with fewer images than asked for, empty ones too.
        missing_classes: `"part/class"` that another part has.
        duplicates: Groups of copies with one label, within one part.
        conflicts: Groups of copies with different labels.
        leaks: Groups of copies in more than one part.
        widths: (least, median, most) in pixels, or None without images.
        heights: (least, median, most) in pixels, or None without images.
        modes: Images of each mode, such as `"RGB"` or `"L"`.
        formats: Images of each true format.

    Example:
        >>> import numpy as np
        >>> twice = ImageSet(np.zeros((2, 8, 8)), np.array([0, 1]), ("a", "b"))
        >>> audit(twice).conflicts
        (('image 0', 'image 1'),)
    """

    name: str
    num_images: int
    counts: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    wrong_extensions: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    small_classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    widths: tuple[float, float, float] | None
    heights: tuple[float, float, float] | None
    modes: dict[str, int]
    formats: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that spoils training or its score."""
        faults = (self.unreadable, self.small_classes, self.missing_classes)
        return not any((*faults, self.conflicts, self.leaks))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, ready for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        """A page to read: counts first, then each kind of fault."""
        lines = [f"{self.name}: {self.num_images} images"]
        lines += [f"  {name:<24} {count}" for name, count in self.counts.items()]
        for title, sides in (("width", self.widths), ("height", self.heights)):
            if sides:
                low, middle, high = (f"{side:g}" for side in sides)
                lines.append(f"{title}: {low} to {high} pixels, median {middle}")
        for title, table in (("modes", self.modes), ("formats", self.formats)):
            if table:
                listed = ", ".join(f"{key} {count}" for key, count in table.items())
                lines.append(f"{title}: {listed}")
        found = [_section(title, items) for title, items in self._faults() if items]
        lines += [line for section in found for line in section]
        return "\n".join(lines if found else [*lines, "no faults found"])

    def _faults(self) -> tuple[tuple[str, list[str]], ...]:
        return (
            ("unreadable", [f"{path} ({why})" for path, why in self.unreadable]),
            (
                "wrong extension",
                [f"{p} is {kind}" for p, kind in self.wrong_extensions],
            ),
            ("ignored files", list(self.ignored)),
            ("small classes", list(self.small_classes)),
            ("missing classes", list(self.missing_classes)),
            ("duplicates", [" = ".join(same) for same in self.duplicates]),
            ("copies with different labels", [" = ".join(c) for c in self.conflicts]),
            ("copies in several parts", [" = ".join(same) for same in self.leaks]),
        )


def audit(
    folder_or_set: str | Path | ImageSet,
    *,
    smallest_class: int = 10,
    progress: Progress | None = None,
) -> AuditReport:
    """A report on the faults of a folder of images or an image set.

    It reports faults and does not raise for them; `load_images` does. Every file is
    read and decoded once.

    Args:
        folder_or_set: A folder as `load_images` takes, or an `ImageSet`.
        smallest_class: Classes with fewer images are reported.
        progress: Called with (done, total) files, or None.

    Returns:
        The report.

    Raises:
        FileNotFoundError: If the folder does not exist.
        TypeError: If it is neither a path nor an `ImageSet`.

    Example:
        >>> import numpy as np
        >>> pixels = np.arange(4, dtype="uint8").repeat(64).reshape(4, 8, 8)
        >>> four = ImageSet(pixels, np.array([0, 0, 1, 1]), ("a", "b"))
        >>> audit(four, smallest_class=2).ok
        True
    """
    check_integer("smallest_class", smallest_class, 0)
    if isinstance(folder_or_set, ImageSet):
        return _audit_set(folder_or_set, smallest_class, progress)
    if not isinstance(folder_or_set, (str, Path)):
        kind = type(folder_or_set).__name__
        fail("folder_or_set", "a path or an ImageSet", kind, error=TypeError)
    root = existing_folder(folder_or_set)
    places, paths, ignored = [], [], []
    parts = class_folders(root)
    counts = {}
    for part, classes in parts.items():
        for name, place in classes.items():
            images, others = list_files(place)
            counts[f"{part}/{name}" if part else name] = len(images)
            places += [(part, name)] * len(images)
            paths += [str(path) for path in images]
            ignored += [str(path) for path in others]
    loose = [path for path in root.iterdir() if path.is_file()]
    ignored += sorted(str(path) for path in loose)
    records = inspect_files(paths, progress=progress)
    every = {name for classes in parts.values() for name in classes}
    missing = [
        f"{part}/{name}"
        for part, classes in parts.items()
        for name in sorted(every - classes.keys())
    ]
    return _report(str(root), records, places, counts, ignored, missing, smallest_class)


def _audit_set(
    image_set: ImageSet, smallest_class: int, progress: Progress | None
) -> AuditReport:
    labels = image_set.labels
    if labels is None:
        labels = np.zeros(len(image_set), np.int64)
    places = [("", str(label)) for label in labels.tolist()]
    if image_set.paths is not None:
        records = inspect_files(image_set.paths, progress=progress)
    else:
        records = _array_records(image_set)
    name = image_set.name or "image set"
    return _report(name, records, places, image_set.counts(), [], [], smallest_class)


def _array_records(image_set: ImageSet) -> list[FileRecord]:
    height, width = image_set.images.shape[1:3]
    channels = image_set.images.shape[3] if image_set.images.ndim == 4 else 1
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    return [
        FileRecord(f"image {i}", digest, "array", (width, height), mode, None)
        for i, digest in enumerate(digests(image_set).tolist())
    ]


def _report(
    name: str,
    records: list[FileRecord],
    places: list[tuple[str, str]],
    counts: dict[str, int],
    ignored: list[str],
    missing: list[str],
    smallest_class: int,
) -> AuditReport:
    groups: dict[str, list[tuple[str, ...]]] = {"same": [], "conflict": [], "leak": []}
    readable = [i for i, record in enumerate(records) if record.digest]
    for same in copies(np.array([records[i].digest for i in readable], str)):
        indices = [readable[i] for i in same]
        paths = tuple(records[i].path for i in indices)
        parts = {places[i][0] for i in indices}
        labels = {places[i][1] for i in indices}
        if len(labels) > 1:
            groups["conflict"].append(paths)
        if len(parts) > 1:
            groups["leak"].append(paths)
        if len(labels) == len(parts) == 1:
            groups["same"].append(paths)
    sized = [record for record in records if record.size]
    wrong = [(r.path, r.format or "") for r in records if _is_misnamed(r)]
    return AuditReport(
        name=name,
        num_images=len(records),
        counts=counts,
        unreadable=tuple((r.path, r.fault) for r in records if r.fault),
        wrong_extensions=tuple(wrong),
        ignored=tuple(ignored),
        small_classes=tuple(c for c, n in counts.items() if n < smallest_class),
        missing_classes=tuple(missing),
        duplicates=tuple(groups["same"]),
        conflicts=tuple(groups["conflict"]),
        leaks=tuple(groups["leak"]),
        widths=_spread([record.size[0] for record in sized]),
        heights=_spread([record.size[1] for record in sized]),
        modes=dict(Counter(record.mode for record in sized).most_common()),
        formats=dict(Counter(r.format or "unknown" for r in records).most_common()),
    )


def _is_misnamed(record: FileRecord) -> bool:
    return record.format != "array" and record.wrong_extension


def _spread(sides: list[int]) -> tuple[float, float, float] | None:
    if not sides:
        return None
    return float(min(sides)), float(np.median(sides)), float(max(sides))


def _section(title: str, items: list[str]) -> list[str]:
    more = [f"  and {len(items) - _SHOWN} more"] if items[_SHOWN:] else []
    return [f"{title}: {len(items)}", *(f"  {item}" for item in items[:_SHOWN]), *more]
