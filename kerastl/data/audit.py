"""What is wrong with a data set, before anything is trained on it."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular, plain
from kerastl.data.annotations import annotation_files, read_annotations
from kerastl.data.boxes import Boxes
from kerastl.data.columns import is_table
from kerastl.data.folders import Folder, printable, read_layout, walk
from kerastl.data.loading import (
    DENSE_LABELS,
    FileRecord,
    empty_looking,
    existing_folder,
    inspect_files,
)
from kerastl.data.mask_folders import mask_faults, read_mask_folder
from kerastl.data.masks import Masks
from kerastl.data.sets import FolderImages, ImageSet, Splits, copies
from kerastl.data.text_audit import TextAuditReport, audit_texts
from kerastl.data.texts import TextSet, is_text_data, read_texts

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class AuditReport(Tabular):
    """What `audit` found; print it, or take `to_dict()`.

    A copy is an image with the same bytes (or pixels, in an array): a resized or
    recompressed one is not noticed.

    Attributes:
        name: The folder or set.
        num_images: Images that were looked at, damaged ones included.
        counts: Images of each class, as `"class"` or `"part/class"`.
        unreadable: (file, reason) of each file that cannot be decoded.
        wrong_extensions: (file, true format) of each misnamed file.
        ignored: Files that are no images or that systems leave.
        notes: What is not used, and how folders were taken.
        layout: Why the folder is none of class folders, if it is none.
        small_classes: Classes with fewer images than asked for, empty ones too.
        missing_classes: `"part/class"` that another part has.
        duplicates: Groups of copies with one label, within one part.
        conflicts: Groups of copies with different labels.
        leaks: Groups of copies in more than one part.
        empty_looking: Lines on images of one colour or of hardly any range, and on
            classes whose images all show the same.
        masks: Masks of other sizes or unknown values, and classes without a pixel.
        boxes: What keeps annotations of boxes from being read, and classes of which
            there is no object.
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
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layout: tuple[str, ...] = ()
    small_classes: tuple[str, ...]
    missing_classes: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    empty_looking: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    widths: tuple[float, float, float] | None
    heights: tuple[float, float, float] | None
    modes: dict[str, int]
    formats: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that spoils training or its score."""
        faults = (self.layout, self.unreadable, self.small_classes)
        faults += (self.missing_classes, self.conflicts, self.leaks, self.empty_looking)
        faults += (self.masks, self.boxes)
        return self.num_images > 0 and not any(faults)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, ready for JSON."""
        return {**asdict(self), "ok": self.ok}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [{"class": k, "images": n} for k, n in self.counts.items()]

    def _repr_html_(self) -> str:
        """The page in a notebook, counts and faults."""
        return f"<pre>{plain(self)}</pre>"

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
        faults = {title: items for title, items in self._faults().items() if items}
        for title, items in faults.items():
            lines += [f"{title}: {len(items)}", *(f"  {i}" for i in items[:_SHOWN])]
            if len(items) > _SHOWN:
                lines.append(f"  and {len(items) - _SHOWN} more")
        if not self.num_images:
            lines.append("no images were found")
        elif not faults:
            lines.append("no faults found")
        return "\n".join(lines)

    def _faults(self) -> dict[str, list[str]]:
        """Each kind of fault, one line for each case."""
        misnamed = [f"{path} is {kind}" for path, kind in self.wrong_extensions]
        return {
            "no folder of classes": list(self.layout),
            "notes": list(self.notes),
            "unreadable": [f"{path} ({why})" for path, why in self.unreadable],
            "wrong extension": misnamed,
            "ignored files": list(self.ignored),
            "small classes": list(self.small_classes),
            "missing classes": list(self.missing_classes),
            "duplicates": [" = ".join(same) for same in self.duplicates],
            "copies with different labels": [" = ".join(c) for c in self.conflicts],
            "copies in several parts": [" = ".join(same) for same in self.leaks],
            "masks": list(self.masks),
            "boxes": list(self.boxes),
            "nothing to see": list(self.empty_looking),
        }


def audit(
    folder_or_set: str | Path | ImageSet | TextSet | Splits,
    *,
    smallest_class: int = 10,
    encoder: Any = None,
    text: str | None = None,
    labels: str | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> AuditReport | TextAuditReport:
    """A report on the faults of images or texts.

    It reports faults and does not raise for them; `load_images` does. Every file is
    read and decoded once.

    Args:
        folder_or_set: A folder as `load_images` takes, or an `ImageSet`; of texts what
            `load_texts` takes, a `TextSet` or `Splits` of such.
        smallest_class: Classes with fewer images are reported.
        encoder: For texts the `TextEncoder` of the model that is to read them: what it
            cuts off and does not know is reported.
        text: Column of texts, for a table.
        labels: Column of class names, for a table of texts; or `"masks"` or `"boxes"`,
            for a folder that has both.
        split: Column that says which part a row is in, for a table of texts.
        progress: Called with (done, total) files, or None.

    Returns:
        The report; of texts a `TextAuditReport`.

    Raises:
        FileNotFoundError: If the folder does not exist.
        TypeError: If it is neither a path nor an `ImageSet`.

    Example:
        >>> import numpy as np
        >>> pixels = np.arange(256, dtype="uint8").reshape(4, 8, 8)
        >>> four = ImageSet(pixels, np.array([0, 0, 1, 1]), ("a", "b"))
        >>> audit(four, smallest_class=2).ok
        True
    """
    check_integer("smallest_class", smallest_class, 0)
    found = _text_parts(folder_or_set, text=text, labels=labels, split=split)
    if found is not None:
        name, parts, empty = found
        options = {"smallest_class": smallest_class, "encoder": encoder}
        return audit_texts(parts, name=name, empty=empty, **options)
    given = {"encoder": encoder, "text": text, "labels": labels, "split": split}
    folder = isinstance(folder_or_set, (str, Path))
    if folder and labels in DENSE_LABELS:
        del given["labels"]
    for option, value in given.items():
        if value is not None:
            fail(option, "None for images", value)
    if isinstance(folder_or_set, ImageSet):
        return _audit_set(folder_or_set, smallest_class, progress)
    if not folder:
        kind = type(folder_or_set).__name__
        fail("folder_or_set", "a path or an ImageSet", kind, error=TypeError)
    return _audit_folder(
        existing_folder(folder_or_set), smallest_class, progress, labels
    )


def _audit_folder(
    root: Path, smallest_class: int, progress: Progress | None, labels: str | None
) -> AuditReport:
    """The report on a folder: of masks, of annotated boxes, or of class folders."""
    top, said = walk(root)
    found = None if labels == "boxes" else read_mask_folder(root, top)
    if found is not None:
        given = smallest_class, progress, found.where.tolist()
        if annotation_files(top)[1]:
            found.said.append("Not looked at: boxes. Pass labels='boxes' for them.")
        return replace(_audit_set(found.images, *given), notes=tuple(found.said))
    annotated, fault = _annotations(root, top)
    if annotated is not None:
        given = smallest_class, progress, annotated.where.tolist()
        told = _audit_set(annotated.images, *given)
        return replace(told, notes=(*told.notes, *annotated.said))
    layout = read_layout(top, said)
    places, paths, counts = [], [], {}
    for part, name, folder in layout.classes:
        images, name = folder.files("images"), printable(name)
        counts[f"{part}/{name}" if part else name] = len(images)
        places += [(part, name)] * len(images)
        paths += map(str, images)
    ignored = [
        *layout.top.others,
        *layout.top.systems,
        *(path for _, _, folder in layout.classes for path in folder.files("others")),
        *(path for _, _, folder in layout.classes for path in folder.files("systems")),
    ]
    every = {name for _, name, _ in layout.classes}
    missing = [
        f"{part}/{printable(name)}"
        for part, classes in layout.parts.items()
        for name in sorted(every - classes.keys())
    ]
    wrong = (f"It must be {'. '.join(layout.fault)}",) if layout.fault else ()
    if fault:
        # The images are looked at, whatever is wrong with their boxes.
        paths = [str(path) for path in layout.top.files("images")]
        places, counts, wrong, missing = [("", "")] * len(paths), {}, (), []
    records = inspect_files(paths, progress=progress)
    return _report(
        str(layout.top.path),
        records,
        places,
        counts,
        smallest_class,
        ignored=tuple(sorted(printable(str(path)) for path in ignored)),
        missing_classes=tuple(missing),
        notes=tuple(layout.said),
        layout=wrong,
        boxes=fault,
    )


def _text_parts(
    data: Any, **columns: str | None
) -> tuple[str, dict[str, TextSet], int] | None:
    """Name, texts by part and number of empty rows, of data that are texts."""
    if isinstance(data, TextSet):
        return data.name or "text set", {"": data}, 0
    if isinstance(data, Splits) and isinstance(data.train, TextSet):
        parts = {name: part for name, part in vars(data).items() if part is not None}
        return data.train.name or "texts", parts, 0
    if not is_table(data) and not is_text_data(data):
        return None
    whole, where, empty = read_texts(data, **columns)
    if where is None:
        return whole.name, {"": whole}, empty
    names = [name for name in ("train", "validation", "test") if name in where]
    parts = {name: whole.subset(where == name) for name in names}
    return whole.name, parts, empty


def _annotations(
    root: Path, top: Folder
) -> tuple[FolderImages | None, tuple[str, ...]]:
    """The images with boxes of a folder, or the line on why they cannot be read."""
    try:
        return read_annotations(root, top, annotation_files(top)), ()
    except (ValueError, TypeError, FileNotFoundError) as error:
        return None, (str(error),)


def _audit_set(
    image_set: ImageSet,
    smallest_class: int,
    progress: Progress | None,
    parts: list[str] | None = None,
) -> AuditReport:
    labels, masks, counts, told = image_set.labels, (), {}, ()
    if isinstance(labels, Masks):
        masks = tuple(mask_faults(image_set))
    boxes: tuple[str, ...] = ()
    if isinstance(labels, Boxes):
        kinds = labels.counts().items()
        boxes = tuple(f"no object of class {name!r}" for name, n in kinds if not n)
        empty = sum(1 for row in labels.boxes if not len(row))
        told = (f"{empty} of {len(labels)} images have no object",) if empty else ()
    if image_set.dense:
        labels = labels.digests()
    else:
        counts = image_set.counts()
    if labels is None:
        labels = np.zeros(len(image_set), np.int64)
    parts = parts or [""] * len(image_set)
    places = list(zip(parts, map(str, labels.tolist()), strict=True))
    if image_set.paths is not None:
        records = inspect_files(image_set.paths, progress=progress)
    else:
        height, width = image_set.images.shape[1:3]
        channels = image_set.images.shape[3] if image_set.images.ndim == 4 else 1
        mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")
        flat = image_set.images.reshape(len(image_set), height * width, channels)
        spreads = np.ptp(flat, axis=1).max(axis=1).astype(int).tolist()
        records = [
            FileRecord(f"image {i}", sha, "array", (width, height), mode, None, spread)
            for i, (sha, spread) in enumerate(
                zip(image_set.digests().tolist(), spreads, strict=True)
            )
        ]
    name = image_set.name or "image set"
    if image_set.dense and not masks:
        counts, smallest_class = image_set.counts(), 0
    found = {"masks": masks, "boxes": boxes, "notes": told}
    return _report(name, records, places, counts, smallest_class, **found)


def _report(
    name: str,
    records: list[FileRecord],
    places: list[tuple[str, str]],
    counts: dict[str, int],
    smallest_class: int,
    **found: tuple[str, ...],
) -> AuditReport:
    """The report on files or arrays; `places` holds the part and class of each."""
    duplicates, conflicts, leaks = [], [], []
    readable = [i for i, record in enumerate(records) if record.digest]
    for same in copies(np.array([records[i].digest for i in readable], str)):
        indices = [readable[i] for i in same]
        paths = tuple(printable(records[i].path) for i in indices)
        parts, labels = (
            set(each) for each in zip(*(places[i] for i in indices), strict=True)
        )
        if len(labels) > 1:
            conflicts.append(paths)
        if len(parts) > 1:
            leaks.append(paths)
        if len(labels) == len(parts) == 1:
            duplicates.append(paths)
    files = [record for record in records if record.format != "array"]
    sized = [record for record in records if record.size]
    return AuditReport(
        name=name,
        num_images=len(records),
        counts=counts,
        unreadable=tuple((printable(r.path), r.fault) for r in records if r.fault),
        wrong_extensions=tuple(
            (printable(r.path), r.format or "") for r in files if r.wrong_extension
        ),
        small_classes=tuple(c for c, n in counts.items() if n < smallest_class),
        duplicates=tuple(duplicates),
        conflicts=tuple(conflicts),
        leaks=tuple(leaks),
        empty_looking=tuple(
            empty_looking(
                [(r, name) for r, (_, name) in zip(records, places, strict=True)]
            )
        ),
        widths=_range([record.size[0] for record in sized]),
        heights=_range([record.size[1] for record in sized]),
        modes=dict(Counter(record.mode for record in sized).most_common()),
        formats=dict(Counter(r.format or "unknown" for r in records).most_common()),
        **found,
    )


def _range(sides: list[int]) -> tuple[float, float, float] | None:
    """Least, median and most; None of nothing."""
    if not sides:
        return None
    return float(min(sides)), float(np.median(sides)), float(max(sides))
